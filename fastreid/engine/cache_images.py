"""The command ``fastreid cache-images``: fill the image cache of a config before a training, or check it."""

import argparse
import logging
import os
from collections.abc import Sequence

from fastreid.engine.tool_config import read_config, tool_parser
from fastreid.utils.command import at_least_one, entry_point

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  decode what a config trains and tests on:  %(prog)s --config-file FILE DATALOADER.CACHE.DIR /fast/cache
  read every pixel of the cache again:       %(prog)s --check --config-file FILE DATALOADER.CACHE.DIR /fast/cache
The same command goes on where it was stopped. A training with the same settings and DATALOADER.CACHE.DIR fills the
cache itself; this command uses all cores for it. docs/scaling.md describes the cache.
"""


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, and fill or check the cache."""
    parser = tool_parser("Decode and prepare the images of a config once.", EXAMPLES, opts="opts")
    parser.add_argument(
        "--workers", type=at_least_one, default=os.cpu_count(), help="processes that decode (default: one per core)"
    )
    parser.add_argument("--check", action="store_true", help="look for damage, and decode what was damaged again")
    run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Fill the cache as the parsed command line says.

    Raises:
        ValueError: no cache or no data set is named.
    """
    from fastreid.data.image_cache import Preparation, open_image_cache, remove_damaged

    cfg = read_config(args)
    if not cfg.DATALOADER.CACHE.DIR:
        raise ValueError("DATALOADER.CACHE.DIR is empty: name the folder of the cache")
    if not (cfg.DATASETS.NAMES or cfg.DATASETS.TESTS):
        raise ValueError("DATASETS.NAMES and DATASETS.TESTS are empty: there is nothing to decode")
    for is_train, paths in _images_of(cfg):
        prepare = Preparation.of(cfg, is_train)
        if args.check:
            for image in remove_damaged(cfg.DATALOADER.CACHE.DIR, prepare):
                logger.warning("Damaged in the cache: %s", image)
        cache = open_image_cache(
            cfg.DATALOADER.CACHE.DIR, prepare, paths, args.workers if args.workers > 1 else 0,
            cfg.DATALOADER.ON_BAD_IMAGE,
        )  # fmt: skip
        size = cache.store.size_in_bytes
        print(
            f"{cache.store.folder}: {len(cache)} of {len(paths)} images, {size / 2**20:.1f} MiB of pixels in the store"
        )


def _images_of(cfg):
    """Yield the images of training and of the tests: (whether in training, paths)."""
    from fastreid.data.build import train_records
    from fastreid.data.datasets import build_dataset

    if cfg.DATASETS.NAMES:
        yield True, [record.path for record in train_records(cfg)]
    tests = [build_dataset(cfg, name) for name in cfg.DATASETS.TESTS]
    if tests:
        yield False, [record.path for data in tests for record in [*data.query, *data.gallery]]
