"""Data sets described by their layout: where the images of each part lie, and what their names or a list say of them.

A data set is a class with a few attributes (:class:`LayoutDataset`); :class:`Images` and :class:`Lines` read it.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fastreid.data.datasets.bases import ImageDataset, first_existing, require_paths
from fastreid.data.datasets.lists import read_list
from fastreid.data.records import Record

PARTS = ("train", "query", "gallery")


class Found(NamedTuple):
    """An image, and the named groups of the pattern that its name or line matched; ``source`` as in a record."""

    path: str
    labels: dict[str, str]
    source: str | None = None


@dataclass(frozen=True)
class Images:
    """Image files whose paths carry the labels.

    Args:
        folder: below the folder of the data set; ``""`` for that folder itself.
        files: glob pattern below ``folder``.
        pattern: regular expression for the beginning of a path below ``folder`` with the groups ``pid`` and, where
            there is one, ``cam``.
        example: such a path, for messages and the table of data sets.
    """

    folder: str
    files: str
    pattern: str
    example: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Files and folders that must exist below the folder of the data set."""
        return (self.folder,)

    @property
    def layout(self) -> tuple[str, ...]:
        """Examples of the files that are read, below the folder of the data set."""
        return (os.path.join(self.folder, self.example),)

    def find(self, base: Path) -> Iterator[Found]:
        """Yield the images in the order of their paths.

        Raises:
            FileNotFoundError: there is no image.
            ValueError: names that do not match, with their number and the first one.
        """
        folder = base / self.folder
        paths = [path for path in folder.glob(self.files) if not path.name.startswith(".")]
        names = sorted(path.relative_to(folder).as_posix() for path in paths)
        if not names:
            raise FileNotFoundError(f"no image {self.files} in {folder}; expected files such as {self.example}")
        for name, labels in _matched(self.pattern, names, self.example, f"images in {folder}"):
            yield Found(str(folder / name), labels)


@dataclass(frozen=True)
class Lines:
    """A list file, one image per line.

    Args:
        file: the list, below the folder of the data set or absolute.
        pattern: regular expression for the beginning of a line with the groups ``pid``, ``cam`` where there is one, and
            those of ``image``.
        image: path of the image below the folder of the data set, with groups in braces.
        example: such a line.
    """

    file: str
    pattern: str
    image: str
    example: str

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.file, os.path.dirname(self.image.split("{")[0]))

    @property
    def layout(self) -> tuple[str, ...]:
        return self.file, self.image.format(**_match(self.pattern, self.example))

    def find(self, base: Path) -> Iterator[Found]:
        """Yield the images in the order of the lines; errors as those of ``Images.find``."""
        rows = read_list(base / self.file, columns=1)
        if not rows:
            raise FileNotFoundError(f"{base / self.file} is empty; expected lines such as {self.example!r}")
        lines, places = [line for (line,), _ in rows], [place for _, place in rows]
        matched = _matched(self.pattern, lines, self.example, f"lines of {base / self.file}")
        for (_, labels), place in zip(matched, places, strict=True):
            yield Found(str(base / self.image.format(**labels)), labels, place)


def _match(pattern: str, text: str) -> dict[str, str] | None:
    match = re.match(pattern, text)
    return match and match.groupdict()


def _matched(pattern: str, texts: Sequence[str], example: str, what: str) -> list[tuple[str, dict[str, str]]]:
    """Pair each text with its groups, or refuse all when any does not match: its label would be a guess."""
    pairs = [(text, _match(pattern, text)) for text in texts]
    wrong = [text for text, labels in pairs if labels is None]
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(texts)} {what} are not such as {example!r}; the first: {wrong[0]!r}")
    return pairs


class LayoutDataset(ImageDataset):
    """A data set that is told by the class attributes below; most derived classes have nothing else.

    In training, identities and cameras are the strings ``<dataset_name>_<label>``, so that those of joined data sets
    never meet; in query and gallery they are integers where ``numbers`` says so.

    Args:
        root: the data root, which holds ``dataset_dir``.
        kwargs: ``combineall``, see :class:`Dataset`.

    Raises:
        FileNotFoundError: a file or folder is missing; the message says where to get it and where to put it.

    Attributes:
        sources: part ("train", "query", "gallery") -> where its images come from; a part may be missing.
        dataset_name: prefix of the training labels.
        dataset_dir: folder below the data root.
        needs: further files below the folder of the data set.
        folders: where the data may lie below ``dataset_dir``; the first that exists is taken.
        dataset_url: where to get the data.
        numbers: labels are integers; leading zeros do not count.
        first_camera: the number that cameras begin with; here they begin with 0 (only with ``numbers``).
        camera: label of all cameras where the pattern has no group ``cam``.
        pid: the identity, made from the groups of the pattern.
        pids: identities outside of this range are left out; ``None``: none is.
    """

    sources: Mapping[str, tuple[Images | Lines, ...]] = {}
    dataset_dir = ""
    folders: tuple[str, ...] = ("",)
    needs: tuple[str, ...] = ()
    dataset_url = "its authors"
    numbers = False
    first_camera = 0
    camera = "0"
    pid = "{pid}"
    pids: range | None = None

    def __init__(self, root: str | os.PathLike = "datasets", **kwargs):
        base = Path(root) / self.dataset_dir
        self.root, self.folder = str(root), first_existing(*(base / folder for folder in self.folders))
        self.sources = self.sources_in(self.folder)
        needed = [name for part in self.sources.values() for source in part for name in source.needs]
        paths = [self.folder, *(self.folder / name for name in [*needed, *self.needs])]
        require_paths(self.name, paths, root, self.dataset_url, self.layout())
        super().__init__(*(functools.partial(self._records, part) for part in PARTS), **kwargs)

    def sources_in(self, folder: Path) -> Mapping[str, tuple[Images | Lines, ...]]:
        """Return ``sources``; for data sets where they depend on the folder or on an argument."""
        return self.sources

    @classmethod
    def layout(cls) -> str:
        """Return the folder below the data root with an example of each kind of file, and of the lines of the lists."""
        sources = [source for part in cls.sources.values() for source in part]
        files = list(dict.fromkeys([*(name for source in sources for name in source.layout), *cls.needs]))
        lines = dict.fromkeys(f"`{source.example}`" for source in sources if isinstance(source, Lines))
        shown = os.path.join(cls.dataset_dir, cls.folders[0], f"{{{', '.join(files)}}}" if files[1:] else files[0])
        return f"{shown}, the lines such as {', '.join(lines)}" if lines else shown

    def _records(self, part: str) -> list[Record]:
        found = (found for source in self.sources.get(part, ()) for found in source.find(self.folder))
        records = (self.record(part, *image) for image in found)
        return [record for record in records if record is not None]

    def record(self, part: str, path: str, labels: Mapping[str, str], source: str | None = None) -> Record | None:
        """Make the record of an image of ``part``; ``None`` leaves it out."""
        pid, camera = self.pid.format(**labels), labels.get("cam", self.camera)
        if self.pids is not None and int(pid) not in self.pids:
            return None
        if self.numbers:
            pid, camera = int(pid), int(camera) - self.first_camera
        if part == "train":
            pid, camera = f"{self.dataset_name}_{pid}", f"{self.dataset_name}_{camera}"
        return Record(path, pid, camera, source=source)
