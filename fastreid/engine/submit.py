"""From a checkpoint and a test set to ``result.npy``: the work of ``tools/test.py``."""

import argparse
import logging
import os
from collections.abc import Sequence

import numpy as np

from fastreid.utils.command import entry_point

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  write a submission:        %(prog)s --config-file FILE MODEL.WEIGHTS logs/stage2/model_best.pth
  write it elsewhere:        %(prog)s --config-file FILE --output logs/result.npy MODEL.WEIGHTS FILE.pth
  with other lists:          %(prog)s --config-file FILE DATASETS.TESTS PatentTest MODEL.WEIGHTS FILE.pth
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line (that of training, and ``--output``), start the processes, write the submission."""
    from fastreid.engine.arguments import default_argument_parser

    parser = default_argument_parser()
    parser.description = "Write result.npy and result.zip for the first of DATASETS.TESTS."
    parser.epilog = EXAMPLES
    parser.add_argument("--output", default="result.npy", metavar="FILE", help="file to write (default: %(default)s)")
    args = parser.parse_args(argv)
    from fastreid.engine import launch

    launch(run, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))


def run(args: argparse.Namespace) -> np.ndarray | None:
    """One process of ``tools/test.py``: config and model from the command line, then :func:`submit`."""
    from fastreid.engine import DefaultTrainer
    from fastreid.engine.commands import load_model, setup, warn_if_untrained

    cfg = setup(args)
    model = load_model(cfg, DefaultTrainer)
    ranks = submit(cfg, model, args.output)
    warn_if_untrained(cfg, model)
    return ranks


def submit(cfg, model, output: str | os.PathLike = "result.npy") -> np.ndarray | None:
    """Rank the gallery of the first of ``DATASETS.TESTS`` for its queries, write and check a submission.

    The features are taken from ``OUTPUT_DIR/features`` while they are fresh. ``results.json`` and the report go to
    ``OUTPUT_DIR``, with metrics where the set has labels (any ordinary test set).

    Returns:
        the array written, int64 (Q, min(10, G)); ``None`` in processes other than the main one.

    Raises:
        ValueError: the rule leaves a query with too few items, or the file did not pass the check.
    """
    from fastreid.data import build_reid_test_loader
    from fastreid.engine.extraction import cached_features
    from fastreid.evaluation import Protocol, evaluate
    from fastreid.evaluation.submission import TOPK, find_problems, write_submission

    Protocol.from_config(cfg)  # its checks now, not after the extraction
    name = cfg.DATASETS.TESTS[0]
    loader, num_query = build_reid_test_loader(cfg, dataset_name=name)
    features = cached_features(cfg, model, loader, num_query, name, cfg.OUTPUT_DIR)
    if features is None:
        return None
    indices = evaluate(cfg, features, name, cfg.OUTPUT_DIR, getattr(model, "weights_source", "")).indices[:, :TOPK]
    path, archive = write_submission(indices, output)
    problems = find_problems(path, num_query, len(features.gallery))
    if problems:
        raise ValueError(f"{path} is not a valid submission: " + "; ".join(problems))
    shape = (indices.shape[1], len(features.gallery), len(indices))
    logger.info("Wrote %s: the first %d of %d database images for each of %d queries", path.resolve(), *shape)
    logger.info("Wrote %s, the same to upload", archive.resolve())
    return indices
