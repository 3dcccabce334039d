"""A training that loses a process goes on from its last checkpoint, in the middle of an epoch, to the same weights."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer, commands, default_argument_parser, launch
from fastreid.engine.launcher import STORE_OF_ITS_OWN

# what is random within the model, and statistics that differ between the processes until they are averaged
BACKBONE = """
import os, pathlib, signal, time
from torch import nn
from fastreid.modeling.backbones import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register()
class MortalBackbone(nn.Module):
    feature_dim = 16

    def __init__(self, cfg):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.5))
        self.tag = pathlib.Path(cfg.OUTPUT_DIR, "last_checkpoint")

    def forward(self, x):
        self._die_once()
        return self.layers(x)

    def _die_once(self):
        # process 1, once there is a checkpoint; process 0 is then in the iteration after it, and waits
        mark = self.tag.with_name("killed")
        if os.environ.get("RANK") != "1" or not mark.with_name("mortal").exists() or mark.exists():
            return
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps > 4:
            while not self.tag.exists():
                time.sleep(0.01)
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def plugin(tiny_data) -> Path:
    path = tiny_data / "mortal.py"
    path.write_text(BACKBONE)
    return path


@pytest.fixture
def options(tiny_options, plugin) -> list[str]:
    """Three epochs of three iterations, a checkpoint after iterations 4 and 8, none after epochs but the last."""
    return [*map(str, tiny_options), "PLUGINS", f"('{plugin}',)", "MODEL.BACKBONE.NAME", "MortalBackbone",
            "DATALOADER.NUM_INSTANCE", "2", "SOLVER.CHECKPOINT_ITERS", "4", "SOLVER.CHECKPOINT_PERIOD", "100",
            "TEST.EVAL_PERIOD", "0"]  # fmt: skip


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def parsed(*words: str):
    return default_argument_parser().parse_args(list(words))


def same_end(one: Path, other: Path) -> None:
    """Weights, optimiser, schedules and figures are equal to the last bit."""
    states = [torch.load(folder / "model_final.pth", weights_only=True) for folder in (one, other)]
    for part in ("model", "optimizer", "lr_sched", "warmup_sched"):
        flat = [torch.utils._pytree.tree_flatten_with_path(state[part])[0] for state in states]
        assert [path for path, _ in flat[0]] == [path for path, _ in flat[1]]
        for (path, value), (_, found) in zip(*flat, strict=True):
            same = torch.equal(value, found) if isinstance(value, torch.Tensor) else value == found
            assert same, (part, path)
    assert figures(one) == figures(other)


def figures(folder: Path) -> dict[int, list[float]]:
    rows = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {row["iteration"]: [row[name] for name in ("total_loss", "loss_cls", "loss_triplet", "lr")] for row in rows}


class Stopped(DefaultTrainer):
    """Ends with an error before its sixth iteration."""

    def run_step(self):
        if self.iter == 5:
            raise InterruptedError
        super().run_step()


@pytest.mark.parametrize("iters, resumed_at", [(3, 3), (4, 4), (5, 5), (6, None)])
def test_a_training_goes_on_within_an_epoch_as_if_not_stopped(options, tmp_path, iters, resumed_at):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    more = [*options, "SOLVER.CHECKPOINT_ITERS", str(iters)]
    commands.run_training(parsed(*more, "OUTPUT_DIR", str(tmp_path / "whole")))
    cfg = commands.setup(parsed(*more, "OUTPUT_DIR", str(tmp_path / "broken")))
    with pytest.raises(InterruptedError):
        Stopped(cfg).train()
    again = Stopped(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == (resumed_at or 0)
    assert again.start_epoch == (resumed_at or 0) // 3
    if resumed_at:
        commands.run_training(parsed("--resume", *more, "OUTPUT_DIR", str(tmp_path / "broken")))
        same_end(tmp_path / "whole", tmp_path / "broken")
    torch.set_num_threads(threads)


def run_all(*words: str) -> None:
    commands.run_training(parsed(*words))


@pytest.fixture
def whole(quick_launch, options, plugin, monkeypatch) -> Path:
    """Folder of a training by two processes that nothing disturbs, one thread each, as torchrun has it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = plugin.with_name("whole")
    if not folder.exists():
        launch(run_all, 2, args=(*options, "OUTPUT_DIR", str(folder)))
    return folder


def torchrun(repo: Path, *options: str, job: list[str], prefix: tuple[str, ...] = (), **environment: str):
    command = [*prefix, sys.executable, "-m", "torch.distributed.run", *options, str(repo / "tools/train_net.py"), *job]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", STORE_OF_ITS_OWN: "1", "PYTHONPATH": str(repo), **environment}
    return subprocess.Popen(command, env=surroundings, cwd=repo, **pipes)


def ended_well(*processes: subprocess.Popen) -> list[str]:
    shown = [process.communicate(timeout=300)[0] for process in processes]
    for process, text in zip(processes, shown, strict=True):
        assert process.returncode == 0, text[-4000:]
    return shown


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_training_goes_on(repo, options, whole, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "mortal").touch()
    (broken / "last_checkpoint").write_text("model_of_an_earlier_training.pth")  # must not be waited for, nor resumed
    job = [*options, "OUTPUT_DIR", str(broken)]
    (shown,) = ended_well(torchrun(repo, "--standalone", "--nproc-per-node", "2", "--max-restarts", "1", job=job))
    assert (broken / "killed").exists()
    assert f"Resuming from {broken / 'model_latest.pth'}" in shown
    same_end(whole, broken)


STAND_INS = {  # of SLURM's commands: two nodes on this machine
    "scontrol": "echo 127.0.0.1",
    "srun": '"$@" & first=$!; "$@"; wait $first',
}


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one_by_the_recipe_for_slurm(repo, options, whole, tmp_path):
    for name, line in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\nset -e\n{line}\n")
        (tmp_path / name).chmod(0o755)
    surroundings = {
        **os.environ, "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(repo),
        "OMP_NUM_THREADS": "1", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7",
        "PROCESSES_PER_NODE": "1", "RENDEZVOUS_PORT": str(free_port()),
    }  # fmt: skip
    command = ["bash", str(repo / "docs/cluster/slurm.sbatch"), *options, "OUTPUT_DIR", str(tmp_path / "nodes")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ended_well(subprocess.Popen(command, env=surroundings, cwd=repo, **pipes))
    same_end(whole, tmp_path / "nodes")


def test_the_recipe_for_kubernetes_is_that_for_slurm(repo):
    script = (repo / "docs/cluster/slurm.sbatch").read_text()
    service, job = yaml.safe_load_all((repo / "docs/cluster/kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command = [*container["command"], *container["args"]]
    started = shlex.split(script[script.index("srun ") :].replace("\\\n", " "))[1:]
    rank_0 = f"{job['metadata']['name']}-0.{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    values = {"$SLURM_JOB_NUM_NODES": str(job["spec"]["completions"]), "${PROCESSES_PER_NODE:-gpu}": "gpu",
              "$first:${RENDEZVOUS_PORT:-29512}": rank_0, "$SLURM_JOB_ID": "fastreid"}  # fmt: skip
    expected = [values.get(word, word) for word in started[:-1]]
    assert command[: len(expected)] == expected
    assert expected[-2:] == ["tools/train_net.py", "--resume"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert {"name": STORE_OF_ITS_OWN, "value": "1"} in container["env"]
    args = default_argument_parser().parse_args(command[len(expected) - 1 :])
    cfg = get_cfg()
    cfg.merge_from_file(str(repo / args.config_file))
    cfg.merge_from_list(args.opts)
    assert cfg.SOLVER.CHECKPOINT_ITERS > 0


def node(repo: Path, options: list[str], out: Path, endpoint: str, *more: str, **surroundings) -> subprocess.Popen:
    """One of two machines, started as docs/cluster has it."""
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "test"]
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "1", *rendezvous, *more]
    return torchrun(repo, *words, job=["--resume", *options, "OUTPUT_DIR", str(out)], **surroundings)


@pytest.fixture
def namespaces():
    """Two network namespaces with the addresses 10.213.7.1 and .2, joined by a pair of interfaces."""
    if not shutil.which("ip"):
        pytest.skip("network namespaces need the command ip")
    names = [f"fastreid{os.getpid()}{end}" for end in "ab"]
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
    steps = [f"netns add {names[1]}", f"link add joint0 netns {names[0]} type veth peer joint1 netns {names[1]}"]
    for end, name in enumerate(names):
        address, link = f"addr add 10.213.7.{end + 1}/24 dev joint{end}", f"joint{end}"
        steps += [f"-n {name} {step}" for step in (address, f"link set {link} up", "link set lo up")]
    try:
        for step in steps:
            done = subprocess.run(["ip", *step.split()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"ip {step}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_machines_with_a_network_between_them(repo, options, whole, tmp_path, namespaces):
    ended_well(*(
        node(repo, options, tmp_path / "nodes", "10.213.7.1:29512", "--local-addr", f"10.213.7.{end + 1}",
             "--rdzv-conf", f"is_host={not end}",  # their names do not tell
             prefix=("ip", "netns", "exec", name), GLOO_SOCKET_IFNAME=f"joint{end}")
        for end, name in enumerate(namespaces)
    ))  # fmt: skip
    same_end(whole, tmp_path / "nodes")
