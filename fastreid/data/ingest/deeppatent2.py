"""DeepPatent2 (Ajayi et al., Scientific Data 10:772, 2023): records of segmented figures, a JSON file per year."""

import argparse
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fastreid.data.ingest import command
from fastreid.data.ingest.json_records import read_records
from fastreid.data.ingest.shards import ShardWriter, Source, state_of
from fastreid.data.ingest.values import date_of, is_file_name, number_of, numbers_of, patent_of, text_of, without_empty
from fastreid.data.ingest.views import aspect_of, view_of
from fastreid.utils.command import entry_point
from fastreid.utils.locarno import read_uspc

FORMAT = "deeppatent2 1"  # raise the number when the same input gives other lines
PLACES = ("year", "patent", "file")  # of --images
NO_IMAGE = "no image on disk"
CODES_IN = "the field classification_locarno of the records"


@dataclass(frozen=True)
class YearFile:
    """The records of a year.

    Args:
        path: JSON file.
        root: folder that the paths of images are relative to.
        year: of the file's name, or its folder's; "" where neither has one.
        templates: where an image may lie, relative to ``root``: texts with ``{patent}`` and ``{file}``, in that order
            of preference.
    """

    path: Path
    root: Path
    year: str
    templates: tuple[str, ...]

    @property
    def name(self) -> str:
        return "-".join(self.path.relative_to(self.root).with_suffix("").parts)

    def find_image(self, patent: str, file: str) -> str:
        """Return the path of an image below ``root``, "" when it is in none of the places."""
        if not is_file_name(file):
            return ""
        names = (template.format(year=self.year, patent=patent, file=file) for template in self.templates)
        return next((PurePosixPath(name).as_posix() for name in names if (self.root / name).is_file()), "")

    def state(self) -> str:
        """Changes with the file, and with the entries of the folders of images."""
        starts = {re.split(r"\{(?:patent|file)\}", template)[0] for template in self.templates}
        folders = {self.root / os.path.dirname(start.format(year=self.year)) for start in starts}
        return state_of([self.path, *sorted(folder for folder in folders if folder.is_dir())])


def find_files(root: Path, images: str | None = None) -> list[YearFile]:
    """Return the files ``design2019.json`` in ``root`` and in its folders, each with where its images may lie.

    Without a template ``images``, those are the folders beside the file, or below a folder of its year, whose names
    begin with "segment", and in them folders per patent.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad template, or a file without a folder of images.
    """
    paths = sorted(path for pattern in ("design*.json", "*/design*.json") for path in root.glob(pattern))
    if not paths:
        raise FileNotFoundError(
            f"--input: no file design*.json in '{root}' or its folders, such as 2019/design2019.json"
        )
    if images is not None:
        _check_template(images)
    found = []
    for path in paths:
        match = re.search(r"\d{4}", path.stem) or re.search(r"\d{4}", path.parent.name)
        year = match.group() if match else ""
        templates = (images,) if images else tuple(_templates(root, path.parent, year))
        if not templates:
            raise ValueError(
                f"{path}: no folder Segmented... of its images beside it or in {path.parent / year}. Say where they "
                "are, for example --images '{year}/figures/{file}'"
            )
        found.append(YearFile(path, root, year, templates))
    return found


def _check_template(images: str) -> None:
    try:
        images.format(**dict.fromkeys(PLACES, "x"))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(f"--images takes {{{'}, {'.join(PLACES)}}} alone; got {images!r} ({error})") from error
    if "{file}" not in images:
        raise ValueError(f"--images must contain {{file}}; got {images!r}")


def _templates(root: Path, beside: Path, year: str) -> Iterator[str]:
    for place in dict.fromkeys((beside, beside / year)):
        folders = sorted(place.iterdir(), reverse=True) if place.is_dir() else []
        for folder in folders:
            if folder.name.lower().startswith("segment") and folder.is_dir():
                inside = folder.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
                yield from (f"{inside}/{{file}}", f"{inside}/{{patent}}/{{file}}")


def read_year(
    source: YearFile, writer: ShardWriter, limit: int | None = None, progress: Callable[[int], None] | None = None
) -> None:
    """Read a file; consecutive records of one patent become one line of metadata.

    Args:
        limit: patents to read at most.

    Raises:
        ValueError: there are records, and not one is a JSON object.
    """
    rows = _rows(source, writer, progress)
    patents = (list(group) for _, group in itertools.groupby(rows, key=lambda row: (row["patent_id"], row["date"])))
    for group in itertools.islice(patents, limit):
        first = {name: next((row[name] for row in group if row[name]), "") for name in group[0] if name != "figure"}
        writer.write({**without_empty(first), "figures": [row["figure"] for row in group]})
    bad = writer.skipped.as_dict().get("damaged JSON")
    if bad and bad["count"] == writer.records.total():
        raise ValueError(f"{bad['examples'][0]}: the file holds neither a list of records nor one record per line")


def _rows(source: YearFile, writer: ShardWriter, progress: Callable[[int], None] | None) -> Iterator[dict[str, Any]]:
    """Rows of what a record says of its patent, and of its ``figure``; records that are left out are counted."""
    name = source.path.relative_to(source.root)
    for place, record, fault in read_records(source.path, progress):
        where = f"{name}, {place}"
        if record is None:
            writer.records[source.year] += 1
            writer.skipped.add("damaged JSON", f"{where}: {fault}")
            continue
        whole_id, file = text_of(record.get("patentID")), text_of(record.get("subfigure_file"))
        patent_id, granted = patent_of(whole_id)
        date = date_of(record.get("patentdate"), granted)
        writer.records[date[:4] or source.year] += 1
        image = source.find_image(whole_id, file) if patent_id else ""
        needed = {"no patentID": whole_id, "unreadable patentID": patent_id, "unreadable date": date}
        needed |= {"no subfigure_file": file, NO_IMAGE: image}
        if reason := next((reason for reason, value in needed.items() if not value), ""):
            writer.skipped.add(reason, f"{where}: {file or whole_id or 'without a name'}")
            continue
        uspc = record.get("classification_national")
        code = read_uspc(uspc) if isinstance(uspc, str) else ""
        if text_of(uspc) and not code:
            writer.notes.add("unreadable USPC code", f"{where}: {uspc}")
        locarno, title = text_of(record.get("classification_locarno")), text_of(record.get("object_title"))
        row = {"patent_id": patent_id, "date": date, "locarno": locarno, "uspc": code, "title": title}
        yield {**row, "figure": _figure(record, image)}


def _figure(record: dict[str, Any], image: str) -> dict[str, Any]:
    caption, aspect = text_of(record.get("caption")), text_of(record.get("aspect"))
    return without_empty(
        {
            "file": image,
            "number": number_of(record.get("figid")),
            "view": view_of(aspect or aspect_of(caption)),
            "caption": caption,
            "object": text_of(record.get("object")),
            "aspect": aspect,
            "page": text_of(record.get("figure_file")),
            "box": numbers_of(*(record.get(f"{name}_figure") for name in "xywh")),
            "label_box": numbers_of(*(record.get(f"{name}_label") for name in "LTWH")),
        }
    )


def sources_of(files: list[YearFile], years: set[int], limit: int | None = None) -> list[Source]:
    """Sources for the files of the asked years; a file whose year is unknown is read for whatever it holds.

    Raises:
        ValueError: there is no such file.
    """
    wanted = [file for file in files if not file.year or int(file.year) in years]
    command.require_years(years, {int(file.year) for file in files if file.year}, known=all(f.year for f in files))
    return [Source(file.name, file.state(), functools.partial(_read, file, limit=limit)) for file in wanted]


def _read(file: YearFile, writer: ShardWriter, limit: int | None) -> None:
    from tqdm import tqdm

    with tqdm(total=file.path.stat().st_size, desc=file.name, unit="B", unit_scale=True, disable=None) as bar:
        read_year(file, writer, limit, lambda position: bar.update(position - bar.n))


@entry_point(command.INTERRUPTED)
def main(argv: list[str] | None = None) -> int:
    """Command line of ``tools/prepare_deeppatent2.py`` and ``fastreid prepare-deeppatent2``."""
    parser = argparse.ArgumentParser(
        description="Turn DeepPatent2 into lists, metadata and a config to train with.",
        epilog="Example: python tools/prepare_deeppatent2.py --input /data/DeepPatent2 --output datasets/deeppatent2 "
        "--train-years 2016-2019 --query-year 2020",
    )
    command.add_options(parser)
    parser.add_argument("--images", metavar="TEMPLATE", help="where images lie below --input, if not in a folder "
        "Segmented... beside the JSON file or in a folder of its year: '{year}/figures/{patent}/{file}'")  # fmt: skip
    args = parser.parse_args(argv)
    split = command.split_of(args)
    files = find_files(command.require_folder(args.input), args.images)
    sources = sources_of(files, split.years, args.limit)
    settings = {"format": FORMAT, "images": args.images, "limit": args.limit}
    command.build(args.output, args.input, sources, settings, split, args.redo, CODES_IN)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
