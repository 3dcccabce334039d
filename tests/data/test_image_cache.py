"""The image cache: the same batches as without it, and a store that survives kills, damage and full disks."""

import itertools
import multiprocessing
import os
import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data import build_reid_test_loader, build_reid_train_loader, image_cache
from fastreid.data.image_cache import Preparation, open_image_cache, parts_of
from fastreid.data.image_store import DamagedImage, ImageStore, Lookup, as_digests, digest
from fastreid.data.images import BadImage
from fastreid.data.sources import FileState
from fastreid.engine.cache_images import main
from fastreid.modeling.meta_arch.baseline import TrainableModel

COUNT = 24


@pytest.fixture
def folder(tmp_path):
    """24 images of 8 identities of several sizes, every fourth coloured, number 5 equal to number 2; as FileList."""
    rng, lines = np.random.default_rng(0), []
    (tmp_path / "data").mkdir()
    for number in range(COUNT):
        shape = (40 + number, 36, 3) if number % 4 == 3 else (40 + number, 36)
        page = np.where(rng.random(shape) < 0.1, rng.integers(0, 256, shape), 255).astype(np.uint8)
        page[:8], page[-6:] = 255, 255  # white border for the ink crop
        Image.fromarray(page).save(tmp_path / "data" / f"{number}.png")
        lines.append(f"{number}.png {number // 3}\n")
    shutil.copy(tmp_path / "data" / "2.png", tmp_path / "data" / "5.png")
    for name, part in (("train", lines), ("query", lines[::3]), ("gallery", [s for i, s in enumerate(lines) if i % 3])):
        (tmp_path / "data" / f"{name}.txt").write_text("".join(part))
    return tmp_path


@pytest.fixture
def cfg(folder):
    cfg = get_cfg()
    cfg.merge_from_list([
        "DATASETS.NAMES", "('FileList',)", "DATASETS.TESTS", "('FileList',)",
        "DATASETS.FILELIST.ROOT", str(folder / "data"), "DATASETS.FILELIST.TRAIN", "('train.txt',)",
        "DATASETS.FILELIST.QUERY", "('query.txt',)", "DATASETS.FILELIST.GALLERY", "('gallery.txt',)",
        "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 8, "TEST.IMS_PER_BATCH", 5, "INPUT.SIZE_TRAIN", [24, 20],
        "INPUT.SIZE_TEST", [24, 20], "SEED", 3,
    ])  # fmt: skip
    return cfg


def with_cache(cfg, folder, **settings):
    return changed(cfg, **{"DATALOADER.CACHE.DIR": str(folder / "cache"), **settings})


def changed(cfg, **settings):
    cfg = cfg.clone()
    cfg.merge_from_list(list(itertools.chain(*settings.items())))
    return cfg


def train_batches(cfg, count=6):
    return list(itertools.islice(iter(build_reid_train_loader(cfg)), count))


def channels(images, count):
    """What a model makes of a batch of bytes."""
    return images.float().expand(-1, count, -1, -1)


GRAY = {"INPUT.GRAYSCALE": True}
FLIP_CROP = {"INPUT.FLIP.ENABLED": True, "INPUT.PADDING.ENABLED": True, "INPUT.PADDING.VALUE": 200}
ERASING = {"INPUT.REA.ENABLED": True, "INPUT.REA.PROB": 0.7}
PIPELINES = {
    "plain": ({}, True),
    "gray, flip and crop": ({**GRAY, **FLIP_CROP}, True),
    "crop with reflection": ({**FLIP_CROP, "INPUT.PADDING.MODE": "reflect"}, True),
    "one channel, white erasing": ({"INPUT.CHANNELS": 1, **FLIP_CROP, **ERASING, "INPUT.REA.VALUE": [255] * 3}, True),
    "erasing with fractions": ({**GRAY, **ERASING}, False),
    "white grid": ({**GRAY, "INPUT.GRIDMASK.ENABLED": True, "INPUT.GRIDMASK.VALUE": [255]}, True),
    "through Pillow": ({**FLIP_CROP, "INPUT.ROTATION.ENABLED": True, "INPUT.AFFINE.ENABLED": True}, True),
    "ink crop, thicken": ({**GRAY, "INPUT.INK_CROP.ENABLED": True, "INPUT.THICKEN.ENABLED": True, **FLIP_CROP}, True),
    "letterbox": ({**GRAY, "INPUT.RESIZE.MODE": "letterbox", "INPUT.RESIZE.FILL": 9, **FLIP_CROP}, True),
    "covering, random crop": ({"INPUT.RESIZE.MODE": "crop", "INPUT.RANDOM_CROP.ENABLED": True, **FLIP_CROP}, True),
}


@pytest.mark.parametrize("settings, gives_bytes", PIPELINES.values(), ids=PIPELINES)
def test_training_batches_are_those_without_a_cache(cfg, folder, settings, gives_bytes):
    cfg = changed(cfg, **settings)
    plain, cached = train_batches(cfg), train_batches(with_cache(cfg, folder))
    for a, b in zip(plain, cached, strict=True):
        assert a["img_paths"] == b["img_paths"]
        assert b["images"].dtype == (torch.uint8 if gives_bytes else torch.float32)
        assert torch.equal(a["images"], channels(b["images"], cfg.INPUT.CHANNELS))
        assert torch.equal(a["targets"], b["targets"])
    gray = cfg.INPUT.GRAYSCALE or cfg.INPUT.CHANNELS == 1
    assert cached[0]["images"].shape[1] == (1 if gray and gives_bytes else cfg.INPUT.CHANNELS)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
def test_evaluation_batches_are_those_without_a_cache(cfg, folder, mode):
    cfg = changed(cfg, **{"INPUT.RESIZE.MODE": mode, "INPUT.RANDOM_CROP.ENABLED": mode == "crop"})
    plain, cached = (build_reid_test_loader(c, dataset_name="FileList") for c in (cfg, with_cache(cfg, folder)))
    assert plain[1] == cached[1]
    for a, b in zip(plain[0], cached[0], strict=True):
        assert b["images"].dtype == torch.uint8
        assert torch.equal(a["images"], b["images"].float())
        assert a["img_paths"] == b["img_paths"]


def test_a_model_expands_and_normalises_bytes_as_it_does_floats():
    model = TrainableModel((), torch.nn.Identity(), [120.0, 110.0, 100.0], [60.0, 50.0, 40.0])
    images = torch.randint(0, 256, (2, 1, 5, 4), dtype=torch.uint8)
    expected = model.preprocess_image({"images": images.float().repeat(1, 3, 1, 1)})
    assert torch.equal(model.preprocess_image({"images": images}), expected)
    assert expected.shape == (2, 3, 5, 4)


def test_workers_and_positions_do_not_matter(cfg, folder):
    cached = with_cache(cfg, folder, **FLIP_CROP)
    whole = train_batches(cached)
    loader = build_reid_train_loader(changed(cached, **{"DATALOADER.NUM_WORKERS": 2}))
    loader.skip(2)
    for a, b in zip(whole[2:], itertools.islice(iter(loader), 4), strict=True):
        assert torch.equal(a["images"], b["images"])


def test_a_larger_cache_is_resized_to_the_input(cfg, folder):
    batch = train_batches(with_cache(cfg, folder, **{"DATALOADER.CACHE.SCALE": 1.5}))[0]
    assert batch["images"].shape[2:] == (24, 20)
    assert stored(folder).read(0).shape[:2] == (36, 30)
    with pytest.raises(ValueError, match=r"DATALOADER.CACHE.SCALE must be at least 1.*0.5"):
        train_batches(with_cache(cfg, folder, **{"DATALOADER.CACHE.SCALE": 0.5}))


# ------------------------------------------------------------------------------------------------- the store
def paths_of(folder):
    return [str(folder / "data" / f"{number}.png") for number in range(COUNT)]


def stored(folder):
    """The only store below the folder."""
    (own,) = (folder / "cache").iterdir()
    return ImageStore(own)


class Counting:
    """A preparation that notes the files it decodes in a log, by one line written at once."""

    def __init__(self, cfg, log, kill_at=None):
        self.prepare, self.log, self.kill_at = Preparation.of(cfg), log, kill_at
        self.name, self.settings = self.prepare.name, self.prepare.settings

    def __call__(self, path, source=None, content=None):
        with open(self.log, "a") as file:
            file.write(f"{os.path.basename(path)}\n")
        if self.kill_at and len(self.decoded()) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.prepare(path, source, content)

    def decoded(self):
        return self.log.read_text().split() if self.log.exists() else []


def fill(folder, prepare, **options):
    return open_image_cache(folder / "cache", prepare, paths_of(folder), **options)


def test_each_content_is_decoded_and_stored_once(cfg, folder):
    prepare = Counting(cfg, folder / "log")
    cache = fill(folder, prepare)
    assert len(cache) == COUNT
    assert len(stored(folder)) == COUNT - 1
    assert len(prepare.decoded()) == COUNT - 1
    assert np.array_equal(cache(paths_of(folder)[2]), cache(paths_of(folder)[5]))
    assert len(fill(folder, prepare)) == COUNT
    shutil.copy(folder / "data" / "3.png", folder / "data" / "new.png")
    more = open_image_cache(folder / "cache", prepare, [*paths_of(folder), str(folder / "data" / "new.png")])
    assert len(more) == COUNT + 1
    assert len(prepare.decoded()) == COUNT - 1


def test_equal_files_meet_in_one_part_where_many_have_one_length(tmp_path):
    states = []
    for number in range(40):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number % 10]) * (5 if number < 30 else number))
        states.append(FileState(str(path), path.stat().st_size, 0))
    parts = list(parts_of(states, 4))
    assert sorted(state.path for part in parts for state in part) == sorted(state.path for state in states)
    assert len(parts) > 6
    homes = {}
    for number, part in enumerate(parts):
        for state in part:
            assert homes.setdefault((tmp_path / state.path).read_bytes(), number) == number


def test_a_killed_build_keeps_its_parts_and_goes_on(cfg, folder, monkeypatch):
    monkeypatch.setattr(image_cache, "PART_IMAGES", 5)
    child = multiprocessing.get_context("fork").Process(
        target=fill, args=(folder, Counting(cfg, folder / "log", kill_at=13))
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    kept = len(stored(folder))
    assert 9 <= kept < 13
    (own,) = (folder / "cache").iterdir()
    assert list(own.glob(".*.tmp"))
    prepare = Counting(cfg, folder / "log2")
    assert len(fill(folder, prepare)) == COUNT
    assert len(prepare.decoded()) == COUNT - 1 - kept
    assert not list(own.glob(".*.tmp"))


def test_several_processes_share_one_build(cfg, folder):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=fill, args=(folder, Counting(cfg, folder / "log"))) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(Counting(cfg, folder / "log").decoded()) == COUNT - 1
    assert len(stored(folder)) == COUNT - 1


def test_decoding_processes_give_the_same_store(cfg, folder):
    cache = fill(folder, Preparation.of(cfg), workers=2)
    plain = open_image_cache(folder / "other", Preparation.of(cfg), paths_of(folder))
    assert len(cache) == COUNT
    for path in paths_of(folder):
        assert np.array_equal(cache(path), plain(path))


def flip_byte(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_flipped_byte_is_found_and_the_image_decoded_again(cfg, folder, caplog):
    prepare = Counting(cfg, folder / "log")
    whole = fill(folder, prepare)
    right = {path: whole(path).copy() for path in paths_of(folder)}
    store = stored(folder)
    row = store.find_content(digest((folder / "data" / "7.png").read_bytes()))
    flip_byte(store.part_of(row).with_suffix(".pixels"), int(store.pixels["start"][row]) + 17)
    with pytest.raises(DamagedImage, match=rf"row {row}, is damaged"):
        stored(folder).read(row)
    assert [name for _, name in stored(folder).damaged()] == [paths_of(folder)[7]]
    cache = fill(folder, prepare)
    assert all(np.array_equal(cache(path), right[path]) for path in paths_of(folder))
    assert prepare.decoded()[COUNT - 1 :] == ["7.png"]
    assert "7.png is decoded again" in caplog.text


@pytest.mark.parametrize("suffix", [".pixels", ".npz"])
def test_a_cut_or_unreadable_part_counts_as_missing(cfg, folder, suffix, caplog, monkeypatch):
    monkeypatch.setattr(image_cache, "PART_IMAGES", 5)
    prepare = Counting(cfg, folder / "log")
    fill(folder, prepare)
    part = stored(folder).parts[1].with_suffix(suffix)
    part.write_bytes(part.read_bytes()[:-7])
    assert len(fill(folder, prepare)) == COUNT
    assert COUNT - 1 < len(prepare.decoded()) < 2 * COUNT - 12
    assert "is damaged and counts as missing" in caplog.text


def test_changed_files_are_decoded_again_and_touched_ones_are_not(cfg, folder):
    prepare = Counting(cfg, folder / "log")
    before = fill(folder, prepare)(paths_of(folder)[0]).copy()
    os.utime(folder / "data" / "1.png", ns=(1, 1))
    assert len(fill(folder, prepare)) == COUNT
    assert len(prepare.decoded()) == COUNT - 1
    Image.new("L", (50, 40), 0).save(folder / "data" / "0.png")
    after = fill(folder, prepare)(paths_of(folder)[0])
    assert prepare.decoded()[COUNT - 1 :] == ["0.png"]
    assert before.max() == 255
    assert after.max() == 0


@pytest.mark.parametrize(
    "key, value",
    [("INPUT.GRAYSCALE", True), ("INPUT.INK_CROP.ENABLED", True), ("INPUT.SIZE_TRAIN", [24, 24]),
     ("INPUT.RESIZE.MODE", "letterbox"), ("DATALOADER.CACHE.SCALE", 1.25), ("INPUT.THICKEN.ENABLED", True)],
)  # fmt: skip
def test_other_settings_are_another_store(cfg, key, value):
    assert Preparation.of(changed(cfg, **{key: value})).name != Preparation.of(cfg).name


def test_whole_images_for_a_random_crop_are_another_store(cfg):
    crop = changed(cfg, **{"INPUT.RESIZE.MODE": "crop"})
    assert Preparation.of(changed(crop, **{"INPUT.RANDOM_CROP.ENABLED": True})).name != Preparation.of(crop).name


def test_settings_of_augmentation_share_a_store(cfg):
    assert Preparation.of(changed(cfg, **FLIP_CROP, **ERASING)).name == Preparation.of(cfg, is_train=False).name


@pytest.mark.parametrize("size, limit", [([24, 20], 3000), ([2, 2], 1000)], ids=["pixels", "table"])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(cfg, folder, monkeypatch, size, limit):
    cfg = changed(cfg, **{"INPUT.SIZE_TRAIN": size})
    monkeypatch.setattr(image_cache, "PART_IMAGES", 5)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    prepare = Counting(cfg, folder / "log")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))  # bytes that a file may have
        with pytest.raises(OSError, match="The image cache cannot be written: File too large"):
            fill(folder, prepare)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (own,) = (folder / "cache").iterdir()
    left = {path.name for path in own.iterdir()} - {"lock", "settings.json"}
    assert left == {f"{part.name}{end}" for part in stored(folder).parts for end in (".npz", ".pixels")}
    assert len(fill(folder, prepare)) == COUNT


def test_bad_images_keep_their_policy(cfg, folder):
    (folder / "data" / "4.png").write_bytes(b"no image")
    (folder / "data" / "6.png").unlink()
    with pytest.raises(BadImage, match=r"Cannot read image .*4\.png"):
        train_batches(with_cache(cfg, folder))
    skipping = changed(cfg, **{"DATALOADER.ON_BAD_IMAGE": "skip"})
    plain, cached = build_reid_train_loader(skipping), build_reid_train_loader(with_cache(skipping, folder))
    for a, b in zip(itertools.islice(iter(plain), 6), itertools.islice(iter(cached), 6), strict=True):
        assert torch.equal(a["images"], b["images"].float())
    assert cached.bad_images == plain.bad_images
    assert any("6.png" in message and "listed in" in message for message in cached.bad_images)
    plain, cached = (
        build_reid_test_loader(c, dataset_name="FileList")[0] for c in (skipping, with_cache(skipping, folder))
    )
    for a, b in zip(plain, cached, strict=True):
        assert torch.equal(a["images"], b["images"].float())


def test_given_transforms_are_not_cached(cfg, folder, caplog):
    build_reid_train_loader(with_cache(cfg, folder), transforms=lambda image: torch.zeros(1, 2, 2))
    assert not (folder / "cache").exists()
    assert "DATALOADER.CACHE does nothing here" in caplog.text


def test_lookup_finds_the_first_row_of_a_digest():
    rng = np.random.default_rng(1)
    digests = rng.integers(0, 4, (60, 2), dtype=np.uint64)
    lookup, rows = Lookup(digests), [tuple(row) for row in digests.tolist()]
    every = list(itertools.product(range(5), range(5)))
    assert lookup.find_all(as_digests(every)).tolist() == [lookup.find(wanted) for wanted in every]
    assert Lookup(digests[:0]).find_all(as_digests(every)).tolist() == [-1] * len(every)
    for wanted in every:
        assert lookup.find(wanted) == (rows.index(wanted) if wanted in rows else -1)


def test_the_command_fills_checks_and_mends(cfg, folder, capsys):
    config = folder / "config.yml"
    config.write_text(with_cache(cfg, folder).dump())
    assert main(["--workers", "2", "--config-file", str(config)]) == 0
    assert capsys.readouterr().out.count(f": {COUNT} of {COUNT} images, 0.0 MiB of pixels") == 2
    store = stored(folder)
    flip_byte(store.part_of(3).with_suffix(".pixels"), int(store.pixels["start"][3]))
    assert main(["--workers", "1", "--check", "--config-file", str(config)]) == 0
    assert capsys.readouterr().out.count("Damaged in the cache: ") == 1
    assert not list(stored(folder).damaged())
    assert len(stored(folder)) == COUNT - 1
    assert main(["--config-file", str(config), "DATALOADER.CACHE.DIR", ""]) == 1
    assert "DATALOADER.CACHE.DIR is empty" in capsys.readouterr().err


def test_evaluation_does_not_depend_on_the_scale(cfg):
    scaled = changed(cfg, **{"DATALOADER.CACHE.SCALE": 2.0})
    assert Preparation.of(scaled, is_train=False).name == Preparation.of(cfg, is_train=False).name
