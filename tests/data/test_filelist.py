"""``FileList``: own images from list files."""

import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.datasets import build_dataset


@pytest.fixture
def lists(tmp_path):
    """Two folders, each with images and a list of paths relative to itself."""
    for place, names in (("a", "123"), ("b", "45")):
        (tmp_path / place).mkdir()
        rows = []
        for name in names:
            Image.new("L", (8, 8)).save(tmp_path / place / f"{name}.png")
            rows.append(f"{name}.png {int(name) // 2}\n")
        (tmp_path / place / "list.txt").write_text("".join(rows))
    return tmp_path


def build(*settings):
    cfg = get_cfg()
    cfg.merge_from_list([item for key, value in settings for item in (f"DATASETS.FILELIST.{key}", value)])
    return build_dataset(cfg, "FileList")


def test_paths_beside_their_lists_come_from_several_places(lists):
    both = tuple(str(lists / place / "list.txt") for place in "ab")
    data = build(("PATHS", "list"), ("QUERY", both[:1]), ("GALLERY", both))
    assert [record.path for record in data.gallery] == [
        str(lists / place) for place in ("a/1.png", "a/2.png", "a/3.png", "b/4.png", "b/5.png")
    ]
    with pytest.raises(ValueError, match="DATASETS.FILELIST.PATHS must be one of 'root', 'list'; got 'lists'"):
        build(("PATHS", "lists"), ("QUERY", both), ("GALLERY", both))


def test_equal_lists_leave_one_out(lists, caplog):
    names = (str(lists / "a" / "list.txt"),)
    data = build(("PATHS", "list"), ("QUERY", names), ("GALLERY", names), ("TRAIN", names))
    own = {(record.pid, record.camid, record.path) for record in data.query}
    assert own == {(record.pid, record.camid, record.path) for record in data.gallery}
    assert len({record.camid for record in data.query}) == 3  # the camera rule drops an image for itself alone
    assert {record.camid for record in data.train} == {1}
    with caplog.at_level("INFO", logger="fastreid"):
        data.show_test()
    assert "each image is compared with all others" in caplog.text
    caplog.clear()
    apart = build(("PATHS", "list"), ("QUERY", names), ("GALLERY", (*names, str(lists / "b" / "list.txt"))))
    assert len({record.camid for record in apart.query}) == 1
    with caplog.at_level("INFO", logger="fastreid"):
        apart.show_test()
    assert "subset" in caplog.text
    assert "all others" not in caplog.text
