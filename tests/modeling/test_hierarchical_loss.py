"""The hierarchical contrastive loss against loops over pairs, in its limits, and where nothing is to be compared."""

import math
import operator

import pytest
import torch

from fastreid.modeling.losses import HierarchicalContrastiveLoss, hierarchical_contrastive_loss, infonce_loss
from fastreid.modeling.losses.hierarchical_loss import shared_levels
from fastreid.modeling.losses.memory import FeatureMemory, image_numbers
from fastreid.modeling.losses.utils import locarno_codes
from fastreid.utils.locarno import FAR, read_locarno, tree_distance
from tests.modeling.memory_steps import require_two_processes_like_one, steps_of

# two chairs, one of which has a table beside it in its class; a phone; two designs without a code, one half known
CODES = "0601 0601 06-01 0603 1403 1403 - D14/486 1400 1400 LOC(13)Cl.06-01 06-03"
TAXONOMY = [code.strip("-") for code in CODES.split()]
TARGETS = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8])
SIZE = len(TAXONOMY)
SCORES = (1.0, 0.5, 0.25)
NORMALIZATIONS = ("joint", "level")


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


EMBEDDING = draw(SIZE, 5)
# numbers of the images of the batch, and a memory of one of them, three other images and an empty slot
IMAGES = torch.arange(1, SIZE + 1)
KEPT = torch.nn.functional.normalize(draw(5, 5, seed=1))
KEPT_TAXONOMY, KEPT_TARGETS = ["0601", "0603", "1403", "", "0601"], torch.tensor([0, 2, 9, 4, -1])
MEMORY = KEPT, torch.stack([KEPT_TARGETS, locarno_codes(KEPT_TAXONOMY), torch.tensor([1, 100, 101, 102, 0])], dim=1)


def level_of(one, other):
    """(patent, Locarno text) of two images -> 0 one patent, 1 one subclass, 2 one class, 3 nothing."""
    return 0 if one[0] == other[0] else 1 + tree_distance(read_locarno(one[1]), read_locarno(other[1]))


def by_loops(embedding, others, scores, temperature, normalization):
    """The loss in plain Python.

    Args:
        embedding: list of (vector, patent, Locarno text, image). others: the same of the memory.
    """
    values = []
    for i, (x, patent, text, image) in enumerate(embedding):
        compared = [other for j, other in enumerate(embedding) if j != i]
        compared += [other for other in others if other[1] >= 0 and (other[3] != image or image == 0)]
        cosines = [sum(map(operator.mul, x, y)) / math.hypot(*x) / math.hypot(*y) for y, *_ in compared]
        log_sum = math.log(sum(math.exp(cosine / temperature) for cosine in cosines)) if cosines else 0
        levels = [level_of((patent, text), other[1:3]) for other in compared]
        weights = []
        for level in levels:
            weight = (*scores, 0.0)[level]
            weights.append(weight / levels.count(level) if normalization == "level" else weight)
        if sum(weights) > 0:
            terms = [w * (log_sum - c / temperature) for w, c in zip(weights, cosines, strict=True)]
            values.append(sum(terms) / sum(weights))
    return sum(values) / len(values) if values else 0.0


def rows(embedding, targets, taxonomy, images):
    return list(zip(embedding.tolist(), targets.tolist(), taxonomy, images.tolist(), strict=True))


def loops(embedding=EMBEDDING, scores=SCORES, temperature=0.2, normalization="joint", memory=False, taxonomy=TAXONOMY):
    kept = rows(KEPT, KEPT_TARGETS, KEPT_TAXONOMY, MEMORY[1][:, 2]) if memory else []
    return by_loops(rows(embedding, TARGETS, taxonomy, IMAGES), kept, scores, temperature, normalization)


def loss_of(
    embedding=EMBEDDING, scores=SCORES, temperature=0.2, normalization="joint", memory=False, taxonomy=TAXONOMY
):
    return hierarchical_contrastive_loss(
        embedding, TARGETS, locarno_codes(taxonomy), IMAGES, scores, temperature, normalization,
        memory=MEMORY if memory else None,
    )  # fmt: skip


def gradient(function, embedding):
    x = embedding.clone().requires_grad_(True)
    function(x).backward()
    return x.grad


def supcon(embedding, labels, temperature):
    """Khosla et al., 2020, eq. 2, L_out, over anchors with a positive."""
    unit = torch.nn.functional.normalize(embedding)
    log_prob = (unit @ unit.t() / temperature).fill_diagonal_(-torch.inf).log_softmax(1)
    same = (labels[:, None] == labels[None, :]).fill_diagonal_(False)
    return -torch.stack([log_prob[i, same[i]].mean() for i in range(len(labels)) if same[i].any()]).mean()


def test_levels_are_those_of_the_tree():
    codes = locarno_codes(TAXONOMY)
    assert codes.tolist() == [601, 601, 601, 603, 1403, 1403, 0, 0, 1400, 1400, 601, 603]
    patents = list(zip(TARGETS.tolist(), TAXONOMY, strict=True))
    expected = [[level_of(one, other) for other in patents] for one in patents]
    assert shared_levels(TARGETS, codes, TARGETS, codes).tolist() == expected
    assert {level for row in expected for level in row} == {0, 1, 2, 1 + FAR}


def test_unknown_codes_are_equal_to_nothing():
    unknown = locarno_codes(["", None, "D14/486", "0", "no code", "0004"])
    levels = shared_levels(torch.arange(6), unknown, torch.arange(6), unknown)
    assert torch.equal(levels, 3 - 3 * torch.eye(6, dtype=torch.long))
    half = locarno_codes(["1400", "1400", "1404", "1500"])
    levels = shared_levels(torch.arange(4), half, torch.arange(4), half)
    assert levels.tolist() == [[0, 2, 2, 3], [2, 0, 2, 3], [2, 2, 0, 3], [3, 3, 3, 0]]


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("scores", [SCORES, (1.0, 0.0, 0.0), (3.0, 3.0, 0.5), (1.0, 1.0, 1.0)])
def test_values_are_those_of_loops(scores, normalization, memory):
    for temperature in (0.07, 1.0):
        options = {"scores": scores, "temperature": temperature, "normalization": normalization, "memory": memory}
        assert float(loss_of(**options)) == pytest.approx(loops(**options), rel=1e-9)


def test_without_numbers_of_images_none_is_the_same():
    kept = rows(KEPT, KEPT_TARGETS, KEPT_TAXONOMY, torch.zeros(5))
    expected = by_loops(rows(EMBEDDING, TARGETS, TAXONOMY, torch.zeros(SIZE)), kept, SCORES, 0.2, "joint")
    for images in (None, torch.zeros_like(IMAGES)):
        codes = locarno_codes(TAXONOMY)
        loss = hierarchical_contrastive_loss(EMBEDDING, TARGETS, codes, images, SCORES, 0.2, memory=MEMORY)
        assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_are_those_of_loops(normalization, memory):
    found = gradient(lambda x: loss_of(x, normalization=normalization, memory=memory), EMBEDDING)
    step = 1e-6
    for row in range(SIZE):
        for column in range(EMBEDDING.shape[1]):
            moved = torch.zeros_like(EMBEDDING)
            moved[row, column] = step
            up, down = (loops(EMBEDDING + sign * moved, normalization=normalization, memory=memory) for sign in (1, -1))
            assert float(found[row, column]) == pytest.approx((up - down) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_are_those_of_finite_differences(normalization, memory):
    x = EMBEDDING.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda e: loss_of(e, normalization=normalization, memory=memory), (x,))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(
    "scores, taxonomy",
    [((1.0, 0.0, 0.0), TAXONOMY), (SCORES, [f"{c:02d}01" for c in range(1, SIZE + 1)]), (SCORES, [""] * SIZE)],
    ids=["scores 1 0 0", "different codes", "no codes"],
)
def test_patents_alone_are_supcon(scores, taxonomy, normalization):
    options = {"scores": scores, "taxonomy": taxonomy, "normalization": normalization}
    torch.testing.assert_close(loss_of(**options), supcon(EMBEDDING, TARGETS, 0.2))
    found, expected = gradient(lambda x: loss_of(x, **options), EMBEDDING), gradient(
        lambda x: supcon(x, TARGETS, 0.2), EMBEDDING
    )  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_equal_scores_are_supcon_over_classes():
    """Patents without a code keep to themselves."""
    classes = torch.tensor([6, 6, 6, 6, 14, 14, 100, 101, 14, 14, 6, 6])
    torch.testing.assert_close(loss_of(scores=(2.0, 2.0, 2.0)), supcon(EMBEDDING, classes, 0.2))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_pairs_that_share_nothing_else_are_infonce(normalization):
    embedding, targets = EMBEDDING[:10], torch.arange(5).repeat(2)
    codes = 100 * (1 + targets) + 1
    loss = hierarchical_contrastive_loss(embedding, targets, codes, None, SCORES, 0.2, normalization)
    torch.testing.assert_close(loss, infonce_loss(embedding, targets, 0.2))


def test_a_large_class_swamps_the_pair_in_joint_but_not_in_level():
    """An image with its pair and n others of its class: the pair's share is 1 / (1 + n / 4), or 4 / 5 whatever n."""
    for count in (1, 40):
        targets = torch.tensor([0, 0, *range(1, count + 1)])
        codes = torch.tensor([601, 601, *[603] * count])
        x = draw(count + 2, 5)
        joint, level = (
            hierarchical_contrastive_loss(x, targets, codes, None, SCORES, 0.2, name) for name in NORMALIZATIONS
        )
        assert (count == 1) == torch.isclose(joint, level).item()


EMPTY_HANDED = {
    "no pair at all": (torch.arange(4), ["0601", "1403", "", "D14/486"]),
    "one image": (torch.tensor([3]), ["0601"]),
    "one unknown image": (torch.tensor([3]), [""]),
    "missing codes": (torch.arange(3), ["", "", ""]),
}


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("name", EMPTY_HANDED)
def test_without_positives_it_is_zero_with_a_gradient_of_zero(name, normalization):
    targets, taxonomy = EMPTY_HANDED[name]
    x = draw(len(targets), 4).float().requires_grad_(True)
    codes = locarno_codes(taxonomy)
    loss = hierarchical_contrastive_loss(x, targets, codes, None, SCORES, 0.07, normalization)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


SOME = {
    "one patent": (torch.zeros(6, dtype=torch.long), ["0601"] * 6),
    "one subclass": (torch.arange(6), ["0601"] * 6),
    "one class": (torch.arange(6), ["0600"] * 6),
    "no class": (torch.arange(6) // 2, [""] * 6),
    "no subclass": (torch.arange(6) // 2, ["0601", "0601", "0603", "0603", "0604", "0604"]),
    "one alone": (torch.tensor([0, 0, 1, 1, 1, 2]), ["0601"] * 5 + ["1403"]),
}


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("name", SOME)
def test_batches_with_empty_levels(name, normalization):
    targets, taxonomy = SOME[name]
    x = draw(6, 4).requires_grad_(True)
    loss = hierarchical_contrastive_loss(x, targets, locarno_codes(taxonomy), None, SCORES, 0.2, normalization)
    loss.backward()
    expected = by_loops(rows(x.detach(), targets, taxonomy, torch.zeros(6)), [], SCORES, 0.2, normalization)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert expected > 0
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_an_image_alone_changes_nothing_but_the_denominators(normalization):
    """It is no anchor: the mean is over the others."""
    alone = loss_of(normalization=normalization, taxonomy=[""] * SIZE)
    assert float(alone) == pytest.approx(loops(normalization=normalization, taxonomy=[""] * SIZE), rel=1e-9)
    pairs = [i for i in range(SIZE) if (TARGETS == TARGETS[i]).sum() > 1]
    assert len(pairs) < SIZE
    assert float(alone) == pytest.approx(float(supcon(EMBEDDING, TARGETS, 0.2)))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_finite_for_equal_huge_and_zero_features_and_small_temperatures(normalization):
    for x in (torch.ones(SIZE, 5), torch.zeros(SIZE, 5), 1e4 * EMBEDDING.float()):
        for temperature in (1e-4, 0.07):
            moving = x.clone().requires_grad_(True)
            loss = loss_of(moving, temperature=temperature, normalization=normalization)
            loss.backward()
            assert loss.isfinite()
            assert moving.grad.isfinite().all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_half_precision_is_computed_in_full(normalization):
    x = EMBEDDING.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(x, normalization=normalization, memory=True)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss_of(x.float(), normalization=normalization, memory=True))


def table(step, size=SIZE, paths=True):
    order = torch.randperm(2 * SIZE, generator=torch.Generator().manual_seed(step))[:size].tolist()
    return {
        "features": draw(size, 5, seed=10 + step).requires_grad_(True),
        "targets": torch.tensor([TARGETS[i % SIZE] for i in order]),
        "taxonomy": [TAXONOMY[i % SIZE] for i in order],
        **({"img_paths": [f"{i}.png" for i in order]} if paths else {}),
    }


@pytest.mark.parametrize("paths", [True, False])
@pytest.mark.parametrize("memory", [SIZE, SIZE + 5, 3 * SIZE, 100])
def test_memory_over_several_steps_is_that_of_a_loop(memory, paths):
    loss, ring = HierarchicalContrastiveLoss(memory=memory, temperature=0.2, scale=2.0), []
    shared = 0
    for step in range(5):
        batch = table(step, paths=paths)
        value = loss(batch)
        names = batch.get("img_paths", [0] * SIZE)
        own = [(x, int(t), text, name) for x, t, text, name in zip(
            batch["features"].detach().tolist(), batch["targets"], batch["taxonomy"], names, strict=True)]  # fmt: skip
        assert float(value.detach()) == pytest.approx(2 * by_loops(own, ring, SCORES, 0.2, "joint"), rel=1e-9)
        value.backward()
        assert batch["features"].grad.abs().sum() > 0
        shared += len({name for *_, name in own} & {name for *_, name in ring})
        ring = (ring + own)[-memory:]
    assert shared > 0, "no image comes twice: its copy in the memory is not tried"


def test_an_image_is_never_compared_with_its_copy_in_the_memory():
    """Alone in its batch and its patent, it would be its own positive, and its own negative."""
    one = {"features": draw(1, 5), "targets": torch.tensor([0]), "taxonomy": ["0601"], "img_paths": ["a.png"]}
    loss = HierarchicalContrastiveLoss(memory=8)
    loss({key: value for key, value in one.items() if key != "img_paths"} | {"img_paths": ["other.png"]})
    assert float(loss(one)) == 0  # a softmax over one
    assert float(loss({**one, "features": -one["features"]})) == 0
    pair = HierarchicalContrastiveLoss(memory=8)
    pair(one)
    x = one["features"].clone().requires_grad_(True)
    pair({**one, "features": x}).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_the_memory_has_no_gradient_and_a_forward_without_gradients_stores_nothing():
    loss, first, second = HierarchicalContrastiveLoss(memory=50), table(0), table(1)
    loss(first).backward()
    grad = first["features"].grad.clone()
    loss(second).backward()
    assert torch.equal(first["features"].grad, grad)
    (memory,) = loss.checkpointables().values()
    before = {name: part.clone() for name, part in memory.state_dict().items()}
    with torch.no_grad():
        loss(table(2))
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())


def test_a_saved_memory_goes_on_and_no_memory_costs_nothing(tmp_path):
    loss, other = (HierarchicalContrastiveLoss(memory=30) for _ in range(2))
    (name, memory), (_, restored) = (next(iter(each.checkpointables().items())) for each in (loss, other))
    assert name == "loss_hierarchical_memory"
    torch.save(memory.state_dict(), tmp_path / "empty.pt")
    loss(table(0))
    torch.save(memory.state_dict(), tmp_path / "full.pt")
    expected = loss(table(1))
    other(table(3))
    for file, same in (("empty.pt", False), ("full.pt", True)):
        restored.load_state_dict(torch.load(tmp_path / file, weights_only=True))
        assert torch.equal(other(table(1)), expected) == same
    assert torch.equal(memory.state_dict()["queue"], restored.state_dict()["queue"])
    restored.load_state_dict(memory.state_dict())
    loss(table(4))
    assert not torch.equal(memory.state_dict()["queue"], restored.state_dict()["queue"])
    with pytest.raises(ValueError, match=r"the memory has 30 slots, .*HIERARCHICAL.MEMORY is 40"):
        FeatureMemory(40, "MODEL.LOSSES.HIERARCHICAL.MEMORY").load_state_dict(memory.state_dict())
    assert HierarchicalContrastiveLoss().checkpointables() == {}


def test_memory_of_half_precision_features_is_kept_in_full():
    loss, batch = HierarchicalContrastiveLoss(memory=50), table(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss({**batch, "features": batch["features"].bfloat16()})
    (memory,) = loss.checkpointables().values()
    features, tags = memory.rows(torch.device("cpu"))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features[:SIZE].norm(dim=1), torch.ones(SIZE))
    assert tags[:SIZE, 0].tolist() == batch["targets"].tolist()
    assert tags[:SIZE, 1].tolist() == locarno_codes(batch["taxonomy"]).tolist()
    assert tags[SIZE:, 0].tolist() == [-1] * (50 - SIZE)


def test_numbers_of_images():
    like = torch.arange(3)
    numbers = image_numbers(["a.png", "b.png", "a.png"], like)
    assert numbers[0] == numbers[2] != numbers[1]
    assert numbers[0] == -2160749814550366634  # the same in every process and run
    assert image_numbers(None, like).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scores": (0.5, 1.0, 0)}, r"HIERARCHICAL.SCORES must be three falling numbers >= 0.*got \(0.5, 1.0, 0\)"),
        ({"scores": (1.0, 0.5)}, "SCORES must be three"),
        ({"scores": (1.0, 0.5, -0.1)}, "SCORES must be three"),
        ({"scores": (0.0, 0.0, 0.0)}, "SCORES must be three"),
        ({"scores": (1.0, float("nan"), 0.0)}, "SCORES must be three"),
        ({"scores": (float("inf"), 1.0, 0.0)}, "SCORES must be three"),
        ({"scores": ["1", "0.5", "0"]}, "SCORES must be three"),
        ({"temperature": 0}, "HIERARCHICAL.TEMPERATURE must be positive; got 0"),
        ({"temperature": float("nan")}, "HIERARCHICAL.TEMPERATURE must be positive; got nan"),
        ({"normalization": "levels"}, "NORMALIZATION must be one of 'joint', 'level'; got 'levels'. Did you mean"),
        ({"memory": -1}, "HIERARCHICAL.MEMORY must be at least 0; got -1"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalContrastiveLoss(**options)


def test_a_memory_smaller_than_the_batch_or_of_another_width_is_named():
    loss = HierarchicalContrastiveLoss(memory=SIZE - 1)
    with pytest.raises(ValueError, match=f"HIERARCHICAL.MEMORY {SIZE - 1} is smaller than the batch of {SIZE} images"):
        loss(table(0))
    memory = FeatureMemory(4, "KEY")
    memory.store(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="memory of KEY has features of width 3, the head gives 4"):
        memory.store(torch.ones(2, 4), torch.ones(2, 3, dtype=torch.long))


def steps():
    losses = [HierarchicalContrastiveLoss(memory=size, normalization=n) for size in (0, 20) for n in NORMALIZATIONS]
    return steps_of(losses, table, SIZE)


def test_two_processes_have_the_values_gradients_and_memory_of_one(quick_launch, tmp_path):
    whole = require_two_processes_like_one(tmp_path, steps)
    assert all(kept.keys() == {"queue", "tags", "pointer"} for step in whole for kept in step["kept"])
    assert sum(len(step["kept"]) for step in whole) == len(whole) / 2
