"""The environment of a run: versions and random seeds."""

import logging
import os
import random

import numpy as np
import torch

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


def seed_all_rng(seed: int | None = None) -> int:
    """Seed the generators of random, numpy and torch; return the seed used. ``None`` draws one and logs it."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little") >> 1
        logging.getLogger(__name__).info("Random seed: %d", seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return seed
