"""Pair losses with a memory against loops over a Python list of earlier features."""

import math

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling import losses as L
from fastreid.utils.events import EventStorage
from tests.modeling.memory_steps import require_two_processes_like_one, steps_of

SIZE = 12
# name -> class, its options
LOSSES = {
    "triplet hard": (L.TripletLoss, {"margin": 0.3, "hard_mining": True}),
    "triplet soft margin": (L.TripletLoss, {"margin": 0.0, "hard_mining": True}),
    "triplet weighted": (L.TripletLoss, {"margin": 0.3}),
    "triplet cosine": (L.TripletLoss, {"margin": 0.3, "norm_feat": True, "hard_mining": True}),
    "triplet cosine weighted": (L.TripletLoss, {"margin": 0.0, "norm_feat": True}),
    "triplet all": (L.TripletLoss, {"margin": 0.3, "all_triplets": True}),
    "triplet all squared": (L.TripletLoss, {"margin": 0.05, "norm_feat": True, "all_triplets": True}),
    "circle": (L.CircleLoss, {"margin": 0.25, "gamma": 16}),
    "cosface": (L.Cosface, {"margin": 0.25, "gamma": 16}),
}
WITHOUT = {
    "triplet hard": lambda x, t: L.triplet_loss(x, t, 0.3, False, True),
    "triplet weighted": lambda x, t: L.triplet_loss(x, t, 0.3, False, False),
    "triplet cosine": lambda x, t: L.triplet_loss(x, t, 0.3, True, True),
    "triplet all": lambda x, t: L.all_triplets_loss(x, t, 0.3, False),
    "circle": lambda x, t: L.pairwise_circleloss(x, t, 0.25, 16),
    "cosface": lambda x, t: L.pairwise_cosface(x, t, 0.25, 16),
}


def loss_of(name, **more):
    kind, options = LOSSES[name]
    return kind(**options, **more)


def table(step, paths=True, size=SIZE):
    """Some of 24 images of 8 identities, drawn anew for each step, so that images come again."""
    order = torch.randperm(24, generator=torch.Generator().manual_seed(step))[:size]
    features = torch.randn(size, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + step))
    names = {"img_paths": [f"{i}.png" for i in order.tolist()]} if paths else {}
    return {"features": features.requires_grad_(True), "targets": order // 3, **names}


def entries(batch):
    """A batch as a list of (vector, target, name of the image or None)."""
    x = batch["features"].detach()
    names = batch.get("img_paths", [None] * len(x))
    return list(zip(x, batch["targets"].tolist(), names, strict=True))


def unit(x):
    return x / x.norm()


def weighted_mean(values, sign):
    """Mean with weights softmax(sign * value), exponentials relative to the largest positive one, 1e-6 in the sum."""
    weights = [math.exp(sign * v - max([sign * v for v in values] + [0])) for v in values]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / (sum(weights) + 1e-6)


def by_loops(name, batch, ring):
    """The loss of a batch beside ``ring``, earlier entries, pair by pair."""
    kind, options = LOSSES[name]
    values, everything = [], []
    for i, (x, target, image) in enumerate(batch):
        others = [other for j, other in enumerate(batch) if j != i]
        others += [other for other in ring if image is None or other[2] != image]
        positives = [y for y, other, _ in others if other == target]
        negatives = [y for y, other, _ in others if other != target]
        if kind is L.TripletLoss:
            margin, cosine = options["margin"], options.get("norm_feat", False)

            def distance(y, x=x, cosine=cosine):
                return float(2 - 2 * unit(x) @ unit(y)) if cosine else max(float((x - y).norm()), 1e-6)

            def hinge(difference, margin=margin):
                return max(difference + margin, 0) if margin else math.log1p(math.exp(difference))

            near, far = [distance(y) for y in positives], [distance(y) for y in negatives]
            everything += [hinge(p - n) for p in near for n in far]
            near = [distance(x), *near]  # itself
            hard = options.get("hard_mining")
            nearest = max(near) - min(far) if hard else weighted_mean(near, 1) - weighted_mean(far, -1)
            values.append(hinge(nearest))
        else:
            margin, gamma, circle = options["margin"], options["gamma"], kind is L.CircleLoss
            total = {}
            for sign, compared in ((-1, positives), (1, negatives)):
                total[sign] = 0
                for s in (float(unit(x) @ unit(y)) for y in compared):
                    if sign < 0:
                        goal = max(1 + margin - s, 0) * (s - 1 + margin) if circle else s
                    else:
                        goal = max(s + margin, 0) * (s - margin) if circle else s + margin
                    total[sign] += math.exp(sign * gamma * goal)
            values.append(math.log1p(total[-1] * total[1]))
    if options.get("all_triplets"):
        values = [value for value in everything if value > 0]
    return sum(values) / len(values)


@pytest.mark.parametrize("paths", [True, False])
@pytest.mark.parametrize("memory", [SIZE, SIZE + 5, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_memory_over_several_steps_is_that_of_a_list(name, memory, paths):
    loss, ring, shared = loss_of(name, memory=memory, scale=2.0), [], 0
    for step in range(5):
        batch = table(step, paths)
        value, own = loss(batch), entries(batch)
        assert float(value.detach()) == pytest.approx(2 * by_loops(name, own, ring), rel=1e-8), step
        value.backward()
        assert batch["features"].grad.abs().sum() > 0
        shared += len({image for *_, image in own if image} & {image for *_, image in ring})
        ring = (ring + own)[-memory:]
    assert shared > 0 or not paths, "no image comes twice: its copy in the memory is not tried"


@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_memory_and_before_there_is_one_it_is_the_plain_loss(name):
    for size in (0, 50):
        loss, batch = loss_of(name, memory=size), table(0)
        assert torch.equal(loss(batch), WITHOUT[name](batch["features"], batch["targets"]))
        again = table(1)
        assert torch.equal(loss(again), WITHOUT[name](again["features"], again["targets"])) == (size == 0)
    assert loss_of(name).checkpointables() == {}


# not circle: its weights are constants for the gradient
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "circle"])
def test_gradients_are_those_of_finite_differences(name):
    loss = loss_of(name, memory=50)
    loss(table(0))
    kept = loss.checkpointables()[f"{loss.key}_memory"].state_dict()
    saved = {key: part.clone() for key, part in kept.items()}

    def value(x):
        loss.checkpointables()[f"{loss.key}_memory"].load_state_dict(saved)
        return loss({**table(1), "features": x})

    assert torch.autograd.gradcheck(value, (table(1)["features"],))


@pytest.mark.parametrize("name", ["triplet hard", "circle", "cosface"])
def test_the_memory_has_no_gradient_and_a_forward_without_gradients_stores_nothing(name):
    loss, first, second = loss_of(name, memory=50), table(0), table(1)
    loss(first).backward()
    grad = first["features"].grad.clone()
    loss(second).backward()
    assert torch.equal(first["features"].grad, grad)
    (memory,) = loss.checkpointables().values()
    before = {key: part.clone() for key, part in memory.state_dict().items()}
    assert not any(part.requires_grad for part in before.values())
    with torch.no_grad():
        loss(table(2))
    assert all(torch.equal(part, before[key]) for key, part in memory.state_dict().items())


def test_the_oldest_are_overwritten():
    loss = L.TripletLoss(memory=SIZE + 3)
    batches = [table(step) for step in range(3)]
    for batch in batches:
        loss(batch)
    (memory,) = loss.checkpointables().values()
    rows, _ = memory.rows(torch.device("cpu"))
    seen = torch.cat([batch["features"].detach() for batch in batches])[-(SIZE + 3) :]
    assert sorted(rows.tolist()) == sorted(seen.tolist())  # as they are, of any length
    circle = L.CircleLoss(memory=50)
    circle(batches[0])
    kept, tags = next(iter(circle.checkpointables().values())).rows(torch.device("cpu"))
    torch.testing.assert_close(kept[:SIZE].norm(dim=1), torch.ones(SIZE, dtype=torch.float64))
    assert tags[:, 0].tolist() == [*batches[0]["targets"].tolist(), *[-1] * (50 - SIZE)]


@pytest.mark.parametrize("name", ["triplet hard", "triplet all", "circle", "cosface"])
def test_an_image_is_never_compared_with_its_copy_in_the_memory(name):
    """Two identities with one image each, seen twice: no positive but the copy, which would have a gradient."""
    batch = {"features": torch.eye(2, 5, dtype=torch.float64), "targets": torch.tensor([0, 1])}
    for paths, alone in ((["a.png", "b.png"], True), (["c.png", "d.png"], False)):
        loss = loss_of(name, memory=8)
        loss({**batch, "img_paths": ["a.png", "b.png"]})
        x = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        value = loss({**batch, "features": x, "img_paths": paths})
        assert torch.equal(value, loss_of(name)({**batch, "features": x})) == alone
        assert float(value.detach()) == pytest.approx(
            by_loops(name, entries({**batch, "features": x, "img_paths": paths}),
                     entries({**batch, "img_paths": ["a.png", "b.png"]})) if not alone or "all" not in name else 0,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["triplet weighted", "circle", "cosface"])
def test_the_first_iterations_neither_store_nor_compare(name):
    loss, ring = loss_of(name, memory=50, memory_start=2), []
    with EventStorage(0) as storage:
        for storage.iter in range(5):
            batch = table(storage.iter)
            assert float(loss(batch).detach()) == pytest.approx(by_loops(name, entries(batch), ring), rel=1e-8)
            ring += entries(batch) if storage.iter >= 2 else []
            assert bool(next(iter(loss.checkpointables().values())).state_dict()) == bool(ring)
    assert len(ring) == 3 * SIZE


@pytest.mark.parametrize("name", ["triplet weighted", "circle", "cosface"])
def test_a_saved_memory_goes_on(name, tmp_path):
    loss, other = (loss_of(name, memory=30) for _ in range(2))
    for step in range(3):
        loss(table(step))
    ((key, memory),) = loss.checkpointables().items()
    assert key == f"{loss.key}_memory"
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    other(table(7))
    other.checkpointables()[key].load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    for step in (3, 4):
        assert torch.equal(loss(table(step)), other(table(step)))
    assert all(torch.equal(a, b) for a, b in zip(memory.state_dict().values(),
               other.checkpointables()[key].state_dict().values(), strict=True))  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_and_kept_in_full(name):
    batches = [{**table(step), "features": table(step)["features"].detach().bfloat16()} for step in range(2)]
    wide, half = loss_of(name, memory=50), loss_of(name, memory=50)
    for batch in batches:
        expected = wide({**batch, "features": batch["features"].float()})
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(half(batch), expected)
    assert next(iter(half.checkpointables().values())).state_dict()["queue"].dtype == torch.float32


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_to_compare_is_finite(name):
    """An only image of a new identity, twice, then the only other identity."""
    loss = loss_of(name, memory=4)
    for target, path in ((0, "a.png"), (0, "a.png"), (1, "b.png")):
        x = torch.ones(1, 5, requires_grad=True)
        value = loss({"features": x, "targets": torch.tensor([target]), "img_paths": [path]})
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("kind", [L.TripletLoss, L.CircleLoss, L.Cosface, L.HierarchicalContrastiveLoss])
def test_bad_settings_are_named(kind):
    for options, error, message in (
        ({"memory": -1}, ValueError, f"{kind.node}.MEMORY must be at least 0; got -1"),
        ({"memory": 1.5}, TypeError, f"{kind.node}.MEMORY must be a whole number; got 1.5"),
        ({"memory": 9, "memory_start": -2}, ValueError, f"{kind.node}.MEMORY_START must be at least 0; got -2"),
    ):
        with pytest.raises(error, match=message):
            kind(**options)
    batch = {**table(0), "taxonomy": [""] * SIZE}
    with EventStorage(0), pytest.raises(ValueError, match=f"{kind.node}.MEMORY 11 is smaller than the batch of 12"):
        kind(memory=SIZE - 1, memory_start=1000)(batch)
    with pytest.raises(RuntimeError, match=f"{kind.node}.MEMORY_START 3 counts the iterations of a training: open an"):
        kind(memory=50, memory_start=3)(batch)
    loss = kind(memory=50)
    loss(batch)
    with pytest.raises(ValueError, match=f"memory of {kind.node}.MEMORY has features of width 5, the head gives 4"):
        loss({**batch, "features": torch.ones(SIZE, 4)})


@pytest.mark.parametrize("node", ["TRI", "CIRCLE", "COSFACE", "HIERARCHICAL"])
def test_mgn_refuses_a_memory(node):
    name = {"TRI": "TripletLoss", "CIRCLE": "CircleLoss", "COSFACE": "Cosface"}.get(node, "HierarchicalContrastiveLoss")
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "MGN", "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x",
        "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.HEADS.NUM_CLASSES", 4,
        "MODEL.LOSSES.NAME", [name], f"MODEL.LOSSES.{node}.MEMORY", 64,
    ])  # fmt: skip
    with pytest.raises(ValueError, match=f"MODEL.LOSSES.{node}.MEMORY is 64; it must be 0"):
        build_model(cfg)


def steps():
    losses = [loss_of(name, memory=20) for name in LOSSES]
    losses += [loss_of(name, memory=20, memory_start=1) for name in ("triplet hard", "cosface")]
    return steps_of(losses, table, SIZE)


def test_two_processes_have_the_values_gradients_and_memory_of_one(quick_launch, tmp_path):
    assert all(len(step["kept"]) == 1 for step in require_two_processes_like_one(tmp_path, steps))
