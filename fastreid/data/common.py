"""``CommDataset``: records to items of a batch, with seeded augmentation and a policy for bad images."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from fastreid.data.cameras import in_natural_order
from fastreid.data.images import BadImage, read_image
from fastreid.data.records import Record, as_record
from fastreid.data.text_bank import TextBank
from fastreid.data.training_columns import TextFeatures, frequency_of
from fastreid.utils.errors import require_choice

# "error" raises; "skip" takes another image of the same identity; "white" gives a white page in its place
BAD_IMAGE_POLICIES = ("error", "skip", "white")


class StreamItem(int):
    """An index to read at one position of the training stream; ``key`` seeds its augmentation.

    It is an integer, so that data sets from outside, which know no keys, can be read at it too.
    """

    key: tuple[int, ...]

    def __new__(cls, index: int, key: tuple[int, ...]) -> "StreamItem":
        item = super().__new__(cls, index)
        item.key = key
        return item

    @property
    def index(self) -> int:
        return int(self)

    def __reduce__(self) -> tuple:  # workers get their items pickled
        return StreamItem, (int(self), self.key)


class CommDataset(Dataset):
    """Items ``{"images", "targets", "camids", "img_paths"}`` from records, plus the columns that records have.

    In training (``relabel``) also ``frequency``, where records have a taxonomy (see :func:`frequency_of`).

    Args:
        img_items: records or ``(path, pid, camid)``.
        transform: called with the PIL image.
        relabel: targets and cameras count from 0 (training); otherwise integers stay as they are and strings are
            counted, so that targets are always integers. Identities count in sorted order, which is that of the classes
            in checkpoints; cameras in natural order (2 before 10), in which test sets number theirs.
        reader: called as ``reader(path, source=...)``; returns what ``transform`` takes, a PIL image, or raises
            ``BadImage``.
        attributes: names of the records' attributes.
        text_bank: items then have ``text_features``, float32 (width,), of a text of the image, drawn at each reading.
        on_bad_image: "error", "skip" (training: another image of the same identity, or the next readable one) or
            "white" (tests, where every row must stay). Items that replace a bad image carry ``bad_images``.

    An item read at an index is random like any PyTorch data set; read at a ``StreamItem`` it depends on nothing but
    the record and the key.

    Attributes:
        attributes: their names; batches then have the column ``attributes``, int64 (B, A).
        name: of the data set that a test loader reads.
        relevance_known: False when the identities are no true labels (the test set of a challenge).
    """

    name = ""
    relevance_known = True

    def __init__(
        self,
        img_items: Sequence[Any],
        transform: Callable | None = None,
        relabel: bool = True,
        reader: Callable[..., Image.Image] = read_image,
        on_bad_image: str = "error",
        attributes: Sequence[str] = (),
        text_bank: TextBank | None = None,
    ):
        require_choice("DATALOADER.ON_BAD_IMAGE", on_bad_image, BAD_IMAGE_POLICIES)
        self.img_items = [as_record(item) for item in img_items]
        self.transform, self.relabel, self.reader, self.on_bad_image = transform, relabel, reader, on_bad_image
        self.pids = sorted({record.pid for record in self.img_items}, key=_order)
        self.cams = in_natural_order(record.camid for record in self.img_items)
        self.pid_dict = self._labels(self.pids)
        self.cam_dict = self._labels(self.cams)
        self._columns = [c for c in _COLUMNS if any(getattr(record, c) is not None for record in self.img_items)]
        self.attributes = self._check_attributes(tuple(attributes))
        self._same_identity: dict[Any, list[int]] | None = None
        self._by_index: dict[str, Any] = {}  # columns whose value is known by the number of the record
        if relabel and "taxonomy" in self._columns:
            self._by_index["frequency"] = frequency_of(self.img_items)
        if text_bank is not None:
            self._by_index["text_features"] = TextFeatures(text_bank, self.img_items)

    def _labels(self, names: list) -> dict:
        if self.relabel or any(isinstance(name, str) for name in names):
            return {name: label for label, name in enumerate(names)}
        return {name: int(name) for name in names}

    def _check_attributes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        wanted = len(names)
        for record in self.img_items:
            if len(record.attributes or ()) != wanted:
                raise ValueError(
                    f"{record.path} has {len(record.attributes or ())} attributes, but the data set has {wanted} names"
                )
        return names

    @property
    def records(self) -> list[Record]:
        return self.img_items

    @property
    def num_classes(self) -> int:
        """Number of attributes; of identities where there are none."""
        return len(self.attributes or self.pids)

    @property
    def num_cameras(self) -> int:
        return len(self.cams)

    @property
    def columns(self) -> list[str]:
        """Names of what a batch says of each image for an evaluation, as feature files call it."""
        return ["pids", "camids", *(_COLUMNS[column][0] for column in self._columns)]

    def targets_of(self, records: Sequence[Record]) -> np.ndarray:
        """Targets, int64 (N,), of records of this data set."""
        return np.asarray([self.pid_dict[record.pid] for record in records], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.img_items)

    def __getitem__(self, index: int | StreamItem) -> dict[str, Any]:
        if isinstance(index, StreamItem):
            with seeded(index.key):
                return self._item(index.index)
        return self._item(index)

    def __getitems__(self, indices: Sequence[int | StreamItem]) -> list[dict[str, Any]]:
        """The items of a batch, as ``__getitem__`` gives them; the generators are saved and restored once for all."""
        if not all(isinstance(index, StreamItem) for index in indices):
            return [self[index] for index in indices]
        with restored_generators():
            items = []
            for item in indices:
                seed_generators(item.key)
                items.append(self._item(item.index))
            return items

    def _item(self, index: int) -> dict[str, Any]:
        index, image, bad = self._read(index)
        record = self.img_items[index]
        item = {
            "images": self.transform(image) if self.transform is not None else image,
            "targets": self.pid_dict[record.pid],
            "camids": self.cam_dict[record.camid],
            "img_paths": record.path,
        }
        for column in self._columns:
            name, missing = _COLUMNS[column]
            value = getattr(record, column)
            item[name] = missing if value is None else value
        for name, values in self._by_index.items():
            item[name] = values[index]
        if self.attributes:
            item["attributes"] = torch.tensor(record.attributes, dtype=torch.int64)
        if bad:
            item["bad_images"] = bad
        return item

    def _read(self, index: int) -> tuple[int, Image.Image, list[str]]:
        """Return the number of a record, its image and the messages of the bad images met on the way."""
        bad: list[str] = []
        for candidate in self._candidates(index):
            record = self.img_items[candidate]
            try:
                return candidate, self.reader(record.path, source=record.source), bad
            except BadImage as error:
                if self.on_bad_image == "error":
                    raise
                bad.append(str(error))
            if self.on_bad_image == "white":
                return candidate, Image.new("L", (256, 256), 255), bad
        raise BadImage(f"None of the {len(self)} images of the data set can be read; the first: {bad[0]}")

    def _candidates(self, index: int) -> Iterator[int]:
        """The index itself, then the others of its identity, then all others, each in cyclic order."""
        yield index
        if self._same_identity is None:
            self._same_identity = {}
            for number, record in enumerate(self.img_items):
                self._same_identity.setdefault(record.pid, []).append(number)
        pid = self.img_items[index].pid
        same = self._same_identity[pid]
        start = same.index(index)
        yield from same[start + 1 :] + same[:start]
        others = (number % len(self) for number in range(index + 1, index + len(self)))
        yield from (number for number in others if self.img_items[number].pid != pid)


# column of a record -> its name in a batch and what stands for a missing value
_COLUMNS = {"date": ("dates", 0), "taxonomy": ("taxonomy", ""), "text": ("text", ""), "view": ("views", "")}


def _order(name: Any) -> tuple[bool, Any]:
    """Sort integers before strings, so that data sets of both kinds can be joined."""
    return isinstance(name, str), name


@contextlib.contextmanager
def seeded(key: tuple[int, ...]) -> Iterator[None]:
    """Seed the CPU generators of Python, NumPy and PyTorch from ``key``, and restore them afterwards.

    All three are set because transforms from outside use any of them.
    """
    with restored_generators():
        seed_generators(key)
        yield


@contextlib.contextmanager
def restored_generators() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def seed_generators(key: tuple[int, ...]) -> None:
    first, second = (int(word) for word in np.random.SeedSequence(key).generate_state(2, np.uint64))
    random.seed(first)
    np.random.seed(second % 2**32)
    torch.default_generator.manual_seed(first % 2**63)
