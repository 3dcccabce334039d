"""Images in tar archives: the same as from files, whole or refused, from disks and servers."""

import functools
import http.server
import io
import itertools
import json
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data import build_reid_test_loader, build_reid_train_loader, read_image, tar_files
from fastreid.data.datasets.tar_shards import TarShards, expand_numbers, key_of
from fastreid.data.images import BadImage
from fastreid.data.sources import read_bytes, state_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_CACHE", str(tmp_path / "home"))
    tar_files._Archive.of.cache_clear()


def png(number):
    page = np.random.default_rng(number).integers(0, 256, (20 + number, 16), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    return file.getvalue()


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two archives of six images of four identities; what is known stands in JSON, or in .cls files."""
    for shard in range(2):
        files = {"README.txt": b"not an image"}
        for number in range(6 * shard, 6 * shard + 6):
            key = f"figures/d{number}"
            files[f"{key}.front.png"] = png(number)
            known = {"pid": number // 3, "date": 20180105 + number, "text": "A lamp", "view": "front"}
            if shard == 0:
                files[f"{key}.json"] = json.dumps(known).encode()
            else:
                files[f"{key}.cls"] = str(number // 3).encode()
        write_tar(tmp_path / f"part-{shard:03d}.tar", files)
    return tmp_path


def test_records_say_what_the_archives_know(shards):
    records = TarShards(shards, gallery=["part-{000..001}.tar"]).gallery
    assert [record.pid for record in records] == [number // 3 for number in range(12)]
    assert records[1].path == f"{shards}/part-000.tar!/figures/d1.front.png"
    assert (records[1].date, records[1].text, records[1].view, records[1].camid) == (20180106, "A lamp", "front", -1)
    assert (records[9].date, records[9].source) == (None, str(shards / "part-001.tar"))
    assert TarShards(shards, train="part-001.tar").train[0].pid == "tarshards_2"


def test_members_are_read_like_files(shards, tmp_path):
    path = f"{shards}/part-001.tar!/figures/d8.front.png"
    (tmp_path / "8.png").write_bytes(png(8))
    assert read_bytes(path) == png(8)
    assert read_image(path) == read_image(tmp_path / "8.png")
    state = state_of(path)
    assert (state.size, state.stamp) == (len(png(8)), (shards / "part-001.tar").stat().st_mtime_ns)
    assert state_of(f"{shards}/part-001.tar!/none.png") is None
    assert state_of(f"{shards}/none.tar!/none.png") is None
    with pytest.raises(BadImage, match=r"Cannot read image .*part-001.tar!/none.png: no such file"):
        read_image(f"{shards}/part-001.tar!/none.png")


def test_the_headers_of_an_archive_are_read_once(shards, monkeypatch):
    path = str(shards / "part-000.tar")
    whole = tar_files.members(path)
    with tarfile.open(path) as tar:
        assert whole == {each.name: (each.offset_data, each.size) for each in tar}
    tar_files._Archive.of.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(tar_files, "_scan", None)
        assert tar_files.members(path) == whole
    write_tar(shards / "part-000.tar", {"other.png": png(1)})
    tar_files._Archive.of.cache_clear()
    assert list(tar_files.members(path)) == ["other.png"]


def loaders(shards, cache):
    cfg = get_cfg()
    archives = "('part-{000..001}.tar',)"
    cfg.merge_from_list([
        "DATASETS.NAMES", "('TarShards',)", "DATASETS.TARSHARDS.ROOT", str(shards), "DATASETS.TARSHARDS.TRAIN",
        archives, "DATASETS.TARSHARDS.QUERY", archives, "DATASETS.TARSHARDS.GALLERY", archives,
        "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4, "INPUT.FLIP.ENABLED", True, "SEED", 1,
        "INPUT.SIZE_TRAIN", [24, 24], "INPUT.SIZE_TEST", [24, 24], "DATALOADER.CACHE.DIR", cache,
    ])  # fmt: skip
    train = list(itertools.islice(iter(build_reid_train_loader(cfg)), 5))
    return train + list(build_reid_test_loader(cfg, dataset_name="TarShards")[0])


def test_training_and_evaluation_read_archives_with_and_without_a_cache(shards, tmp_path):
    plain, cached = loaders(shards, ""), loaders(shards, str(tmp_path / "cache"))
    assert len(plain) > 5
    for a, b in zip(plain, cached, strict=True):
        assert torch.equal(a["images"], b["images"].float())
        assert a["img_paths"] == b["img_paths"]
        assert torch.equal(a["targets"], b["targets"])
    assert plain[0]["images"].std() > 10


def test_archives_of_a_server_are_fetched_once(shards):
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            """Keep the output of the tests clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=shards)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/part-{{000..001}}.tar"
        records = TarShards(gallery=[address]).gallery
        server.shutdown()
    assert asked == ["/part-000.tar", "/part-001.tar"]
    assert [read_bytes(record.path) for record in records] == [png(number) for number in range(12)]


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.png": b""}, r"a.png has no identity: a.json must have a 'pid'.*got None"),
        ({"a.png": b"", "a.json": b"{"}, r"a.tar!/a.json is no JSON"),
        ({"a.png": b"", "a.json": b"[1]"}, r"a.tar!/a.json must hold an object"),
        ({"a.png": b"", "a.json": b'{"pid": 1.5}'}, r"got 1.5"),
        ({"a.png": b"", "a.cls": b""}, r"got None"),
    ],
)
def test_an_image_without_identity_is_named(tmp_path, files, message):
    write_tar(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=message):
        assert TarShards(tmp_path, query=["a.tar"]).query


def test_missing_cut_and_compressed_archives_are_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="has no QUERY archive: name some in DATASETS.TARSHARDS.QUERY"):
        assert TarShards(shards).query
    with pytest.raises(FileNotFoundError, match=r"DATASETS.TARSHARDS.TRAIN: archive 'none.tar' not found"):
        assert TarShards(shards, train=["none.tar"]).train
    whole = (shards / "part-000.tar").read_bytes()
    place = tar_files.members(str(shards / "part-000.tar"))["figures/d5.front.png"]
    (tmp_path / "cut.tar").write_bytes(whole[: place[0] + 10])
    with pytest.raises(OSError, match=r"cut.tar"):
        assert TarShards(shards, train=["cut.tar"]).train
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(shards / "part-000.tar", "x")
    with pytest.raises(OSError, match=r"packed.tar is no tar archive without compression"):
        assert TarShards(shards, train=["packed.tar"]).train


def test_names_of_webdataset():
    assert list(expand_numbers("a{08..11}.tar")) == ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]
    assert list(expand_numbers("{0..1}/{2..3}")) == ["0/2", "0/3", "1/2", "1/3"]
    assert list(expand_numbers("a{b}.tar")) == ["a{b}.tar"]
    assert key_of("a.b/c.front.png") == "a.b/c"
    assert key_of("c.png") == "c"
