"""Extraction in parts gives one file, bit for bit: by one process or two, at once or after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.data.feature_file import FeatureFile
from fastreid.engine import launch
from tests.distributed import sharded

PARTS = -(-sharded.ROWS // sharded.SIZE)


def joined(folder: Path) -> bytes:
    assert not (folder / "features/drawings.shards").exists(), "the parts are left"
    return (folder / "features/drawings.npz").read_bytes()


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "features/drawings.shards").iterdir() if path.suffix == ".npz")


def read_rows(folder: Path) -> list[int]:
    return [int(row) for rank in (0, 1) for row in (folder / f"read by {rank}").read_text().split()]


@pytest.fixture(scope="module", autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> bytes:
    """The file that one process writes in one go, whose rows are those of the model, cut by hand."""
    folder = tmp_path_factory.mktemp("alone")
    assert sharded.extract(str(folder)) == list(range(sharded.ROWS))
    file = FeatureFile.load(folder / "features/drawings.npz")
    rows = sharded.Drawings()
    cut = [range(start, min(start + sharded.BATCH, part + sharded.SIZE, sharded.ROWS))
           for part in range(0, sharded.ROWS, sharded.SIZE)
           for start in range(part, min(part + sharded.SIZE, sharded.ROWS), sharded.BATCH)]  # fmt: skip
    batches = (sharded.loader_of(rows).collate_fn([rows[row] for row in batch]) for batch in cut)
    expected = np.concatenate([sharded.Model()(batch).detach().numpy() for batch in batches])
    assert np.array_equal(file.features, expected)
    assert file.paths == [record.path for record in rows.records]
    assert file.columns["taxonomy"].tolist() == [record.taxonomy for record in rows.records]
    assert file.num_query == 7
    return joined(folder)


def test_two_processes_write_the_file_of_one(quick_launch, tmp_path, alone):
    launch(sharded.extract_and_note, 2, args=(str(tmp_path),))
    assert joined(tmp_path) == alone
    assert sorted(read_rows(tmp_path)) == list(range(sharded.ROWS)), "each image once"
    assert all((tmp_path / f"read by {rank}").read_text() for rank in (0, 1)), "both worked"


def test_data_workers_do_not_matter(tmp_path, alone):
    sharded.extract(str(tmp_path), workers=2)
    assert joined(tmp_path) == alone


def test_a_killed_extraction_goes_on_with_the_missing_parts(quick_launch, tmp_path, alone):
    """Process 1 has parts 1 and 3 and is killed within the latter; then both together finish."""
    with pytest.raises(ChildProcessError, match="Process 1 of 2 was killed by SIGKILL"):
        launch(sharded.extract_and_note, 2, args=(str(tmp_path), 3 * sharded.SIZE + 2))
    kept = parts(tmp_path)
    assert "00000001.npz" in kept
    assert "00000003.npz" not in kept
    launch(sharded.extract_and_note, 2, args=(str(tmp_path),))
    missing = [number for number in range(PARTS) if f"{number:08d}.npz" not in kept]
    expected = [row for row in range(sharded.ROWS) if row // sharded.SIZE in missing]
    assert sorted(read_rows(tmp_path)) == expected
    assert joined(tmp_path) == alone


def killed(folder: Path) -> None:
    """Leave all parts but the last, as one process that was killed within it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded.os, "kill", lambda *_: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            sharded.extract(str(folder), fatal=sharded.ROWS - 1)
    assert len(parts(folder)) == PARTS - 1


def test_damaged_and_stale_parts_are_made_again(tmp_path, alone, caplog):
    killed(tmp_path)
    path = tmp_path / "features/drawings.shards/00000002.npz"
    bytes_ = bytearray(path.read_bytes())
    bytes_[200] ^= 1  # in the features
    path.write_bytes(bytes_)
    assert sharded.extract(str(tmp_path)) == [*range(10, 15), *range(20, 23)]
    assert "00000002.npz is made again" in caplog.text
    assert joined(tmp_path) == alone


@pytest.mark.parametrize("settings", [{"TEST.SHARD_SIZE": 6}, {"TEST.IMS_PER_BATCH": 3}, {"INPUT.SIZE_TEST": [9, 9]}])
def test_parts_of_other_settings_are_not_taken(tmp_path, settings):
    killed(tmp_path)
    assert sharded.extract(str(tmp_path), **settings) == list(range(sharded.ROWS))


def test_a_finished_file_is_not_made_again(tmp_path):
    sharded.extract(str(tmp_path))
    assert sharded.extract(str(tmp_path)) == []
