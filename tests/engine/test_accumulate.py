"""Gradients of the parts of a batch add up to those of the batch."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.engine import DefaultTrainer, launch
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer, split_batch
from fastreid.utils import comm
from fastreid.utils.events import EventStorage

BATCHES = [
    {"images": torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)), "targets": torch.arange(8) % 3}
    for seed in range(3)
]


class Model(nn.Module):
    """Two losses that are means over images; keeps the sizes of what it sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 3)
        self.sizes: list[int] = []

    def forward(self, batch):
        logits = self.layer(batch["images"])
        self.sizes.append(len(logits))
        return {"cls": nn.functional.cross_entropy(logits, batch["targets"]), "size": logits.square().mean()}


def by_hand(model: nn.Module) -> list[float]:
    """Plain steps over whole batches; the totals."""
    optimizer, totals = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9), []
    for batch in BATCHES:
        optimizer.zero_grad()
        total = sum(model(batch).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    return totals


def trained(model: nn.Module, parts: int, batches=BATCHES, trainer_class=SimpleTrainer, **options) -> list[float]:
    trainer = trainer_class(model, batches, torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9), **options)
    trainer.accumulate = parts
    totals = []
    for step in range(len(batches)):
        with EventStorage(step) as storage:
            trainer.run_step()
            totals.append(storage.history("total_loss").latest())
    return totals


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_parts_give_the_steps_of_the_batch(parts):
    whole, model = Model(), Model()
    expected = by_hand(whole)
    assert trained(model, parts) == pytest.approx(expected, rel=1e-6)
    assert model.sizes == [8 // parts] * parts * len(BATCHES)
    torch.testing.assert_close(model.state_dict(), whole.state_dict())
    assert expected[0] != expected[1]


def test_parts_in_mixed_precision():
    whole, model = Model(), Model()
    trained(whole, 1, trainer_class=AMPTrainer, dtype="bfloat16")
    trained(model, 4, trainer_class=AMPTrainer, dtype="bfloat16")
    torch.testing.assert_close(model.state_dict(), whole.state_dict(), rtol=0.02, atol=0.01)
    assert not torch.equal(model.layer.weight, Model().layer.weight)


def one_of_two(folder: str) -> None:
    """Its half of each batch, in two parts; gradients are averaged once per step."""
    model, rank = Model(), comm.get_rank()
    parallel, averaged = nn.parallel.DistributedDataParallel(model), []
    parallel.register_comm_hook(None, lambda _, bucket: _average(averaged, bucket))
    halves = [{name: rows[4 * rank : 4 * rank + 4] for name, rows in batch.items()} for batch in BATCHES]
    trained(parallel, 2, halves)
    assert len(averaged) == len(BATCHES), "gradients travel with the last part only"
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")


def _average(averaged: list, bucket) -> torch.futures.Future:
    averaged.append(bucket.index())
    work = torch.distributed.all_reduce(bucket.buffer() / comm.get_world_size(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def test_parts_of_two_processes(quick_launch, tmp_path):
    whole = Model()
    by_hand(whole)
    launch(one_of_two, 2, args=(str(tmp_path),))
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt", weights_only=True), dict(whole.state_dict()))


def test_a_batch_is_cut_in_all_its_columns():
    batch = {"images": torch.arange(6), "paths": list("abcdef"), "numbers": np.arange(6), "epoch": 3, "names": ["x"]}
    first, second = split_batch(batch, 2)
    assert (first["paths"], second["paths"]) == (list("abc"), list("def"))
    assert second["images"].tolist() == second["numbers"].tolist() == [3, 4, 5]
    assert (second["epoch"], second["names"]) == (3, ["x"])
    with pytest.raises(ValueError, match="6 images cannot be cut into 4 equal parts"):
        split_batch(batch, 4)


def test_parts_that_would_cut_identities_are_refused(tiny_cfg):
    cfg = copy.deepcopy(tiny_cfg)  # batches of two identities with four images each
    cfg.SOLVER.ACCUMULATE = 4
    with pytest.raises(ValueError, match="SOLVER.ACCUMULATE is 4; .*whole identities, 4 images each"):
        DefaultTrainer(cfg)
    cfg.SOLVER.ACCUMULATE = 2
    assert DefaultTrainer(cfg)._trainer.accumulate == 2
