"""Data and paths of the miniature project in ``third_party``."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).parent / "third_party"


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory) -> Path:
    """A data root with six identities: 24 training images, 6 queries before camera 1, 18 gallery images before 2."""
    root, rng = tmp_path_factory.mktemp("datasets"), np.random.default_rng(0)
    for part, count in (("train", 4), ("query", 1), ("gallery", 3)):
        (root / "shapes" / part).mkdir(parents=True)
        for pid in range(6):
            base = np.random.default_rng(pid).integers(0, 256, (32, 32, 3))
            for number in range(count):
                noisy = np.clip(base + rng.integers(-40, 40, base.shape), 0, 255).astype("uint8")
                camera = {"train": number % 2 + 1, "query": 1, "gallery": 2}[part]
                Image.fromarray(noisy).save(root / "shapes" / part / f"{pid:04d}_c{camera}_{number}.png")
    return root


@pytest.fixture
def cpu_cfg():
    """The default config on a CPU, with a ResNet-18."""
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512])
    return cfg
