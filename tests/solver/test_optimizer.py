import copy

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling.heads import BNDropoutHead, EmbeddingHead
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fastreid.solver.freeze import frozen_parameters, is_below


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.heads = nn.Linear(4, 3)
        self.b1 = nn.Linear(4, 2)
        self.b1_head = nn.Linear(4, 2)
        self.heads.bias.requires_grad_(False)

    def forward(self, x):
        f = self.backbone(x).mean((2, 3))
        return sum((layer(f) ** 2).mean() for layer in (self.heads, self.b1, self.b1_head))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR = "SGD", 0.1
    return cfg


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def train(net, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        net(IMAGES).backward()
        optimizer.step()


def rates(groups):
    """Name of the group's rule by parameter, found in the groups by identity."""
    return {id(p): (round(g["lr"], 9), g["weight_decay"]) for g in groups for p in g["params"]}


def test_groups_follow_the_rules_of_fast_reid(net):
    groups = get_default_optimizer_params(
        net, base_lr=1.0, weight_decay=0.1, weight_decay_norm=0.2, weight_decay_bias=0.3,
        bias_lr_factor=2.0, heads_lr_factor=5.0,
    )  # fmt: skip
    found = rates(groups)
    assert found[id(net.backbone[0].weight)] == (1.0, 0.1)
    assert found[id(net.backbone[0].bias)] == (2.0, 0.3)
    assert found[id(net.backbone[1].weight)] == (1.0, 0.2)
    assert found[id(net.backbone[1].bias)] == (2.0, 0.3)
    assert found[id(net.heads.weight)] == (5.0, 0.1)
    assert id(net.heads.bias) not in found, "not trainable"
    assert found[id(net.b1_head.weight)] == (1.0, 0.1)
    assert len(groups) == 4
    net.b1.weight = net.b1_head.weight
    shared = [p for g in get_default_optimizer_params(net, 1.0, 0, 0, 0) for p in g["params"]]
    assert len(shared) == len({id(p) for p in shared})


def test_class_weights_have_a_factor_on_top_of_that_of_the_head():
    """The class weights of the usual head and of MGN's, not other weights of a head, nor layers called alike."""
    net = nn.ModuleDict()
    for name in ("heads", "b1_head"):
        net[name] = EmbeddingHead(feat_dim=4, embedding_dim=2, num_classes=3, with_bnneck=True)
    net["attention"] = nn.Linear(2, 2)
    found = rates(get_default_optimizer_params(
        net, base_lr=1.0, weight_decay=0.1, weight_decay_norm=0.2, weight_decay_bias=0.3,
        heads_lr_factor=2.0, classifier_lr_factor=50.0,
    ))  # fmt: skip
    assert found[id(net["heads"].weight)] == (100.0, 0.1)
    assert found[id(net["b1_head"].weight)] == (50.0, 0.1)
    assert found[id(net["heads"].bottleneck[0].weight)] == (2.0, 0.1)
    assert found[id(net["heads"].bottleneck[1].weight)] == (2.0, 0.2)
    assert found[id(net["b1_head"].bottleneck[0].weight)] == (1.0, 0.1)
    assert found[id(net["attention"].weight)] == (1.0, 0.1)


class Scale(nn.Module):
    without_decay = ("log_scale", "bias")

    def __init__(self):
        super().__init__()
        self.log_scale, self.other, self.bias = (nn.Parameter(torch.ones(())) for _ in range(3))


def test_a_module_names_its_parameters_without_decay():
    net = nn.ModuleDict({"plain": nn.Linear(2, 2), "heads": Scale()})
    options = {"weight_decay": 0.1, "weight_decay_norm": 0.2, "weight_decay_bias": 0.3, "bias_lr_factor": 2.0,
               "heads_lr_factor": 5.0}  # fmt: skip
    found = rates(get_default_optimizer_params(net, base_lr=1.0, **options))
    assert found[id(net["heads"].log_scale)] == (5.0, 0.0)
    assert found[id(net["heads"].bias)] == (10.0, 0.0)
    assert found[id(net["heads"].other)] == (5.0, 0.1)
    assert found[id(net["plain"].weight)] == (1.0, 0.1)
    assert found[id(net["plain"].bias)] == (2.0, 0.3)
    # a method of this kind that networks of timm have for their own trainer changes nothing, as ever
    net["plain"].no_weight_decay = lambda: {"weight"}
    assert rates(get_default_optimizer_params(net, base_lr=1.0, **options)) == found


@pytest.mark.parametrize("head", [EmbeddingHead, BNDropoutHead])
def test_one_adam_with_two_rates_is_two_adams(cfg, head):
    """Higuchi and Yanai: 1e-4 for the network, 5e-3 for the class weights, each with an Adam of its own."""
    torch.manual_seed(0)
    ours = nn.ModuleDict({"heads": head(feat_dim=4, embedding_dim=4, num_classes=3)})
    theirs = copy.deepcopy(ours)
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.CLASSIFIER_LR_FACTOR = "Adam", 1e-4, 50.0
    cfg.SOLVER.WEIGHT_DECAY = cfg.SOLVER.WEIGHT_DECAY_NORM = cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.0
    optimizers = [build_optimizer(cfg, ours)[0]]
    network = [p for name, p in theirs.named_parameters() if name != "heads.weight"]
    pair = [torch.optim.Adam(network, lr=1e-4), torch.optim.Adam([theirs["heads"].weight], lr=5e-3)]
    for model, stepped in ((ours, optimizers), (theirs, pair)):
        torch.manual_seed(1)
        for _ in range(3):
            outputs = model["heads"](torch.rand(6, 4, 1, 1), torch.arange(6) % 3)
            model.zero_grad()
            nn.functional.cross_entropy(outputs["cls_outputs"], torch.arange(6) % 3).backward()
            for optimizer in stepped:
                optimizer.step()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("schedule, floor", [("MultiStepLR", 0.0), ("CosineAnnealingLR", 1e-3)])
def test_warm_up_schedule_and_resume_keep_the_ratio_of_the_class_weights(cfg, schedule, floor):
    """The cosine moves what lies above its last rate, SOLVER.ETA_MIN_LR, which is one for all groups."""
    cfg.SOLVER.SCHED, cfg.SOLVER.ETA_MIN_LR, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH = schedule, floor, [2, 4], 8
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CLASSIFIER_LR_FACTOR = 4, 50.0
    net = nn.ModuleDict({"heads": EmbeddingHead(feat_dim=4, embedding_dim=4, num_classes=3)})

    def start():
        optimizer = build_optimizer(cfg, net)[0]
        return optimizer, build_lr_scheduler(cfg, optimizer, 2)

    def step(optimizer, schedulers, iteration):
        optimizer.step()
        if iteration < 4:
            schedulers["warmup_sched"].step()
        elif iteration % 2:
            schedulers["lr_sched"].step()

    (optimizer, schedulers), seen = start(), []
    for iteration in range(16):
        classes, network = (group["lr"] for group in optimizer.param_groups)
        seen.append(network)
        if iteration > 4:  # behind the warm-up, (rate - floor) / (base - floor) is the same share for both
            assert (classes - floor) / (5 - floor) == pytest.approx((network - floor) / (0.1 - floor))
        else:
            assert classes == pytest.approx(50 * network)
        if iteration in (2, 9):  # stopped in the warm-up, and in the schedule; states as from a file
            states = copy.deepcopy([optimizer.state_dict(), *(s.state_dict() for s in schedulers.values())])
            optimizer, schedulers = start()
            for part, state in zip((optimizer, *schedulers.values()), states, strict=True):
                part.load_state_dict(state)
            assert [group["lr"] for group in optimizer.param_groups] == [classes, network]
        step(optimizer, schedulers, iteration)
    assert seen[0] == pytest.approx(0.01)
    assert seen[4] == pytest.approx(0.1)
    assert len(set(seen)) > 6 if floor else sorted(set(seen))[0] == pytest.approx(0.001)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "RAdam"])
def test_every_parameter_moves(cfg, net, name):
    cfg.SOLVER.OPT = name
    before = {n: p.detach().clone() for n, p in net.named_parameters() if p.requires_grad}
    optimizer, wrapper = build_optimizer(cfg, net)
    assert wrapper is None
    assert type(optimizer) is getattr(torch.optim, name)
    train(net, optimizer, 2)
    for name, old in before.items():
        assert not torch.equal(old, net.get_parameter(name)), name


def test_sgd_takes_its_options(cfg, net):
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV = 0.7, True
    group = build_optimizer(cfg, net)[0].param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.7, True)


@pytest.mark.parametrize("name", ["AdmW", "lr_scheduler", "Optimizer"])
def test_unknown_optimizer_is_an_error(cfg, net, name):
    cfg.SOLVER.OPT = name
    with pytest.raises(KeyError, match=f"SOLVER.OPT: no optimiser named '{name}'"):
        build_optimizer(cfg, net)


def test_unknown_optimizer_names_the_nearest(cfg, net):
    cfg.SOLVER.OPT = "AdmW"
    with pytest.raises(KeyError, match="Did you mean 'AdamW'"):
        build_optimizer(cfg, net)


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_gradients_are_clipped_per_parameter(cfg, net, kind):
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, kind
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    optimizer, _ = build_optimizer(cfg, net)
    gradients = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            parameter.grad = gradients[name] = torch.full_like(parameter, 3.0 if "b1." in name else 0.01)
    expected = {}
    for name, gradient in copy.deepcopy(gradients).items():
        by_norm = gradient * min(1.0, 0.5 / float(gradient.norm()))
        expected[name] = gradient.clamp(-0.5, 0.5) if kind == "value" else by_norm
    optimizer.step()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients["b1_head.weight"], torch.full((2, 4), 0.01))


def test_clip_type_is_checked(cfg, net):
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "Norm"
    with pytest.raises(ValueError, match=r"CLIP_TYPE must be one of 'norm', 'value'; got 'Norm'"):
        build_optimizer(cfg, net)


def test_clipping_an_optimizer_class_gives_a_factory(cfg, net):
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "value"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.25
    optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)([net.b1.bias], lr=1.0)
    net.b1.bias.grad = torch.tensor([5.0, -5.0])
    optimizer.step()
    assert net.b1.bias.grad.tolist() == [0.25, -0.25]


def test_frozen_names_end_at_dots(net):
    assert is_below("b1.weight", ["b1"])
    assert is_below("b1", ["b1"])
    assert not is_below("b1_head.weight", ["b1"])
    assert {id(p) for p in frozen_parameters(net, ["b1"])} == {id(p) for p in net.b1.parameters()}
    assert {id(p) for p in frozen_parameters(net, ["heads"])} == {id(net.heads.weight)}, "its bias is fixed anyway"


def test_unknown_layer_to_freeze_is_an_error(cfg, net):
    cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS = ["backbne"], 5
    with pytest.raises(ValueError, match="'backbne'.*Did you mean 'backbone'"):
        build_optimizer(cfg, net)


def test_frozen_parameters_wait_for_their_iterations_also_after_a_resume(cfg, net):
    cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS = ["b1"], 3
    optimizer, _ = build_optimizer(cfg, net)
    start = net.b1.weight.detach().clone()
    train(net, optimizer, 2)
    assert torch.equal(net.b1.weight, start)
    resumed = copy.deepcopy(net)
    second, _ = build_optimizer(cfg, resumed)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as from a file
    train(resumed, second, 1)
    assert torch.equal(resumed.b1.weight, start), "one frozen step was left"
    train(resumed, second, 1)
    assert not torch.equal(resumed.b1.weight, start)
    train(net, optimizer, 2)
    torch.testing.assert_close(resumed.state_dict(), net.state_dict())
