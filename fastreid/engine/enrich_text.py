"""The command ``fastreid enrich-text``: texts for the figures of a metadata file."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.engine.tool_config import read_config, tool_parser
from fastreid.utils.command import entry_point
from fastreid.utils.errors import require_whole

logger = logging.getLogger(__name__)

ANSWERS = ".answers.sqlite"  # behind the name of the output: ENRICH.REWRITER.CACHE where it is empty
EXAMPLES = """
examples:
  from the metadata, by templates:      %(prog)s --metadata minipatent/metadata.jsonl --output texts.jsonl
  five texts per image:                 %(prog)s --metadata M --output O ENRICH.VARIANTS 5
  by a language model, ten to try it:   %(prog)s --metadata M --output O --config-file F --limit 10
The same command goes on where it was stopped. Nothing goes over a network unless ENRICH.REWRITER.NAME says
OpenAIRewriter. docs/enrichment.md shows the settings.
"""


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: Sequence[str] | None = None) -> int:
    """Make the texts; returns 1 when figures stay without, or the cost cap ended it."""
    args = _parser().parse_args(argv)
    from fastreid.enrich import BudgetSpent

    cfg = _config(args)
    pipeline = build_pipeline(cfg, args)
    try:
        return _run(pipeline, args)
    except BudgetSpent as error:
        logger.error("Stopped: %s. What is answered is kept; the same command with a higher cap goes on", error)
        return 1
    finally:
        pipeline.makers.rewriter.close()


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser("Write texts about patent drawings from what is known of them.", EXAMPLES, opts="opts")
    parser.add_argument("--metadata", required=True, metavar="FILE", help="JSON lines, a patent per line")
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON lines, a text per line")
    parser.add_argument("--images", metavar="FOLDER", help="where the image files of the metadata are")
    parser.add_argument("--limit", type=int, metavar="N", help="try at most N figures that have no texts yet")
    parser.add_argument(
        "--fallback", choices=["template"], help="texts from templates where the language model has none for a figure"
    )
    parser.add_argument(
        "--prune", action="store_true", help="drop texts in the output of figures that the metadata do not name"
    )
    return parser


def _config(args: argparse.Namespace):
    """Return the config, in which the answers of a language model lie beside the output unless it says otherwise."""
    from fastreid.engine.settings import settings_without_effect

    cfg = read_config(args)
    for line in settings_without_effect(cfg, "enrich-text"):
        if line.startswith("ENRICH."):
            logger.warning("a setting without effect: %s", line)
    if not cfg.ENRICH.REWRITER.CACHE:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.ENRICH.REWRITER.CACHE = args.output + ANSWERS
        cfg.freeze()
    return cfg


def build_pipeline(cfg, args: argparse.Namespace):
    """Return the pipeline of a config; raises ``FileNotFoundError`` before anything is loaded when a path is wrong."""
    from fastreid.data.images import read_image
    from fastreid.enrich import CAPTIONER_REGISTRY, REWRITER_REGISTRY, Makers, Pipeline, TemplateRewriter
    from fastreid.modeling.meta_arch.build import choose_device

    if not os.path.isfile(args.metadata):
        raise FileNotFoundError(f"--metadata: no file {args.metadata}")
    if args.limit is not None:
        require_whole("--limit", args.limit, 1)
    if args.images and not os.path.isdir(args.images):
        raise FileNotFoundError(f"--images: no folder {args.images}")
    captioner = CAPTIONER_REGISTRY.build(cfg.ENRICH.CAPTIONER.NAME, cfg)
    if captioner.sees_images:
        captioner.to(choose_device(cfg.MODEL.DEVICE))
    rewriter = REWRITER_REGISTRY.build(cfg.ENRICH.REWRITER.NAME, cfg)
    images = (Path(args.images), read_image) if args.images else None
    fallback = TemplateRewriter() if args.fallback else None
    return Pipeline(Makers(captioner, rewriter, cfg.ENRICH.VARIANTS, images, fallback), args.limit, args.prune)


def _run(pipeline, args: argparse.Namespace) -> int:
    from fastreid.data.metadata import read_metadata

    outcome = pipeline.run(lambda: read_metadata(args.metadata), args.output)
    for reason, number in outcome.reasons.most_common(5):
        logger.warning("%d failed: %s", number, reason)
    print(f"{args.output}: {outcome}")
    return int(outcome.failed > 0)
