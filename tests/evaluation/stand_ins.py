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


CODES = ("0601", "06-02", "LOC (13) Cl. 14-04", "1400", "", "2601", "not a code")  # by identity; 1400 has no subclass


def classified_file(num_query=14, num_gallery=60, seed=0, **changes) -> FeatureFile:
    """As :func:`feature_file`, with a Locarno code for every image and dates of which some are unknown or equal."""
    rng = np.random.default_rng(seed)
    file = feature_file(num_query, num_gallery, ids=14, seed=seed)
    pids = file.columns["pids"]
    columns = {
        **file.columns,
        "taxonomy": np.array(CODES)[pids % len(CODES)],
        "dates": np.where(rng.random(len(pids)) < 0.1, 0, 20200101 + rng.integers(0, 9, len(pids))),
    }
    return FeatureFile(**{**vars(file), "columns": columns, **changes})


def subclass_of(text: str) -> str:
    return {"0601": "06-01", "06-02": "06-02", "LOC (13) Cl. 14-04": "14-04", "2601": "26-01"}.get(text, "")


def class_of(text: str) -> str:
    return "14" if text == "1400" else subclass_of(text)[:2]


LABELS = {
    "pids": lambda columns, row: int(columns["pids"][row]),
    "subclass": lambda columns, row: subclass_of(columns["taxonomy"][row]),
    "class": lambda columns, row: class_of(columns["taxonomy"][row]),
}
RULES = {
    "all": lambda query, item: True,
    "camera": lambda query, item: (query["pids"], query["camids"]) != (item["pids"], item["camids"]),
    "granted_before": lambda query, item: 0 < item["dates"] < query["dates"],
    "other_patent": lambda query, item: query["pids"] != item["pids"],
}


def naive_lists(file: FeatureFile, rule: str, relevance: str) -> list[list[tuple[int, bool]]]:
    """For each query its permitted gallery rows, nearest first, and whether each is a match; by loops."""
    features = file.features.astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    lists = []
    for query in range(file.num_query):
        own = {name: column[query] for name, column in file.columns.items()}
        label, found = LABELS[relevance](file.columns, query), []
        for row in range(file.num_query, len(file)):
            item = {name: column[row] for name, column in file.columns.items()}
            if all(RULES[part](own, item) for part in rule.split("+")):
                same = label != "" and LABELS[relevance](file.columns, row) == label
                found.append((1 - features[query] @ features[row], row - file.num_query, same))
        lists.append([(row, same) for _, row, same in sorted(found)])
    return lists


def naive_values(ranked: list[tuple[int, bool]]) -> dict[str, float] | None:
    """Metrics of one list, in percent; ``None`` without a match."""
    hits = [same for _, same in ranked]
    ranks = [rank for rank, same in enumerate(hits, start=1) if same]
    if not ranks:
        return None
    values = {"AP": sum(number / rank for number, rank in enumerate(ranks, start=1)) / len(ranks)}
    values["MRR@10"] = 1 / ranks[0] if ranks[0] <= 10 else 0.0
    for k in (5, 10):
        found = sum(hits[:k])
        values |= {f"hit@{k}": float(found > 0), f"recall@{k}": found / len(ranks)}
        values |= {f"capped_recall@{k}": found / min(k, len(ranks)), f"precision@{k}": found / k}
    return {name: 100 * value for name, value in values.items()}
