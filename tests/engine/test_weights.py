"""Which weights an evaluation takes, and which it refuses."""

import pytest
import torch

from fastreid.engine import DefaultTrainer, commands, default_argument_parser, default_setup
from fastreid.engine.commands import load_model
from fastreid.utils.checkpoint import Checkpointer


def saved(cfg, path, classes=4):
    """Weights for ``cfg``, all 0.25."""
    cfg = cfg.clone()
    cfg.MODEL.HEADS.NUM_CLASSES = classes
    state = {k: torch.full_like(v, 0.25) for k, v in DefaultTrainer.build_model(cfg).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, path)
    return state


def run(options, *flags):
    return commands.run_training(default_argument_parser().parse_args([*flags, *options]))


def test_weights_of_another_backbone_are_refused(tiny_cfg, tmp_path):
    state = saved(tiny_cfg, tmp_path / "tiny.pth")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "tiny.pth")
    state.pop("heads.weight")
    torch.save(state, tmp_path / "tiny.pth")
    load_model(tiny_cfg, DefaultTrainer)
    state["backbone.layer1.0.weight"] = torch.zeros(9, 3, 3, 3)
    del state["backbone.layer2.0.weight"]
    torch.save(state, tmp_path / "tiny.pth")
    with pytest.raises(ValueError, match=r"tiny.pth does not fit the model, 2 parameters .*MODEL.BACKBONE"):
        load_model(tiny_cfg, DefaultTrainer)


def test_resume_wants_the_same_model_and_fine_tuning_does_not(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 9
    Checkpointer(DefaultTrainer.build_model(tiny_cfg), str(tmp_path / "out")).save("model_0000", epoch=0)
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    with pytest.raises(ValueError, match=r"model_0000.pth does not fit .*heads.weight: \(9, 16\) in the file"):
        DefaultTrainer(tiny_cfg).resume_or_load(resume=True)
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "out" / "model_0000.pth")
    DefaultTrainer(tiny_cfg).resume_or_load(resume=False)


def test_empty_weights_mean_those_of_the_training_in_the_folder(tiny_cfg, tmp_path, caplog):
    saved(tiny_cfg, tmp_path / "out" / "model_final.pth")
    with caplog.at_level("INFO", "fastreid"):
        model = load_model(tiny_cfg, DefaultTrainer)
    assert float(model.state_dict()["backbone.layer1.0.weight"].mean()) == 0.25
    assert f"taking {tmp_path / 'out' / 'model_final.pth'}" in caplog.text
    (tmp_path / "out" / "model_best.pth").write_bytes((tmp_path / "out" / "model_final.pth").read_bytes())
    assert commands.weights_file(tiny_cfg).endswith("model_best.pth")
    tiny_cfg.MODEL.WEIGHTS = "other.pth"
    assert commands.weights_file(tiny_cfg) == "other.pth"


def test_the_warning_of_an_untrained_model_is_the_last_line(tiny_options, capsys):
    run(tiny_options, "--eval-only")
    console = capsys.readouterr().out
    assert console.count("MODEL.WEIGHTS is empty: the model is not trained") == 2
    assert console.rindex("the model is not trained") > console.index("mAP")


def test_versions_go_to_the_file_and_one_line_to_the_console(tiny_cfg, tmp_path, capsys):
    default_setup(tiny_cfg)
    console = capsys.readouterr().out
    assert "process 0 of 1" in console
    assert "tensorboard" not in console
    assert "tensorboard" in (tmp_path / "out" / "log.txt").read_text()
