"""Feature files as pictures: a map of the embeddings and a grid of results. The work of ``tools/draw_features.py``."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  a map by Locarno class, eight queries:   %(prog)s logs/run/features/MiniPatent.npz --output pictures
  ours beside a baseline, as in papers:    %(prog)s OURS.npz BASELINE.npz --names ours baseline --queries random
  where the classes of 2,000 images lie:   %(prog)s FEATURES.npz --map umap --color-by subclass --stratified --grid 0
  chosen queries:                          %(prog)s FEATURES.npz --map none --query USD0540000-20181106-D00002
  identities instead of classes:           %(prog)s FEATURES.npz --color-by pids --relevance pids --rule camera
"""
ALIASES = {"patent": "pids", "view": "views", "camera": "camids", "date": "dates"}
DEFAULTS = {"rule": "granted_before", "relevance": "subclass"}  # where no config says otherwise


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the pictures."""
    from fastreid.engine.tool_config import tool_parser

    parser = tool_parser("Draw the embeddings of a feature file as a map, and results of queries as a grid.", EXAMPLES)
    _add_options(parser)
    run(parser.parse_args(argv))


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("features", metavar="FEATURES.npz", help="feature file (OUTPUT_DIR/features/*.npz)")
    add("second", nargs="?", default="", metavar="SECOND.npz", help="another model's features of the same images")
    add("--output", default="pictures", metavar="DIR", help="folder (default: %(default)s)")
    add("--names", nargs="+", default=[], metavar="NAME", help="of the models (default: folders of the files)")
    add("--seed", type=int, default=0, help="of samples and maps (default: %(default)s)")
    group = parser.add_argument_group("map: embedding_map.png and .html")
    add = group.add_argument
    add("--map", default="tsne", metavar="HOW", help="tsne, umap or none (default: %(default)s)")
    add(
        "--color-by", default="class", metavar="COLUMN", type=_column,
        help="class, subclass, patent, frequency, view, year or a column of the file (default: %(default)s)",
    )  # fmt: skip
    add("--sample", type=int, default=2000, metavar="N", help="images shown at most (default: %(default)s)")
    add("--stratified", action="store_true", help="sample as many images of each class as of any other")
    add("--perplexity", type=float, metavar="P", help="of t-SNE (default: 30, less for fewer than 91 images)")
    add("--classes", type=int, default=32, metavar="N", help="with marks of their own, up to 32; others are joined")
    group = parser.add_argument_group("grid: result_grid.png")
    add = group.add_argument
    add("--grid", type=int, default=8, metavar="N", help="number of queries; 0: no grid (default: %(default)s)")
    add("--topk", type=int, default=8, metavar="K", help="images per query (default: %(default)s)")
    add("--queries", default="random", metavar="HOW", help="random, best, worst, or with a second file ahead, behind")
    add("--query", nargs="+", default=[], metavar="PATH", help="these queries, by the end of their path")
    add("--rows", nargs="+", default=[], type=int, metavar="ROW", help="these queries, by their row from 0")
    add("--rule", metavar="NAME", help="TEST.RULE (default: that of the config; without one granted_before)")
    add(
        "--relevance", metavar="COLUMN", type=_column,
        help="TEST.RELEVANCE (default: that of the config; without one subclass)",
    )  # fmt: skip


def _column(name: str) -> str:
    return ALIASES.get(name, name)


def run(args: argparse.Namespace) -> None:
    """Draw as the parsed command line says."""
    from fastreid.engine.extraction import load_features
    from fastreid.engine.tool_config import read_config
    from fastreid.evaluation import Protocol
    from fastreid.evaluation.frequency import with_frequency
    from fastreid.utils.files import require_writable

    _check(args)
    cfg = read_config(args, *_protocol_options(args))
    protocol = Protocol.from_config(cfg)
    paths = [args.features, *([args.second] if args.second else [])]
    files, names = [load_features(path) for path in paths], args.names or default_names(paths)
    _require_classes(args, protocol, files[0])
    files = _as_one(with_frequency(cfg, files[0]), files[1:], names)
    rows = _chosen_rows(args, files[0])
    if args.grid:
        protocol.check_columns(files[0].columns, files[0].relevance_known)
    require_writable(args.output, "--output")
    if args.map != "none":
        _draw_map(args, protocol.metric, files, names)
    if args.grid:
        _draw_grid(args, protocol, files, names, rows)


# ------------------------------------------------------------------------------------------------ what is asked for


def _check(args: argparse.Namespace) -> None:
    from fastreid.evaluation.embedding_map import METHODS
    from fastreid.evaluation.markers import MOST
    from fastreid.evaluation.result_grid import CHOICES
    from fastreid.utils.errors import require_choice, require_whole

    require_choice("--map", args.map, (*METHODS, "none"))
    require_choice("--queries", args.queries, CHOICES)
    for flag, lowest in (("sample", 1), ("grid", 0), ("topk", 1), ("classes", 2), ("seed", 0)):
        require_whole(f"--{flag}", getattr(args, flag), lowest)
    if args.classes > MOST:
        raise ValueError(f"--classes must be at most {MOST}, the number of marks; got {args.classes}")
    if args.perplexity is not None and args.map != "tsne":
        raise ValueError(f"--perplexity is an option of --map tsne; got --map {args.map}")
    if args.map == "none" and not args.grid:
        raise ValueError("--map none and --grid 0 leave nothing to draw")
    count = 2 if args.second else 1
    if args.names and len(args.names) != count:
        raise ValueError(f"--names must be one per file; got {len(args.names)} names for {count} files")


def _protocol_options(args: argparse.Namespace) -> list[str]:
    """Settings of the ``TEST`` node by flags, and by ``DEFAULTS`` where neither flags nor a config say anything."""
    options = []
    for name, default in DEFAULTS.items():
        key = f"TEST.{name.upper()}"
        value = getattr(args, name) or (None if args.config_file or key in args.opts else default)
        options += [key, value] if value else []
    return options


def default_names(files: Sequence[str]) -> list[str]:
    """Names of models by their files: the run's folder for ``RUN/features/NAME.npz``, else the name of the file."""
    paths = [Path(file).resolve() for file in files]
    names = [path.parents[1].name if path.parent.name == "features" else path.stem for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, files))


def _require_classes(args: argparse.Namespace, protocol, features) -> None:
    """Raise ``ValueError`` where classes are asked for and the file has none, saying how to do without."""
    from fastreid.evaluation.columns import DERIVED

    wanted = {"--color-by": args.color_by} if args.map != "none" else {}
    wanted |= {"--relevance": protocol.relevance} if args.grid else {}
    missing = [flag for flag, name in wanted.items() if DERIVED.get(name, ("",))[0] == "taxonomy"]
    if missing and not {"taxonomy", *(wanted[flag] for flag in missing)} & set(features.columns):
        flags = [f"{flag} pids" for flag in missing]
        flags += ["--rule camera"] if "--relevance" in missing else []  # images of one patent have one date
        raise ValueError(
            f"{args.features} has no classes (column taxonomy), only {', '.join(features.columns)}. Without them: "
            f"{' '.join(flags)}"
        )


def _as_one(first, others: Sequence, names: Sequence[str]) -> list:
    """Feature files of the same images, all with the columns of the first."""
    from dataclasses import replace

    from fastreid.evaluation.result_grid import require_same_images

    for other in others:
        require_same_images(first, other, names)
    known = {"columns": first.columns, "relevance_known": first.relevance_known}
    return [first, *(replace(other, **known) for other in others)]


# -------------------------------------------------------------------------------------------------------- pictures


def _draw_map(args: argparse.Namespace, metric: str, files: Sequence, names: Sequence[str]) -> None:
    from fastreid.evaluation.image_words import about
    from fastreid.evaluation.map_figure import map_figure
    from fastreid.evaluation.map_page import map_page
    from fastreid.evaluation.map_picture import draw_map

    sampling = {"size": args.sample, "stratified": args.stratified, "classes": args.classes}
    options = {"metric": metric, "perplexity": args.perplexity, "seed": args.seed}
    figure = map_figure(files, names, args.color_by, args.map, **sampling, **options)
    for panel in figure.panels:
        logger.info("%s: %s", panel.name, "; ".join(panel.notes))
    picture = draw_map(figure.panels, figure.groups, figure.heading, figure.caption, args.seed)
    _save_picture(picture, Path(args.output, "embedding_map.png"))
    paths = [files[0].paths[row] for row in figure.rows]
    cards = [(*about(files[0], row), files[0].paths[row]) for row in figure.rows]
    page, missing = map_page(figure, cards, paths, _title(files[0], names))
    path = Path(args.output, "embedding_map.html")
    with atomic_write(path, "w") as file:
        file.write(page)
    logger.info("%s", path)
    _report_missing(missing, len(paths), path.name)


def _draw_grid(args: argparse.Namespace, protocol, files: Sequence, names: Sequence[str], rows: Sequence[int]) -> None:
    """Draw the queries ``rows``, or chosen ones where there are none."""
    from fastreid.evaluation import result_grid
    from fastreid.evaluation.grid_picture import draw_grid
    from fastreid.evaluation.report import describe_rule

    first, how = files[0], "chosen by hand"
    lists = [result_grid.rank(features, protocol, args.topk, name) for features, name in zip(files, names, strict=True)]
    if not rows:
        rows = result_grid.choose_rows(lists, args.queries, args.grid, first, args.seed)
        how = result_grid.CHOICES[args.queries]
        if args.queries == "random" and {"head", "tail"} <= set(result_grid.frequency_of(first)[rows]):
            how += ", head and tail in turn"
        logger.info("result_grid.png: %s", result_grid.describe_choice(lists[0], len(rows), args.grid, first))
    title = f"Queries {how}; candidates: {describe_rule(protocol.rule)}"
    lines = result_grid.grid_lines(lists, rows, first, protocol.relevance)
    words = result_grid.meanings(first, protocol.relevance)
    picture, missing = draw_grid(lines, names, title, words, min(args.topk, len(first.gallery)))
    for ranked in lists:
        logger.info("%s: %s", ranked.name, ranked)
    path = Path(args.output, "result_grid.png")
    _save_picture(picture, path)
    _report_missing(missing, len({cell.path for line in lines for cell in line.cells}), path.name)


def _chosen_rows(args: argparse.Namespace, features) -> list[int]:
    from fastreid.evaluation.result_grid import rows_of

    for row in args.rows:
        if not 0 <= row < features.num_query:
            raise ValueError(f"--rows must be in 0..{features.num_query - 1}, the queries of the file; got {row}")
    return list(dict.fromkeys([*args.rows, *rows_of(features.query.paths, args.query)]))


def _title(features, names: Sequence[str]) -> str:
    dataset = features.fingerprint.get("dataset")
    return f"{dataset}: {' and '.join(names)}" if dataset else " and ".join(names)


def _save_picture(picture, path: Path) -> None:
    few = picture.getcolors(256) is not None  # as in maps: half the size, the same pixels
    with atomic_write(path) as file:
        (picture.quantize(256) if few else picture).save(file, "PNG")
    logger.info("%s: %d x %d", path, *picture.size)


def _report_missing(missing: set[str], total: int, name: str) -> None:
    if missing:
        shown = f"such as {min(missing)}"
        logger.warning("%d of %d images cannot be read and are grey in %s, %s", len(missing), total, name, shown)
