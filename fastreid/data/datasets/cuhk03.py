"""CUHK03, under the classic splits and under the new protocol."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fastreid.data.datasets.bases import ImageDataset, require_paths
from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.matlab import MatFile
from fastreid.data.records import Record
from fastreid.utils import comm
from fastreid.utils.errors import require_choice
from fastreid.utils.files import atomic_write

RAW = "cuhk03_release/cuhk-03.mat"
PARTS = ("train", "query", "gallery")


@DATASET_REGISTRY.register(node="DATASETS.CUHK03")
class CUHK03(ImageDataset):
    """1,467 persons before 5 pairs of cameras (Li et al., DeepReID: Deep Filter Pairing Neural Network, CVPR 2014).

    The new protocol (Zhong et al., CVPR 2017) has 767 persons for training and 700 for testing. A classic split has
    100 for testing, whose images are queries and gallery alike; its measure is ``TEST.SINGLE_SHOT: 10``.

    The images and classic splits that fast-reid left are read as they are. Where they are missing, they are taken out
    of the released ``cuhk-03.mat`` (main process only, the others wait), which needs h5py.

    Args:
        root: the data root, which holds ``cuhk03``.
        split_id: number of the split, 0 to 19 for the classic ones, 0 for the new one.
        cuhk03_labeled: boxes drawn by hand instead of detected ones.
        cuhk03_classic_split: the classic splits instead of the new protocol.

    Raises:
        FileNotFoundError: a file is missing; the message says where to get it and where to put it.
        ImportError: h5py is needed and missing.
        ValueError: ``split_id`` is out of range, or a file is broken.
    """

    dataset_name = dataset_dir = "cuhk03"
    dataset_url = (
        "http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html, and cuhk03_new_protocol_config_{labeled,detected}"
        ".mat from https://github.com/zhunzhong07/person-re-ranking"
    )

    def __init__(
        self,
        root: str | os.PathLike = "datasets",
        split_id: int = 0,
        cuhk03_labeled: bool = True,
        cuhk03_classic_split: bool = False,
        **kwargs,
    ):
        self.folder, kind = Path(root) / self.dataset_dir, "labeled" if cuhk03_labeled else "detected"
        self.images = self.folder / f"images_{kind}"
        classic = self.folder / f"splits_classic_{kind}.json"
        new = self.folder / f"cuhk03_new_protocol_config_{kind}.mat"
        made = (self.images, classic) if cuhk03_classic_split else (self.images,)
        try:
            if comm.is_main_process() and not all(path.exists() for path in made):
                require_paths(self.name, [self.folder, self.folder / RAW], root, self.dataset_url, self.layout())
                extract(self.folder / RAW, kind, self.images, classic)
        finally:
            comm.synchronize()
        require_paths(self.name, made if cuhk03_classic_split else (*made, new), root, self.dataset_url, self.layout())
        splits = classic_splits(classic) if cuhk03_classic_split else [new_split(new)]
        require_choice("split_id of CUHK03", split_id, range(len(splits)))
        super().__init__(*(self._records(part, splits[split_id][part]) for part in PARTS), **kwargs)

    @classmethod
    def layout(cls) -> str:
        files = [RAW, *(f"cuhk03_new_protocol_config_{kind}.mat" for kind in ("labeled", "detected"))]
        return f"{cls.dataset_dir}/{{{', '.join(files)}}}"

    def _records(self, part: str, rows: list) -> list[Record]:
        # the paths in fast-reid's files are relative to where it ran
        named = [(str(self.images / os.path.basename(path)), pid, camera) for path, pid, camera in rows]
        if part != "train":
            return [Record(*row) for row in named]
        return [Record(path, f"{self.name}_{pid}", f"{self.name}_{camera}") for path, pid, camera in named]


def classic_splits(path: Path) -> list[dict[str, list]]:
    """Rows (path, identity, camera) of each part of each split."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no whole JSON file: {error}. Delete it to have it made anew") from error


def new_split(path: Path) -> dict[str, list]:
    """Rows (image, identity, camera from 0) of each part of the new protocol; training identities count from 0."""
    table = MatFile(path)
    names, pids = [str(name) for name in table["filelist"]], table["labels"].astype(int).tolist()
    parts = {part: (table[f"{part}_idx"].astype(int) - 1).tolist() for part in PARTS}
    labels = {pid: label for label, pid in enumerate(sorted({pids[row] for row in parts["train"]}))}
    rows = {
        part: [(names[row], pids[row], _camera_of(names[row])) for row in part_rows]
        for part, part_rows in parts.items()
    }
    return {**rows, "train": [(name, labels[pid], camera) for name, pid, camera in rows["train"]]}


def _camera_of(name: str) -> int:
    """Camera from 0, within its pair: names are ``<pair>_<person>_<camera>_<image>.png``, all from 1."""
    return int(name.split("_")[2]) - 1


def extract(raw: Path, kind: str, images: Path, classic: Path) -> None:
    """Take images and classic splits of one ``kind`` ("labeled", "detected") out of the release, a MATLAB 7.3 file."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"h5py is needed once, to take the images out of {raw}: pip install h5py") from error
    with _opened(h5py, raw) as file, tempfile.TemporaryDirectory(dir=images.parent) as temporary:
        folder = Path(temporary) / "images"  # of the usual permissions, which a temporary folder has not
        folder.mkdir()
        persons = {}  # (pair, person) -> names
        for name, pixels in _images(file, kind):
            Image.fromarray(pixels).save(folder / name)
            persons.setdefault(tuple(map(int, name.split("_")[:2])), []).append(name)
        splits = [_classic_split(persons, _array(file, reference)) for reference in file["testsets"][0]]
        if not images.exists():
            folder.rename(images)
    with atomic_write(classic, "w") as file:
        json.dump(splits, file)


def _opened(h5py, raw: Path):
    try:
        return h5py.File(raw, "r")
    except OSError as error:
        raise ValueError(f"{raw} cannot be read as a MATLAB 7.3 file: {error}") from error


def _array(file, reference) -> np.ndarray:
    return file[reference][:].T


def _images(file, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, pixels uint8 (H, W, 3)); five images of each person before each of the two cameras of a pair."""
    for pair, pair_reference in enumerate(file[kind][0], start=1):
        for person, row in enumerate(_array(file, pair_reference), start=1):
            for number, reference in enumerate(row, start=1):
                pixels = _array(file, reference)
                if pixels.ndim == 3:  # an image that does not exist is an empty cell
                    yield f"{pair}_{person:03d}_{1 if number <= 5 else 2}_{number:02d}.png", pixels


def _classic_split(persons: dict[tuple[int, int], list[str]], test: np.ndarray) -> dict[str, list]:
    """Divide by the (pair, person) rows of ``test``; identities count from 0 in training and in the test."""
    tested = set(map(tuple, test.astype(int).tolist()))
    sides = [[names for key, names in persons.items() if (key in tested) == side] for side in (False, True)]
    train, tests = (
        [(name, label, _camera_of(name)) for label, names in enumerate(side) for name in names] for side in sides
    )
    return {"train": train, "query": tests, "gallery": tests}
