"""From a checkpoint and a test set, or from a feature file, to ``result.npy``: the work of ``tools/test.py``."""

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.utils.command import entry_point
from fastreid.utils.memory import peak_memory

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  write a submission:        %(prog)s --config-file FILE MODEL.WEIGHTS logs/stage2/model_best.pth
  write it elsewhere:        %(prog)s --config-file FILE --output logs/result.npy MODEL.WEIGHTS FILE.pth
  from features:             %(prog)s --features logs/stage2/features/PatentTest.npz TEST.RULE all
  with post-processing:      %(prog)s --features FILE.npz --config-file FILE TEST.AQE.ENABLED True
  with other lists:          %(prog)s --config-file FILE DATASETS.TESTS PatentTest MODEL.WEIGHTS FILE.pth
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line (that of training, ``--output``, ``--features``), start the processes, write the file."""
    from fastreid.engine.arguments import default_argument_parser

    parser = default_argument_parser()
    parser.description = "Write result.npy and result.zip for the first of DATASETS.TESTS."
    parser.epilog = EXAMPLES
    parser.add_argument("--output", default="result.npy", metavar="FILE", help="file to write (default: %(default)s)")
    parser.add_argument(
        "--features", metavar="FILE", help="rank these features (OUTPUT_DIR/features/*.npz): no model, no images"
    )
    args = parser.parse_args(argv)
    if args.features is not None:
        run_features(args)
        return
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


def run_features(args: argparse.Namespace) -> np.ndarray:
    """The work of ``tools/test.py --features``, in one process: config from the command line, then the file."""
    from fastreid.engine.commands import setup
    from fastreid.engine.extraction import load_features

    cfg = setup(args)
    check_protocol(cfg)
    features = load_features(args.features)
    name = features.fingerprint.get("dataset") or Path(args.features).stem
    return rank(cfg, features, name, args.output)


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

    check_protocol(cfg)
    name = cfg.DATASETS.TESTS[0]
    loader, num_query = build_reid_test_loader(cfg, dataset_name=name)
    features = cached_features(cfg, model, loader, num_query, name, cfg.OUTPUT_DIR)
    if features is None:
        return None
    return rank(cfg, features, name, output, getattr(model, "weights_source", ""))


def check_protocol(cfg) -> None:
    """Raise what is wrong with the ``TEST`` node now, not after an extraction."""
    from fastreid.evaluation.results import check_settings

    check_settings(cfg)


def rank(
    cfg, features: FeatureFile, name: str, output: str | os.PathLike = "result.npy", weights: str = ""
) -> np.ndarray:
    """The second half of :func:`submit`: evaluate features, write and check a submission.

    Features with labels are evaluated under any rule; where it leaves a query with too few items there are metrics and,
    said in a warning, no submission.

    Args:
        name: what ``results.json`` and the report call the data set.
        weights: where those of the model came from, for the report.
    """
    from fastreid.evaluation import evaluate
    from fastreid.evaluation.submission import TOPK

    started = time.perf_counter()
    indices = evaluate(cfg, features, name, cfg.OUTPUT_DIR, weights).indices[:, :TOPK]
    short = int((indices < 0).any(axis=1).sum())
    if features.relevance_known and short:
        shown = cfg.TEST.RULE, short, indices.shape[1]
        logger.warning("No submission is written: TEST.RULE %s leaves %d queries with fewer than %d items", *shown)
    else:
        write_checked(indices, output, features)
    seconds, peak = time.perf_counter() - started, peak_memory()
    memory = f", peak memory {peak / 2**30:.2f} GiB" if peak else ""
    sides = features.num_query, len(features) - features.num_query
    logger.info("Ranked %d x %d in %.1f s%s", *sides, seconds, memory)
    return indices


def write_checked(indices: np.ndarray, output: str | os.PathLike, features: FeatureFile) -> None:
    """Write a submission and check the file; raises ``ValueError`` with everything that is wrong with it."""
    from fastreid.evaluation.submission import find_problems, write_submission

    path, archive = write_submission(indices, output)
    size = len(features) - features.num_query
    problems = find_problems(path, features.num_query, size)
    if problems:
        raise ValueError(f"{path} is not a valid submission: " + "; ".join(problems))
    shape = indices.shape[1], size, len(indices)
    logger.info("Wrote %s: the first %d of %d database images for each of %d queries", path.resolve(), *shape)
    logger.info("Wrote %s, the same to upload", archive.resolve())
