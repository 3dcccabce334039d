"""Miniature copies of the layouts of re-identification data sets, written by tests.

``write("Market1501", root)`` makes the folders, list files and tiny images that data set ``Market1501`` reads below the
data root ``root``. Identities 1, 2, ... are for training, the next ones for testing; each identity has its own colour,
so that a model can tell them apart. Shot 0 of each test identity before each camera is the query.
"""

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE = 16, 32  # width and height, pixels


class Shot(NamedTuple):
    """One image: identity and camera from 1, its number before this camera from 0."""

    pid: int
    cam: int
    shot: int


class Shots:
    """What a part of a data set holds.

    Args:
        ids: identities for training, and as many for testing.
        cameras: cameras that see every identity.
        images: images of each identity before each camera, in training and gallery alike.
    """

    def __init__(self, ids: int, cameras: int, images: int):
        self.ids, self.cameras, self.images = ids, cameras, images

    def of(self, first: int, count: int, shots: range) -> list[Shot]:
        return list(itertools.starmap(Shot, itertools.product(range(first, first + count), self._cams, shots)))

    @property
    def _cams(self) -> range:
        return range(1, self.cameras + 1)

    @property
    def train(self) -> list[Shot]:
        return self.of(1, self.ids, range(self.images))

    @property
    def query(self) -> list[Shot]:
        return self.of(self.ids + 1, self.ids, range(1))

    @property
    def gallery(self) -> list[Shot]:
        return self.of(self.ids + 1, self.ids, range(1, self.images + 1))


def write(name: str, root: str | Path, *, ids: int = 4, cameras: int = 2, images: int = 2) -> Path:
    """Write the layout of data set ``name`` below ``root`` and return ``root``; sizes as in :class:`Shots`."""
    root, shots = Path(root), Shots(ids, cameras, images)
    if name in FOLDERS:
        for part, path in FOLDERS[name]:
            for shot in getattr(shots, part):
                draw(root / path.format(**shot._asdict()), shot.pid)
    else:
        WRITERS[name](root, shots)
    return root


def draw(path: Path, pid: int) -> None:
    """Save an image in the colour of the identity, with a little noise that differs by path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    colour = np.random.default_rng(pid).integers(40, 216, 3)
    pixels = colour + rng.integers(-20, 21, (SIZE[1], SIZE[0], 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _market(folder: str, name: str) -> list[tuple[str, str]]:
    return [("train", f"{folder}/bounding_box_train/{name}"), ("query", f"{folder}/query/{name}"),
            ("gallery", f"{folder}/bounding_box_test/{name}")]  # fmt: skip


MARKET = _market("Market-1501-v15.09.15", "{pid:04d}_c{cam}s1_{shot:06d}_00.jpg")
DUKE = _market("DukeMTMC-reID", "{pid:04d}_c{cam}_f{shot:07d}.jpg")
# data sets whose labels stand in file names: (part, path below the data root)
FOLDERS = {
    "DukeMTMC": DUKE,
    "VeRi": [(part, f"veri/image_{folder}/{{pid:04d}}_c{{cam:03d}}_{{shot:08d}}_0.jpg")
             for part, folder in (("train", "train"), ("query", "query"), ("gallery", "test"))],
    "iLIDS": [("train", "iLIDS/{pid:03d}/cam{cam}_{shot}.png")],
    "PKU": [("train", "PKUv1a_128x48/{pid:03d}_{cam:02d}_{shot:02d}.png")],
    "PRAI": [("train", "PRAI-1581/images/{pid:08d}_{cam:04d}_{shot:08d}.jpg")],
    "PRID": [("train", "prid_2011/slim_train/multi_shot/person_{pid:04d}/cam{cam}_{shot:04d}.png")],
    "GRID": [("train", "underground_reid/images/{pid:04d}_{cam}_{shot:05d}_1.jpeg")],
    "SAIVT": [("train", "SAIVT-SoftBio/cropped_images/{pid:03d}/{pid:03d}-{shot:05d}-{cam}-x.jpeg")],
    "SenseReID": [("train", "SenseReID/test_gallery/{pid:05d}_{cam}.jpg"),
                  ("train", "SenseReID/test_prob/{pid:05d}_0.jpg")],
    "SYSU_mm": [("train", "SYSU-MM01/cam{cam}/{pid:04d}/{shot:04d}.jpg")],
    "Thermalworld": [("train", "thermalworld_rgb/{pid}/{cam}_{shot}.jpg")],
    "PeS3D": [("train", "3DPeS/{pid}_A/{cam}_{shot}.bmp")],
    "CAVIARa": [("train", "CAVIARa/{pid:04d}{cam:03d}{shot}.jpg")],
    "VIPeR": [("train", "VIPeR/cam_a/{pid:03d}_0.bmp"), ("train", "VIPeR/cam_b/{pid:03d}_90.bmp")],
    "LPW": [("train", "pep_256x128/data_slim/scen{cam}/view{cam}/{pid}/{shot:06d}.jpg")],
    "Shinpuhkan": [("train", "shinpuhkan/images/{pid:03d}_0_{cam:02d}_{shot:02d}.jpg")],
    "WildTrackCrop": [("train", "Wildtrack_crop_dataset/crop/{pid}/{cam}_{shot:08d}.png")],
    "PartialREID": [("query", "Partial_REID/partial_body_images/{pid:03d}_{cam}{shot:02d}.jpg"),
                    ("gallery", "Partial_REID/whole_body_images/{pid:03d}_{cam}{shot:02d}.jpg")],
    **{name: [(part, f"{name}/{part}/{{pid:03d}}_{{cam}}{{shot:02d}}.jpg") for part in ("query", "gallery")]
       for name in ("PartialiLIDS", "OccludedREID")},
    "cuhkSYSU": [("train", "cuhk_sysu/cropped_images/p{pid}_s{cam}_{shot}.jpg")],
}  # fmt: skip


def write_market(root: Path, shots: Shots) -> None:
    """With a distractor (identity 0) and a junk image (-1) in the gallery, and the 500k distractors' folder."""
    for part, path in MARKET:
        for shot in getattr(shots, part):
            draw(root / path.format(**shot._asdict()), shot.pid)
    folder = root / "Market-1501-v15.09.15"
    for name in ("bounding_box_test/0000_c1s1_000001_00", "bounding_box_test/-1_c1s1_000002_00", "images/0000_c2s1_1"):
        draw(folder / f"{name}.jpg", 0)


def write_msmt17(
    root: Path, shots: Shots, version: str = "MSMT17_V1", train: str = "train", test: str = "test"
) -> None:
    """Identities count from 0 in train and test alike; the first identity of training also has validation images."""
    base, last = root / version, shots.images

    def listed(folder: str, part: list[Shot], first: int) -> Iterator[str]:
        for pid, cam, shot in part:
            label = pid - first
            path = f"{label:04d}/{label:04d}_{shot:03d}_{cam:02d}_0303morning_0015_{shot}.jpg"
            draw(base / folder / path, pid)
            yield f"{path} {label}"

    lines(base / "list_train.txt", listed(train, shots.train, 1))
    lines(base / "list_val.txt", listed(train, shots.of(1, 1, range(last, last + 1)), 1))
    lines(base / "list_query.txt", listed(test, shots.query, shots.ids + 1))
    lines(base / "list_gallery.txt", listed(test, shots.gallery, shots.ids + 1))


def write_vehicleid(root: Path, shots: Shots) -> None:
    """The larger test lists contain the smaller ones, with one identity more each."""
    base, numbers = root / "vehicleid", itertools.count(1)

    def listed(first: int, count: int) -> list[str]:
        part = zip(shots.of(first, count, range(shots.images)), numbers, strict=False)
        rows = [(f"{number:07d}", shot.pid) for shot, number in part]
        for image, pid in rows:
            draw(base / f"image/{image}.jpg", pid)
        return [f"{image} {pid}" for image, pid in rows]

    lines(base / "train_test_split/train_list.txt", listed(1, shots.ids))
    tests = listed(shots.ids + 1, shots.ids + 3)
    for more, size in enumerate((800, 1600, 2400, 13164)):
        count = (shots.ids + more) * shots.cameras * shots.images
        lines(base / f"train_test_split/test_list_{size}.txt", tests[:count])


def write_veriwild(root: Path, shots: Shots) -> None:
    """The larger test lists contain the smaller ones, with one identity more each."""
    base, cameras, numbers = root / "VERI-Wild", {}, itertools.count(1)

    def listed(part: list[Shot]) -> list[tuple[int, str]]:
        rows = []
        for pid, cam, _ in part:
            image = f"{pid:05d}/{next(numbers):06d}"
            draw(base / f"images/{image}.jpg", pid)
            cameras[image] = cam + 100
            rows.append((pid, image))
        return rows

    split = base / "train_test_split"
    lines(split / "train_list.txt", (image for _, image in listed(shots.train)))
    query = listed(shots.of(shots.ids + 1, shots.ids + 2, range(1)))
    gallery = listed(shots.of(shots.ids + 1, shots.ids + 2, range(1, shots.images + 1)))
    for more, size in enumerate((3000, 5000, 10000)):
        last = 2 * shots.ids + more
        for name, rows in ((f"test_{size}_query", query), (f"test_{size}", gallery)):
            lines(split / f"{name}.txt", (f"{image}.jpg" for pid, image in rows if pid <= last))
    info = [f"{image};{cam};2018/03/12 08:15:00;Brand;SUV;white" for image, cam in cameras.items()]
    lines(split / "vehicle_info.txt", ["id/image;Camera ID;Time;Model;Type;Color", *info])


def write_airport(root: Path, shots: Shots) -> None:
    """Identities below 11001 are left out."""
    base, rows = root / "AirportALERT", []
    for pid, cam, shot in [*shots.train, Shot(-10000, 1, 0)]:
        parts = f"cam{cam}", f"{11000 + pid}", f"{shot:04d}.png"
        draw(base.joinpath(*parts), pid % 256)
        rows.append("\\".join(parts))
    lines(base / "filepath.txt", rows)


def write_cuhk03(root: Path, shots: Shots) -> None:
    """As left by fast-reid: the images, the classic splits (two) and the configuration of the new protocol."""
    from scipy.io import savemat

    base = root / "cuhk03"
    train, query, gallery = shots.train, shots.query, shots.gallery
    for kind in ("detected", "labeled"):
        names = [f"1_{pid:03d}_{min(cam, 2)}_{cam * 50 + shot:02d}.png" for pid, cam, shot in train + query + gallery]
        for name, shot in zip(names, train + query + gallery, strict=True):
            draw(base / f"images_{kind}" / name, shot.pid)
        ends = np.cumsum([len(train), len(query), len(gallery)])
        indices = np.split(np.arange(1, ends[-1] + 1), ends[:-1])
        labels = [shot.pid for shot in train + query + gallery]
        savemat(base / f"cuhk03_new_protocol_config_{kind}.mat", {
            "filelist": np.array(names, dtype=object)[:, None], "labels": np.array(labels)[:, None],
            **{f"{part}_idx": rows[:, None] for part, rows in zip(("train", "query", "gallery"), indices, strict=True)},
        })  # fmt: skip
        split = _classic_split(f"datasets/cuhk03/images_{kind}", names, labels, shots.ids)
        (base / f"splits_classic_{kind}.json").write_text(json.dumps([split, split]))


def _classic_split(folder: str, names: list[str], labels: list[int], ids: int) -> dict:
    rows = [
        (f"{folder}/{n}", (label - 1) % ids, int(n.split("_")[2]) - 1) for n, label in zip(names, labels, strict=True)
    ]
    train = [row for row, label in zip(rows, labels, strict=True) if label <= ids]
    test = [row for row, label in zip(rows, labels, strict=True) if label > ids]
    return {"train": train, "query": test, "gallery": test}


def write_cuhk03_release(root: Path, persons: int) -> dict[tuple[int, int], np.ndarray]:
    """Write ``cuhk-03.mat`` with one pair of cameras and one test person; return pixels by (person, number of image).

    Arrays of a MATLAB 7.3 file are transposed; each person lacks the tenth image.
    """
    import h5py

    path, drawn = root / "cuhk03/cuhk03_release/cuhk-03.mat", {}
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:

        def stored(name: str, value: np.ndarray):
            return file.create_dataset(name, data=value).ref

        def cells(name: str, references: list) -> None:
            file.create_dataset(name, data=np.array(references, dtype=h5py.ref_dtype))

        for kind in ("labeled", "detected"):
            rows = []
            for number in range(1, 11):
                rows.append([])
                for person in range(1, persons + 1):
                    pixels = np.random.default_rng([person, number]).integers(0, 256, (12, 5, 3), dtype=np.uint8)
                    drawn[person, number] = pixels
                    value = pixels.T if number < 10 else np.zeros(2, dtype=np.uint64)
                    rows[-1].append(stored(f"refs/{kind}_{person}_{number}", value))
            cells(f"refs/{kind}", rows)
            cells(kind, [[file[f"refs/{kind}"].ref]])
        cells("testsets", [[stored("refs/test", np.array([[1.0], [2.0]]))]])
    return drawn


def write_attributes(root: Path, shots: Shots, name: str) -> None:
    """Market1501Attr or DukeMTMCAttr: "hat" is yes for even identities; Market-1501 has the age 1, 2, 3, 1, ... too."""
    from scipy.io import savemat

    market = name == "Market1501Attr"
    write("Market1501" if market else "DukeMTMC", root, ids=shots.ids, cameras=shots.cameras, images=shots.images)
    table, folder = ("market", "Market-1501-v15.09.15") if market else ("duke", "DukeMTMC-reID")
    splits = {}
    for split, first in (("train", 1), ("test", shots.ids + 1)):
        pids = np.arange(first, first + shots.ids)
        splits[split] = {"image_index": np.array([f"{pid:04d}" for pid in pids], dtype=object), "hat": 2.0 - pids % 2}
        if market:
            splits[split]["age"] = 1.0 + (pids - 1) % 3
    savemat(root / folder / f"{table}_attribute.mat", {f"{table}_attribute": splits})


def write_pa100k(root: Path, shots: Shots) -> None:
    """Two attributes: the image's identity is even, and it is the second of its kind."""
    from scipy.io import savemat

    table, number = {"attributes": np.array([["Even"], ["Second"]], dtype=object)}, itertools.count(1)
    for split, part in (("train", shots.train), ("val", shots.query), ("test", shots.gallery)):
        names = [f"{next(number):06d}.jpg" for _ in part]
        for name, shot in zip(names, part, strict=True):
            draw(root / "PA-100K/data" / name, shot.pid)
        table[f"{split}_images_name"] = np.array(names, dtype=object)[:, None]
        table[f"{split}_label"] = np.array([[1 - shot.pid % 2, shot.shot == 1] for shot in part], dtype=np.uint8)
    savemat(root / "PA-100K/annotation.mat", table)


def write_classes(root: Path, shots: Shots, folder: str = "hymenoptera_data") -> None:
    """The same classes in ``train`` and ``val``."""
    for part, images in (("train", shots.train), ("val", shots.of(1, shots.ids, range(1)))):
        for pid, cam, shot in images:
            draw(root / folder / part / f"class{pid}" / f"{cam}_{shot}.jpg", pid)


def write_retrieval(root: Path, shots: Shots, folder: str) -> None:
    """Lists with lines ``path,class``."""
    train, query, gallery = shots.train, shots.query, shots.gallery
    parts = {"train": train, "test_query": query, "test_gallery": gallery}
    for name, part in parts.items() if folder == "InShop" else {"train": train, "test": query + gallery}.items():
        rows = [(f"images/{pid}_{cam}_{shot}.jpg", pid) for pid, cam, shot in part]
        for path, pid in rows:
            draw(root / folder / path, pid)
        lines(root / folder / f"{name}.txt", [f"{path},{pid}" for path, pid in rows])


def write_metadata(folder: Path, *lists: str) -> None:
    """Write ``metadata.jsonl`` beside lists with lines ``path identity``: patents that share classes and subclasses.

    In the order of their identities the first two have one subclass, the next two another one of the same class, and so
    on with four of each class; dates grow with the identity.
    """
    figures: dict[str, list[str]] = {}
    for name in lists:
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            path, identity = line.split()
            figures.setdefault(identity, []).append(path)
    lines(folder / "metadata.jsonl", (
        json.dumps({
            "patent_id": identity, "date": f"2018-01-{number + 1:02d}", "title": f"Chair {identity}",
            "locarno": f"{6 + number // 4:02d}{1 + number % 4 // 2:02d}",
            "figures": [{"file": path, "view": "front", "caption": "FIG. 1 is a front view;"} for path in paths],
        })
        for number, (identity, paths) in enumerate(sorted(figures.items()))
    ))  # fmt: skip


WRITERS = {
    "Market1501": write_market,
    "MSMT17": write_msmt17,
    **dict.fromkeys(("VehicleID", "SmallVehicleID", "MediumVehicleID", "LargeVehicleID"), write_vehicleid),
    **dict.fromkeys(("VeRiWild", "SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild"), write_veriwild),
    "AirportALERT": write_airport,
    "CUHK03": write_cuhk03,
    **{name: functools.partial(write_attributes, name=name) for name in ("Market1501Attr", "DukeMTMCAttr")},
    "PA100K": write_pa100k,
    "Hymenoptera": write_classes,
    "ImageFolder": functools.partial(write_classes, folder="images"),
    **{
        name: functools.partial(write_retrieval, folder=folder)
        for name, folder in (
            ("Cars196", "Cars_196"),
            ("CUB", "CUB_200_2011"),
            ("SOP", "Stanford_Online_Products"),
            ("InShop", "InShop"),
        )
    },
}
