import numpy as np
import pytest

from fastreid.data.npz_stream import map_array, write_npz

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
OTHERS = {"labels": np.arange(5), "name_of_another_length": np.zeros((2, 2), np.uint8)}


@pytest.mark.parametrize("cuts", [[], [3], [0, 3, 7]])
def test_blocks_give_the_file_of_numpy(tmp_path, cuts):
    np.savez(tmp_path / "a.npz", rows=ROWS, **OTHERS)
    write_npz(tmp_path / "b.npz", "rows", ROWS.shape, np.split(ROWS, cuts), lambda: OTHERS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("blocks", [[ROWS[:6]], [ROWS, ROWS[:1]], [ROWS[:, :2]]])
def test_wrong_blocks_leave_no_file(tmp_path, blocks):
    with pytest.raises(ValueError, match="'rows' must have"):
        write_npz(tmp_path / "b.npz", "rows", ROWS.shape, blocks, dict)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["rows", *OTHERS, "none"])
def test_mapped_arrays_are_those_of_the_file(tmp_path, name):
    arrays = {"rows": ROWS, **OTHERS, "none": np.zeros((0, 4))}
    np.savez(tmp_path / "a.npz", **arrays)
    mapped = map_array(tmp_path / "a.npz", name)
    assert np.array_equal(mapped, arrays[name])
    assert mapped.dtype == arrays[name].dtype
    assert name == "none" or isinstance(mapped, np.memmap)


def test_what_cannot_be_mapped_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", rows=ROWS)
    with pytest.raises(ValueError, match="compressed"):
        map_array(tmp_path / "a.npz", "rows")
    np.savez(tmp_path / "b.npz", rows=np.asfortranarray(ROWS))
    with pytest.raises(ValueError, match="row order"):
        map_array(tmp_path / "b.npz", "rows")
    with pytest.raises(KeyError, match="other"):
        map_array(tmp_path / "b.npz", "other")
