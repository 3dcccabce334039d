"""Where the grants of the USPTO's bulk data lie: folders, ZIP and TAR files, and XML files of a whole week."""

import functools
import io
import itertools
import os
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

LARGEST = 1 << 28  # bytes of an unpacked file; larger ones are bombs
_DESIGN = re.compile(r"USD\d+(?:-(\d{8}))?", re.IGNORECASE)  # of folders and ZIP files, with the date of the grant
_WEEK = re.compile(r"\d{8}|\d{6}")  # in names of a week's files: I20211123.tar, ipg211123.xml
_GRANT = b"<?xml"  # begins each grant of a week's XML file


@dataclass(frozen=True)
class Bundle:
    """The files of one grant.

    Args:
        name: "USD0936123-20211123"; of a grant in a week's XML file its place, "ipg211123.xml@4711".
        path: folder, ZIP file, TAR file with the ZIP file inside it, XML file of the grant or of a week.
        start, size: the slice of ``path`` that holds the ZIP file or the XML; size 0: the whole file.
    """

    name: str
    path: Path
    start: int = 0
    size: int = 0

    @property
    def _is_xml(self) -> bool:
        return self.path.suffix.lower() == ".xml"

    def files(self) -> dict[str, Callable[[], bytes]]:
        """Return functions that read the files, by name in capitals.

        Raises:
            OSError, zipfile.BadZipFile: it cannot be read.
        """
        if self.path.is_dir():
            return {path.name.upper(): path.read_bytes for path in sorted(self.path.iterdir()) if path.is_file()}
        if self._is_xml:
            return {f"{self.name.upper()}.XML": self._slice}
        archive = zipfile.ZipFile(io.BytesIO(self._slice()))
        members = [member for member in archive.infolist() if not member.is_dir()]
        return {PurePath(m.filename).name.upper(): functools.partial(_unpack, archive, m) for m in members}

    def beside(self, file: str, folder: str) -> Callable[[], bytes] | None:
        """Return what reads a file beside an XML file, or in ``folder`` beside it; ``None`` where there is none."""
        places = (self.path.parent / folder / file, self.path.parent / file) if self._is_xml else ()
        return next((place.read_bytes for place in places if place.is_file()), None)

    def _slice(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.size or -1)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > LARGEST:
        raise zipfile.BadZipFile(f"{member.filename} would unpack to {member.file_size:,} bytes")
    return archive.read(member)


@dataclass(frozen=True)
class Week:
    """Grants that are read together.

    Args:
        name: of the shard.
        year: of the grants; 0: not known from names.
        paths: files and folders whose change is a change of the week.
        bundles: lists the grants; where that means to read a large file, only when it is called.
    """

    name: str
    year: int
    paths: list[Path]
    bundles: Callable[[], list[Bundle]]


def find_weeks(root: Path) -> list[Week]:
    """Return all grants below ``root`` by folder and week, or by TAR or XML file, in the order of names.

    Folders, ZIP and XML files count as grants when they are named as design patents are. Folders without XML beside a
    week's XML file are taken to hold its sheets.
    """
    groups: dict[str, dict[str, list[Path]]] = defaultdict(dict)
    weeks: list[Week] = []
    for here, folders, files in _walk(root):
        grants = [here / name for name in (*folders, *files) if _is_grant(name)]
        if whole := [here / name for name in files if name.lower().endswith((".tar", ".xml")) and not _is_grant(name)]:
            grants = [path for path in grants if not path.is_dir() or any(path.glob("*.[xX][mM][lL]"))]
        weeks += [_week(root, path) for path in whole]
        for path in grants:
            date = _DESIGN.match(path.name)[1] or "undated"
            groups[_name(root, here, date)].setdefault(_stem(path.name), []).append(path)
    weeks += [_group(name, grants) for name, grants in groups.items()]
    return sorted(weeks, key=lambda week: week.name)


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders below ``root``, also through links, but not inside those of single grants; names in order."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield Path(folder), sorted(folders), sorted(files)
        folders[:] = [name for name in folders if not _is_grant(name) and not name.startswith(".")]


def _stem(name: str) -> str:
    return name[:-4] if name.lower().endswith((".zip", ".xml")) else name


def _is_grant(name: str) -> bool:
    return _DESIGN.fullmatch(_stem(name)) is not None


def _name(root: Path, path: Path, *more: str) -> str:
    """A file name made of the parts below ``root``; the week is not repeated where the folder names it."""
    parts = path.relative_to(root).parts
    parts += tuple(word for word in more if not any(word in part for part in parts))
    return re.sub(r"[^\w.-]+", "_", "-".join(parts))


def _week(root: Path, path: Path) -> Week:
    """The week of a TAR or XML file."""
    bundles = functools.partial(_in_tar if path.suffix.lower() == ".tar" else _in_xml, path)
    match = _WEEK.search(path.name)
    year = 0 if match is None else int(match[0][:4]) if len(match[0]) == 8 else 2000 + int(match[0][:2])
    return Week(_name(root, path), year, [path], bundles)


def _group(name: str, grants: dict[str, list[Path]]) -> Week:
    """Of a grant that is there more than once, a folder counts before a ZIP file, and that before its XML alone."""
    bundles = [
        Bundle(stem, min(found, key=lambda path: (path.is_file(), path.suffix.lower() != ".zip")))
        for stem, found in grants.items()
    ]
    inside = [bundle.path / f"{bundle.name}.XML" for bundle in bundles]
    paths = [bundle.path for bundle in bundles] + [path for path in inside if path.is_file()]
    date = re.search(r"-(\d{4})\d{4}$", bundles[0].name)
    return Week(name, int(date[1]) if date else 0, paths, lambda: bundles)


def _in_tar(path: Path) -> list[Bundle]:
    """ZIP files of designs in a week's TAR file, where each lies."""
    with tarfile.open(path, "r:") as archive:
        members = [member for member in archive if member.isfile() and member.name.lower().endswith(".zip")]
    grants = [member for member in members if _DESIGN.fullmatch(PurePath(member.name).stem)]
    return [Bundle(PurePath(m.name).stem, path, m.offset_data, m.size) for m in grants]


def _in_xml(path: Path) -> list[Bundle]:
    """The grants of a week's XML file, of which each begins a line with ``<?xml``."""
    starts = [*_starts(path), path.stat().st_size]
    return [Bundle(f"{path.name}@{start}", path, start, end - start) for start, end in itertools.pairwise(starts)]


def _starts(path: Path) -> Iterator[int]:
    place = 0
    with open(path, "rb") as file:
        for line in file:
            if line.startswith(_GRANT):
                yield place
            place += len(line)
