"""Accuracy of a classifier."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from fastreid.utils.errors import nearest


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[torch.Tensor]:
    """Percentage of rows whose target is among the ``k`` largest of ``output`` (B, C), for each ``k``: shape (1,)."""
    ranked = output.topk(min(max(topk), output.shape[1]), dim=1).indices
    hits = ranked == target.reshape(-1, 1)
    return [hits[:, :k].any(dim=1).float().mean().reshape(1) * 100 for k in topk]


class ClasEvaluator(DatasetEvaluator):
    """Collects logits and reports the top-1 accuracy ``Acc@1`` in percent.

    Args:
        classes: identities of the training set in the order of the model's classes. With them the targets of a test
            set, which are numbered by itself, are translated; without them they have to be class indices.

    Raises:
        ValueError: (when it meets the test loader) the test set has an identity that training does not have.
    """

    def __init__(self, cfg, output_dir: str | None = None, classes: Sequence[Any] | None = None):
        self.cfg = cfg
        self.output_dir = output_dir
        self.classes = classes
        self._class_of: dict[int, int] = {}
        self.reset()

    def begin(self, model, data_loader, flip_test: bool = False) -> None:
        self.check(getattr(data_loader, "dataset", None))

    def check(self, dataset: Any) -> None:
        if self.classes is None or not hasattr(dataset, "pid_dict"):
            return
        index = {pid: number for number, pid in enumerate(self.classes)}
        for pid, target in dataset.pid_dict.items():
            # where several training sets are joined, each has its name before its identities
            own = pid if pid in index else f"{dataset.name}_{pid}"
            if own not in index:
                raise ValueError(
                    f"Class {pid!r} of the test set {dataset.name} is none of the {len(index)} classes of training."
                    f"{nearest(pid, map(str, index))}"
                )
            self._class_of[target] = index[own]

    def reset(self) -> None:
        self._hits: list[float] = []

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        targets = [self._class_of.get(target, target) for target in inputs["targets"].tolist()]
        hits = outputs.detach().cpu().argmax(dim=1) == torch.tensor(targets)
        self._hits.extend(hits.float().tolist())

    def evaluate(self) -> OrderedDict | None:
        shards = comm.gather(self._hits)
        if not comm.is_main_process():
            return None
        hits = [hit for shard in shards for hit in shard]
        if not hits:
            raise ValueError("no batch was processed: the test loader is empty")
        top1 = 100 * sum(hits) / len(hits)
        return OrderedDict([("Acc@1", top1), ("metric", top1)])
