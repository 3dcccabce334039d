"""Models without gradient training: what they fit, what the command does with them, what it says."""

import logging

import pytest
import torch

from fastreid.engine import DefaultTrainer
from fastreid.engine.commands import train
from fastreid.engine.fitting import fit_model
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, FittedDescriptor


class MeanImage(FittedDescriptor):
    """Features are differences to the mean of the training images."""

    fit_images = 10
    seen: list[torch.Tensor] = []

    def __init__(self, cfg):
        super().__init__()
        self.register_buffer("mean", torch.zeros(32, 32))

    def fit(self, batches, seed):
        self.seen.append(torch.cat(list(batches)))
        self.mean.copy_(self.seen[-1].mean(dim=0))

    def describe(self, grey):
        return (grey - self.mean).flatten(1)


@pytest.fixture
def options(tiny_options, monkeypatch):
    monkeypatch.setitem(META_ARCH_REGISTRY._objects, "MeanImage", MeanImage)
    MeanImage.seen.clear()
    return [*tiny_options, "MODEL.META_ARCHITECTURE", "MeanImage"]


def test_the_command_fits_once_saves_and_evaluates(options, tmp_path, capsys):
    assert train(["--resume", *options]) == 0
    first = capsys.readouterr().out
    assert "--resume does nothing: MeanImage is fitted in one pass" in first
    assert "mAP" in first
    saved = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]["mean"]
    assert torch.equal(saved, MeanImage.seen[0].mean(dim=0))
    assert saved.std() > 0
    assert train(["--eval-only", *options]) == 0
    assert len(MeanImage.seen) == 1, "evaluation takes what was fitted"
    last = capsys.readouterr().out
    assert [line for line in first.splitlines() if "mAP" in line][:1] == [
        line for line in last.splitlines() if "mAP" in line
    ][:1]


def test_the_sample_is_drawn_by_the_seed(tiny_cfg, options):
    tiny_cfg.merge_from_list(options)
    for seed in (0, 0, 1):
        tiny_cfg.SEED = seed
        fit_model(tiny_cfg, DefaultTrainer)
    first, again, other = MeanImage.seen
    assert first.shape == (10, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_images_where_there_are_fewer(tiny_cfg, options, monkeypatch):
    tiny_cfg.merge_from_list(options)
    for wanted in (0, 24, 99):
        monkeypatch.setattr(MeanImage, "fit_images", wanted)
        fit_model(tiny_cfg, DefaultTrainer)
    assert [len(images) for images in MeanImage.seen] == [24, 24, 24]


def test_weights_and_processes_that_do_nothing_are_named(tiny_cfg, options, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "fastreid")
    tiny_cfg.merge_from_list([*options, "MODEL.WEIGHTS", "old.pth"])
    fit_model(tiny_cfg, DefaultTrainer)
    assert "MODEL.WEIGHTS is not read: MeanImage is fitted anew" in caplog.text
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="MeanImage is fitted in one process: leave out --num-gpus"):
        fit_model(tiny_cfg, DefaultTrainer)


def test_the_trainer_refuses_models_without_gradients(tiny_cfg, options, capsys):
    tiny_cfg.merge_from_list(options)
    with pytest.raises(ValueError, match="MeanImage has no losses and no gradients"):
        DefaultTrainer(tiny_cfg)
    assert train([*options, "MODEL.META_ARCHITECTURE", "HOG"]) == 1
    assert "error: HOG has nothing to train: use --eval-only" in capsys.readouterr().err
