import json
import os

import pytest
import torch

from fastreid.engine import launch
from fastreid.utils import comm


def test_one_process():
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank(), comm.get_local_size()) == (1, 0, 0, 1)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather("x") == comm.gather("x") == ["x"]
    values = {"a": torch.tensor(1.0)}
    assert comm.reduce_dict(values) == values
    torch.manual_seed(3)
    first = comm.shared_random_seed()
    torch.manual_seed(3)
    assert comm.shared_random_seed() == first


def describe(folder):
    """Runs in each of two processes; what it finds goes to a file per process."""
    rank = comm.get_rank()
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(float(rank))
    comm.average_buffers(norm)
    other = torch.nn.BatchNorm1d(1)
    other.running_mean.fill_(rank + 3.0)
    comm.same_everywhere(other)
    torch.manual_seed(rank)
    reduced = comm.reduce_dict({"a": torch.tensor(1.0 + rank), "b": torch.tensor(4.0 * rank)})
    found = {
        "ranks": [rank, comm.get_local_rank(), comm.get_local_size(), comm.get_world_size()],
        "gathered": comm.gather({"rank": rank}),
        "everywhere": comm.all_gather(rank * 10),
        "seed": comm.shared_random_seed(),
        "mean": float(norm.running_mean),
        "same": float(other.running_mean),
        "batches": int(norm.num_batches_tracked),
        "reduced": {name: float(value) for name, value in reduced.items()},
    }
    comm.synchronize()
    with open(os.path.join(folder, f"{rank}.json"), "w") as file:
        json.dump(found, file)


def test_two_processes(quick_launch, tmp_path):
    launch(describe, 2, args=(str(tmp_path),))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["ranks"] == [0, 0, 2, 2]
    assert second["ranks"] == [1, 1, 2, 2]
    assert first["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert second["gathered"] == []
    assert first["everywhere"] == second["everywhere"] == [0, 10]
    assert first["seed"] == second["seed"]
    assert first["mean"] == second["mean"] == 0.5
    assert first["same"] == second["same"] == 3.0
    assert first["reduced"] == {"a": 1.5, "b": 2.0}


def test_launch_of_one_process_returns_the_result():
    assert launch(divmod, 1, args=(7, 2)) == (3, 1)


def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match="2 machines need --dist-url"):
        launch(divmod, 1, num_machines=2)


def test_a_machine_beyond_their_number_does_not_train_on_its_own():
    with pytest.raises(ValueError, match="--machine-rank is 1, but --num-machines is 1, numbered from 0"):
        launch(divmod, 1, machine_rank=1, args=(7, 2))


def test_launch_under_torchrun_joins_its_group(monkeypatch):
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1,
                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    assert launch(torch.distributed.is_initialized, 4) is True
    assert not torch.distributed.is_initialized()
