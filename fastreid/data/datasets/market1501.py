"""Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015)."""

import os
import re
from pathlib import Path

from fastreid.data.datasets.bases import ImageDataset, first_existing, require_paths
from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.records import Record

_NAME = re.compile(r"([-\d]+)_c(\d)")


@DATASET_REGISTRY.register()
class Market1501(ImageDataset):
    """1,501 persons before 6 cameras; identity -1 is junk and left out, 0 are distractors and stay in the gallery.

    Args:
        market1501_500k: add the 500,000 distractor images of the folder ``images`` to the gallery.
    """

    _junk_pids = (0, -1)
    dataset_name = "market1501"

    def __init__(self, root: str | os.PathLike = "datasets", market1501_500k: bool = False, **kwargs):
        folder = first_existing(Path(root) / "Market-1501-v15.09.15", root)
        parts = ["bounding_box_train", "query", "bounding_box_test"] + ["images"] * market1501_500k
        require_paths(
            self.name, [folder / part for part in parts], root, "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
            "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}",
        )  # fmt: skip
        train, query, *gallery = (folder / part for part in parts)
        super().__init__(
            lambda: self._records(train, "market1501_"),
            lambda: self._records(query),
            lambda: [record for part in gallery for record in self._records(part)],
            **kwargs,
        )

    def _records(self, folder: Path, prefix: str = "") -> list[Record]:
        records = []
        for path in sorted(folder.glob("*.jpg")):
            if not (match := _NAME.match(path.name)):
                raise ValueError(f"{path}: names of {self.name} must begin with `identity_ccamera`, such as 0001_c2")
            pid, camera = (int(number) for number in match.groups())
            if pid != -1:
                labels = (pid, camera - 1)
                records.append(Record(str(path), *([f"{prefix}{label}" for label in labels] if prefix else labels)))
        return records
