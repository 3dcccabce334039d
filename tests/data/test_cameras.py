"""Numbers of cameras: those of training and of test sets agree wherever a model learns something about cameras."""

import pytest

from fastreid.config import get_cfg
from fastreid.data import CommDataset, build_reid_test_loader, build_reid_train_loader
from fastreid.data.build import build_file_loader
from fastreid.data.cameras import in_natural_order
from tests.data import miniatures


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Side information about 12 cameras, for data sets below ``tmp_path``."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32, 16]
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 2
    cfg.MODEL.BACKBONE.NUM_CAMERAS = 12
    return cfg


def numbers(dataset) -> dict[str, int]:
    """Camera number of each image."""
    return {item["img_paths"]: item["camids"] for item in map(dataset.__getitem__, range(len(dataset)))}


def test_cameras_count_by_their_numbers_and_identities_by_their_letters():
    names = ["c_10", "c_9", 30, "c_1", "c_01", "b", 4, "c_9"]
    assert in_natural_order(names) == [4, 30, "b", "c_01", "c_1", "c_9", "c_10"]
    dataset = CommDataset([("a.png", f"p_{number}", f"m_{number}") for number in (10, 2, 1)])
    assert dataset.cam_dict == {"m_1": 0, "m_2": 1, "m_10": 2}
    assert dataset.pid_dict == {"p_1": 0, "p_10": 1, "p_2": 2}, "the order of the classes in checkpoints"


def test_training_and_test_of_one_data_set_number_its_cameras_alike(cfg, tmp_path):
    miniatures.write("MSMT17", tmp_path, cameras=11, ids=2, images=1)
    cfg.DATASETS.NAMES = ("MSMT17",)
    test, _ = build_reid_test_loader(cfg, dataset_name="MSMT17")
    for dataset in (build_reid_train_loader(cfg).dataset, test.dataset):
        given = numbers(dataset)
        assert set(given.values()) == set(range(11))
        assert all(int(path.split("_")[-4]) - 1 == number for path, number in given.items())


def test_cameras_of_joined_sets_have_the_numbers_of_training(cfg, tmp_path):
    for name in ("Market1501", "VeRiWild", "DukeMTMC"):
        miniatures.write(name, tmp_path, ids=2)
    cfg.DATASETS.NAMES = ("VeRiWild", "Market1501")
    train = build_reid_train_loader(cfg).dataset
    assert train.cams == ["market1501_0", "market1501_1", "veriwild_101", "veriwild_102"]
    for name, expected in (("Market1501", {0, 1}), ("VeRiWild", {2, 3})):
        test, _ = build_reid_test_loader(cfg, dataset_name=name)
        assert set(numbers(test.dataset).values()) == expected
    with pytest.raises(ValueError, match="Camera 0 of the test set DukeMTMC is none of the 4 cameras of training"):
        build_reid_test_loader(cfg, dataset_name="DukeMTMC")
    cfg.MODEL.BACKBONE.NUM_CAMERAS = 0  # no model knows cameras: theirs stay as they are, also without training data
    cfg.DATASETS.NAMES = ("MSMT17",)
    test, _ = build_reid_test_loader(cfg, dataset_name="VeRiWild")
    assert set(numbers(test.dataset).values()) == {101, 102}


def test_integers_of_a_data_set_of_ones_own(cfg, tmp_path):
    for part in ("train", "test"):
        rows = [(f"{part}{camera}.png", camera) for camera in (7, 20)]
        for name, _ in rows:
            miniatures.draw(tmp_path / name, 1)
        miniatures.lines(tmp_path / f"{part}.txt", [f"{name} 1 {camera}" for name, camera in rows])
    cfg.DATASETS.NAMES = ("FileList",)
    lists = {"TRAIN": ["train.txt"], "QUERY": ["test.txt"], "GALLERY": ["test.txt"], "CAMERAS": True}
    for key, value in lists.items():
        cfg.DATASETS.FILELIST[key] = value
    test, _ = build_reid_test_loader(cfg, dataset_name="FileList")
    assert numbers(test.dataset) == {str(tmp_path / "test7.png"): 0, str(tmp_path / "test20.png"): 1}


def test_fewer_embeddings_than_cameras_and_files_without_camera(cfg, tmp_path, caplog):
    miniatures.write("Market1501", tmp_path, cameras=3)
    cfg.DATASETS.NAMES, cfg.MODEL.BACKBONE.NUM_CAMERAS = ("Market1501",), 2
    with pytest.raises(ValueError, match="NUM_CAMERAS is 2, but the training set has 3 cameras, from 'market1501_0'"):
        build_reid_train_loader(cfg)
    miniatures.draw(tmp_path / "a.png", 1)
    build_file_loader(cfg, [tmp_path / "a.png"])
    assert "the cameras of these files are unknown; each counts as camera 0" in caplog.text
