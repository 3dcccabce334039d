"""MSMT17."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import LayoutDataset, Lines
from fastreid.data.records import Record

_LINE = r"(?P<path>[^_]+_[^_]+_(?P<cam>\d+)_\S+)\s+(?P<pid>\d+)$"
_EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"


def _lines(name: str, folder: str) -> Lines:
    return Lines(f"list_{name}.txt", _LINE, f"{folder}/{{path}}", _EXAMPLE)


@DATASET_REGISTRY.register()
class MSMT17(LayoutDataset):
    """4,101 persons before 15 cameras (Wei et al., Person Transfer GAN to Bridge Domain Gap, CVPR 2018); version 2 with
    blurred faces has the folders ``MSMT17_V2/{mask_train_v2,mask_test_v2}``; ``DATASETS.COMBINEALL`` reads
    ``list_val.txt`` too.

    Test identities restart at 0 in the lists; the number of training identities is added to them. The validation
    images are part of training with ``combineall`` only.
    """

    dataset_name, folders = "msmt17", ("MSMT17_V1", "MSMT17_V2")
    dataset_url = "https://www.pkuvmc.com/publications/msmt17.html"
    numbers, first_camera = True, 1
    sources = {
        "train": (_lines("train", "train"),),
        "query": (_lines("query", "test"),),
        "gallery": (_lines("gallery", "test"),),
    }

    def __init__(self, root: str | os.PathLike = "datasets", combineall: bool = False, **kwargs):
        self.with_validation = combineall
        super().__init__(root, combineall=combineall, **kwargs)

    def sources_in(self, folder: Path) -> Mapping:
        parts = dict(self.sources)
        if self.with_validation:
            parts["train"] += (_lines("val", "train"),)
        if folder.name != "MSMT17_V2":
            return parts
        return {part: tuple(_masked(source) for source in sources) for part, sources in parts.items()}

    def _records(self, part: str) -> list[Record]:
        records = super()._records(part)
        if part == "train":
            return records
        return [replace(record, pid=record.pid + self._num_train_pids) for record in records]

    @cached_property
    def _num_train_pids(self) -> int:
        return self.get_num_pids(super()._records("train"))


def _masked(lines: Lines) -> Lines:
    folder, name = lines.image.split("/", 1)
    return replace(lines, image=f"mask_{folder}_v2/{name}")
