import math

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import HOG


def hog_by_loops(image, cells, bins):
    """One pixel, one cell, one block at a time; image: (H, W) in 0..255."""
    height, width = image.shape
    at = lambda row, column: image[row, column] / 255  # noqa: E731
    histogram = np.zeros((bins, height, width))
    for row in range(height):
        for column in range(width):
            dx = at(row, column + 1) - at(row, column - 1) if 0 < column < width - 1 else 0.0
            dy = at(row + 1, column) - at(row - 1, column) if 0 < row < height - 1 else 0.0
            position = (math.atan2(dy, dx) % math.pi) * bins / math.pi
            lower = int(position)
            histogram[lower % bins, row, column] += math.hypot(dx, dy) * (1 - (position - lower))
            histogram[(lower + 1) % bins, row, column] += math.hypot(dx, dy) * (position - lower)
    step = height // cells
    grid = histogram.reshape(bins, cells, step, cells, step).mean(axis=(2, 4))
    blocks = [
        grid[:, r : r + 2, c : c + 2].reshape(-1) for r in range(cells - 1) for c in range(cells - 1)
    ]
    return np.stack([block / (np.linalg.norm(block) + 1e-3) for block in blocks], axis=1).reshape(-1)


def test_descriptors_equal_those_of_plain_loops():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 12, 12))).float()
    features = HOG(cells=3, bins=5).eval()({"images": images.expand(-1, 3, -1, -1)})
    assert features.shape == (2, 4 * 5 * 4)
    for image, feature in zip(images, features, strict=True):
        np.testing.assert_allclose(feature, hog_by_loops(image[0].numpy(), 3, 5), atol=1e-5)


def test_an_empty_page_gives_a_finite_descriptor():
    assert torch.equal(HOG().eval()({"images": torch.full((1, 1, 64, 64), 255.0)}), torch.zeros(1, 4 * 9 * 49))


def test_it_is_built_from_its_node_and_refuses_to_train():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "HOG", "MODEL.DEVICE", "cpu", "MODEL.HOG.CELLS", "4"])
    model = build_model(cfg)
    assert model.cells == 4
    with pytest.raises(RuntimeError, match="nothing to train"):
        model.train()({"images": torch.zeros(1, 3, 8, 8)})


def test_blocks_and_the_root_are_options():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 1, 12, 12))).float()
    cells = HOG(cells=3, bins=5, block=0).eval()({"images": images})
    assert cells.shape == (2, 5 * 9)
    torch.testing.assert_close(HOG(cells=3, bins=5, block=0, root=True).eval()({"images": images}), cells.sqrt())
    # a block of one cell is that cell at length 1
    grid = cells.unflatten(1, (5, 9))
    ones = HOG(cells=3, bins=5, block=1).eval()({"images": images}).unflatten(1, (5, 9))
    torch.testing.assert_close(ones, grid / (grid.norm(dim=1, keepdim=True) + 1e-3))
    with pytest.raises(ValueError, match=r"BLOCK is 4 cells wide, but the image has 3 of MODEL.HOG.CELLS"):
        HOG(cells=3, block=4)
