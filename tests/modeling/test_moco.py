"""The memory of MoCo: what lies in the queue after each step, and which pairs count."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.engine import launch
from fastreid.modeling import build_model
from fastreid.modeling.losses import pairwise_cosface
from fastreid.modeling.meta_arch.moco import Memory
from fastreid.solver import build_optimizer
from fastreid.utils import comm
from fastreid.utils.precision_bn import update_bn_stats


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "MoCo", "MODEL.QUEUE_SIZE", 20, "MODEL.DEVICE", "cpu",
        "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64,
        "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.HEADS.WITH_BNNECK", True, *overrides,
    ])  # fmt: skip
    return cfg


def batch(seed: int = 3) -> dict:
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


def random_batches(count, size, dim=6, classes=4):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        features = torch.randn(size, dim, generator=generator, requires_grad=True)
        yield features, torch.randint(classes, (size,), generator=generator)


def loss_by_loops(anchors, targets, kept, margin=0.25, gamma=32):
    """``kept``: (feature, label, is it the anchor's own copy) triples for each anchor, as a list of lists."""
    total = 0.0
    for anchor, target, others in zip(anchors, targets.tolist(), kept, strict=True):
        cosines = [(float(F.cosine_similarity(anchor, f, dim=0)), label, own) for f, label, own in others]
        positive = sum(math.exp(-gamma * c) for c, label, own in cosines if label == target and not own)
        negative = sum(math.exp(gamma * (c + margin)) for c, label, own in cosines if label != target)
        total += math.log1p(positive * negative)
    return total / len(anchors)


@pytest.mark.parametrize("size", [12, 11, 5, 5000])
def test_queue_and_loss_over_several_steps_as_by_hand(size):
    memory = Memory(6, size)
    ring = {}  # slot -> (feature, label, number of the step, row)
    for step, (features, targets) in enumerate(random_batches(5, 5)):
        loss = memory(features, targets)
        for row in range(5):
            ring[(5 * step + row) % size] = (features[row].detach(), int(targets[row]), step, row)
        for slot in range(size):
            feature, label = memory.queue[:, slot], int(memory.queue_label[0, slot])
            if slot in ring:
                assert torch.allclose(feature, F.normalize(ring[slot][0], dim=0), atol=1e-6)
                assert label == ring[slot][1]
            else:
                assert label == -1
        assert int(memory.queue_ptr) == 5 * (step + 1) % size
        kept = [[(f, label, (s, r) == (step, row)) for f, label, s, r in ring.values()] for row in range(5)]
        assert float(loss.detach()) == pytest.approx(loss_by_loops(features.detach(), targets, kept), rel=1e-4)


def test_first_step_is_the_pair_loss_of_the_batch():
    features, targets = next(random_batches(1, 8))
    loss = Memory(6, 64)(features, targets)
    assert torch.allclose(loss, pairwise_cosface(features, targets, 0.25, 32), atol=1e-5)


def test_identical_singletons_lose_the_same_at_every_step():
    """fast-reid took a feature for its own positive from the second step on."""
    memory, features, targets = Memory(6, 64), torch.randn(8, 6), torch.arange(8)
    assert float(memory(features, targets)) == 0.0
    second = loss_by_loops(
        features, targets, [[(f, j, False) for j, f in enumerate(features)] +
                            [(f, j, j == i) for j, f in enumerate(features)] for i in range(8)],
    )  # fmt: skip
    assert float(memory(features, targets)) == pytest.approx(second, rel=1e-4)


def test_empty_slots_are_nobodys_positives():
    """fast-reid filled the queue with random vectors of identity 0."""
    memory = Memory(6, 64)
    features = F.normalize(torch.randn(2, 6))
    assert float(memory(features, torch.tensor([0, 1]))) == 0.0


def test_gradient_reaches_the_batch_and_not_the_queue():
    memory = Memory(6, 64)
    (first, targets), (second, _) = random_batches(2, 8)
    memory(first, targets).backward()
    grad = first.grad.clone()
    memory(second, targets).backward()
    assert second.grad.isfinite().all()
    assert second.grad.abs().sum() > 0
    assert torch.equal(first.grad, grad)
    assert not memory.queue.requires_grad


def test_statistics_for_an_evaluation_leave_the_queue_alone():
    model = build_model(config()).train()
    model(batch())
    before = {name: value.clone() for name, value in model.memory.state_dict().items()}
    update_bn_stats(model, [batch(5)], 1)
    assert all(torch.equal(value, before[name]) for name, value in model.memory.state_dict().items())


def test_two_steps_of_training():
    model = build_model(config("SOLVER.OPT", "SGD")).train()
    optimizer = build_optimizer(config("SOLVER.OPT", "SGD"), model)[0]
    for step in range(1, 3):
        losses = model(batch(step))
        assert list(losses) == ["loss_cls", "loss_mb"]
        optimizer.zero_grad()
        losses["loss_mb"].backward(retain_graph=True)
        assert all(p.grad.isfinite().all() for p in model.backbone.parameters())
        assert model.backbone.conv1.weight.grad.abs().sum() > 0
        losses["loss_cls"].backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step()
        assert int((model.memory.queue_label >= 0).sum()) == min(8 * step, 20)


def test_names_of_the_buffers_and_resumed_queue():
    model = build_model(config()).train()
    model(batch())
    state = model.state_dict()
    assert [name for name in state if name.startswith("memory.")] == [
        "memory.queue", "memory.queue_label", "memory.queue_ptr",
    ]  # fmt: skip
    assert (state["memory.queue"].shape, state["memory.queue_label"].shape) == ((64, 20), (1, 20))
    other = build_model(config()).train()
    other.load_state_dict(state)
    assert torch.equal(other(batch(4))["loss_mb"], model(batch(4))["loss_mb"])


@pytest.mark.parametrize("neck_feat, width", [("before", 64), ("after", 12)])
def test_width_is_that_of_the_features(neck_feat, width):
    model = build_model(config("MODEL.HEADS.EMBEDDING_DIM", 12, "MODEL.HEADS.NECK_FEAT", neck_feat)).train()
    assert len(model.memory.queue) == width
    assert model(batch())["loss_mb"].isfinite()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="MODEL.QUEUE_SIZE must be at least 1; got 0"):
        build_model(config("MODEL.QUEUE_SIZE", 0))
    with pytest.raises(ValueError, match="MODEL.QUEUE_SIZE 6 is smaller than the batch of 8 images"):
        build_model(config("MODEL.QUEUE_SIZE", 6)).train()(batch())
    with pytest.raises(ValueError, match=r"width 64, the head gives 12: set MODEL.HEADS.NECK_FEAT after"):
        build_model(config("MODEL.HEADS.NAME", "ClasHead", "MODEL.HEADS.EMBEDDING_DIM", 12)).train()(batch())


def test_half_precision_features_are_stored_in_full():
    memory, (features, targets) = Memory(6, 64), next(random_batches(1, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = memory(features.bfloat16(), targets)
    assert loss.dtype == memory.queue.dtype == torch.float32
    assert torch.allclose(memory.queue[:, :8].norm(dim=0), torch.ones(8), atol=1e-4)


def share_of_the_batches(folder):
    """One of two processes: its half of the rows of each batch."""
    memory, rank, losses = Memory(6, 20), comm.get_rank(), []
    for features, targets in random_batches(4, 8):
        losses.append(memory(features[4 * rank :][:4], targets[4 * rank :][:4]).detach())
    torch.save((memory.state_dict(), losses), f"{folder}/{rank}.pt")


def test_two_processes_have_the_queue_and_the_loss_of_one(quick_launch, tmp_path):
    launch(share_of_the_batches, 2, args=(str(tmp_path),))
    (first, losses), (second, others) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    memory = Memory(6, 20)
    whole = [memory(features, targets).detach() for features, targets in random_batches(4, 8)]
    for name, value in memory.state_dict().items():
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name], value)
    for one, other, both in zip(losses, others, whole, strict=True):
        assert torch.allclose((one + other) / 2, both, atol=1e-5)
