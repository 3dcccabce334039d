"""Design patents of the USPTO's bulk data: XML of the grants and TIFF sheets, as folders, ZIP or TAR files."""

import argparse
import functools
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from fastreid.data.images import BadImage, read_image
from fastreid.data.ingest import command
from fastreid.data.ingest.grant_files import Bundle, Week, find_weeks
from fastreid.data.ingest.grant_xml import Grant, NotADesign, Sheet, captions, parse_grant, remarks
from fastreid.data.ingest.shards import ShardWriter, Source, state_of
from fastreid.data.ingest.tally import Tally
from fastreid.data.ingest.values import without_empty
from fastreid.data.ingest.views import aspect_of, view_of
from fastreid.data.synthetic.generate import run_jobs
from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write
from fastreid.utils.locarno import read_uspc

FORMAT = "uspto 1"  # raise the number when the same input gives other lines or images
IMAGES = "images"
CODES_IN = "the element classification-locarno/main-classification of the XML"
# of files that are no archive, or a damaged or encrypted one
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Pages:
    """How sheets are written.

    Args:
        size: longest side in pixels; larger sheets are made smaller, in grey. ``None``: as they are.
        keep_tiff: copy the files instead of writing PNG.
        front_page: keep the figure of the front page, sheet 0, which repeats one of the others.
    """

    size: int | None = None
    keep_tiff: bool = False
    front_page: bool = False

    def __post_init__(self):
        if self.size is not None and self.size < 16:
            raise ValueError(f"--size must be at least 16 pixels; got {self.size}")
        if self.size is not None and self.keep_tiff:
            raise ValueError("--size and --keep-tiff exclude each other: a copied file has the size it has")


@dataclass
class Reading:
    """What came of one grant: its metadata, or ``None`` and why not; and of its sheets."""

    patent: dict[str, Any] | None = None
    year: str = ""
    sheets: int = 0
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)


def read_grant(bundle: Bundle, root: Path, pages: Pages) -> Reading:
    """Read a grant and write its sheets below ``root``; files that cannot be read are counted.

    Raises:
        OSError: ``root`` cannot be written.
    """
    reading = Reading(year=_date(bundle.name)[:4])
    where = f"{bundle.path}" + (f" ({bundle.name})" if bundle.size else "")
    try:
        files = bundle.files()
        xml = next((read for name, read in files.items() if name.endswith(".XML")), None)
        data = xml() if xml else None
    except _UNREADABLE as error:
        reading.skipped.add("unreadable file", f"{where}: {error}")
        return reading
    if data is None:
        reading.skipped.add("no XML", where)
        return reading
    try:
        grant = parse_grant(data)
    except NotADesign as error:
        reading.skipped.add("no design patent", f"{where}: {error}")
        return reading
    except ValueError as error:
        reading.skipped.add("bad XML", f"{where}: {error}")
        return reading
    _read_sheets(reading, grant, bundle, files, root, pages)
    return reading


def _date(name: str) -> str:
    """The date at the end of a grant's name; "" for none."""
    match = re.search(r"-(\d{8})$", name)
    return match[1] if match else ""


def _read_sheets(
    reading: Reading, grant: Grant, bundle: Bundle, files: Mapping[str, Callable], root: Path, pages: Pages
) -> None:
    where = f"{grant.patent_id} ({bundle.path.name})"
    if not grant.date:
        reading.skipped.add("unreadable date", where)
        return
    reading.year, day = grant.date[:4], grant.date.replace("-", "")
    sheets = [sheet for sheet in grant.sheets if sheet.number or pages.front_page]
    reading.sheets = len(sheets)
    name, figures = f"{grant.patent_id}-{day}", []
    described = captions(grant, [sheet for sheet in sheets if sheet.number])
    for sheet in sheets:
        read = files.get(sheet.file.upper()) or bundle.beside(sheet.file, name)
        target = f"I{day}/{name}/{PurePath(sheet.file).stem}{'.TIF' if pages.keep_tiff else '.png'}"
        if not re.fullmatch(r"[\w.-]+", sheet.file) or read is None:
            reading.skipped.add("no image", f"{where}: {sheet.file or 'a sheet without a file'}")
        elif reason := _write_sheet(read, root / target, pages):
            reading.skipped.add("unreadable image", f"{where}: {sheet.file}: {reason}")
        else:
            figures.append(_figure(sheet, target, (described or {}).get(sheet.number, "")))
    if not sheets:
        reading.skipped.add("no sheet", where)
    if figures:
        reading.patent = _patent(grant, figures, described is not None)
        _note(reading.notes, grant, where, described is not None)


def _write_sheet(read: Callable[[], bytes], target: Path, pages: Pages) -> str:
    """Write a sheet; return why it cannot be read, or "". Sheets of two tones are written as 1-bit PNG."""
    stream = io.BytesIO()
    try:
        stream.write(data := read())
        image = read_image(stream, channels=None)
    except BadImage as error:
        return str(error.__cause__).replace(repr(stream), "the file")
    except _UNREADABLE as error:
        return str(error)
    if pages.size and max(image.size) > pages.size:
        image.thumbnail((pages.size, pages.size), Image.Resampling.LANCZOS)
    elif {value for _, value in image.getcolors(2) or [(0, None)]} <= {0, 255}:
        image = image.convert("1", dither=Image.Dither.NONE)
    with atomic_write(target) as file:
        if pages.keep_tiff:
            file.write(data)
        else:
            image.save(file, "PNG")
    return ""


def _figure(sheet: Sheet, file: str, caption: str) -> dict[str, Any]:
    aspect = aspect_of(caption)
    facts = {"file": file, "number": sheet.number, "view": view_of(aspect), "caption": caption, "aspect": aspect}
    return without_empty({**facts, "orientation": sheet.orientation})


def _patent(grant: Grant, figures: list[dict[str, Any]], told_apart: bool) -> dict[str, Any]:
    facts = {
        "patent_id": grant.patent_id,
        "date": grant.date,
        "locarno": grant.locarno,
        "locarno_edition": grant.edition,
        "uspc": read_uspc(grant.uspc),
        "title": grant.title,
        "claim": grant.claim,
        "note": remarks(grant),
        "descriptions": [] if told_apart else list(grant.descriptions),
    }
    return {**without_empty(facts), "figures": figures}


def _note(notes: Tally, grant: Grant, where: str, told_apart: bool) -> None:
    if not told_apart:
        reason = "descriptions of the patent alone" if grant.descriptions else "no description of the drawings"
        numbers = f"{len(grant.descriptions)} descriptions, {len(grant.sheets)} sheets, {grant.figures} figures"
        notes.add(reason, f"{where}: {numbers}")
    if grant.uspc and not read_uspc(grant.uspc):
        notes.add("unreadable USPC code", f"{where}: {grant.uspc}")


def read_week(
    week: Week, writer: ShardWriter, root: Path, pages: Pages, workers: int | None = None, limit: int | None = None
) -> None:
    """Read the grants of a week, in processes where that is worth while; ``limit``: the first ones alone."""
    bundles = week.bundles()[:limit]
    for date in {_date(bundle.name) or "*" for bundle in bundles}:
        for stale in root.glob(f"I{date}/*/.*.tmp"):  # of a run that was killed
            stale.unlink()
    read = functools.partial(read_grant, root=root, pages=pages)
    for reading in run_jobs(read, bundles, workers, week.name):
        writer.records[reading.year] += reading.sheets
        writer.skipped.update(reading.skipped)
        writer.notes.update(reading.notes)
        if reading.patent:
            writer.write(reading.patent)


def sources_of(
    root: Path, output: Path, years: set[int], pages: Pages, workers: int | None = None, limit: int | None = None
) -> list[Source]:
    """Sources for the weeks of the asked years; those whose year is unknown are read for whatever they hold.

    Raises:
        FileNotFoundError: there is no grant below ``root``.
        ValueError: there is none of the years.
    """
    weeks = find_weeks(root)
    if not weeks:
        raise FileNotFoundError(
            f"--input: no design patents in '{root}': folders or ZIP files named like USD0936123-20211123, "
            "I20211123.tar, or XML files of a week"
        )
    command.require_years(years, {week.year for week in weeks if week.year}, known=all(week.year for week in weeks))
    options = {"root": output / IMAGES, "pages": pages, "workers": workers, "limit": limit}
    wanted = [week for week in weeks if not week.year or week.year in years]
    return [Source(week.name, state_of(week.paths), functools.partial(read_week, week, **options)) for week in wanted]


@entry_point(command.INTERRUPTED)
def main(argv: list[str] | None = None) -> int:
    """Command line of ``tools/prepare_uspto.py`` and ``fastreid prepare-uspto``."""
    parser = argparse.ArgumentParser(
        description="Turn design patents of the USPTO (XML and TIFF) into images, lists, metadata and a config to "
        "train with.",
        epilog="Example: python tools/prepare_uspto.py --input /data/uspto --output datasets/uspto "
        "--train-years 2018-2021 --query-year 2022 --size 512",
    )
    command.add_options(parser)
    add = parser.add_argument
    add("--size", type=int, metavar="PIXELS", help="make larger sheets smaller, to this longest side (default: keep)")
    add("--keep-tiff", action="store_true", help="copy the TIFF files instead of writing PNG")
    add("--front-page", action="store_true", help="keep sheet 0, the figure of the front page, which repeats another")
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    args = parser.parse_args(argv)
    split, pages = command.split_of(args), Pages(args.size, args.keep_tiff, args.front_page)
    root = command.require_folder(args.input)
    sources = sources_of(root, args.output, split.years, pages, args.workers, args.limit)
    settings = {"format": FORMAT, "size": args.size, "keep_tiff": args.keep_tiff, "front_page": args.front_page}
    settings["limit"] = args.limit
    command.build(args.output, args.output / IMAGES, sources, settings, split, args.redo, CODES_IN)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
