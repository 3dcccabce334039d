"""Columns of training batches: head or tail of the subclasses, and the vector of one text of each image."""

import itertools
import json
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data import CommDataset, build_reid_test_loader, build_reid_train_loader
from fastreid.data.common import StreamItem
from fastreid.data.images import BadImage
from fastreid.data.records import Record
from fastreid.data.text_bank import TextBank
from fastreid.data.training_columns import frequency_of
from fastreid.utils import comm

WIDTH = 6
CODES = ["0601", "06-01", "LOC (13) Cl. 6-1", "14-04", "1404", "0799", "0902", "3001", None, "", "D6/334", "0600"]


def record(number, code=None, folder="train"):
    return Record(f"/data/{folder}/{number}.png", number, 1, taxonomy=code)


def read_white(path, source=None):
    return Image.new("L", (4, 4), 255)


def bank_of(folder, images, texts=3):
    """Text t of image i has the vector that points to axis t, and a little to the others by i."""
    table = {f"train/{i}.png": [f"{i} {t}" for t in range(texts)] for i in images}
    vectors = [np.eye(WIDTH)[t] + 0.01 * i for i in images for t in range(texts)]
    return TextBank.write(folder, table, np.array(vectors), dtype="float32")


def test_head_and_tail_against_a_count():
    # two of the five subclasses, 40 %, are the head: 06-01 three times, 14-04 twice
    frequency = frequency_of([record(i, code) for i, code in enumerate(CODES)])
    assert frequency.dtype == np.int64
    assert frequency.tolist() == [1, 1, 1, 1, 1, 0, 0, 0, -1, -1, -1, -1]
    assert frequency_of([]).shape == (0,)


def test_only_training_items_with_taxonomy_have_a_frequency():
    records = [record(i, code) for i, code in enumerate(CODES)]
    items = [CommDataset(records, reader=read_white)[i] for i in range(len(records))]
    assert [int(item["frequency"]) for item in items] == frequency_of(records).tolist()
    assert "frequency" not in CommDataset(records, relabel=False, reader=read_white)[0]
    assert "frequency" not in CommDataset([record(0)], reader=read_white)[0]


def test_a_text_of_the_image_is_drawn_evenly_and_by_the_key(tmp_path):
    dataset = CommDataset(
        [record(i) for i in range(4)], reader=read_white, text_bank=bank_of(tmp_path, [3, 2, 1, 0]))  # fmt: skip
    drawn = {}
    for key in range(600):
        item = dataset[StreamItem(2, (0, 0, key))]
        vector = item["text_features"]
        assert (vector.dtype, vector.shape) == (torch.float32, (WIDTH,))
        drawn[key] = int(vector.argmax())
        assert torch.allclose(vector[-1] / vector.max(), torch.tensor(0.02 / 1.02))  # a text of image 2, no other's
        for _ in range(2):
            assert torch.equal(dataset[StreamItem(2, (0, 0, key))]["text_features"], vector)
    counts = Counter(drawn.values())
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 150
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[StreamItem(1, (7,))]["text_features"], dataset[StreamItem(1, (7,))]["text_features"])


def test_a_replaced_image_comes_with_its_own_text_and_frequency(tmp_path):
    def reader(path, source=None):
        if path.endswith("/0.png"):
            raise BadImage(f"bad {path}")
        return read_white(path)

    records = [Record("/data/train/0.png", 5, 1, taxonomy="0601"), Record("/data/train/3.png", 5, 1, taxonomy=None)]
    dataset = CommDataset(
        records, reader=reader, on_bad_image="skip", text_bank=bank_of(tmp_path, [0, 3], texts=1))  # fmt: skip
    item = dataset[StreamItem(0, (0,))]
    assert item["img_paths"] == "/data/train/3.png"
    assert int(item["frequency"]) == -1
    assert float(item["text_features"][-1]) > 0


def test_images_without_a_text_are_counted_and_named(tmp_path):
    bank = bank_of(tmp_path, [0, 1])
    with pytest.raises(ValueError) as caught:
        CommDataset([record(i) for i in range(6)], reader=read_white, text_bank=bank)
    message = str(caught.value)
    assert message.startswith("DATASETS.TEXT_BANK: 4 of 6 training images have no text in ")
    named = "/data/train/2.png, /data/train/3.png, /data/train/4.png"
    assert message.endswith(f", such as {named}. The bank has 2 files, such as train/0.png")
    empty = TextBank.write(tmp_path / "empty", {}, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="1 of 1 training images .* 0 files, such as none"):
        CommDataset([record(0)], reader=read_white, text_bank=empty)


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """12 images of 6 patents in two subclasses, with a text bank that an environment variable leads to."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.setenv("BANKS", "banks")
    images = tmp_path / "train"
    images.mkdir()
    for i in range(12):
        Image.new("L", (8, 8), 20 * i).save(images / f"{i}.png")
    lines = "".join(f"train/{i}.png {i // 2}\n" for i in range(12))
    for part in ("train", "query", "gallery"):
        (tmp_path / f"{part}.txt").write_text(lines)
    with open(tmp_path / "m.jsonl", "w") as file:
        for i in range(12):
            file.write(json.dumps({"locarno": "0601" if i < 8 else "1404", "figures": [{"file": f"{i}.png"}]}) + "\n")
    bank_of(tmp_path / "banks/of all", range(12))
    cfg = get_cfg()
    cfg.merge_from_list([
        "DATASETS.NAMES", "('FileList',)", "DATASETS.TESTS", "('FileList',)", "DATASETS.FILELIST.TRAIN",
        "('train.txt',)", "DATASETS.FILELIST.QUERY", "('query.txt',)", "DATASETS.FILELIST.GALLERY", "('gallery.txt',)",
        "DATASETS.FILELIST.METADATA", "('m.jsonl',)", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4,
        "INPUT.SIZE_TRAIN", [8, 8], "INPUT.SIZE_TEST", [8, 8], "DATASETS.TEXT_BANK", "${BANKS}/of all",
    ])  # fmt: skip
    return cfg


def batches(cfg, count=5, **overrides):
    cfg = cfg.clone()
    cfg.merge_from_list(list(itertools.chain(*overrides.items())))
    return list(itertools.islice(iter(build_reid_train_loader(cfg)), count))


def test_batches_do_not_depend_on_workers_and_processes(cfg, monkeypatch):
    whole = batches(cfg)
    for batch in whole:
        assert (batch["text_features"].dtype, batch["text_features"].shape) == (torch.float32, (4, WIDTH))
        numbers = [int(path.rpartition("/")[2][:-4]) for path in batch["img_paths"]]
        assert batch["frequency"].dtype == torch.int64
        assert batch["frequency"].tolist() == [int(number < 8) for number in numbers]
    for other in (batches(cfg, **{"DATALOADER.NUM_WORKERS": 2}), joined(cfg, monkeypatch)):
        for first, second in zip(whole, other, strict=True):
            assert first["img_paths"] == second["img_paths"]
            for name in ("text_features", "frequency", "images"):
                assert torch.equal(first[name], second[name])
    assert not all(
        torch.equal(a["text_features"], b["text_features"]) for a, b in zip(whole, batches(cfg, SEED=1), strict=True)
    )


def joined(cfg, monkeypatch):
    """The batches of two processes, in the order of one."""
    shares = []
    for rank in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(comm, "get_world_size", lambda: 2)
            patch.setattr(comm, "get_rank", lambda rank=rank: rank)
            shares.append(batches(cfg))
    order = [0, 2, 1, 3]
    return [
        {
            name: [(a[name] + b[name])[i] for i in order]
            if name == "img_paths"
            else torch.cat([a[name], b[name]])[order]
            for name in ("img_paths", "text_features", "frequency", "images")
        }
        for a, b in zip(*shares, strict=True)
    ]


def test_only_training_opens_the_bank(cfg):
    cfg.merge_from_list(["DATASETS.TEXT_BANK", "none"])
    loader, _ = build_reid_test_loader(cfg, dataset_name="FileList")
    assert not {"text_features", "frequency"} & set(next(iter(loader)))
    with pytest.raises(FileNotFoundError, match=r"DATASETS.TEXT_BANK: No text bank in '.*/none'"):
        build_reid_train_loader(cfg)
    cfg.merge_from_list(["DATASETS.TEXT_BANK", "${NO_SUCH}/x"])
    with pytest.raises(ValueError, match=r"DATASETS.TEXT_BANK: The path .* is not set: NO_SUCH"):
        build_reid_train_loader(cfg)
