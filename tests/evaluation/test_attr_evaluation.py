"""Attribute metrics against loops over images and attributes."""

import math

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.evaluation import AttrEvaluator, ClasEvaluator, ReidEvaluator
from fastreid.evaluation.attr_evaluation import attribute_metrics
from fastreid.evaluation.build import build_evaluator
from fastreid.modeling import REID_HEADS_REGISTRY


def slow_metrics(truth, predicted):
    per_attribute, left_out = [], []
    for a in range(truth.shape[1]):
        known = [i for i in range(len(truth)) if truth[i][a] != -1]
        positives, negatives = [i for i in known if truth[i][a]], [i for i in known if not truth[i][a]]
        if not positives or not negatives:
            left_out.append(a)
            continue
        found = sum(bool(predicted[i][a]) for i in positives) / len(positives)
        kept = sum(not predicted[i][a] for i in negatives) / len(negatives)
        per_attribute.append((found + kept) / 2)
    shares = {"Accu": [], "Prec": [], "Recall": []}
    for row, guess in zip(truth, predicted, strict=True):
        real = {a for a, value in enumerate(row) if value == 1}
        given = {a for a, value in enumerate(row) if value != -1 and guess[a]}
        if not real | given:
            continue
        shares["Accu"].append(len(real & given) / len(real | given))
        shares["Prec"].append(len(real & given) / len(given) if given else 0.0)
        shares["Recall"].append(len(real & given) / len(real) if real else 0.0)
    means = {name: sum(values) / len(values) for name, values in shares.items()}
    total = means["Prec"] + means["Recall"]
    means["F1"] = 2 * means["Prec"] * means["Recall"] / total if total else 0.0
    return {"mA": sum(per_attribute) / len(per_attribute), **means}, left_out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_metrics_against_loops(seed, unknown):
    rng = np.random.default_rng(seed)
    truth = (rng.random((20, 6)) < 0.3).astype(int)
    truth[rng.random(truth.shape) < unknown] = -1
    truth[:3] = np.minimum(truth[:3], 0)  # images without attributes
    truth[:, 2], truth[:, 4] = np.minimum(truth[:, 2], 0), 1  # an attribute of no image, one of all
    truth[:3, 4] = -1
    predicted = rng.random(truth.shape) < 0.4
    predicted[:2] = False
    expected, left_out = slow_metrics(truth, predicted)
    metrics, found = attribute_metrics(truth, predicted)
    assert metrics == pytest.approx(expected)
    assert found == left_out == [2, 4]


def test_perfect_and_empty_predictions():
    truth = np.array([[1, 0], [0, 1], [0, 0]])
    assert set(attribute_metrics(truth, truth > 0)[0].values()) == {1.0}
    nothing, _ = attribute_metrics(truth, np.zeros((3, 2), bool))
    assert nothing == {"mA": 0.5, "Accu": 0.0, "Prec": 0.0, "Recall": 0.0, "F1": 0.0}
    blind, left_out = attribute_metrics(np.zeros((2, 2), int), np.zeros((2, 2), bool))
    assert all(math.isnan(value) for value in blind.values())
    assert left_out == [0, 1]


def fed(cfg, truth, probabilities, names=("hat", "bag")):
    evaluator = AttrEvaluator(cfg, names=names)
    for row in range(len(truth)):
        evaluator.process({"attributes": torch.tensor([truth[row]])}, torch.tensor([probabilities[row]]))
    return evaluator


def test_the_evaluator_takes_its_threshold_from_the_config_and_names_what_it_leaves_out(caplog):
    cfg = get_cfg()
    truth, probabilities = [[1, 1], [0, 1], [1, 1], [0, 1]], [[0.7, 0.9], [0.6, 0.9], [0.4, 0.9], [0.1, 0.9]]
    results = fed(cfg, truth, probabilities).evaluate()
    assert list(results) == ["mA", "Accu", "Prec", "Recall", "F1", "metric"]
    assert results["mA"] == results["metric"] == 50.0  # of hat, one of two found, one of two kept
    assert "1 of 2 attributes do not count in mA: the test set has them on all images or on none: bag" in caplog.text
    cfg.TEST.THRES = 0.65
    assert fed(cfg, truth, probabilities).evaluate()["mA"] == 75.0
    cfg.TEST.THRES = 0.7  # at the threshold an attribute counts as present
    assert fed(cfg, truth, probabilities).evaluate()["mA"] == 75.0


def test_the_evaluator_names_what_does_not_fit():
    evaluator = AttrEvaluator(get_cfg())
    with pytest.raises(ValueError, match="no batch was processed"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match="no 'attributes'; its columns are images, targets"):
        evaluator.process({"images": 0, "targets": 0}, torch.ones(1, 2))
    with pytest.raises(ValueError, match="The model gives 2 attributes, the test data has 3"):
        evaluator.process({"attributes": torch.ones(1, 3)}, torch.ones(1, 2))


class Loader:
    """A test loader as far as an evaluator looks at it: strings are numbered within the test set."""

    class dataset:
        name, pid_dict = "Toy", {"cat": 0, "dog": 1}


def test_the_classes_of_a_test_set_are_those_of_training():
    logits = torch.tensor([[0.0, 5, 0], [0, 0, 5], [5, 0, 0]])  # cat, dog, bird
    evaluator = ClasEvaluator(get_cfg(), classes=["bird", "cat", "dog"])
    evaluator.begin(None, Loader)
    evaluator.process({"targets": torch.tensor([0, 1, 1])}, logits)
    assert evaluator.evaluate()["Acc@1"] == pytest.approx(100 * 2 / 3)
    joined = ClasEvaluator(get_cfg(), classes=["Other_bird", "Toy_cat", "Toy_dog"])
    joined.begin(None, Loader)
    joined.process({"targets": torch.tensor([0, 1, 1])}, logits)
    assert joined.evaluate()["Acc@1"] == pytest.approx(100 * 2 / 3)


def test_a_class_unknown_to_training_is_an_error():
    with pytest.raises(ValueError, match="Class 'dog' of the test set Toy is none of the 2 classes .* mean 'dogs'"):
        ClasEvaluator(get_cfg(), classes=["cat", "dogs"]).begin(None, Loader)


def test_the_head_chooses_the_evaluator(monkeypatch):
    monkeypatch.setattr("fastreid.evaluation.build.training_classes", lambda cfg: [3, 7])
    cfg = get_cfg()
    for head, kind in (("EmbeddingHead", ReidEvaluator), ("ClasHead", ClasEvaluator), ("AttrHead", AttrEvaluator)):
        cfg.MODEL.HEADS.NAME = head
        assert type(build_evaluator(cfg, 5, None, "Toy")) is kind
    cfg.MODEL.HEADS.NAME = "HeadThatItsModelBuilds"
    assert type(build_evaluator(cfg, 5, None, "Toy")) is ReidEvaluator
    monkeypatch.setitem(REID_HEADS_REGISTRY._objects, "Odd", type("Odd", (), {"task": "retreival"}))
    cfg.MODEL.HEADS.NAME = "Odd"
    with pytest.raises(ValueError, match="task of Odd must be one of .* Did you mean 'retrieval'"):
        build_evaluator(cfg, 5, None, "Toy")
