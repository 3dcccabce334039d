"""Base classes of data sets: three lists of records, checks and a table of what is in them."""

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from fastreid.data.records import Record, as_record

logger = logging.getLogger(__name__)

Items = list | Callable[[], list]


class Dataset:
    """Training, query and gallery records of one data set.

    Args:
        train, query, gallery: lists of ``Record`` or ``(path, pid, camid)``, or functions that return one and are
            called on first use (training then works where only the training part is at hand).
        combineall: add query and gallery to the training records, as identities of their own; an image that stands in
            both is added once.
    """

    _junk_pids: tuple = ()  # identities that ``combineall`` leaves out
    dataset_name = ""
    attributes: tuple[str, ...] = ()  # names of what the records' ``attributes`` say
    ranked = True  # False: there is no gallery; the test images, all of them queries, are classified
    relevance_known = True  # False: queries have no labels, so the set can only be searched or submitted

    def __init__(self, train: Items, query: Items, gallery: Items, combineall: bool = False, **kwargs):
        self._parts = {"train": train, "query": query, "gallery": gallery}
        self.combineall = combineall

    @property
    def name(self) -> str:
        return self.dataset_name or type(self).__name__

    @property
    def train(self) -> list[Record]:
        if self.combineall:
            self._parts["train"], self.combineall = self._combined(), False
        return self._part("train")

    @property
    def query(self) -> list[Record]:
        return self._part("query")

    @property
    def gallery(self) -> list[Record]:
        return self._part("gallery")

    def _part(self, name: str) -> list[Record]:
        part = self._parts[name]
        items = part() if callable(part) else part
        if callable(part) or not all(isinstance(item, Record) for item in items):
            self._parts[name] = items = [as_record(item) for item in items]
        return items

    def _combined(self) -> list[Record]:
        tests = {record.path: record for record in self.query + self.gallery if record.pid not in self._junk_pids}
        return self._part("train") + [_renamed(record, self.name) for record in tests.values()]

    def get_num_pids(self, data: Iterable) -> int:
        return self.parse_data(data)[0]

    def get_num_cams(self, data: Iterable) -> int:
        return self.parse_data(data)[1]

    def parse_data(self, data: Iterable) -> tuple[int, int]:
        """Return the numbers of identities and of cameras."""
        items = list(data)
        return len({item[1] for item in items}), len({item[2] for item in items})

    def check_before_run(self, required_files: str | os.PathLike | Iterable[str | os.PathLike]) -> None:
        """Raise ``FileNotFoundError`` unless all these files and folders exist."""
        given = [required_files] if isinstance(required_files, (str, os.PathLike)) else required_files
        paths = [os.path.abspath(path) for path in given]
        root = os.path.dirname(os.path.commonpath(paths or ["/"]))
        names = ", ".join(os.path.relpath(path, root) for path in paths)
        require_paths(self.name, paths, root, getattr(self, "dataset_url", "its authors"), names)

    def show_train(self) -> None:
        self._show("train")

    def show_test(self) -> None:
        self._show("query", *["gallery"] * self.ranked)

    def _show(self, *parts: str) -> None:
        from tabulate import tabulate

        rows = [(part, *self.parse_data(self._part(part)), len(self._part(part))) for part in parts]
        table = tabulate(rows, ["subset", "identities", "cameras", "images"], tablefmt="github", intfmt=",")
        _log_once(f"Data set {self.name}:\n{table}")


class ImageDataset(Dataset):
    """A data set of single images; the name that code written for fast-reid derives from."""


def _renamed(record: Record, name: str) -> Record:
    """A test record as training record. Labels restart per split, so it gets an identity of its own."""
    return replace(record, pid=f"{name}_test_{record.pid}", camid=f"{name}_test_{record.camid}")


def require_paths(name: str, paths: Iterable, root: str | os.PathLike, get_it_from: str, put_it_so: str) -> None:
    """Raise ``FileNotFoundError`` naming the first of ``paths`` that is missing, and the remedy.

    Args:
        name: of the data set.
        get_it_from: where the data can be had.
        put_it_so: the layout expected below ``root``.
    """
    for path in paths:
        if not Path(path).exists():
            where = f"'{os.path.relpath(path, root)}' not found under {Path(root).absolute()}"
            raise FileNotFoundError(
                f"Data set {name}: {where}{_under_another_name(Path(path))}. Get it from {get_it_from}; put it so: "
                f"{put_it_so}. The environment variable FASTREID_DATASETS points to another data root."
            )


def _under_another_name(path: Path) -> str:
    """Name what lies in the place of ``path`` and differs in case, punctuation or version number alone."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    found = sorted(other.name for other in beside if _plain(other.name) == _plain(path.name))
    return f" (there is '{found[0]}': rename it, or link to it under that name)" if found else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", re.sub(r"[-_]v\d[\d.]*$", "", name.lower()))


def first_existing(*folders: str | os.PathLike) -> Path:
    """Return the first of ``folders`` that exists, or the first one (whose absence is then reported)."""
    return next((Path(folder) for folder in folders if Path(folder).is_dir()), Path(folders[0]))


@functools.cache
def _log_once(text: str) -> None:
    """Each evaluation of a training reads its lists anew; the same table is shown once."""
    logger.info("%s", text)
