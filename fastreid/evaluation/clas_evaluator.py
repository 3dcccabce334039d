"""Accuracy of a classifier."""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[torch.Tensor]:
    """Percentage of rows whose target is among the ``k`` largest of ``output`` (B, C), for each ``k``: shape (1,)."""
    ranked = output.topk(min(max(topk), output.shape[1]), dim=1).indices
    hits = ranked == target.reshape(-1, 1)
    return [hits[:, :k].any(dim=1).float().mean().reshape(1) * 100 for k in topk]


class ClasEvaluator(DatasetEvaluator):
    """Collects logits and reports the top-1 accuracy ``Acc@1`` in percent."""

    def __init__(self, cfg, output_dir: str | None = None):
        self.cfg = cfg
        self.output_dir = output_dir
        self.reset()

    def reset(self) -> None:
        self._hits: list[float] = []

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        hits = outputs.detach().cpu().argmax(dim=1) == inputs["targets"].cpu()
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
