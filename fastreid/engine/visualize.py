"""Ranked lists and ROC curves as pictures: the work of ``tools/visualize_result.py`` and ``tools/plot_roc.py``."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  the worst queries:  %(prog)s --config-file FILE --num-vis 20 --output pictures --opts MODEL.WEIGHTS FILE.pth
  with the matches:   %(prog)s --config-file FILE --vis-label --rank-sort descending --opts MODEL.WEIGHTS FILE.pth
  from features:      %(prog)s --features logs/run/features/Market1501.npz
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line (fast-reid's flags) and write the pictures."""
    from fastreid.engine.tool_config import tool_parser

    parser = tool_parser("Draw ranked lists, a ROC curve and the distribution of distances.", EXAMPLES)
    add = parser.add_argument
    add("--parallel", action="store_true", help="extract features with one process per GPU")
    add("--dataset-name", default="", metavar="NAME", help="test set (default: the first of DATASETS.TESTS)")
    add("--features", default="", metavar="FILE", help="draw these features (OUTPUT_DIR/features/*.npz): no model")
    add("--output", default="./vis_rank_list", metavar="DIR", help="folder (default: %(default)s)")
    add("--vis-label", action="store_true", help="add a line with the true matches of each query")
    add("--num-vis", type=int, default=100, metavar="N", help="number of queries (default: %(default)s)")
    add("--rank-sort", default="ascending", help="of the queries by AP; ascending (default): the worst first")
    add("--label-sort", default="ascending", help="of the matches by similarity; ascending (default): farthest first")
    add("--max-rank", type=int, default=10, metavar="K", help="length of the ranked lists (default: %(default)s)")
    args = parser.parse_args(argv)
    if not args.parallel:
        run(args)
        return
    import torch

    from fastreid.engine import launch

    launch(run, max(1, torch.cuda.device_count()), args=(args,))


def run(args: argparse.Namespace) -> None:
    """One process: features as an evaluation has them, then the pictures (in the main process)."""
    from fastreid.engine.tool_config import read_config
    from fastreid.evaluation import Protocol
    from fastreid.evaluation.visualizer import SORTS, Visualizer
    from fastreid.utils.errors import require_choice, require_whole
    from fastreid.utils.files import require_writable

    for flag, value in (("--rank-sort", args.rank_sort), ("--label-sort", args.label_sort)):
        require_choice(flag, value, SORTS)
    for flag, value in (("--num-vis", args.num_vis), ("--max-rank", args.max_rank)):
        require_whole(flag, value, 1)
    require_writable(args.output, "--output")
    cfg = read_config(args)
    protocol = Protocol.from_config(cfg)
    features = _features(cfg, args)
    if features is None:
        return
    *_, (stage, search) = protocol.searches(features)
    visualizer = Visualizer(features.paths)
    labelled = protocol.judges(features.relevance_known)
    visualizer.use_search(search, labelled, protocol.relevance)
    shown = stage, protocol.metric, protocol.rule, protocol.relevance
    logger.info("Ranking: %s, %s distance, rule %s, matches by %s", *shown)
    if labelled:
        _draw_roc(visualizer, args.output)
    drawn = visualizer.vis_rank_list(
        args.output, args.vis_label, args.num_vis, args.rank_sort, args.label_sort, args.max_rank
    )
    logger.info("Drew %d of %d queries in %s", len(drawn), visualizer.num_query, Path(args.output).resolve())


def _features(cfg, args: argparse.Namespace):
    from fastreid.engine.extraction import cached_features, load_features

    if args.features:
        return load_features(args.features)
    from fastreid.data import build_reid_test_loader
    from fastreid.engine import DefaultTrainer
    from fastreid.engine.commands import load_model

    name = args.dataset_name or cfg.DATASETS.TESTS[0]
    loader, num_query = build_reid_test_loader(cfg, dataset_name=name)
    return cached_features(cfg, load_model(cfg, DefaultTrainer), loader, num_query, name, cfg.OUTPUT_DIR)


def _draw_roc(visualizer, output: str) -> None:
    import numpy as np

    ap = visualizer.all_ap
    counted = np.isfinite(ap)
    logger.info("mAP %.2f %% over %d queries with a match", 100 * ap[counted].mean(), counted.sum())
    visualizer.save_roc_info(output, *visualizer.vis_roc_curve(output))


@entry_point()
def plot_roc(argv: Sequence[str] | None = None) -> None:
    """``tools/plot_roc.py``: the curves of several runs in one plot."""
    parser = argparse.ArgumentParser(description="Draw the ROC curves and distance distributions of several runs.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="roc_info.npz of visualize_result.py, or folders")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="one per file (default: names of the folders)")
    parser.add_argument("--output", default=".", metavar="DIR", help="folder of roc.png and pos_neg_dist.png")
    args = parser.parse_args(argv)
    from fastreid.evaluation.visualizer import Visualizer

    files = [Path(name, "roc_info.npz") if Path(name).is_dir() else Path(name) for name in args.files]
    names = args.names or [file.resolve().parent.name for file in files]
    if len(names) != len(files):
        raise ValueError(f"--names must be one per file; got {len(names)} names for {len(files)} files")
    curves = distributions = None
    for name, file in zip(names, files, strict=True):
        info = Visualizer.load_roc_info(file)
        curves = Visualizer.plot_roc_curve(info["fpr"], info["tpr"], name, curves)
        distributions = Visualizer.plot_distribution(info["pos"], info["neg"], name, distributions)
    for plot, file in ((curves, "roc.png"), (distributions, "pos_neg_dist.png")):
        plot.savefig(Path(args.output, file))
        print(Path(args.output, file))
