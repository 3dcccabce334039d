"""A tiny model, loader and feature file for the tests of this folder."""

import numpy as np
import torch

from fastreid.data.feature_file import FeatureFile
from fastreid.data.records import Record


class ToyModel(torch.nn.Module):
    """Feature = the image's four corner pixels, normalised inside and out of place like the real models."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, batch):
        images = batch["images"] * self.scale
        return torch.stack([images[:, 0, y, x] for y in (0, -1) for x in (0, -1)], dim=1)


class ToyDataset:
    def __init__(self, records):
        self.records = records
        self.name = "toy"

    def __len__(self):
        return len(self.records)


class ToyLoader:
    """Six 4 x 4 images in batches of four; queries are the first two."""

    def __init__(self, order=range(6)):
        self.images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(3)) * 255
        self.dataset = ToyDataset([Record(f"{i}.png", i % 2, 1 if i < 2 else -1, date=20180102 + i) for i in range(6)])
        self.order = list(order)
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        for start in range(0, len(self.order), 4):
            rows = self.order[start : start + 4]
            records = [self.dataset.records[row] for row in rows]
            yield {
                "images": self.images[rows],
                "targets": torch.tensor([record.pid for record in records]),
                "camids": torch.tensor([record.camid for record in records]),
                "dates": torch.tensor([record.date for record in records]),
                "img_paths": [record.path for record in records],
            }


def feature_file(num_query=12, num_gallery=40, ids=6, seed=0, **changes) -> FeatureFile:
    """Noisy clusters; the last identity has no gallery item, so its queries are dropped."""
    rng = np.random.default_rng(seed)
    pids = np.concatenate([np.arange(num_query) % ids, rng.integers(0, ids - 1, num_gallery)])
    centres = rng.normal(size=(ids, 8))
    values = {
        "features": centres[pids] + 0.9 * rng.normal(size=(len(pids), 8)),
        "num_query": num_query,
        "columns": {
            "pids": pids,
            "camids": [1] * num_query + [-1] * num_gallery,
            "dates": rng.integers(20180102, 20180109, len(pids)),
        },
        "paths": [f"p/USD{pid:07d}-20180102-D{row:05d}.png" for row, pid in enumerate(pids)],
    }
    return FeatureFile(**{**values, **changes})
