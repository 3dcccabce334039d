"""``Record``: what is known about one image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    Code written for fast-reid sees the tuple ``(path, pid, camid)``: a record unpacks and indexes like it.

    Attributes:
        pid: identity (for drawings: the patent); a string or an integer.
        camid: camera, or for drawings 1 for queries and -1 for the gallery, so that no true match is dropped.
        date: grant date as the integer yyyymmdd.
        taxonomy: classification code, e.g. Locarno ``0601``.
        text: title or description.
        view: from where the object is seen, e.g. ``front``.
        attributes: one number per attribute of the data set: 1 yes, 0 no, -1 unknown.
        source: list file and line that named the image, ``lists/train.txt:17``, for error messages.
    """

    path: str
    pid: int | str
    camid: int | str
    date: int | None = None
    taxonomy: str | None = None
    text: str | None = None
    source: str | None = None
    attributes: tuple[int, ...] | None = None
    view: str | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.path, self.pid, self.camid))

    def __getitem__(self, index: int | slice) -> Any:
        return (self.path, self.pid, self.camid)[index]

    def __len__(self) -> int:
        return 3


def as_record(item: Any) -> Record:
    """Return ``item`` as a record: a ``Record`` as it is, a tuple or list ``(path, pid, camid)`` converted."""
    if isinstance(item, Record):
        return item
    try:
        path, pid, camid = item[:3]
    except (TypeError, ValueError):
        raise ValueError(f"A data set item must be a Record or (path, pid, camid); got {item!r}") from None
    return Record(str(path), pid, camid)
