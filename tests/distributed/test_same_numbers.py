"""Two processes give the numbers of one with the same global batch."""

import pytest
import torch

from fastreid.engine import launch
from fastreid.layers import get_norm
from tests.distributed import two_processes as two


@pytest.fixture(scope="module")
def found(quick_launch, tmp_path_factory) -> list[dict]:
    """What the two processes computed."""
    folder = tmp_path_factory.mktemp("two")
    launch(two.main, 2, args=(str(folder),))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone() -> dict:
    threads = torch.get_num_threads()
    yield two.everything()
    torch.set_num_threads(threads)


def test_gathered_rows_give_back_the_sum_of_all_gradients(found):
    rows = two.draw(4, 2)
    for rank, part in enumerate(found):
        assert torch.equal(part["gather"]["rows"], rows)
        torch.testing.assert_close(part["gather"]["gradient"], (1 + 2) * 2 * rows[2 * rank : 2 * rank + 2])


@pytest.mark.parametrize("name", two.LOSSES)
def test_losses_see_the_global_batch(found, alone, name):
    parts, whole = [part["losses"][name] for part in found], alone["losses"][name]
    for part in parts:
        torch.testing.assert_close(part["value"], whole["value"])
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]), whole["gradient"])
    assert whole["gradient"].abs().max() > 0


def compare_norms(parts, whole, **tolerance):
    for name in ("out", "input"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name], **tolerance)
    torch.testing.assert_close(sum(part["affine"] for part in parts), whole["affine"], **tolerance)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        for part in parts:
            torch.testing.assert_close(part[name], whole[name], **tolerance)


@pytest.mark.parametrize("name", two.UNEVEN)
def test_synchronised_norms_are_those_of_the_joined_batch(found, alone, name):
    compare_norms([part["norms"][name] for part in found], alone["norms"][name])


def test_synchronised_norms_average_all_batches_without_momentum(found, alone):
    compare_norms([part["cumulative"] for part in found], alone["cumulative"])


def test_synchronised_variance_does_not_cancel(found, alone):
    compare_norms([part["far from zero"] for part in found], alone["far from zero"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", two.TRAININGS)
def test_training_has_the_losses_and_weights_of_one_process(found, alone, name):
    whole = alone["trainings"][name]
    assert whole["losses"][0] != whole["losses"][1]
    for part in (part["trainings"][name] for part in found):
        for step, losses in enumerate(part["losses"]):
            assert losses == pytest.approx(whole["losses"][step], rel=1e-6), step
        for key, value in part["weights"].items():
            torch.testing.assert_close(value, whole["weights"][key], rtol=1e-5, atol=1e-8, msg=key)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_features_are_those_of_one_process_whatever_the_shares(found, alone, size):
    shared, whole = found[0]["evaluations"][size], alone["evaluations"][size]
    assert torch.equal(shared["features"], whole["features"])
    assert shared["paths"] == whole["paths"] == [f"{number}.png" for number in range(size)]
    assert found[1]["evaluations"][size] is None


def test_one_process_uses_the_ordinary_norm():
    x, sync, plain = two.draw(4, 3, 2, 2).float(), get_norm("syncBN", 3), get_norm("BN", 3)
    for training in (True, False):
        assert torch.equal(sync.train(training)(x), plain.train(training)(x))
    assert list(sync.state_dict()) == list(plain.state_dict())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        sync.train()(x[:1, :, :1, :1])
