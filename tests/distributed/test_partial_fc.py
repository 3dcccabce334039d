"""Class weights that are spread over two processes train, and are saved, as those of one process."""

import pytest
import torch

from fastreid.engine import launch
from fastreid.layers import SOFTMAX_REGISTRY
from tests.distributed import partial_fc_processes as two

ADAM = ("SOLVER.OPT", "Adam", "SOLVER.BASE_LR", 0.003)
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pfc")


@pytest.fixture(scope="module")
def alone(folder) -> dict:
    """The plain head in one process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    second = range(2, two.STEPS)
    yield {
        "small": two.small(pfc=False),
        "exact": two.training(str(folder), "full", False),
        "adam": two.training(str(folder), "full-adam", False, *ADAM),
        "half": two.training(str(folder), "half", False, steps=range(2)),
        "from one": two.training(str(folder), "full-rest", False, load="half", steps=second),
    }
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found(quick_launch, alone, folder) -> list[dict]:
    """What the two processes computed."""
    launch(two.main, 2, args=(str(folder),))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("epsilon", two.EPSILONS)
@pytest.mark.parametrize("cls_type", SOFTMAX_REGISTRY.names())
def test_loss_and_gradients_are_those_of_the_full_layer(found, alone, cls_type, epsilon):
    parts, whole = ([part["small"][f"{cls_type} {epsilon}"] for part in side] for side in (found, [alone]))
    for part in parts:
        torch.testing.assert_close(part["loss"], whole[0]["loss"], **CLOSE)
        assert part["accuracy"] == pytest.approx(whole[0]["accuracy"])
    for name in ("features", "weight"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[0][name], **CLOSE)
    assert [len(part["weight"]) for part in parts] == [4, 3]


@pytest.mark.parametrize("name", ["exact", "adam", "from one"])
def test_training_ends_in_the_weights_of_the_full_layer(found, alone, name):
    parts, whole = [part[name] for part in found], alone[name]
    for part in parts:
        for step, losses in enumerate(part["losses"]):
            assert losses == pytest.approx(whole["losses"][step], rel=1e-6), step
        torch.testing.assert_close(part["descriptor"], whole["descriptor"], rtol=1e-5, atol=1e-8)
    classes = torch.cat([part["classes"] for part in parts])
    torch.testing.assert_close(classes, whole["classes"], rtol=1e-5, atol=1e-8)


def load(folder, name: str) -> dict:
    return torch.load(folder / f"{name}.pth", weights_only=True)


@pytest.mark.parametrize(("two_name", "one_name"), [("exact", "full"), ("adam", "full-adam"), ("two-half", "half")])
def test_checkpoint_is_that_of_the_full_layer(found, folder, two_name, one_name):
    part, whole = load(folder, two_name), load(folder, one_name)
    assert list(part["model"]) == list(whole["model"])
    assert part["model"]["heads.weight"].shape == (two.CLASSES, 512)
    for name, value in whole["model"].items():
        torch.testing.assert_close(part["model"][name], value, rtol=1e-5, atol=1e-8, msg=name)
    assert part["optimizer"]["state"].keys() == whole["optimizer"]["state"].keys()
    for number, entries in whole["optimizer"]["state"].items():
        for key, value in entries.items():
            torch.testing.assert_close(part["optimizer"]["state"][number][key], value, rtol=1e-5, atol=1e-7)


def test_checkpoint_of_two_goes_on_in_one(found, alone, folder):
    resumed = two.training(str(folder), "rest", False, load="two-half", steps=range(2, two.STEPS))
    torch.testing.assert_close(resumed["classes"], alone["exact"]["classes"], rtol=1e-5, atol=1e-8)


def test_sampled_training_resumes_exactly(found):
    for part in found:
        whole, resumed = part["sampled"], part["sampled resumed"]
        assert resumed["losses"] == whole["losses"][2:]
        assert torch.equal(resumed["classes"], whole["classes"])
        assert torch.equal(resumed["descriptor"], whole["descriptor"])
    assert torch.equal(found[0]["sampled"]["descriptor"], found[1]["sampled"]["descriptor"])
    assert found[0]["sampled"]["losses"] == found[1]["sampled"]["losses"]
