"""VERI-Wild and its three sizes of test set."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import LayoutDataset, Lines
from fastreid.data.datasets.lists import read_list
from fastreid.data.records import Record

_SPLIT = "train_test_split"
_INFO = f"{_SPLIT}/vehicle_info.txt"


def _lines(file: str) -> tuple[Lines]:
    pattern = r"(?P<pid>\d+)/(?P<image>[^/.]+)(\.\w+)?$"
    return (Lines(file, pattern, "images/{pid}/{image}.jpg", "00001/000001.jpg"),)


def _parts(vehicles: int) -> dict[str, tuple[Lines]]:
    tests = f"{_SPLIT}/test_{vehicles}"
    return {
        "train": _lines(f"{_SPLIT}/train_list.txt"),
        "query": _lines(f"{tests}_query.txt"),
        "gallery": _lines(f"{tests}.txt"),
    }


@DATASET_REGISTRY.register()
class VeRiWild(LayoutDataset):
    """40,671 vehicles before 174 cameras (Lou et al., A Large-Scale Dataset for Vehicle Re-Identification, CVPR 2019).

    Cameras stand in ``train_test_split/vehicle_info.txt``, whose lines after the first are `00001/000001;122;...`.

    Args:
        query_list, gallery_list: paths of other lists of test images; both are needed.
    """

    dataset_name, dataset_dir = "veriwild", "VERI-Wild"
    dataset_url = "https://github.com/PKU-IMRE/VERI-Wild"
    numbers, needs = True, (_INFO,)
    sources = _parts(10000)

    def __init__(self, root: str | os.PathLike = "datasets", query_list: str = "", gallery_list: str = "", **kwargs):
        if bool(query_list) != bool(gallery_list):
            raise ValueError(f"{self.name} needs query_list and gallery_list; got {query_list!r} and {gallery_list!r}")
        self.lists = query_list, gallery_list
        super().__init__(root, **kwargs)

    def sources_in(self, folder: Path) -> Mapping:
        if not all(self.lists):
            return self.sources
        query, gallery = (_lines(os.path.abspath(file)) for file in self.lists)
        return {**self.sources, "query": query, "gallery": gallery}

    def record(self, part: str, path: str, labels: Mapping[str, str], source: str | None = None) -> Record | None:
        image = labels["image"]
        if image not in self._cameras:
            raise ValueError(f"{source}: image {image} is not in {self.folder / _INFO}, so its camera is unknown")
        return super().record(part, path, {**labels, "cam": self._cameras[image]}, source)

    @cached_property
    def _cameras(self) -> dict[str, str]:
        """Camera of each image number."""
        cameras = {}
        for (line,), place in read_list(self.folder / _INFO, columns=1)[1:]:
            name, camera, *_ = [*line.split(";"), ""]
            if "/" not in name or not camera.isdecimal():
                raise ValueError(f"{place}: a line must be such as '00001/000001;122;...'; got {line!r}")
            cameras[name.split("/")[1]] = camera
        return cameras


@DATASET_REGISTRY.register()
class SmallVeRiWild(VeRiWild):
    """VERI-Wild with the test list of 3,000 vehicles."""

    sources = _parts(3000)


@DATASET_REGISTRY.register()
class MediumVeRiWild(VeRiWild):
    """VERI-Wild with the test list of 5,000 vehicles."""

    sources = _parts(5000)


@DATASET_REGISTRY.register()
class LargeVeRiWild(VeRiWild):
    """VERI-Wild with the test list of 10,000 vehicles."""

    sources = _parts(10000)
