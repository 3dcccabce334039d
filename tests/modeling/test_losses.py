"""Losses against loops over samples and pairs, and on the batches where masks go wrong."""

import itertools
import math

import pytest
import torch

from fastreid.modeling import losses as L
from fastreid.modeling.losses.utils import LOSS_REGISTRY, concat_all_gather, cosine_dist, euclidean_dist, normalize
from fastreid.utils.events import EventStorage

TARGETS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])  # class 2 has one sample
EMBEDDING = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LOGITS = 3 * torch.randn(8, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

PAIR_LOSSES = {
    "triplet hard": lambda x, t: L.triplet_loss(x, t, 0.3, False, True),
    "triplet soft margin": lambda x, t: L.triplet_loss(x, t, 0.0, False, True),
    "triplet weighted": lambda x, t: L.triplet_loss(x, t, 0.3, False, False),
    "triplet cosine": lambda x, t: L.triplet_loss(x, t, 0.3, True, True),
    "circle": lambda x, t: L.pairwise_circleloss(x, t, 0.25, 64),
    "cosface": lambda x, t: L.pairwise_cosface(x, t, 0.25, 64),
    "triplet all": lambda x, t: L.all_triplets_loss(x, t, 0.3, False),
    "triplet all squared": lambda x, t: L.all_triplets_loss(x, t, 0.05, True),
    "infonce": lambda x, t: L.infonce_loss(x, t, 0.07),
}


def distance(i: int, j: int, norm_feat: bool) -> float:
    a, b = EMBEDDING[i], EMBEDDING[j]
    if norm_feat:
        return float(2 - 2 * (a / a.norm()) @ (b / b.norm()))
    return max(float((a - b).norm()), 1e-6)


def weighted_mean(values: list[float], sign: int) -> float:
    """Mean with weights softmax(sign * value), exponentials relative to the largest positive one, 1e-6 in the sum."""
    weights = [math.exp(sign * v - max(sign * max(values), 0)) for v in values]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / (sum(weights) + 1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("norm_feat", [False, True])
@pytest.mark.parametrize("hard_mining", [False, True])
def test_triplet_against_loops(margin, norm_feat, hard_mining):
    expected = []
    for i in range(8):
        positives = [distance(i, j, norm_feat) for j in range(8) if TARGETS[j] == TARGETS[i]]
        negatives = [distance(i, j, norm_feat) for j in range(8) if TARGETS[j] != TARGETS[i]]
        if hard_mining:
            difference = max(positives) - min(negatives)
        else:
            difference = weighted_mean(positives, 1) - weighted_mean(negatives, -1)
        expected.append(max(difference + margin, 0) if margin else math.log1p(math.exp(difference)))
    loss = L.triplet_loss(EMBEDDING, TARGETS, margin, norm_feat, hard_mining)
    assert float(loss) == pytest.approx(sum(expected) / 8, rel=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("norm_feat", [False, True])
def test_all_triplets_against_loops(margin, norm_feat):
    violated = []
    for i, p, n in itertools.product(range(8), repeat=3):
        if i != p and TARGETS[i] == TARGETS[p] and TARGETS[i] != TARGETS[n]:
            difference = distance(i, p, norm_feat) - distance(i, n, norm_feat)
            value = max(difference + margin, 0) if margin else math.log1p(math.exp(difference))
            violated += [value] * (value > 0)
    assert 0 < len(violated)
    loss = L.all_triplets_loss(EMBEDDING, TARGETS, margin, norm_feat)
    assert float(loss) == pytest.approx(sum(violated) / len(violated), rel=1e-9)


def test_satisfied_triplets_do_not_count():
    """Identities 1 apart on a line, their images at one place: the hardest triplet has a difference of -1."""
    x = TARGETS[:, None].double() * torch.ones(1, 6, dtype=torch.float64) / 6**0.5
    assert float(L.all_triplets_loss(x, TARGETS, 0.9, False)) == 0
    assert float(L.all_triplets_loss(x, TARGETS, 1.5, False)) == pytest.approx(0.5, abs=1e-5)


def test_mining_and_all_triplets_exclude_each_other():
    with pytest.raises(ValueError, match="HARD_MINING and ALL_TRIPLETS exclude each other"):
        L.TripletLoss(hard_mining=True, all_triplets=True)
    table = {"features": EMBEDDING, "targets": TARGETS}
    every = L.TripletLoss(margin=0.05, norm_feat=True, all_triplets=True, scale=0.5)(table)
    assert torch.equal(every, 0.5 * L.all_triplets_loss(EMBEDDING, TARGETS, 0.05, True))


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_infonce_against_loops(temperature):
    """One positive against all negatives, averaged over the ordered positive pairs."""
    unit, losses = EMBEDDING / EMBEDDING.norm(dim=1, keepdim=True), []
    similarity = [[float(unit[i] @ unit[j]) / temperature for j in range(8)] for i in range(8)]
    for i, p in itertools.product(range(8), repeat=2):
        if i != p and TARGETS[i] == TARGETS[p]:
            negatives = sum(math.exp(similarity[i][n]) for n in range(8) if TARGETS[n] != TARGETS[i])
            own = math.exp(similarity[i][p])
            losses.append(-math.log(own / (own + negatives)))
    assert len(losses) == 10
    assert float(L.infonce_loss(EMBEDDING, TARGETS, temperature)) == pytest.approx(sum(losses) / 10, rel=1e-9)


def test_infonce_with_pairs_of_images_is_supcon():
    """Khosla et al., 2020, eq. 2, whose denominator has the other positives: with one positive there are none."""
    targets = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    logits = (normalize(EMBEDDING) @ normalize(EMBEDDING).t() / 0.1).fill_diagonal_(-torch.inf)
    supcon = -torch.stack([logits.log_softmax(1)[i, (i + 4) % 8] for i in range(8)]).mean()
    assert torch.allclose(L.infonce_loss(EMBEDDING, targets, 0.1), supcon)


@pytest.mark.parametrize("name", ["infonce", "triplet all"])
@pytest.mark.parametrize("targets", [torch.arange(8), torch.zeros(8, dtype=torch.long)])
def test_nothing_to_compare_is_zero_with_a_gradient(name, targets):
    x = EMBEDDING.clone().requires_grad_(True)
    loss = PAIR_LOSSES[name](x, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("temperature", [0, -0.1])
def test_infonce_names_a_temperature_that_is_none(temperature):
    with pytest.raises(ValueError, match=f"INFONCE.TEMPERATURE must be positive; got {temperature}"):
        L.InfoNCELoss(temperature)


@pytest.mark.parametrize("name", ["circle", "cosface"])
def test_pair_losses_against_loops(name):
    margin, gamma, expected = 0.25, 64, []
    unit = EMBEDDING / EMBEDDING.norm(dim=1, keepdim=True)
    for i in range(8):
        positive = negative = 0.0
        for j in range(8):
            s = float(unit[i] @ unit[j])
            if i != j and TARGETS[i] == TARGETS[j]:
                goal = max(1 + margin - s, 0) * (s - 1 + margin) if name == "circle" else s
                positive += math.exp(-gamma * goal)
            elif TARGETS[i] != TARGETS[j]:
                limit = max(s + margin, 0) * (s - margin) if name == "circle" else s + margin
                negative += math.exp(gamma * limit)
        expected.append(math.log1p(positive * negative))
    assert float(PAIR_LOSSES[name](EMBEDDING, TARGETS)) == pytest.approx(sum(expected) / 8, rel=1e-9)


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize(
    "targets",
    [torch.zeros(8, dtype=torch.long), torch.arange(8), torch.tensor([0] * 7 + [1])],
    ids=["no negatives", "no positives", "one alone"],
)
def test_finite_without_positives_or_negatives(name, targets):
    x = EMBEDDING.float().requires_grad_(True)
    loss = PAIR_LOSSES[name](x, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_finite_for_equal_and_for_huge_features(name):
    for x in (torch.ones(8, 6), torch.zeros(8, 6), 1e4 * EMBEDDING.float()):
        x = x.clone().requires_grad_(True)
        loss = PAIR_LOSSES[name](x, TARGETS)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["circle", "cosface"])
def test_pair_loss_of_singletons_is_zero(name):
    assert float(PAIR_LOSSES[name](EMBEDDING, torch.arange(8))) == 0


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_full_precision_under_autocast(name):
    x = EMBEDDING.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(PAIR_LOSSES[name](x, TARGETS), PAIR_LOSSES[name](x, TARGETS).float())
        inside = PAIR_LOSSES[name](x, TARGETS)
    assert torch.equal(inside, PAIR_LOSSES[name](x, TARGETS))


@pytest.mark.parametrize("eps", [0.0, 0.1, -1])
def test_cross_entropy_against_loops(eps):
    targets, total = TARGETS, 0.0
    for row, target in zip(LOGITS.tolist(), targets.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        smooth = eps if eps >= 0 else 0.2 * math.exp(row[target] - log_sum)
        for j, value in enumerate(row):
            total -= (1 - smooth if j == target else smooth / 3) * (value - log_sum)
    assert float(L.cross_entropy_loss(LOGITS, targets, eps, 0.2)) == pytest.approx(total / 8, rel=1e-9)


def test_cross_entropy_without_smoothing_is_that_of_torch():
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS)
    assert torch.allclose(L.cross_entropy_loss(LOGITS, TARGETS, 0.0), expected)


def test_cross_entropy_ignores_samples_of_loss_zero_in_the_mean():
    logits = torch.tensor([[1000.0, 0.0], [0.0, 0.0]])
    assert float(L.cross_entropy_loss(logits, torch.tensor([0, 0]), 0.0)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("eps", [0.0, 0.1, -1])
def test_cross_entropy_of_one_class_is_zero(eps):
    logits = torch.randn(3, 1, requires_grad=True)
    loss = L.cross_entropy_loss(logits, torch.zeros(3, dtype=torch.long), eps)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_against_loops(gamma):
    values = []
    for row, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        p = math.exp(row[target]) / sum(math.exp(v) for v in row)
        values.append(-0.25 * (1 - p) ** gamma * math.log(p))
    assert torch.allclose(L.focal_loss(LOGITS, TARGETS, 0.25, gamma, "none"), torch.tensor(values, dtype=torch.float64))
    assert float(L.focal_loss(LOGITS, TARGETS, 0.25, gamma, "sum")) == pytest.approx(sum(values))
    assert float(L.focal_loss(LOGITS, TARGETS, 0.25, gamma)) == pytest.approx(sum(values) / 8)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_focal_of_the_batch_mean(gamma):
    """Higuchi and Yanai's: the factor of the mean cross-entropy, not the mean of the factors."""
    mean = float(torch.nn.functional.cross_entropy(LOGITS, TARGETS))
    expected = (1 - math.exp(-mean)) ** gamma * mean
    assert float(L.focal_loss_of_mean(LOGITS, TARGETS, 1.0, gamma)) == pytest.approx(expected, rel=1e-9)
    assert float(L.focal_loss_of_mean(LOGITS, TARGETS, 0.25, gamma)) == pytest.approx(expected / 4, rel=1e-9)
    if gamma:
        assert abs(expected - float(L.focal_loss(LOGITS, TARGETS, 1.0, gamma))) > 0.01
    x = LOGITS.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda logits: L.focal_loss_of_mean(logits, TARGETS, 1.0, gamma), (x,))


def test_focal_reduction_is_chosen_by_name():
    table = {"cls_outputs": LOGITS, "targets": TARGETS}
    for name, function in (("sample", L.focal_loss), ("batch", L.focal_loss_of_mean)):
        expected = 3 * function(LOGITS, TARGETS, 0.5, 1.5)
        assert torch.equal(L.FocalLoss(alpha=0.5, gamma=1.5, scale=3, reduction=name)(table), expected)
    with pytest.raises(ValueError, match="FL.REDUCTION must be one of 'sample', 'batch'; got 'bach'. Did you mean"):
        L.FocalLoss(reduction="bach")


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("function", [L.focal_loss, L.focal_loss_of_mean])
@pytest.mark.parametrize("targets", [[0, 0], [0, 1]], ids=["half wrong", "all right"])
def test_focal_is_finite_for_saturated_logits(function, gamma, targets):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = function(logits, torch.tensor(targets), 0.25, gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_focal_names_a_wrong_reduction():
    with pytest.raises(ValueError, match="reduction of focal_loss must be one of .* got 'means'. Did you mean 'mean'"):
        L.focal_loss(LOGITS, TARGETS, 0.25, 2.0, "means")


# not circle: its weights are constants for the gradient
@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name != "circle"])
def test_gradients_are_those_of_finite_differences(name):
    x = EMBEDDING.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda e: PAIR_LOSSES[name](e, TARGETS), (x,))


def test_distances():
    x, y = torch.randn(3, 5), torch.randn(4, 5)
    assert torch.allclose(euclidean_dist(x, y), torch.cdist(x, y), atol=1e-5)
    assert torch.allclose(cosine_dist(x, y), 2 - 2 * torch.cosine_similarity(x[:, None], y[None], dim=2), atol=1e-5)
    assert torch.equal(normalize(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(concat_all_gather(x), x)


def test_accuracy_goes_to_the_open_storage_and_needs_none():
    logits, targets = torch.eye(4), torch.tensor([0, 1, 2, 0])
    L.log_accuracy(logits, targets)
    with EventStorage(0) as storage:
        L.log_accuracy(logits, targets)
    assert storage.latest()["cls_accuracy"][0] == 0.75


def test_a_loss_of_a_plug_in_does_not_disturb_configs_without_it():
    """A teacher's config, or the next test, need not have the node of a loss that another config has registered."""
    from fastreid.config import get_cfg
    from fastreid.modeling.losses.settings import settings_from_cfg

    class Foreign:
        def __init__(self, scale=1.0):
            self.scale = scale

    LOSS_REGISTRY.register(Foreign, node="MODEL.LOSSES.FOREIGN")
    try:
        cfg = get_cfg()
        assert "foreign" not in settings_from_cfg(cfg)
        cfg.MODEL.LOSSES.NAME = ("Foreign",)
        with pytest.raises(KeyError, match="no 'MODEL.LOSSES.FOREIGN'"):
            settings_from_cfg(cfg)
    finally:
        del LOSS_REGISTRY._objects["Foreign"], LOSS_REGISTRY._nodes["Foreign"]
