"""Partial FC in one process; ``tests/distributed/test_partial_fc.py`` has two."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.layers import SOFTMAX_REGISTRY, PartialFC, ShardedLogits, sharded_cross_entropy
from fastreid.layers.partial_fc import initialize_shard
from fastreid.modeling import build_model
from fastreid.modeling.heads import AttrHead, BNDropoutHead, ClasHead, EmbeddingHead
from fastreid.modeling.losses import LOSS_REGISTRY, CrossEntropyLoss, cross_entropy_loss
from fastreid.modeling.losses.cross_entropy_loss import log_accuracy
from fastreid.solver import build_optimizer
from fastreid.solver.sampled_rows import step_sampled_rows
from fastreid.utils.events import EventStorage
from fastreid.utils.shards import Shard

CLASSES, WIDTH = 11, 6
TARGETS = torch.tensor([3, 0, 10, 3, 7])
OPTIONS = {"feat_dim": WIDTH, "num_classes": CLASSES, "scale": 4, "margin": 0.3}


def feature_map(seed: int = 0) -> torch.Tensor:
    return torch.randn(len(TARGETS), WIDTH, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heads(cls_type: str = "Linear", rate: float = 1.0) -> tuple[EmbeddingHead, EmbeddingHead]:
    """The plain head and one with partial FC and the same weights."""
    torch.manual_seed(0)
    plain = EmbeddingHead(**OPTIONS, cls_type=cls_type).double()
    torch.manual_seed(0)
    partial = EmbeddingHead(**OPTIONS, cls_type=cls_type, pfc=True, pfc_sample_rate=rate).double()
    assert torch.equal(plain.weight, partial.weight)
    return plain, partial


@pytest.mark.parametrize("epsilon", [0.0, 0.1, -1.0])
@pytest.mark.parametrize("cls_type", SOFTMAX_REGISTRY.names())
def test_all_classes_give_loss_and_gradients_of_the_full_layer(cls_type, epsilon):
    found = []
    for head in heads(cls_type):
        features = feature_map().requires_grad_()
        outputs = head(features, TARGETS)
        loss = CrossEntropyLoss(epsilon, scale=2.0)({**outputs, "targets": TARGETS})
        loss.backward()
        found.append((loss.detach(), features.grad, head.weight.grad, outputs["features"].detach()))
    for full, part in zip(*found, strict=True):
        torch.testing.assert_close(part, full, rtol=1e-12, atol=1e-14)
    assert found[0][2].abs().min() > 0


@pytest.mark.parametrize("epsilon", [0.0, 0.1, -1.0])
def test_drawn_classes_give_the_softmax_over_them(epsilon):
    _, head = heads("ArcSoftmax", rate=0.6)
    features = feature_map().requires_grad_()
    loss = CrossEntropyLoss(epsilon)({**head(features, TARGETS), "targets": TARGETS})
    loss.backward()
    (index, rows) = head.partial_fc.drawn[0]
    classes = index.tolist()
    assert len(classes) == 7 == len(set(classes))
    assert set(TARGETS.tolist()) < set(classes)
    plain = EmbeddingHead(**{**OPTIONS, "num_classes": 7}, cls_type="ArcSoftmax").double()
    with torch.no_grad():
        plain.weight.copy_(head.weight[classes])
    own, places = feature_map().requires_grad_(), torch.tensor([classes.index(t) for t in TARGETS.tolist()])
    expected = cross_entropy_loss(plain(own, places)["cls_outputs"], places, epsilon)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(features.grad, own.grad)
    torch.testing.assert_close(rows.grad, plain.weight.grad)
    assert head.weight.grad is None


def test_classes_of_the_batch_are_kept_beyond_the_rate_and_others_are_random():
    part, weight = PartialFC(1000, 0.002), torch.zeros(1000, 1)
    rows, local = part.choose(weight, torch.arange(5) * 100)
    assert len(rows) == 5
    assert local.tolist() == [0, 1, 2, 3, 4]
    part = PartialFC(1000, 0.1)
    drawn = [set(_drawn(part, weight, torch.tensor([999]))) for _ in range(2)]
    assert all(len(classes) == 100 and 999 in classes for classes in drawn)
    assert drawn[0] != drawn[1]


def _drawn(part: PartialFC, weight: torch.Tensor, targets: torch.Tensor) -> list[int]:
    part.drawn.clear()
    part.choose(weight.requires_grad_(), targets)
    return part.drawn[0][0].tolist()


def test_nothing_is_drawn_for_a_step_without_gradients():
    _, head = heads(rate=0.5)
    with torch.no_grad():
        head(feature_map(), TARGETS)
    assert not head.partial_fc.drawn


@pytest.mark.parametrize("offset", [0.0, 5e4, -5e4])
def test_large_logits_do_not_overflow(offset):
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]]) + offset
    targets = torch.tensor([2, 1])
    torch.testing.assert_close(
        sharded_cross_entropy(ShardedLogits(logits, targets)), cross_entropy_loss(logits, targets, 0.0)
    )


def test_one_class_alone_is_not_smoothed():
    shards = ShardedLogits(torch.tensor([[2.0], [1.0]]), torch.tensor([0, 0]))
    assert sharded_cross_entropy(shards, 0.1) == 0


def test_accuracy_is_that_of_the_full_layer():
    with EventStorage() as storage:
        for head in heads("CosSoftmax"):
            with torch.no_grad():
                head.weight[3] = feature_map()[0, :, 0, 0]
            log_accuracy(head(feature_map(), TARGETS)["pred_class_logits"], TARGETS)
        full, part = (value for value, _ in storage.history("cls_accuracy").values())
    assert full == part
    assert 0 < part < 1


OPTIMIZERS = {"SGD": ("SOLVER.MOMENTUM", 0.9), "Adam": (), "AdamW": (), "RMSprop": ()}


def config(*more: object):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.01, "MODEL.HEADS.PFC.ENABLED", True, *more])
    return cfg


def state_of(optimizer, parameter) -> dict[str, torch.Tensor]:
    return {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in optimizer.state[parameter].items()}


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_step_moves_the_drawn_rows_as_the_whole_optimiser_would_and_no_others(opt):
    """The reference steps all classes, and puts back what belongs to those that were not drawn."""
    cfg = config("SOLVER.OPT", opt, *OPTIMIZERS[opt])
    full, part = heads(rate=0.6)
    reference, _ = build_optimizer(cfg, full)
    optimizer, _ = build_optimizer(cfg, part)
    seen = set()
    for step in range(6):
        loss = CrossEntropyLoss()({**part(feature_map(step), TARGETS.roll(step)), "targets": None})
        optimizer.zero_grad()
        loss.backward()
        index, rows = part.partial_fc.drawn[0]
        others = torch.tensor([c for c in range(CLASSES) if c not in index.tolist()])
        full.weight.grad = torch.zeros_like(full.weight)
        full.weight.grad[index] = rows.grad
        weight, before = full.weight.detach().clone(), state_of(reference, full.weight)
        optimizer.step()
        reference.step()
        with torch.no_grad():
            full.weight[others] = weight[others]
            for key, value in reference.state[full.weight].items():
                if isinstance(value, torch.Tensor) and value.shape == full.weight.shape:
                    value[others] = before[key][others] if key in before else 0.0
        seen.update(index.tolist())
        torch.testing.assert_close(part.weight, full.weight, rtol=1e-12, atol=1e-14)
        assert torch.equal(part.weight[others], weight[others])
        assert set(optimizer.state) == {part.weight}
        for key, value in reference.state[full.weight].items():
            torch.testing.assert_close(optimizer.state[part.weight][key], value, rtol=1e-12, atol=1e-14)
    assert not part.partial_fc.drawn
    assert len(seen) > 7
    assert any(p is part.weight for group in optimizer.param_groups for p in group["params"])


def test_accumulated_gradients_of_different_classes_are_added():
    cfg = config("SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)
    full, part = heads(rate=0.5)
    optimizer, _ = build_optimizer(cfg, part)
    total = torch.zeros_like(full.weight)
    for step in range(3):
        CrossEntropyLoss()({**part(feature_map(step), TARGETS), "targets": None}).backward()
        index, rows = part.partial_fc.drawn[-1]
        total[index] += rows.grad
    assert len({tuple(index.tolist()) for index, _ in part.partial_fc.drawn}) > 1
    optimizer.step()
    torch.testing.assert_close(part.weight.detach(), full.weight.detach() - 0.1 * total)


def test_a_step_without_a_backward_leaves_the_classes_alone():
    _, part = heads(rate=0.5)
    optimizer, _ = build_optimizer(config(), part)
    part(feature_map(), TARGETS)
    before = part.weight.detach().clone()
    optimizer.step()
    assert torch.equal(part.weight, before)
    assert not part.partial_fc.drawn


def test_frozen_and_clipped_rows():
    part = heads(rate=0.5)[1]
    model = torch.nn.ModuleDict({"heads": part})
    cfg = config("SOLVER.OPT", "SGD", "MODEL.FREEZE_LAYERS", ["heads"], "SOLVER.FREEZE_ITERS", 1,
                 "SOLVER.CLIP_GRADIENTS.ENABLED", True,
                 "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1e-3,
                 "SOLVER.WEIGHT_DECAY", 0.0)  # fmt: skip
    optimizer, _ = build_optimizer(cfg, model)
    start = part.weight.detach().clone()
    for _ in range(2):
        moved = (part.weight.detach() - start).abs().max()
        assert moved == 0  # before the first step, and after it, which is frozen
        CrossEntropyLoss()({**part(feature_map(), TARGETS), "targets": None}).backward()
        optimizer.step()
    torch.testing.assert_close((part.weight.detach() - start).abs().max(), torch.tensor(1e-4, dtype=torch.float64))


@pytest.mark.parametrize(("total", "world"), [(11, 2), (12, 4), (3, 3), (7, 1)])
def test_shards_are_contiguous_and_even(total, world):
    shards = [Shard.of(total, rank, world) for rank in range(world)]
    assert [c for shard in shards for c in range(shard.start, shard.stop)] == list(range(total))
    assert max(s.size for s in shards) - min(s.size for s in shards) <= 1


def test_start_values_of_shards_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("fastreid.layers.partial_fc.BLOCK", 4)
    torch.manual_seed(0)
    whole = torch.nn.init.normal_(torch.empty(11, 16))
    parts = []
    for rank in range(3):
        torch.manual_seed(0)
        shard = Shard.of(11, rank, 3)
        parts.append(torch.empty(shard.size, 16))
        initialize_shard(parts[-1], shard, torch.nn.init.normal_)
    assert torch.equal(torch.cat(parts), whole)


def test_dropout_head_keeps_its_start_values():
    torch.manual_seed(0)
    head = BNDropoutHead(feat_dim=8, embedding_dim=4, num_classes=5, pfc=True)
    torch.manual_seed(0)
    plain = BNDropoutHead(feat_dim=8, embedding_dim=4, num_classes=5)
    assert torch.equal(head.weight, plain.weight)
    assert head.weight.abs().max() <= (6 / 9) ** 0.5


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match="PFC.SAMPLE_RATE must lie in 0..1"):
        PartialFC(10, rate)


@pytest.mark.parametrize("kind", [ClasHead, AttrHead])
def test_heads_that_need_all_logits_refuse(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs the logits .* MODEL.HEADS.PFC.ENABLED must be False"):
        kind(feat_dim=4, num_classes=3, pfc=True)
    with pytest.raises(ValueError, match="see class_outputs"):
        EmbeddingHead(feat_dim=4, num_classes=3, pfc=True).classify(torch.zeros(1, 4))


def model_config(*more: object):
    return config("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", False,
                  "MODEL.HEADS.NUM_CLASSES", 5, *more)  # fmt: skip


OF_LOGITS = [name for name, loss in LOSS_REGISTRY if "cls_outputs" in getattr(loss, "needs", ())]


@pytest.mark.parametrize("name", OF_LOGITS)
def test_of_the_losses_over_logits_only_cross_entropy_is_possible(name):
    cfg = model_config("MODEL.LOSSES.NAME", (name,))
    if name == "CrossEntropyLoss":
        build_model(cfg)
        return
    with pytest.raises(ValueError, match=f"{name} needs the logits of all classes, which MODEL.HEADS.PFC.ENABLED"):
        build_model(cfg)


def test_the_distiller_needs_all_logits():
    with pytest.raises(ValueError, match="Distiller compares the logits .* MODEL.HEADS.PFC.ENABLED must be False"):
        build_model(model_config("MODEL.META_ARCHITECTURE", "Distiller", "KD.EMA.ENABLED", True))


def test_an_optimiser_over_whole_tensors_is_refused():
    cfg = config("SOLVER.OPT", "Lamb")
    with pytest.raises(ValueError, match="SOLVER.OPT Lamb reads all class weights at once"):
        build_optimizer(cfg, heads(rate=0.5)[1])
    assert build_optimizer(cfg, heads(rate=1.0)[1])[0]


class OnGPU(torch.nn.Module):
    """A head whose weights say that they are on a GPU."""

    def __init__(self, rate: float):
        super().__init__()
        self.partial_fc, self.weight = PartialFC(CLASSES, rate), SimpleNamespace(is_cuda=True)


NORM = ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")
FLOAT16 = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "float16")


@pytest.mark.parametrize(
    ("options", "processes", "rate", "message"),
    [
        (NORM, 2, 1.0, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'norm' needs the gradient of all .* MODEL.HEADS.PFC"),
        (NORM, 1, 0.5, None),
        (FLOAT16, 1, 0.5, "SOLVER.AMP.DTYPE float16 skips a step .* MODEL.HEADS.PFC"),
        (FLOAT16, 2, 1.0, "SOLVER.AMP.DTYPE float16 skips a step .* MODEL.HEADS.PFC"),
        (FLOAT16, 1, 1.0, None),
        (("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16"), 2, 0.5, None),
    ],
)
def test_steps_that_need_all_gradients_refuse(monkeypatch, options, processes, rate, message):
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: processes)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        step_sampled_rows(config(*options), optimizer, OnGPU(rate))


def test_fewer_classes_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 4)
    assert PartialFC(4).shard.size == 1
    with pytest.raises(ValueError, match="MODEL.HEADS.PFC.ENABLED spreads .*: 3 classes are fewer than 4 processes"):
        PartialFC(3)


def test_weights_are_those_of_the_plain_head():
    plain, partial = heads(rate=0.5)
    assert list(plain.state_dict()) == list(partial.state_dict())
    partial.load_state_dict(plain.state_dict())
    assert torch.equal(plain.eval()(feature_map()), partial.eval()(feature_map()))
