"""Image-text losses against loops over items, on batches where masks go wrong, and in the limits the paper implies."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid.modeling import LOSS_REGISTRY
from fastreid.modeling import losses as L


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES, TEXTS = draw(7, 5, seed=1), draw(7, 5, seed=2)
GROUPS = torch.tensor([3, 3, 0, 0, 0, -1, -1])  # two unknown ones
TEMPERATURE = 0.3
CODES = ["0601", "06-01", "LOC (13) Cl. 06-03", "1404", "1400", "", "none"]


def cosine(i, j):
    """Of image i and text j."""
    return float(IMAGES[i] @ TEXTS[j] / IMAGES[i].norm() / TEXTS[j].norm())


def exponential(i, j, temperature):
    return math.exp(cosine(i, j) / temperature)


def text_of(i, j, temperature):
    """-log of the probability of text j among the texts for image i."""
    return -math.log(exponential(i, j, temperature) / sum(exponential(i, k, temperature) for k in range(7)))


def image_of(i, j, temperature):
    """-log of the probability of image j among the images for text i."""
    return -math.log(exponential(j, i, temperature) / sum(exponential(k, i, temperature) for k in range(7)))


def loops_over_groups(groups, temperature):
    losses = []
    for i in range(7):
        positives = [j for j in range(7) if groups[i] >= 0 and groups[i] == groups[j]]
        if positives:
            both = [image_of(i, j, temperature) + text_of(i, j, temperature) for j in positives]
            losses.append(sum(both) / len(both))
    return sum(losses) / max(len(losses), 1)


def with_gradients(loss):
    """Value and gradients of ``loss(images, texts, temperature)`` for the images and the temperature."""
    images, temperature = IMAGES.clone().requires_grad_(), torch.tensor(TEMPERATURE, dtype=torch.float64)
    value = loss(images, TEXTS, temperature.requires_grad_())
    return value, torch.autograd.grad(value, (images, temperature))


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_image_text_against_loops(temperature):
    images_to_texts = sum(text_of(i, i, temperature) for i in range(7)) / 7
    texts_to_images = sum(image_of(i, i, temperature) for i in range(7)) / 7
    loss = L.image_text_loss(IMAGES, TEXTS, temperature=temperature)
    assert float(loss) == pytest.approx(images_to_texts, rel=1e-9)
    both = L.image_text_loss(IMAGES, TEXTS, temperature=temperature, both_ways=True)
    assert float(both) == pytest.approx((images_to_texts + texts_to_images) / 2, rel=1e-9)


def test_image_text_both_ways_is_that_of_clip():
    """Radford et al., figure 3: the mean of the cross-entropies of rows and columns."""
    logits = F.normalize(IMAGES) @ F.normalize(TEXTS).t() / TEMPERATURE
    own = torch.arange(7)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    assert torch.allclose(L.image_text_loss(IMAGES, TEXTS, temperature=TEMPERATURE, both_ways=True), expected)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("groups", [GROUPS, torch.tensor([1, 0, 1, 0, 1, 0, 1])], ids=["with unknown", "head or tail"])
def test_groups_against_loops(groups, temperature):
    loss = L.group_text_loss(IMAGES, TEXTS, groups, temperature=temperature)
    assert float(loss) == pytest.approx(loops_over_groups(groups, temperature), rel=1e-9)


def test_the_misprint_of_the_paper_moves_loss_between_the_items_of_a_group_alone():
    """It has v_j in the last denominator, so that item i counts the denominators of its group instead of its own."""
    log_sums = [math.log(sum(exponential(i, k, TEMPERATURE) for k in range(7))) for i in range(7)]
    printed, corrected = [], []
    for i in range(7):
        for j in (j for j in range(7) if GROUPS[i] == GROUPS[j] >= 0):
            share = 1 / (GROUPS == GROUPS[i]).sum().item()
            numerator = cosine(i, j) / TEMPERATURE
            printed.append(share * (image_of(i, j, TEMPERATURE) + log_sums[j] - numerator))
            corrected.append(share * (image_of(i, j, TEMPERATURE) + log_sums[i] - numerator))
    assert max(abs(a - b) for a, b in zip(printed, corrected, strict=True)) > 0.1
    expected = float(L.group_text_loss(IMAGES, TEXTS, GROUPS, temperature=TEMPERATURE))
    assert sum(printed) / 5 == pytest.approx(sum(corrected) / 5) == pytest.approx(expected)


def test_groups_of_one_are_infonce_both_ways():
    found, expected = (
        with_gradients(lambda x, t, s: L.group_text_loss(x, t, torch.arange(7), temperature=s)),
        with_gradients(lambda x, t, s: 2 * L.image_text_loss(x, t, temperature=s, both_ways=True)),
    )
    torch.testing.assert_close(found, expected)


def test_one_group_has_all_as_positives():
    loss = L.group_text_loss(IMAGES, TEXTS, torch.zeros(7, dtype=torch.long), temperature=TEMPERATURE)
    pairs = [text_of(i, j, TEMPERATURE) + image_of(i, j, TEMPERATURE) for i in range(7) for j in range(7)]
    assert float(loss) == pytest.approx(sum(pairs) / 49, rel=1e-9)
    assert float(loss) > 2 * math.log(7)


def test_nothing_known_is_zero_with_a_gradient_of_zero():
    value, (images, temperature) = with_gradients(
        lambda x, t, s: L.group_text_loss(x, t, torch.full((7,), -1), temperature=s)
    )
    assert value.item() == 0
    assert torch.equal(images, torch.zeros_like(images))
    assert float(temperature) == 0


def test_items_of_unknown_group_are_nobodys_pair_and_stand_in_the_denominators():
    known = slice(0, 5)
    loss = L.group_text_loss(IMAGES, TEXTS, GROUPS, temperature=TEMPERATURE)
    without = L.group_text_loss(IMAGES[known], TEXTS[known], GROUPS[known], temperature=TEMPERATURE)
    assert float(loss) > float(without)
    far = torch.cat([IMAGES[known], -100 * TEXTS[known].sum(0).expand(2, 5)])
    assert not torch.allclose(loss, L.group_text_loss(far, TEXTS, GROUPS, temperature=TEMPERATURE))


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("group", [0, -1])
def test_small_batches_are_finite(rows, group):
    for x, t in ((IMAGES, TEXTS), (torch.zeros(7, 5), TEXTS.float()), (torch.ones(7, 5), torch.ones(7, 5))):
        x, t = x[:rows].clone().requires_grad_(), t[:rows]
        groups = torch.full((rows,), group)
        both = L.image_text_loss(x, t, temperature=0.01) + L.group_text_loss(x, t, groups, temperature=0.01)
        both.backward()
        assert torch.isfinite(both)
        assert torch.isfinite(x.grad).all()
        if rows == 1:
            assert both.item() == 0


@pytest.mark.parametrize("groups", [GROUPS, torch.arange(7), torch.zeros(7, dtype=torch.long)])
def test_gradients_are_those_of_finite_differences(groups):
    temperature = torch.tensor(TEMPERATURE, dtype=torch.float64, requires_grad=True)
    inputs = (IMAGES.clone().requires_grad_(), temperature)
    losses = {
        "one way": lambda x, s: L.image_text_loss(x, TEXTS, temperature=s),
        "both ways": lambda x, s: L.image_text_loss(x, TEXTS, temperature=s, both_ways=True),
        "groups": lambda x, s: L.group_text_loss(x, TEXTS, groups, temperature=s),
    }
    for loss in losses.values():
        assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("name", ["ImageTextLoss", "ClassTextLoss", "CategoryTextLoss"])
def test_texts_are_constants(name):
    table = table_of()
    table["text_features"] = table["text_features"].clone().requires_grad_()
    LOSS_REGISTRY.get(name)()(table).backward()
    assert table["text_features"].grad is None
    assert table["features"].grad.abs().sum() > 0
    assert table["temperature"].grad.abs() > 0


def test_length_of_features_and_half_precision_do_not_matter():
    plain = L.image_text_loss(IMAGES, TEXTS, temperature=TEMPERATURE)
    assert torch.allclose(L.image_text_loss(50 * IMAGES, 0.01 * TEXTS, temperature=TEMPERATURE), plain)
    x, t = IMAGES.float(), TEXTS.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = L.group_text_loss(x, t, GROUPS, temperature=TEMPERATURE)
    assert torch.equal(inside, L.group_text_loss(x, t, GROUPS, temperature=TEMPERATURE))
    halved = L.image_text_loss(x.bfloat16(), t, temperature=torch.tensor(TEMPERATURE))
    assert halved.dtype == torch.float32
    assert torch.allclose(halved, plain.float(), atol=0.05)


def table_of():
    return {
        "features": IMAGES.clone().requires_grad_(), "text_features": TEXTS,
        "temperature": torch.tensor(TEMPERATURE, dtype=torch.float64, requires_grad=True),
        "taxonomy": CODES, "frequency": torch.tensor([1, 1, 0, 0, -1, -1, 1]),
    }  # fmt: skip


def test_classes_read_their_columns():
    table = table_of()
    losses = {
        L.ImageTextLoss(scale=3.0): 3 * L.image_text_loss(IMAGES, TEXTS, temperature=TEMPERATURE),
        L.ImageTextLoss(True): L.image_text_loss(IMAGES, TEXTS, temperature=TEMPERATURE, both_ways=True),
        L.ClassTextLoss(scale=0.5): loops_over_groups([1, 1, 2, 3, -1, -1, -1], TEMPERATURE) / 2,
        L.ClassTextLoss("class"): loops_over_groups([1, 1, 1, 2, 2, -1, -1], TEMPERATURE),
        L.CategoryTextLoss(scale=2.0): 2 * loops_over_groups([1, 1, 0, 0, -1, -1, 1], TEMPERATURE),
    }
    for loss, expected in losses.items():
        assert loss(table).item() == pytest.approx(float(expected), rel=1e-9), loss.key
    assert len({loss.key for loss in losses}) == 3


def test_wrong_settings_and_widths_are_named():
    with pytest.raises(ValueError, match="CLASSTEXT.LEVEL must be one of 'subclass', 'class'; got 'clas'. Did you"):
        L.ClassTextLoss("clas")
    table = {**table_of(), "text_features": TEXTS[:, :4]}
    for loss in (L.ImageTextLoss(), L.ClassTextLoss(), L.CategoryTextLoss()):
        with pytest.raises(ValueError, match="head gives 5 .MODEL.HEADS.EMBEDDING_DIM., .* 4 .DATASETS.TEXT_BANK"):
            loss(table)
