"""Softmax over very many classes: class weights spread over the processes, and drawn for each step.

Partial FC (An et al., "Partial FC: Training 10 Million Identities on a Single Machine", ICCVW 2021; "Killing Two Birds
with One Stone", CVPR 2022). Each process holds the weights of its part of the classes and computes the logits of the
whole batch for them; what the softmax needs of the others are a few numbers per image. With a sampling rate below 1
a process takes in each step the classes of the batch and random others, up to that share of its classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from fastreid.layers.precision import full_precision
from fastreid.utils import comm
from fastreid.utils.shards import Shard

BLOCK = 1 << 14  # rows of class weights that are drawn at a time


class PartialFC:
    """The part of the classes that this process has, and those that take part in a step.

    Args:
        num_classes: of all processes.
        sample_rate: share of its classes that a process uses in a step, in 0..1 without 0. The classes of the batch
            are always among them.

    Attributes:
        shard: the classes of this process.
        drawn: (indices (K,) in the shard, weights (K, D) with their gradient) of the forwards since the last step of
            the optimiser (``fastreid.solver.sampled_rows``); empty at rate 1, where the weights have a gradient.

    Raises:
        ValueError: a rate outside of 0..1, or fewer classes than processes.
    """

    def __init__(self, num_classes: int, sample_rate: float = 1.0):
        if not 0 < sample_rate <= 1:
            raise ValueError(f"MODEL.HEADS.PFC.SAMPLE_RATE must lie in 0..1, without 0; got {sample_rate!r}")
        if 0 < num_classes < comm.get_world_size():
            raise ValueError(
                f"MODEL.HEADS.PFC.ENABLED spreads the classes over the processes: {num_classes} classes are fewer "
                f"than {comm.get_world_size()} processes"
            )
        self.shard, self.sample_rate = Shard.own(num_classes), sample_rate
        self.drawn: list[tuple[torch.Tensor, torch.Tensor]] = []

    def gather(self, features: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (N, D) and targets (N,) of all processes.

        The loss of them is the same in each process, which holds the gradient for its own classes: the sum of these is
        the gradient of the features. It is taken times the number W of processes, by which
        ``DistributedDataParallel`` divides.
        """
        world = comm.get_world_size()
        if world == 1:
            return features, targets
        everyone = comm.all_gather_with_grad(features)
        if everyone.requires_grad:
            everyone.register_hook(lambda gradient: gradient * world)
        parts = [torch.empty_like(targets) for _ in range(world)]
        dist.all_gather(parts, targets.contiguous())
        return everyone, torch.cat(parts)

    def choose(self, weight: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights (K, D) of the classes of this step, and where each target is among them (N,), else -1.

        Args:
            weight: (shard.size, D). targets: (N,) int64 classes of all processes.
        """
        here = (targets >= self.shard.start) & (targets < self.shard.stop)
        local = targets - self.shard.start
        if self.sample_rate == 1:
            return weight, torch.where(here, local, -1)
        index = self._draw(local[here].unique(), weight.device)
        rows = weight.detach()[index]
        if torch.is_grad_enabled() and weight.requires_grad:
            self.drawn.append((index, rows.requires_grad_()))
        return rows, torch.where(here, torch.searchsorted(index, local), -1)

    def _draw(self, positives: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return sorted indices: ``positives`` and random others up to the sampling rate."""
        order = torch.rand(self.shard.size, device=device)
        order[positives] = 2.0
        count = max(len(positives), round(self.sample_rate * self.shard.size), 1)
        return order.topk(count, sorted=False).indices.sort().values


@dataclass(frozen=True)
class ShardedLogits:
    """The logits of the whole batch for the classes that this process uses in a step.

    Attributes:
        logits: (N, K), N images of all processes, K classes of this one.
        targets: (N,) int64, the column of each image's class, -1 where it is not among these.
    """

    logits: torch.Tensor
    targets: torch.Tensor

    def is_best(self) -> torch.Tensor:
        """(N,) bool: is the class of the image the one with the largest logit, over all processes?"""
        value, column = self.logits.detach().max(1)
        values, hits = _stacked(value), _stacked(column == self.targets)
        return hits.gather(0, values.argmax(0)[None])[0]


@full_precision
def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor, eps: float, alpha: float) -> torch.Tensor:
    here = targets >= 0
    # relative to the largest logit of all processes: no overflow, and no digits lost where all logits are large
    logits = logits - _stacked(logits.detach().amax(1)).amax(0)[:, None]
    log_sum = all_reduce_sum(logits.logsumexp(1).exp()).log()
    own = all_reduce_sum(logits.gather(1, targets.clamp(min=0)[:, None])[:, 0] * here) - log_sum
    classes = int(_stacked(torch.tensor(logits.shape[1], device=logits.device)).sum())
    losses = -own
    if eps != 0 and classes > 1:
        smooth = torch.full_like(own, eps) if eps >= 0 else alpha * own.detach().exp()
        others = (all_reduce_sum(logits.sum(1)) - classes * log_sum - own) / (classes - 1)
        losses = -(1 - smooth) * own - smooth * others
    counted = losses.detach() != 0
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def sharded_cross_entropy(shards: ShardedLogits, eps: float = 0.0, alpha: float = 0.2) -> torch.Tensor:
    """``fastreid.modeling.losses.cross_entropy_loss`` of logits that are spread over the processes.

    The value is the mean over the images of all processes, the same in each. Smoothing is spread evenly over the
    classes of the step, of all processes. No process sees the logits of another: exchanged are the largest logit, the
    sum of the exponentials relative to it, the logit of the target and, with smoothing, the sum of the logits, one
    number per image each.
    """
    return _cross_entropy(shards.logits, shards.targets, eps, alpha)


class _AllReduceSum(torch.autograd.Function):
    """The sum over the processes. Each goes on to the same loss, whose gradient for the sum is that for each part."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    return value if comm.get_world_size() == 1 else _AllReduceSum.apply(value)


def _stacked(value: torch.Tensor) -> torch.Tensor:
    """Return ``value`` of each process, (W, ...), without gradient."""
    if comm.get_world_size() == 1:
        return value[None]
    parts = [torch.empty_like(value) for _ in range(comm.get_world_size())]
    dist.all_gather(parts, value.contiguous())
    return torch.stack(parts)


@torch.no_grad()
def initialize_shard(weight: torch.Tensor, shard: Shard, init: Callable[[torch.Tensor], object]) -> None:
    """Fill ``weight`` with its rows of a table that every process draws alike, block by block.

    Processes have one seed until the training begins: with ``init(weight)`` alone their shards would be equal.
    """
    if shard.size == shard.total:
        init(weight)
        return
    for start in range(0, shard.total, BLOCK):
        block = weight.new_empty(min(BLOCK, shard.total - start), weight.shape[1])
        init(block)
        first, last = max(start, shard.start), min(start + len(block), shard.stop)
        if first < last:
            weight[first - shard.start : last - shard.start] = block[first - start : last - start]
