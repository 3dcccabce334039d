"""Features of folders, patterns and lists, through ``tools/demo.py``'s own function."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.engine import DefaultPredictor
from fastreid.engine.feature_demo import _predicted, image_paths, main, save_per_image

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", "8", "MODEL.BACKBONE.FEAT_DIM", "64",
    "INPUT.SIZE_TEST", "[32,32]", "DATALOADER.NUM_WORKERS", "0", "TEST.IMS_PER_BATCH", "2",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three images in two folders, a text file and a broken image."""
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "sub/c.JPG"):
        path = tmp_path / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "figures/notes.txt").write_text("no image")
    (tmp_path / "figures/broken.png").write_bytes(b"half")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def weights(folder):
    from fastreid.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_list(SMALL)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "weights.pth")
    cfg.MODEL.WEIGHTS = "weights.pth"
    return cfg


def test_inputs_are_files_folders_and_patterns(folder):
    inside = ["figures/a.png", "figures/b.png", "figures/broken.png", "figures/sub/c.JPG"]
    assert image_paths(["figures"]) == inside
    assert image_paths(["figures/*.png"]) == inside[:3]
    assert image_paths(["figures/**/*.JPG", "figures/a.png", "figures"]) == [inside[3], *inside[:3]]
    with pytest.raises(FileNotFoundError, match=r"No image at 'figure' \(--input\)\. Did you mean 'figures'"):
        image_paths(["figure"])
    with pytest.raises(FileNotFoundError, match=r"figures/\*\.bmp"):
        image_paths(["figures/*.bmp"])
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"No image at 'empty' \(--input\): no file below that folder ends in"):
        image_paths(["empty"])


def test_a_folder_gives_one_feature_file_and_broken_images_are_counted(folder, weights, capsys):
    status = main(["--input", "figures", "--output", "out", "--opts", *SMALL, "MODEL.WEIGHTS", "weights.pth"])
    shown = capsys.readouterr().out
    assert status == 0
    assert "1 of 4 images cannot be read and have no feature" in shown
    assert "figures/broken.png" in shown
    file = FeatureFile.load("out/features.npz")
    assert file.paths == ["figures/a.png", "figures/b.png", "figures/sub/c.JPG"]
    assert not file.relevance_known
    assert set(file.fingerprint) >= {"weights", "settings", "images"}
    expected = DefaultPredictor(weights).from_files(file.paths)
    np.testing.assert_allclose(file.features, expected, atol=1e-5)
    assert np.load("out/features.npz")["features"].shape == (3, 64)  # without fastreid
    assert {path.name for path in (folder / "out").iterdir()} == {"features.npz", "a.npy", "b.npy", "sub"}


def test_files_per_image_and_mirrored_images(folder, weights):
    weights.TEST.FLIP.ENABLED = True
    options = [*SMALL, "MODEL.WEIGHTS", "weights.pth", "TEST.FLIP.ENABLED", "True"]
    assert main(["--input", "figures/a.png", "figures/sub", "--output", "out", "--opts", *options]) == 0
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.npy")) == [
        "out/a.npy",
        "out/sub/c.npy",
    ]
    expected = normalize(DefaultPredictor(weights).from_files(["figures/a.png", "figures/sub/c.JPG"]))
    np.testing.assert_allclose(np.load("out/a.npy"), expected[:1], atol=1e-5)
    np.testing.assert_allclose(np.load("out/sub/c.npy"), expected[1:], atol=1e-5)


def test_one_table_instead_of_a_file_per_image(folder, weights):
    options = [*SMALL, "MODEL.WEIGHTS", "weights.pth"]
    assert main(["--input", "figures/a.png", "--no-per-image", "--output", "out", "--opts", *options]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["features.npz"]


def test_two_images_of_one_name_are_not_written_over_each_other(tmp_path):
    with pytest.raises(ValueError, match=r"x\.jpg and .*x\.png would both be written to"):
        save_per_image(np.zeros((2, 3)), [str(tmp_path / "x.jpg"), str(tmp_path / "x.png")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_readable_is_an_error_of_one_line(folder, weights, capsys):
    assert main(["--input", "figures/broken.png", "--output", "out", "--opts", *SMALL]) == 1
    assert "error: none of the 1 images can be read; the first: Cannot read image figures/broken.png" in (
        capsys.readouterr().err
    )
    assert not any((folder / "out").iterdir())


def test_a_folder_that_cannot_take_the_features_is_said_before_the_work(folder, capsys):
    assert main(["--input", "figures", "--output", "figures/a.png", "--opts", "MODEL.WEIGHTS", "gone.pth"]) == 1
    assert "error: [Errno 17] --output cannot be written: File exists: 'figures/a.png'" in capsys.readouterr().err


class Queue:
    """A predictor with put and get; the features are the mean colours, and the buffer is never longer than told."""

    default_buffer_size = 2

    def __init__(self):
        self.waiting, self.most = [], 0

    def put(self, images):
        self.waiting.append(images.mean((2, 3)) + images[:, :, 0, 0])
        self.most = max(self.most, len(self.waiting))

    def get(self):
        return self.waiting.pop(0)


@pytest.mark.parametrize("flip", [False, True])
def test_a_predictor_in_other_processes_gives_the_same_rows(flip):
    images = torch.rand(7, 3, 4, 4)
    batches = [{"images": part} for part in images.split(1)]
    queue = Queue()
    found = torch.cat(list(_predicted(queue, batches, flip)))
    at_once = torch.cat(list(_predicted(lambda x: x.mean((2, 3)) + x[:, :, 0, 0], batches, flip)))
    torch.testing.assert_close(found, at_once)
    assert not queue.waiting
    assert queue.most == (queue.default_buffer_size + 1) * (1 + flip)
