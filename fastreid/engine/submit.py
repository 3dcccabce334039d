"""From a checkpoint and a test set to ``result.npy``: the work of ``tools/test.py``."""

import argparse
import logging
import os
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)


def submission_parser() -> argparse.ArgumentParser:
    """The command line of ``tools/test.py``: that of training, and ``--output``."""
    from fastreid.engine import default_argument_parser

    parser = default_argument_parser()
    parser.add_argument("--output", default="result.npy", metavar="FILE", help="file to write (default: %(default)s)")
    return parser


def main(args: argparse.Namespace) -> np.ndarray | None:
    """Build config and model from the command line, then :func:`submit`."""
    from fastreid.config import get_cfg
    from fastreid.engine import DefaultTrainer, default_setup
    from fastreid.utils.checkpoint import Checkpointer

    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.MODEL.BACKBONE.PRETRAIN = False  # the checkpoint holds all weights
    cfg.freeze()
    default_setup(cfg, args)
    model = DefaultTrainer.build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)
    return submit(cfg, model, args.output)


def submit(cfg, model, output: str | os.PathLike = "result.npy") -> np.ndarray | None:
    """Rank the gallery of the first of ``DATASETS.TESTS`` for its queries, write and check a submission.

    The features are taken from ``OUTPUT_DIR/features`` while they are fresh. With labels at hand (any ordinary test
    set) the metrics are reported too.

    Returns:
        the array written, int64 (Q, min(10, G)); ``None`` in processes other than the main one.

    Raises:
        ValueError: the rule leaves a query with too few items, or the file did not pass the check.
    """
    from fastreid.data import build_reid_test_loader
    from fastreid.engine.extraction import cached_features
    from fastreid.evaluation import Protocol, evaluate
    from fastreid.evaluation.submission import TOPK, find_problems, write_submission

    name = cfg.DATASETS.TESTS[0]
    loader, num_query = build_reid_test_loader(cfg, dataset_name=name)
    features = cached_features(cfg, model, loader, num_query, name, cfg.OUTPUT_DIR)
    if features is None:
        return None
    if features.relevance_known:
        evaluate(cfg, features, name, cfg.OUTPUT_DIR)
    indices, _ = Protocol.from_config(cfg).rank(features, TOPK)
    path, archive = write_submission(indices, output)
    problems = find_problems(path, num_query, len(features.gallery))
    if problems:
        raise ValueError(f"{path} is not a valid submission: " + "; ".join(problems))
    rows, columns = indices.shape
    logger.info("%s: the first %d of %d database images for each of %d queries", Path(path).resolve(), columns, len(features.gallery), rows)  # fmt: skip
    logger.info("%s: the same, to upload", Path(archive).resolve())
    return indices
