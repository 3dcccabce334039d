"""Files of the embedded index: damage is refused by name, a failed write loses nothing, leftovers go."""

import json
import os
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest

from fastreid.index import (
    Filter,
    IndexCorrupt,
    create_index,
    open_index,
    store,
    store_files,
    store_manifest,
    store_snapshot,
)
from tests.index.naive import NaiveIndex, some_figures, some_vectors
from tests.index.test_store import assert_same

DIM = 6


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def made(tmp_path, rng):
    """A closed index of two segments and a list of removed rows, and its naive twin."""
    path, naive = tmp_path / "index", NaiveIndex(DIM)
    with create_index(str(path), dim=DIM, config="MODEL: {}\n") as index:
        for part in range(2):
            names = [f"f{part}-{i}" for i in range(20)]
            figures, vectors = some_figures(rng, names), some_vectors(rng, 20, DIM)
            index.add(figures, vectors)
            naive.add(figures, vectors)
        index.delete(["f0-3", "f1-7"])
        naive.delete(["f0-3", "f1-7"])
    return path, naive


def files_of(path):
    return sorted(file for file in path.iterdir() if file.name != store.LOCK)


def test_a_flipped_bit_anywhere_is_refused_by_the_name_of_its_file(made, rng):
    path, _ = made
    assert len(files_of(path)) == 6
    for file in files_of(path):
        whole = file.read_bytes()
        for place in [0, len(whole) - 1, *rng.integers(len(whole), size=60).tolist()]:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            if (
                file.name == "manifest.json"
                and whole[place : place + 1].isspace()
                and damaged[place : place + 1].isspace()
            ):
                continue  # one kind of space for another says the same
            with pytest.raises(IndexCorrupt, match=file.name.replace(".", r"\.")):
                open_index(str(path))
        file.write_bytes(whole)
    open_index(str(path)).verify()


def test_a_cut_or_missing_file_is_refused(made):
    path, _ = made
    for file in files_of(path):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(IndexCorrupt, match="damaged"):
            open_index(str(path))
        file.unlink()
        kind = FileNotFoundError if file.name == "manifest.json" else IndexCorrupt
        with pytest.raises(kind, match="is missing"):
            open_index(str(path))
        file.write_bytes(whole)


def test_two_files_that_changed_places_are_refused(made):
    path, _ = made
    first, second = (file for file in files_of(path) if file.name.endswith(".vectors.npy"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(IndexCorrupt, match="its checksum is wrong. Restore it from a copy, or build the index again"):
        open_index(str(path))


def test_damage_after_the_opening_is_found_by_verify(made):
    path, _ = made
    index = open_index(str(path))
    index.verify()
    file = next(file for file in files_of(path) if file.name.endswith(".columns.npz"))
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(IndexCorrupt, match="its checksum is wrong"):
        index.verify()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "backend": "store"}', "not json"])
def test_another_manifest_is_refused(made, text):
    path, _ = made
    (path / "manifest.json").write_text(text)
    with pytest.raises(IndexCorrupt, match=r"manifest\.json is damaged"):
        open_index(str(path))


def test_a_newer_format_says_so(made):
    path, _ = made
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(IndexCorrupt, match="has format 2, this version reads 1: use the version of fastreid"):
        open_index(str(path))


def test_a_folder_without_an_index(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"No index at .* tools/build_index.py makes one"):
            open_index(str(path), write=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "where, failing",
    [(store, "write_vectors"), (store, "write_columns"), (store, "write_file"), (store_manifest, "atomic_write")],
)
def test_a_write_that_fails_leaves_the_last_version_and_nothing_else(made, rng, monkeypatch, where, failing):
    path, naive = made
    index = open_index(str(path), write=True)
    before = files_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(where, failing, lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            index.update(some_figures(rng, ["f0-1", "new"]), np.ones((2, DIM)))
    assert files_of(path) == before
    for one in (index, open_index(str(path))):
        assert_same(one, naive, rng)
    figures, vectors = some_figures(rng, ["f0-1", "new"]), some_vectors(rng, 2, DIM)
    assert index.update(figures, vectors) == 5
    naive.add(figures, vectors, replace=True)
    for one in (index, open_index(str(path))):
        assert_same(one, naive, rng)


def test_a_commit_that_fails_when_its_manifest_is_in_place_is_one(made, rng, monkeypatch):
    """The disk fails as the folder is flushed: whoever looks sees the new version, so the writer must too."""
    path, naive = made
    index, real, calls = open_index(str(path), write=True), store_manifest.sync_folder, []

    def flush(folder):
        calls.append(folder)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(folder)

    monkeypatch.setattr(store_manifest, "sync_folder", flush)
    for name in "ab":
        figures, vectors = some_figures(rng, [name]), some_vectors(rng, 1, DIM)
        naive.add(figures, vectors)
        if name == "a":
            with pytest.raises(OSError, match="Input/output error"):
                index.add(figures, vectors)
        else:
            index.add(figures, vectors)
        for one in (index, open_index(str(path))):
            assert one.info.version == naive.version
            assert_same(one, naive, rng)


def test_a_full_disk_loses_nothing(made, rng, repo):
    """A real one: the process may write no file beyond 20 kB."""
    path, naive = made
    code = """if True:
        import resource, signal, sys
        import numpy as np
        from fastreid.index import open_index
        from tests.index.naive import some_figures, some_vectors
        index, rng = open_index(sys.argv[1], write=True), np.random.default_rng(0)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            index.add(some_figures(rng, [f"big{i}" for i in range(2000)]), some_vectors(rng, 2000, 6))
        except OSError as error:
            print(error.filename)
        index.add(some_figures(np.random.default_rng(1), ["small"]), np.ones((1, 6)))
    """
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".vectors.npy" in done.stdout
    naive.add(some_figures(np.random.default_rng(1), ["small"]), np.ones((1, DIM)))
    assert_same(open_index(str(path)), naive, rng)


def test_leftovers_of_a_killed_writer_go_with_the_next_one(made):
    path, _ = made
    before = files_of(path)
    for name in ("segment-00000009-0a.vectors.npy", "removed-00000009-0b.npy", ".manifest.json.x1.tmp", "extra-9"):
        (path / name).write_bytes(b"half")
    (path / "notes.txt").write_text("not ours")
    open_index(str(path)).close()
    assert len(files_of(path)) == len(before) + 5
    open_index(str(path), write=True).close()
    assert set(files_of(path)) - set(before) == {path / "notes.txt"}


def test_a_reader_keeps_its_version_through_a_compaction(made, rng):
    path, naive = made
    reader = open_index(str(path))
    with open_index(str(path), write=True) as index:
        index.compact()
    assert_same(reader, naive, rng)
    assert_same(reader, naive, rng, 2)
    assert reader.refresh()
    naive.compact()
    assert_same(reader, naive, rng)


def test_a_reader_that_opens_while_a_compaction_deletes_takes_the_new_version(made, rng, monkeypatch):
    path, naive = made
    real, late = store_snapshot.check_files, []

    def check(*args):
        if not late:  # the manifest has been read, and now its files go
            late.append(True)
            with open_index(str(path), write=True) as index:
                index.compact()
        return real(*args)

    monkeypatch.setattr(store_snapshot, "check_files", check)
    reader = open_index(str(path))
    naive.compact()
    assert reader.info.version == naive.version
    assert_same(reader, naive, rng)


def test_an_index_that_was_made_anew_under_the_same_name_is_taken_over(made, rng, tmp_path):
    path, old = made
    reader = open_index(str(path))
    assert_same(reader, old, rng)
    wanted = reader.count(), reader.facets()
    shutil.rmtree(path)
    naive = NaiveIndex(DIM)
    with create_index(str(path), dim=DIM) as index:
        for name in "abc":
            figures, vectors = some_figures(rng, [name]), some_vectors(rng, 1, DIM)
            index.add(figures, vectors)
            naive.add(figures, vectors)
    assert reader.info.version == naive.version
    assert (reader.count(), reader.facets()) == wanted
    assert reader.refresh()
    assert (reader.count(), reader.facets()) == (naive.count(), naive.facets(Filter()))
    assert_same(reader, naive, rng)


def test_many_small_commits_become_few_blocks_with_the_same_rows(tmp_path, rng, monkeypatch):
    """Vectors of small segments are joined in memory as they come, and in one go when an index is opened."""
    monkeypatch.setattr(store_snapshot, "SMALL_BYTES", 4 * DIM * 10)
    naive = NaiveIndex(DIM)
    with create_index(str(tmp_path / "index"), dim=DIM) as index:
        for number, count in enumerate([3, 3, 3, 3, 12, 1, 1, 9, 9, 30, 2]):
            figures = some_figures(rng, [f"s{number}-{i}" for i in range(count)])
            vectors = some_vectors(rng, count, DIM)
            index.add(figures, vectors)
            naive.add(figures, vectors)
        index.delete(["s0-0", "s9-4"])
        naive.delete(["s0-0", "s9-4"])
        for one in (index, open_index(str(tmp_path / "index"))):
            assert [len(part) for part in one.snapshot.vectors] == [9, 3, 12, 2, 9, 9, 30, 2]
            assert_same(one, naive, rng)
            assert_same(one, naive, rng, 7)
            rows = np.array([row.number for row in naive.alive()])[::-1]
            np.testing.assert_array_equal(one.vectors(rows), [row.vector for row in naive.alive()[::-1]])


@pytest.mark.parametrize("size", [0, 1, 50, 100, 101, 437])
def test_checksums_are_those_of_zlib(tmp_path, monkeypatch, size):
    monkeypatch.setattr(store_files, "CHECK_BYTES", 30)
    monkeypatch.setattr(store_files, "PART_BYTES", 50)
    contents = [os.urandom(size), os.urandom(77), b""]
    paths = [tmp_path / name for name in "xyz"]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert store_files.checksums(paths) == [zlib.crc32(content) for content in contents]
    assert store_files.checksum(paths[0]) == zlib.crc32(contents[0])
