"""What the scripts in ``tools/`` and the console command do."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point

logger = logging.getLogger(__name__)


@entry_point("Interrupted. --resume continues from the last checkpoint.")
def train(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, start the processes, train or evaluate; returns the exit status."""
    from fastreid.engine.arguments import add_protocol, default_argument_parser

    parser = default_argument_parser()
    add_protocol(parser)
    args = parser.parse_args(argv)
    from fastreid.engine import launch

    launch(run_training, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))


def setup(args: argparse.Namespace):
    """Return the frozen config of a command line, after ``default_setup``."""
    from fastreid.config import get_cfg
    from fastreid.engine import default_setup
    from fastreid.engine.arguments import merge_command_line

    cfg = get_cfg()
    merge_command_line(cfg, args)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def run_training(args: argparse.Namespace) -> dict | None:
    """One process of a training, or of an evaluation with ``--eval-only``; return the last results."""
    from fastreid.engine import DefaultTrainer
    from fastreid.engine.fitting import fit_model
    from fastreid.engine.launcher import is_restart, may_restart
    from fastreid.modeling.meta_arch import FittedDescriptor, is_descriptor

    args.resume = args.resume or is_restart()
    cfg = setup(args)
    if args.eval_only:
        return evaluate_only(cfg, DefaultTrainer)
    if is_descriptor(cfg.MODEL.META_ARCHITECTURE, FittedDescriptor):
        if args.resume:
            logger.warning("--resume does nothing: %s is fitted in one pass", cfg.MODEL.META_ARCHITECTURE)
        return fit_model(cfg, DefaultTrainer)
    trainer = DefaultTrainer(cfg)
    if may_restart() and not args.resume:
        trainer.checkpointer.forget_last()  # of an earlier training, which a restart must not go on with
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def evaluate_only(cfg, trainer_class) -> dict:
    """Evaluate ``MODEL.WEIGHTS`` on ``DATASETS.TESTS``; features that still fit are not computed again."""
    from fastreid.evaluation import verify_results
    from fastreid.utils import comm

    model = load_model(cfg, trainer_class)
    results = trainer_class.test(cfg, model, reuse_features=True)
    warn_if_untrained(cfg, model)  # again, below the figures
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def load_model(cfg, trainer_class):
    """Build the model with the weights of ``MODEL.WEIGHTS``; where it is empty, with those in ``OUTPUT_DIR``.

    ``OUTPUT_DIR`` is asked for ``model_best.pth``, then ``model_final.pth``; without either the model is untrained, or
    as pretrained.

    The number of classes, and the width of image-text models, is that of the weights, so that all of them fit and
    neither training set nor text bank is needed.

    Raises:
        ValueError: the weights do not fit the part of the model that makes features.
    """
    from fastreid.engine.text_width import width_of_weights
    from fastreid.modeling.losses.weighting import KEY
    from fastreid.utils.checkpoint import classifiers_of, load_weights, read_checkpoint

    source = weights_file(cfg)
    if not source:
        model = trainer_class.build_model(cfg)
        warn_if_untrained(cfg, model)
        return model
    if not cfg.MODEL.WEIGHTS:
        logger.info("MODEL.WEIGHTS is empty: taking %s, which a training left there", source)
    weights = read_checkpoint(source)["model"]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg = width_of_weights(cfg, weights)
    classes = classifiers_of(weights).values()
    if cfg.MODEL.HEADS.NUM_CLASSES == 0 and classes:
        cfg.MODEL.HEADS.NUM_CLASSES = max(classes)
    cfg.freeze()
    model = trainer_class.build_model(cfg)
    own = model.state_dict()
    optional = [*classifiers_of(own), *(name for name in own if name.startswith(f"{KEY}."))]
    load_weights(model, weights, source, optional)
    model.weights_source = str(source)  # for the report
    return model


def weights_file(cfg) -> str:
    """Return ``MODEL.WEIGHTS``, else the best or the last model of the training in ``OUTPUT_DIR``, else ``""``."""
    left = [str(Path(cfg.OUTPUT_DIR, f"{name}.pth")) for name in ("model_best", "model_final")]
    return cfg.MODEL.WEIGHTS or next(filter(os.path.isfile, left), "")


def warn_if_untrained(cfg, model) -> None:
    """Warn when there are no weights for a model that has any."""
    if not weights_file(cfg) and next(model.parameters(), None) is not None:
        start = "only its backbone is, on other images" if cfg.MODEL.BACKBONE.PRETRAIN else "it is random"
        logger.warning("MODEL.WEIGHTS is empty: the model is not trained, %s", start)
