"""Market-1501."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import Images, LayoutDataset

_NAME = r"(?P<pid>-?\d+)_c(?P<cam>[1-9]\d*)", "0002_c1s1_000451_03.jpg"


@DATASET_REGISTRY.register(node="DATASETS.MARKET1501")
class Market1501(LayoutDataset):
    """1,501 persons before 6 cameras (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015).

    Identity -1 is junk and left out; 0 are distractors, which stay in the gallery.

    Args:
        market1501_500k: add the 500,000 distractor images of the folder ``images`` to the gallery.
    """

    _junk_pids = (0, -1)
    dataset_name, folders = "market1501", ("Market-1501-v15.09.15", "")
    dataset_url = "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html"
    numbers, first_camera, pids = True, 1, range(sys.maxsize)
    sources = {
        "train": (Images("bounding_box_train", "*.jpg", *_NAME),),
        "query": (Images("query", "*.jpg", *_NAME),),
        "gallery": (Images("bounding_box_test", "*.jpg", *_NAME),),
    }

    def __init__(self, root: str | os.PathLike = "datasets", market1501_500k: bool = False, **kwargs):
        self.market1501_500k = market1501_500k
        super().__init__(root, **kwargs)

    def sources_in(self, folder: Path) -> Mapping:
        more = (Images("images", "*.jpg", *_NAME),) * self.market1501_500k
        return {**self.sources, "gallery": self.sources["gallery"] + more}
