"""Pedestrians with attributes: yes-or-no answers about each image, in place of identities to be found again."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fastreid.data.datasets.bases import ImageDataset, require_paths
from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.dukemtmcreid import DukeMTMC
from fastreid.data.datasets.layout import LayoutDataset
from fastreid.data.datasets.market1501 import Market1501
from fastreid.data.datasets.matlab import MatFile
from fastreid.data.records import Record
from fastreid.utils.errors import require_choice

LIN = "Lin et al., Improving Person Re-identification by Attribute and Identity Learning, Pattern Recognition 2019"


class PersonAttributes(LayoutDataset):
    """A layout beside a ``.mat`` file with attributes of persons; the test images are queries, and there is no gallery.

    The file has a number from 1 per person and attribute. An attribute with two values is a column of 0 and 1. One with
    more (the age of Market-1501) becomes a column per value, "age=1", "age=2", ...: as one column it is no yes or no.

    Attributes:
        table: name of the structure in the file ``<table>.mat``.
    """

    table = ""
    ranked = False
    pids = range(1, sys.maxsize)  # junk and distractors have no attributes

    @property
    def attributes(self) -> tuple[str, ...]:
        return self._read[0]

    def record(self, part: str, path: str, labels: Mapping[str, str], source: str | None = None) -> Record | None:
        record, values, pid = super().record(part, path, labels, source), self._read[1][part], int(labels["pid"])
        if record is not None and pid not in values:
            raise ValueError(f"{path}: {self.folder / self.needs[0]} has no attributes of person {pid}")
        return record and replace(record, attributes=values[pid])

    @cached_property
    def _read(self) -> tuple[tuple[str, ...], dict[str, dict[int, tuple[int, ...]]]]:
        """Names of the columns, and per part the values of each person."""
        table = MatFile(self.folder / self.needs[0], struct_as_record=False)[self.table]
        splits = {"train": vars(table.train), "query": vars(table.test)}
        columns = _columns(splits)
        values = {}
        for part, split in splits.items():
            rows = zip(*(split[name].astype(int) == value for name, value in columns.values()), strict=True)
            values[part] = {int(pid): tuple(map(int, row)) for pid, row in zip(split["image_index"], rows, strict=True)}
        return tuple(columns), values


def _columns(splits: dict[str, dict[str, Any]]) -> dict[str, tuple[str, int]]:
    """Return for each column the attribute in the file and the value that counts as yes, sorted by attribute."""
    columns = {}
    for name in sorted(key for key in splits["train"] if not key.startswith("_") and key != "image_index"):
        highest = max(int(split[name].max()) for split in splits.values())
        values = {f"{name}={value}": (name, value) for value in range(1, highest + 1)}
        columns.update(values if highest > 2 else {name: (name, 2)})
    return columns


@DATASET_REGISTRY.register()
class Market1501Attr(PersonAttributes):
    __doc__ = f"""Attributes of the persons of Market-1501 ({LIN})."""

    dataset_name, folders = Market1501.dataset_name, Market1501.folders
    dataset_url = f"{Market1501.dataset_url} and https://github.com/vana77/Market-1501_Attribute"
    numbers, first_camera, needs, table = True, 1, ("market_attribute.mat",), "market_attribute"
    sources = {"train": Market1501.sources["train"], "query": Market1501.sources["gallery"]}


@DATASET_REGISTRY.register()
class DukeMTMCAttr(PersonAttributes):
    __doc__ = f"""Attributes of the persons of DukeMTMC-reID ({LIN})."""

    dataset_name, dataset_dir = DukeMTMC.dataset_name, DukeMTMC.dataset_dir
    dataset_url = f"{DukeMTMC.dataset_url} and https://github.com/vana77/DukeMTMC-attribute"
    numbers, first_camera, needs, table = True, 1, ("duke_attribute.mat",), "duke_attribute"
    sources = {"train": DukeMTMC.sources["train"], "query": DukeMTMC.sources["gallery"]}


@DATASET_REGISTRY.register(node="DATASETS.PA100K")
class PA100K(ImageDataset):
    """PA-100K, 100,000 pedestrians with 26 attributes (Liu et al., HydraPlus-Net, ICCV 2017); every image a person.

    Args:
        split: "test" or "val", whose images are queries; there is no gallery.
    """

    dataset_name, dataset_dir, ranked = "pa100k", "PA-100K", False
    dataset_url = "https://github.com/xh-liu/HydraPlus-Net"

    def __init__(self, root: str | os.PathLike = "datasets", split: str = "test", **kwargs):
        require_choice("The split of data set pa100k", split, ("test", "val"))
        self.folder = Path(root) / self.dataset_dir
        paths = self.folder, self.folder / "data", self.folder / "annotation.mat"
        require_paths(self.name, paths, root, self.dataset_url, self.layout())
        super().__init__(partial(self._records, "train"), partial(self._records, split), [], **kwargs)

    @classmethod
    def layout(cls) -> str:
        return f"{cls.dataset_dir}/{{data/000001.jpg, annotation.mat}}"

    @cached_property
    def _table(self) -> MatFile:
        return MatFile(self.folder / "annotation.mat")

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(map(str, self._table["attributes"]))

    def _records(self, split: str) -> list[Record]:
        rows = zip(self._table[f"{split}_images_name"], self._table[f"{split}_label"].tolist(), strict=True)
        return [
            Record(
                str(self.folder / "data" / str(name)),
                f"{self.name}_{row}" if split == "train" else row,
                f"{self.name}_0" if split == "train" else 0,
                attributes=tuple(map(int, values)),
            )
            for row, (name, values) in enumerate(rows)
        ]
