"""What the tools beside training share: fast-reid's ``--config-file`` and ``--opts``, and a log on the console only."""

import argparse


def tool_parser(description: str, epilog: str = "", opts: str = "--opts") -> argparse.ArgumentParser:
    """Return a parser with ``--config-file`` and, after all other options, ``--opts KEY VALUE ...``.

    Args:
        opts: "opts" for settings without a word before them, as the training tools take them.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file; without it the defaults hold")
    parser.add_argument(
        opts, nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="settings, after all options"
    )
    return parser


def read_config(args: argparse.Namespace, *more):
    """Return the frozen config of ``args.config_file``, ``args.opts`` and the pairs ``more``, and set its seed."""
    from fastreid.config import get_cfg
    from fastreid.engine.arguments import merge_command_line
    from fastreid.utils.env import seed_all_rng
    from fastreid.utils.logger import setup_logger

    setup_logger()
    cfg = get_cfg()
    merge_command_line(cfg, args, *more)
    cfg.freeze()
    seed_all_rng(max(cfg.SEED, 0))
    return cfg
