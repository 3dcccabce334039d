"""Metrics of attribute recognition."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm

logger = logging.getLogger(__name__)


class AttrEvaluator(DatasetEvaluator):
    """Collects probabilities and reports :func:`attribute_metrics` in percent, with ``metric`` = mA.

    An attribute is predicted where its probability is at least ``TEST.THRES``. The targets are the column
    ``attributes`` of the batch.

    Args:
        names: of the attributes, for messages; by default those of the loader's data set.
    """

    def __init__(self, cfg, output_dir: str | None = None, names: Sequence[str] = ()):
        self.cfg, self.output_dir, self.names = cfg, output_dir, tuple(names)
        self.reset()

    def begin(self, model, data_loader, flip_test: bool = False) -> None:
        self.names = self.names or tuple(getattr(getattr(data_loader, "dataset", None), "attributes", ()))

    def reset(self) -> None:
        self._batches: list[tuple[np.ndarray, np.ndarray]] = []

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        if "attributes" not in inputs:
            raise ValueError(f"The test data has no 'attributes'; its columns are {', '.join(inputs)}")
        truth, given = inputs["attributes"].cpu().numpy(), outputs.detach().float().cpu().numpy()
        if truth.shape != given.shape:
            raise ValueError(f"The model gives {given.shape[1]} attributes, the test data has {truth.shape[-1]}")
        self._batches.append((truth, given >= self.cfg.TEST.THRES))

    def evaluate(self) -> OrderedDict | None:
        shards = comm.gather(self._batches)
        if not comm.is_main_process():
            return None
        batches = [batch for shard in shards for batch in shard]
        if not batches:
            raise ValueError("no batch was processed: the test loader is empty")
        truth, predicted = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        results, left_out = attribute_metrics(truth, predicted)
        if left_out:
            names = [self.names[index] if index < len(self.names) else str(index) for index in left_out]
            logger.warning(
                "%d of %d attributes do not count in mA: the test set has them on all images or on none: %s",
                len(left_out), truth.shape[1], ", ".join(names),
            )  # fmt: skip
        return OrderedDict(**{name: 100 * value for name, value in results.items()}, metric=100 * results["mA"])


def attribute_metrics(truth: np.ndarray, predicted: np.ndarray) -> tuple[dict[str, float], list[int]]:
    """Return the metrics of pedestrian attributes (Li et al., RAP, IEEE TIP 2019), as shares, and what mA leaves out.

    ``mA``, per attribute: the mean over attributes of (share of positives found + share of negatives kept) / 2. An
    attribute without a positive or without a negative image has no such value; it is left out, and its index is
    returned.

    Per image, with Y its attributes and P the predicted ones, each averaged over the images: ``Accu``, the size of
    their intersection over that of their union; ``Prec``, over that of P; ``Recall``, over that of Y. ``F1`` is the
    harmonic mean of the averages of ``Prec`` and ``Recall``. An image with neither Y nor P is right and does not enter
    these averages; one with only Y or only P counts as 0 in all three.

    Args:
        truth: (N, A) of 1, 0 and -1 (unknown, ignored everywhere).
        predicted: (N, A) bool.
    """
    known = truth >= 0
    positive, predicted = truth > 0, predicted & known
    negative = known & ~positive
    found, kept = (positive & predicted).sum(0), (negative & ~predicted).sum(0)
    counted = positive.any(0) & negative.any(0)
    recalls = found[counted] / positive.sum(0)[counted] + kept[counted] / negative.sum(0)[counted]
    hits, real, given = (table.sum(1) for table in (positive & predicted, positive, predicted))
    some = (real + given) > 0
    precision, recall = _mean_share(hits[some], given[some]), _mean_share(hits[some], real[some])
    total = precision + recall
    metrics = {
        "mA": float(recalls.mean() / 2) if counted.any() else float("nan"),
        "Accu": _mean_share(hits[some], (real + given - hits)[some]),
        "Prec": precision,
        "Recall": recall,
        "F1": 2 * precision * recall / total if total > 0 else total,
    }
    return metrics, np.flatnonzero(~counted).tolist()


def _mean_share(hits: np.ndarray, of: np.ndarray) -> float:
    """Mean of ``hits / of`` with 0/0 as 0; NaN for no rows."""
    return float((hits / np.maximum(of, 1)).mean()) if len(of) else float("nan")
