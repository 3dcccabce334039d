"""The command line of a search: options, and the request that they make."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.utils.command import at_least_one

if TYPE_CHECKING:
    from PIL.Image import Image

    from fastreid.engine.search_request import QueryItem, SearchRequest
    from fastreid.index import Filter, Index

MOST = 8  # query figures, as the request says; which would load more than --help should
EXAMPLES = """
examples:
  by a drawing, prior art only:        %(prog)s --index logs/index --query drawing.png --before 2018-11-06
  several views as one query:          %(prog)s --index logs/index --query front.png side.png --sheet found.png
  a part of it, however it is turned:  %(prog)s --index logs/index --query page.png --crop 40,60,400,380 --rotations
  the second figure of a sheet:        %(prog)s --index logs/index --query sheet.png --split 2
  more like a known design:            %(prog)s --index logs/index --like "US D849,000" --locarno 06
  again, as recorded:                  %(prog)s --index logs/index --replay record.json
"""
# options that say what to search for, which a record has
ASKED = (
    "like", "text", "crop", "split", "rotations", "mirror", "before", "since", "date_field", "locarno", "office",
    "view", "applicant", "patent", "not_patent", "title", "keep_own", "limit", "offset", "by", "fusion", "as_of",
)  # fmt: skip


def search_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Search an index of figures by drawings, known figures or text.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--index", required=True, metavar="URI", help="a folder, milvus:..., postgresql://...")
    add("--images", default="", metavar="DIR", help="where the index's images are (default: as the index says)")
    add("--config-file", default="", metavar="FILE", help="of the model (default: the one that the index names)")
    add(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE",
        help="settings of the model, after all other options (MODEL.WEIGHTS FILE)",
    )  # fmt: skip
    add = parser.add_argument_group("what to search for").add_argument
    add("--query", nargs="+", default=[], metavar="IMAGE", help="drawings, together one query")
    add(
        "--like", nargs="+", default=[], metavar="FIGURE_ID",
        help=f"figures of the index, or all of a patent ('US D849,000', its first {MOST} at most); their patents are "
        "left out",
    )  # fmt: skip
    add("--keep-own", action="store_true", help="do not leave them out")
    add("--text", default="", help="words, where the model has a text side")
    add(
        "--crop", action="append", type=_box, default=[], metavar="L,T,R,B",
        help="search with this box of the image, in pixels; for several images once each, in their order",
    )  # fmt: skip
    add("--split", default="", metavar="N", help="the N-th figure of a sheet with several, or 'all'")
    add("--rotations", action="store_true", help="also rotated by 90, 180 and 270 degrees")
    add("--mirror", action="store_true", help="also mirrored")
    add("--replay", default="", metavar="RECORD", help="search as recorded and compare; --query finds moved images")
    add = parser.add_argument_group("what may be found").add_argument
    add("--before", type=_date, default=0, metavar="DATE", help="strictly before this day (2018-11-06)")
    add("--since", type=_date, default=0, metavar="DATE", help="on this day or later")
    add("--date-field", default="date", metavar="NAME", help="date (grant, publication) or filed (default: date)")
    add("--locarno", nargs="+", default=[], metavar="CODE", help="classes (06) or subclasses (06-01)")
    for name in ("office", "view", "applicant"):
        add(f"--{name}", nargs="+", default=[], metavar=name.upper())
    add("--patent", nargs="+", default=[], metavar="PATENT", help="these patents only")
    add("--not-patent", nargs="+", default=[], metavar="PATENT", help="without these patents")
    add("--title", default="", metavar="WORDS", help="all of them in the title")
    add("--as-of", type=at_least_one, metavar="VERSION", help="of the index (default: the newest)")
    add = parser.add_argument_group("results").add_argument
    add("-k", "--limit", type=at_least_one, default=10, metavar="K", help="how many (default: 10)")
    add("--offset", type=int, default=0, metavar="N", help="leave out the first N")
    add("--by", default="design", metavar="HOW", help="design or figure (default: design)")
    add("--fusion", default="mean", metavar="HOW", help="of several query figures, mean or max (default: mean)")
    add("--json", default="", metavar="FILE", help="write all that is known of the results; '-': print it alone")
    add("--sheet", default="", metavar="FILE.png", help="write a picture of query and results")
    add("--record", default="", metavar="FILE", help="write a record that --replay can do again")
    return parser


def _date(text: str) -> int:
    from fastreid.data.metadata import date_number, is_date

    number = date_number(text)
    if number is None or not is_date(number):
        raise argparse.ArgumentTypeError(f"'{text}' is no date; give one such as 2018-11-06")
    return number


def _box(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"must be left,top,right,bottom in pixels; got '{text}'")
    return tuple(int(part) for part in parts)


def check_options(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    from fastreid.utils.files import require_writable

    if args.replay:
        given = [name for name in ASKED if getattr(args, name) != parser.get_default(name)]
        if given:
            flag = "--" + given[0].replace("_", "-")
            raise ValueError(f"{flag} has no effect with --replay: the record says what to search for")
    elif not (args.query or args.like or args.text):
        raise ValueError("nothing to search for: give --query IMAGE, --like FIGURE_ID or --text WORDS")
    if args.crop and len(args.crop) not in (1, len(args.query)):
        raise ValueError(
            f"--crop must be given once, or once for each of {len(args.query)} images; got {len(args.crop)}"
        )
    if (args.crop or args.split) and not args.query:
        raise ValueError(f"{'--crop' if args.crop else '--split'} needs an image, --query")
    if args.crop and args.split:
        raise ValueError("--crop and --split both say which part of the image to search with; give one of them")
    if args.split not in ("", "all") and not (args.split.isdecimal() and int(args.split)):
        raise ValueError(f"--split must be the number of a figure, from 1, or 'all'; got '{args.split}'")
    for name in ("json", "sheet", "record"):
        path = getattr(args, name)
        if path and path != "-":
            require_writable(Path(path).absolute().parent, f"--{name}")


def request_of(args: argparse.Namespace, images: Mapping[str, "Image"], index: "Index") -> "SearchRequest":
    from fastreid.engine.search_request import QueryItem, SearchRequest

    boxes = args.crop * len(args.query) if len(args.crop) == 1 else args.crop or [None] * len(args.query)
    items = []
    for path, box in zip(args.query, boxes, strict=True):
        items += _items(path, images[os.path.abspath(path)], args.split, box)
    for left, name in zip(range(len(args.like) - 1, -1, -1), args.like, strict=True):
        items += [QueryItem(figure=figure) for figure in _figures(name, index, args.as_of, MOST - len(items) - left)]
    return SearchRequest(
        tuple(items), args.text, args.rotations, args.mirror, args.fusion, args.by, _filter(args), not args.keep_own,
        args.offset, args.limit, args.as_of,
    )  # fmt: skip


def _figures(name: str, index: "Index", version: int | None, room: int) -> list[str]:
    """Return a figure of the index, or those of a patent, of which there is ``room`` for some only; that is told."""
    from fastreid.index.patent_numbers import in_index

    if len(index.rows_of([name], as_of=version)):
        return [name]
    patent = in_index(index, [name], version)[name]
    if not patent:
        there = "" if version is None else f" in version {version}"
        raise KeyError(f"--like: the index has no figure and no patent '{name}'{there}")
    figures = index.figures(index.rows_of(patents=[patent], as_of=version))["figure_id"].tolist()
    if len(figures) > max(1, room):
        words = f"the first {room} are" if room > 1 else "the first is"
        print(f"{patent} has {len(figures)} figures: {words} searched for", file=sys.stderr)
    return figures[: max(1, room)]


def _items(path: str, image: "Image", split: str, box: tuple[int, ...] | None) -> list["QueryItem"]:
    """The query figures of one image: all of it, a box, or the figures on it."""
    from fastreid.data.pages import split_page
    from fastreid.engine.search_request import QueryItem

    key = os.path.abspath(path)
    if not split:
        return [QueryItem(upload=key, box=box)]
    regions = split_page(image)
    if split == "all" and regions:
        return [QueryItem(upload=key, box=region.box) for region in regions]
    if split == "all" or int(split) > len(regions):
        found = "; ".join(f"{number} at {','.join(map(str, one.box))}" for number, one in enumerate(regions, start=1))
        raise ValueError(f"--split {split}: {path} has {len(regions)} figures{': ' if found else ''}{found}")
    return [QueryItem(upload=key, box=regions[int(split) - 1].box)]


def _filter(args: argparse.Namespace) -> "Filter":
    from fastreid.index import Filter

    return Filter(
        args.before, args.since, args.date_field, tuple(args.locarno), tuple(args.office), tuple(args.view),
        tuple(args.applicant), tuple(args.patent), tuple(args.not_patent), args.title,
    )  # fmt: skip
