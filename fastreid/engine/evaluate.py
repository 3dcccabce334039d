"""From a feature file to figures, without a model: the work of ``tools/evaluate.py``."""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  judge again, in seconds:      %(prog)s --features logs/run/features/MiniPatent.npz TEST.RERANK.ENABLED True
  as a paper does:              %(prog)s --features FILE.npz --protocol lo2024 --output logs/lo2024
  with one setting of its own:  %(prog)s --features FILE.npz --protocol lo2024 TEST.RELEVANCE class
  by texts:                     %(prog)s --features FILE.npz --text-bank datasets/minipatent/texts.bank
  queries shared by processes:  torchrun --nproc-per-node 8 %(prog)s --features FILE.npz
  query by query:               %(prog)s --features FILE.npz --per-query queries.jsonl
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, judge the file, print and write what came out."""
    from fastreid.engine.arguments import add_protocol
    from fastreid.engine.tool_config import tool_parser

    parser = tool_parser("Judge a feature file: no model, no images, no data set.", EXAMPLES, "opts")
    add = parser.add_argument
    add("--features", required=True, metavar="FILE", help="feature file (OUTPUT_DIR/features/*.npz)")
    add_protocol(parser)
    add("--text-bank", default="", metavar="DIR", help="text-to-image and image-to-text retrieval with these texts")
    add("--texts-per-image", default="", metavar="N", help="of the bank, the first N of each image (default: all)")
    add("--output", default="", metavar="DIR", help="folder of results.json and report (default: OUTPUT_DIR)")
    add("--per-query", default="", metavar="FILE", help="write list and metrics of each query as JSON lines")
    args = parser.parse_args(argv)  # before what takes long to import
    from fastreid.engine.launcher import launch

    launch(run, 1, args=(args,))  # under torchrun the processes share the work


def run(args: argparse.Namespace) -> None:
    """Judge as the parsed command line says."""
    from fastreid.engine.extraction import load_features
    from fastreid.engine.tool_config import read_config
    from fastreid.evaluation.frequency import with_frequency
    from fastreid.evaluation.per_query import write_queries
    from fastreid.evaluation.results import check_settings, evaluate
    from fastreid.utils import comm
    from fastreid.utils.files import require_writable

    started = time.perf_counter()
    cfg = read_config(args, *_settings(args))
    protocol = check_settings(cfg)
    shared = comm.get_world_size() > 1
    features = load_features(args.features, mapped=shared)
    if args.config_file and "frequency" not in features.columns:  # the config knows the training set
        features = with_frequency(cfg, features)
    require_writable(cfg.OUTPUT_DIR, "--output" if args.output else "OUTPUT_DIR")
    name = features.fingerprint.get("dataset") or Path(args.features).stem
    evaluation = evaluate(cfg, features, name, cfg.OUTPUT_DIR, shared=shared)
    if evaluation is None:
        return
    if args.per_query:
        write_queries(protocol, features, evaluation, args.per_query)
        logger.info("Lists and metrics of %d queries: %s", features.num_query, args.per_query)
    logger.info("Judged in %.1f s", time.perf_counter() - started)


def _settings(args: argparse.Namespace) -> list[str]:
    """The options that stand for settings; a path in them is one from here, not below the data root."""
    bank = str(Path(args.text_bank).expanduser().resolve()) if args.text_bank else ""
    given = {"TEST.TEXT_BANK": bank, "TEST.TEXTS_PER_IMAGE": args.texts_per_image, "OUTPUT_DIR": args.output}
    return [item for key, value in given.items() if value for item in (key, value)]
