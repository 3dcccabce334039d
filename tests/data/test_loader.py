"""Loaders: order, the stream as a function of seed and position, bad images."""

import itertools
import random

import numpy as np
import pytest
import torch
from PIL import Image

import fastreid.data.build as build_module
from fastreid.config import get_cfg
from fastreid.data import CommDataset, build_reid_test_loader, build_reid_train_loader
from fastreid.data.build import fast_batch_collator, trivial_batch_collator
from fastreid.data.common import StreamItem, seeded
from fastreid.data.datasets import FileList
from fastreid.data.images import BadImage
from fastreid.data.loader import StreamBatches
from fastreid.data.records import Record
from fastreid.data.samplers import TrainingSampler
from fastreid.utils import comm


@pytest.fixture
def cfg(tmp_path):
    """24 gray images of 8 identities as FileList, every augmentation without memory switched on."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(24):
        Image.fromarray(rng.integers(0, 256, (20, 16), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png {number // 3}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "query.txt").write_text("".join(lines[::3]))
    (tmp_path / "gallery.txt").write_text("".join(line for i, line in enumerate(lines) if i % 3))
    cfg = get_cfg()
    cfg.merge_from_list([
        "DATASETS.NAMES", "('FileList',)", "DATASETS.TESTS", "('FileList',)", "DATASETS.FILELIST.ROOT", str(tmp_path),
        "DATASETS.FILELIST.TRAIN", "('train.txt',)", "DATASETS.FILELIST.QUERY", "('query.txt',)",
        "DATASETS.FILELIST.GALLERY", "('gallery.txt',)", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 8,
        "TEST.IMS_PER_BATCH", 5, "INPUT.SIZE_TRAIN", [24, 20], "INPUT.SIZE_TEST", [24, 20],
        "DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler", "DATALOADER.NUM_INSTANCE", 2,
    ])  # fmt: skip
    for name in ("FLIP", "REA", "PADDING", "AUTOAUG", "ROTATION", "BLUR", "SCALE_CROP", "AUGMIX"):
        cfg.INPUT[name].ENABLED = True
        if "PROB" in cfg.INPUT[name]:
            cfg.INPUT[name].PROB = 0.5
    return cfg


def stream(cfg, count, skip=0, **overrides):
    cfg = cfg.clone()
    cfg.merge_from_list(list(itertools.chain(*overrides.items())))
    loader = build_reid_train_loader(cfg)
    loader.skip(skip)
    return list(itertools.islice(iter(loader), count))


def same(first, second):
    return all(
        a["img_paths"] == b["img_paths"] and all(torch.equal(a[key], b[key]) for key in ("images", "targets"))
        for a, b in zip(first, second, strict=True)
    )


def test_resumed_stream_equals_the_uninterrupted_one_for_any_number_of_workers(cfg):
    whole = stream(cfg, 9)
    assert same(stream(cfg, 5, skip=4), whole[4:])
    assert same(stream(cfg, 5, skip=4, **{"DATALOADER.NUM_WORKERS": 2}), whole[4:])
    assert same(stream(cfg, 9, **{"DATALOADER.NUM_WORKERS": 1}), whole)


def test_another_seed_is_another_stream_and_an_image_is_never_augmented_twice_alike(cfg):
    whole = stream(cfg, 9)
    assert not same(stream(cfg, 9, SEED=1), whole)
    path = whole[0]["img_paths"][0]
    versions = [batch["images"][row] for batch in whole for row, p in enumerate(batch["img_paths"]) if p == path]
    assert len(versions) > 1
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(versions, 2))


def test_global_generators_do_not_matter_and_are_not_moved(cfg):
    whole = stream(cfg, 2)
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert same(stream(cfg, 2), whole)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_every_iterator_of_a_loader_starts_at_the_same_place(cfg):
    loader = build_reid_train_loader(cfg)
    first = list(itertools.islice(iter(loader), 3))
    assert same(list(itertools.islice(iter(loader), 3)), first)


def test_ranks_have_their_own_augmentation(cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    streams = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        streams.append(stream(cfg, 3))
    assert all(batch["images"].shape[0] == 4 for part in streams for batch in part)
    for one, two in zip(*streams, strict=True):
        assert set(one["targets"].tolist()).isdisjoint(two["targets"].tolist())


def test_no_two_positions_or_ranks_share_a_key_and_skipping_keeps_them():
    batches = [list(StreamBatches(range(12), 4, seed=5, rank=rank)) for rank in (0, 1)]
    items = [item for part in batches for batch in part for item in batch]
    assert [item.index for item in items] == [*range(12), *range(12)]
    assert len({item.key for item in items}) == 24
    assert list(StreamBatches(range(12), 4, seed=5, start=1)) == batches[0][1:]


def test_seeded_depends_on_the_whole_key():
    draws = []
    for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]:
        with seeded(key):
            draws.append((float(torch.rand(())), float(np.random.rand()), random.random()))
    assert draws[0] == draws[4]
    assert len({d[0] for d in draws}) == len({d[1] for d in draws}) == len({d[2] for d in draws}) == 4


def test_train_batch(cfg):
    loader = build_reid_train_loader(cfg)
    batch = next(iter(loader))
    assert sorted(batch) == ["camids", "images", "img_paths", "targets"]
    assert batch["images"].shape == (8, 3, 24, 20)
    assert batch["images"].dtype == torch.float32
    assert batch["targets"].dtype == batch["camids"].dtype == torch.int64
    assert loader.dataset.num_classes == 8
    assert loader.epoch_length == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_test_loader_is_queries_then_gallery(cfg, tmp_path, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    loader, num_query = build_reid_test_loader(cfg, dataset_name="FileList")
    batches = list(loader)
    paths = [path for batch in batches for path in batch["img_paths"]]
    assert num_query == 8
    assert paths == [record.path for record in loader.dataset.records]
    assert paths[:num_query] == [str(tmp_path / f"{number}.png") for number in range(0, 24, 3)]
    assert len(batches) == len(loader) == 5
    assert torch.cat([batch["targets"] for batch in batches]).tolist()[:8] == list(range(8))
    assert torch.cat([batch["camids"] for batch in batches]).tolist() == [1] * 8 + [-1] * 16
    with pytest.raises(TypeError, match="can skip"):
        loader.skip(1)


def test_a_test_batch_is_divided_among_the_processes(cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    sizes = [len(batch["targets"]) for batch in build_reid_test_loader(cfg, dataset_name="FileList")[0]]
    assert sizes == [2] * 6  # TEST.IMS_PER_BATCH 5, half of 24 images


def test_old_call_styles(cfg):
    data = CommDataset(
        [("x", 0, 0)] * 6, transform=lambda image: torch.zeros(3, 2, 2), reader=lambda path, source: None
    )
    loader = build_reid_train_loader(data, sampler=TrainingSampler(6, seed=0), total_batch_size=4, num_workers=0)
    assert next(iter(loader))["images"].shape == (4, 3, 2, 2)
    finite = build_reid_train_loader(data, sampler=range(6), total_batch_size=4)
    assert len(list(finite)) == 1  # the incomplete batch is dropped
    loader, num_query = build_reid_test_loader(data, test_batch_size=4, num_query=2, num_workers=0)
    assert ([len(batch["targets"]) for batch in loader], num_query) == ([4, 2], 2)
    loader, num_query = build_reid_test_loader(cfg, test_set=data, num_query=3)
    assert (len(loader), num_query) == (2, 3)
    assert build_module._root
    loader, _ = build_reid_test_loader(data, test_batch_size=4, num_query=2)
    loader.collate_fn = tuple  # a collator from outside need not give a table
    assert [len(batch) for batch in loader] == [4, 2]


def test_a_test_loader_says_what_it_reads_and_whether_that_has_labels(cfg, monkeypatch):
    for known in (True, False):
        monkeypatch.setattr(FileList, "relevance_known", known)
        loader, _ = build_reid_test_loader(cfg, dataset_name="FileList")
        assert (loader.dataset.name, loader.dataset.relevance_known) == ("FileList", known)


def test_columns_of_records_are_columns_of_the_batch():
    records = [Record("a", "p", 0, date=20180102, taxonomy="0601", text="Chair", view="top"), Record("b", "q", 0)]
    data = CommDataset(records, transform=lambda image: torch.zeros(1), reader=lambda path, source: None)
    batch = fast_batch_collator([data[0], data[1]])
    assert batch["dates"].tolist() == [20180102, 0]
    assert (batch["taxonomy"], batch["text"]) == (["0601", ""], ["Chair", ""])
    assert batch["views"] == ["top", ""]


def test_string_labels_become_integers_in_training_and_test():
    records = [("a", "p10", "c2"), ("b", "p9", "c1"), ("c", "p10", "c1")]
    for relabel in (True, False):
        data = CommDataset(records, relabel=relabel, reader=lambda path, source: None)
        assert [(data[i]["targets"], data[i]["camids"]) for i in range(3)] == [(0, 1), (1, 0), (0, 0)]
        assert data.targets_of(data.records).tolist() == [0, 1, 0]
    data = CommDataset([("a", 7, -1)], relabel=False, reader=lambda path, source: None)
    assert (data[0]["targets"], data[0]["camids"]) == (7, -1)


def test_collators_take_every_kind_of_number():
    item = {"i": 1, "n": np.int64(2), "f": 0.5, "g": np.float32(0.5), "b": True, "s": "x", "d": {"t": torch.ones(2)}}
    batch = fast_batch_collator([item, item])
    assert {key: value.dtype for key, value in batch.items() if isinstance(value, torch.Tensor)} == {
        "i": torch.int64, "n": torch.int64, "f": torch.float64, "g": torch.float64, "b": torch.int64,
    }  # fmt: skip
    assert batch["s"] == ["x", "x"]
    assert batch["d"]["t"].shape == (2, 2)
    assert trivial_batch_collator([item]) == [item]


@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_images_of_several_sizes_are_named_with_what_helps(kind):
    items = [{"images": kind((1, 64, width))} for width in (96, 70, 80)]
    with pytest.raises(ValueError, match=r"here \(1, 64, 70\) and \(1, 64, 96\): let INPUT\.SIZE_TRAIN and SIZE_TEST"):
        fast_batch_collator(items)
    assert fast_batch_collator(items[:1])["images"].shape == (1, 1, 64, 96)


# ------------------------------------------------------------------------------------------------ bad images


def broken(cfg, *numbers):
    for number in numbers:
        (build_module.build_dataset(cfg, "FileList").folder / f"{number}.png").write_bytes(b"no image")
    return cfg


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_image_stops_at_once_and_is_named(cfg, workers):
    broken(cfg, *range(24)).DATALOADER.NUM_WORKERS = workers
    with pytest.raises(BadImage, match=r"Cannot read image .*\.png \(listed in .*train\.txt:\d+\)"):
        next(iter(build_reid_train_loader(cfg)))


def test_skip_takes_the_same_identity_counts_and_reports(cfg, caplog):
    broken(cfg, 0, 1, 3).DATALOADER.ON_BAD_IMAGE = "skip"
    loader = build_reid_train_loader(cfg)
    batches = list(itertools.islice(iter(loader), 7))
    for batch in batches:
        assert sorted(batch) == ["camids", "images", "img_paths", "targets"]
        for path, target in zip(batch["img_paths"], batch["targets"].tolist(), strict=True):
            number = int(path.rsplit("/", 1)[1].split(".")[0])
            assert number not in (0, 1, 3)
            assert loader.dataset.pid_dict[f"filelist_{number // 3}"] == target
    assert 1 <= len(loader.bad_images) <= 3
    assert "bad images were replaced" in caplog.text
    assert "train.txt:" in caplog.text


def test_skip_falls_back_to_another_identity_and_gives_up_at_the_end(cfg):
    broken(cfg, 0, 1, 2).DATALOADER.ON_BAD_IMAGE = "skip"
    data = build_reid_train_loader(cfg).dataset
    item = data[StreamItem(0, (0, 0, 0))]
    assert item["img_paths"] == data.records[3].path
    assert item["targets"] == data.pid_dict["filelist_1"]
    assert len(item["bad_images"]) == 3
    broken(cfg, *range(24))
    with pytest.raises(BadImage, match="None of the 24 images"):
        build_reid_train_loader(cfg).dataset[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_in_tests_keeps_the_row_as_a_white_page_and_reports_it(cfg, caplog, workers):
    broken(cfg, 3).DATALOADER.ON_BAD_IMAGE = "skip"
    cfg.DATALOADER.NUM_WORKERS = workers
    loader, _ = build_reid_test_loader(cfg, dataset_name="FileList")
    images = torch.cat([batch["images"] for batch in loader])
    assert images.shape[0] == 24
    assert [row for row in range(24) if images[row].min() == 255] == [1]
    assert loader.bad_images.total() == 1
    assert "query.txt:2" in caplog.text


# ---------------------------------------------------------------------------------------------------- messages


def test_messages(cfg, monkeypatch):
    cfg.DATALOADER.ON_BAD_IMAGE = "ignore"
    with pytest.raises(ValueError, match=r"DATALOADER\.ON_BAD_IMAGE must be one of 'error', 'skip'; got 'ignore'"):
        build_reid_train_loader(cfg)
    cfg.DATALOADER.ON_BAD_IMAGE = "error"
    with pytest.raises(ValueError, match="needs dataset_name or test_set"):
        build_reid_test_loader(cfg)
    loader = build_reid_train_loader(cfg)
    with pytest.raises(ValueError, match="must not be negative"):
        loader.skip(-1)
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    with pytest.raises(
        ValueError, match=r"SOLVER\.IMS_PER_BATCH must be a multiple of the number of processes; got 8 and 3"
    ):
        build_reid_train_loader(cfg)


def test_empty_part_is_named(cfg):
    with pytest.raises(ValueError, match="The training part of data set 'FileList' is empty"):
        (build_module.build_dataset(cfg, "FileList").folder / "train.txt").write_text("\n")
        build_reid_train_loader(cfg)
