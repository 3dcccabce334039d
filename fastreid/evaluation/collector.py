"""Gather what a model gives, batch by batch and over all processes, into a feature file."""

from typing import Any

import numpy as np
import torch

from fastreid.data.feature_file import TEXT_COLUMNS, FeatureFile, fingerprint_of
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm

BATCH_TEXTS = {name: name for name in TEXT_COLUMNS if name != "frequency"}  # which a batch has as a number


class FeatureCollector(DatasetEvaluator):
    """An evaluator whose result is the :class:`FeatureFile` of the data set (main process; ``None`` elsewhere).

    Args:
        num_query: number of leading rows that are queries.
        cfg: with it the feature file gets a fingerprint.
        dataset_name: part of that fingerprint.
        fingerprint: taken instead of a computed one.
    """

    def __init__(self, num_query: int, cfg=None, dataset_name: str = "", fingerprint: dict | None = None):
        self.num_query = num_query
        self.cfg = cfg
        self.dataset_name = dataset_name
        self.fingerprint = fingerprint
        self.records: list | None = None
        self.relevance_known = True
        self.reset()

    def begin(self, model, data_loader, flip_test: bool = False) -> None:
        dataset = getattr(data_loader, "dataset", None)
        self.records = getattr(dataset, "records", None)
        self.relevance_known = getattr(dataset, "relevance_known", True)
        if self.fingerprint is None and self.cfg is not None and self.records is not None and comm.is_main_process():
            named = (self.records, self.num_query, self.dataset_name, flip_test)
            self.fingerprint = fingerprint_of(self.cfg, model, *named)

    def reset(self) -> None:
        self._features: list[np.ndarray] = []
        self._columns: dict[str, list[Any]] = {}

    def process(self, inputs: dict[str, Any], outputs: torch.Tensor) -> None:
        if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
            shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
            raise ValueError(f"in evaluation mode a model must return features of shape (B, D); got {shape}")
        self._features.append(outputs.detach().float().cpu().numpy())
        names = {"targets": "pids", "camids": "camids", "dates": "dates", "img_paths": "paths"}
        for key, name in {**names, **BATCH_TEXTS}.items():
            if key in inputs:
                self._columns.setdefault(name, []).extend(_as_list(inputs[key]))

    def evaluate(self) -> FeatureFile | None:
        """Join the shards of all processes in rank order, which is loader order (see ``InferenceSampler``)."""
        shards = comm.gather((self._features, self._columns))
        if not comm.is_main_process():
            return None
        columns: dict[str, list] = {}
        for _, shard in shards:
            for name, values in shard.items():
                columns.setdefault(name, []).extend(values)
        return self._file([block for features, _ in shards for block in features], columns, self.records)

    def _file(self, blocks: list[np.ndarray], columns: dict[str, list], records: list | None) -> FeatureFile:
        """The features of the rows of ``records``."""
        if not blocks:
            raise ValueError("no batch was processed: the test loader is empty")
        features = np.concatenate(blocks)
        paths = columns.pop("paths", None) or [f"row {row}" for row in range(len(features))]
        _check_order(features, paths, records)
        return FeatureFile(features, self.num_query, columns, paths, self.fingerprint or {}, self.relevance_known)


def _check_order(features: np.ndarray, paths: list[str], records: list | None) -> None:
    """Rows are meaningful by their order only, so a sampler that shuffles or pads must not pass."""
    if records is None:
        return
    if len(features) != len(records):
        raise ValueError(f"the test loader gave {len(features)} images for {len(records)} records")
    expected = [str(record[0]) for record in records]
    wrong = next((row for row, pair in enumerate(zip(paths, expected, strict=True)) if pair[0] != pair[1]), None)
    if wrong is not None and not paths[wrong].startswith("row "):
        raise ValueError(
            f"the test loader is out of order: row {wrong} is {paths[wrong]}, the list has {expected[wrong]}"
        )


def require_gallery(dataset: Any, num_query: int) -> None:
    """Raise ``ValueError`` where nothing in ``dataset`` could be found.

    Data sets of other tasks have queries alone (classes, pairs of faces), and projects bring evaluators for them.
    """
    if dataset is not None and num_query >= len(dataset):
        name = getattr(dataset, "name", "") or type(dataset).__name__
        raise ValueError(
            f"The gallery part of data set '{name}' is empty, so there is nothing to rank: its {len(dataset)} images "
            "are all queries, for an evaluator that needs no gallery"
        )


def _as_list(values: Any) -> list:
    return values.tolist() if hasattr(values, "tolist") else list(values)
