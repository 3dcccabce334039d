"""A model divided among two processes trains as one that each of them holds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor

from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer, commands, default_argument_parser, launch
from fastreid.engine.sharded_model import require_shardable
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.checkpoint import load_weights, read_checkpoint


@pytest.fixture
def options(tiny_options) -> list[str]:
    """Three epochs of three iterations with Adam, checkpoints after iterations 4 and 8."""
    return [*map(str, tiny_options), "DATALOADER.NUM_INSTANCE", "2", "TEST.EVAL_PERIOD", "0", "SOLVER.OPT", "Adam",
            "SOLVER.CHECKPOINT_ITERS", "4", "SOLVER.CHECKPOINT_PERIOD", "100"]  # fmt: skip


class Stopped(DefaultTrainer):
    def run_step(self):
        if self.iter == 5:
            raise InterruptedError
        super().run_step()


def train(*words: str) -> None:
    commands.run_training(default_argument_parser().parse_args(list(words)))


def train_all(options: list[str], folder: str) -> None:
    """Divided, not divided, divided with a stop, and what divided processes left taken up by others."""
    train(*options, "OUTPUT_DIR", f"{folder}/ddp")
    train(*options, "OUTPUT_DIR", f"{folder}/fsdp", "SOLVER.FSDP", "True")
    for name, fsdp in (("resumed", "True"), ("taken over", "False")):
        more = [*options, "OUTPUT_DIR", f"{folder}/{name}", "SOLVER.FSDP"]
        trainer = Stopped(commands.setup(default_argument_parser().parse_args([*more, "True"])))
        divided = [p for p in trainer.model.parameters() if isinstance(p, DTensor)]
        assert len(divided) == len(list(trainer.model.parameters()))
        assert sum(p.to_local().numel() for p in divided) < 0.7 * sum(p.numel() for p in divided)
        try:
            trainer.train()
        except InterruptedError:
            comm.synchronize()
        train("--resume", *more, fsdp)


def losses(folder: Path) -> list[list[float]]:
    rows = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [[row["loss_cls"], row["loss_triplet"]] for row in rows]


def test_a_divided_model_trains_saves_and_resumes_as_a_whole_one(quick_launch, options, tmp_path):
    launch(train_all, 2, args=(options, str(tmp_path)))
    expected = losses(tmp_path / "ddp")
    assert len(expected) == 9
    for name in ("fsdp", "resumed", "taken over"):
        np.testing.assert_allclose(losses(tmp_path / name), expected, rtol=1e-4, atol=1e-5)
    states = {name: read_checkpoint(tmp_path / name / "model_final.pth") for name in ("ddp", "fsdp", "resumed")}
    for name, value in states["ddp"]["model"].items():
        found = states["fsdp"]["model"][name]
        assert type(found) is torch.Tensor
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-4)
        assert torch.equal(states["resumed"]["model"][name], found), name
    assert states["fsdp"]["optimizer"]["param_groups"] == states["ddp"]["optimizer"]["param_groups"]
    for place, values in states["ddp"]["optimizer"]["state"].items():
        for name, value in values.items():
            torch.testing.assert_close(states["fsdp"]["optimizer"]["state"][place][name], value, rtol=1e-2, atol=1e-4)

    cfg = get_cfg()
    cfg.merge_from_list([*options, "MODEL.HEADS.NUM_CLASSES", 4])
    load_weights(build_model(cfg), states["fsdp"]["model"], optional=())


@pytest.mark.parametrize("change, message", [
    (["TEST.EVAL_PERIOD", 1], "TEST.EVAL_PERIOD must be 0"),
    (["SOLVER.AMP.ENABLED", True], "SOLVER.AMP.DTYPE must be bfloat16"),
    (["TEST.PRECISE_BN.ENABLED", True], "TEST.PRECISE_BN must be off"),
    (["SOLVER.CLIP_GRADIENTS.ENABLED", True], "SOLVER.CLIP_GRADIENTS must be off"),
    (["SOLVER.CHANNELS_LAST", True], "SOLVER.CHANNELS_LAST must be off"),
    (["SOLVER.FUSED", True], "SOLVER.FUSED must be off"),
    (["MODEL.HEADS.PFC.ENABLED", True], "MODEL.HEADS.PFC.ENABLED must be False"),
])  # fmt: skip
def test_settings_that_do_not_go_with_it_are_refused(change, message):
    cfg = get_cfg()
    cfg.TEST.EVAL_PERIOD = 0
    require_shardable(cfg)
    cfg.merge_from_list(change)
    with pytest.raises(ValueError, match=f"SOLVER.FSDP: {message}"):
        require_shardable(cfg)
