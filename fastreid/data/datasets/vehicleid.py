"""VehicleID and its three sizes of test set."""

import os
import random
from collections.abc import Mapping
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import LayoutDataset, Lines
from fastreid.data.records import Record


def _lines(file: str) -> tuple[Lines]:
    return (Lines(file, r"(?P<cam>\d+) (?P<pid>\d+)$", "image/{cam}.jpg", "0000001 6321"),)


def _parts(vehicles: int) -> dict[str, tuple[Lines]]:
    """The training list, and the list of so many test vehicles, which `VehicleID` divides."""
    tests = _lines(f"train_test_split/test_list_{vehicles}.txt")
    return {"train": _lines("train_test_split/train_list.txt"), "query": tests, "gallery": tests}


@DATASET_REGISTRY.register()
class VehicleID(LayoutDataset):
    """26,267 vehicles from the front or the back (Liu et al., Deep Relative Distance Learning, CVPR 2016).

    There is no camera: every image counts as one of its own. Of each test vehicle one random image is the gallery, the
    others are queries; the draw is the same in every run, but differs from that of fast-reid, which has no seed.

    Args:
        test_list: path of another list of test images.
        seed: of the draw. The published figures are means over several.
    """

    dataset_name, dataset_dir = "vehicleid", "vehicleid"
    dataset_url = "https://pkuml.org/resources/pku-vehicleid.html"
    numbers = True
    sources = _parts(13164)

    def __init__(self, root: str | os.PathLike = "datasets", test_list: str = "", seed: int = 0, **kwargs):
        self.test_list, self.seed = test_list, seed
        super().__init__(root, **kwargs)

    def sources_in(self, folder: Path) -> Mapping:
        if not self.test_list:
            return self.sources
        tests = _lines(os.path.abspath(self.test_list))
        return {**self.sources, "query": tests, "gallery": tests}

    def _records(self, part: str) -> list[Record]:
        records = super()._records(part)
        if part == "train":
            return records
        gallery = self._drawn(records)
        return [record for row, record in enumerate(records) if (row in gallery) == (part == "gallery")]

    def _drawn(self, records: list[Record]) -> set[int]:
        """Rows of the gallery: one of each identity."""
        rows = list(range(len(records)))
        random.Random(self.seed).shuffle(rows)
        return set({records[row].pid: row for row in rows}.values())


@DATASET_REGISTRY.register()
class SmallVehicleID(VehicleID):
    """VehicleID with the test list of 800 vehicles."""

    sources = _parts(800)


@DATASET_REGISTRY.register()
class MediumVehicleID(VehicleID):
    """VehicleID with the test list of 1,600 vehicles."""

    sources = _parts(1600)


@DATASET_REGISTRY.register()
class LargeVehicleID(VehicleID):
    """VehicleID with the test list of 2,400 vehicles."""

    sources = _parts(2400)
