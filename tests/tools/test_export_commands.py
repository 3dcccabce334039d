"""The export commands, under our flags and fast-reid's."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch import nn

from fastreid.engine import export as module
from fastreid.engine.deploy import onnx_export, onnx_inference
from fastreid.engine.export import main

SMALL = [
    "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", "8", "MODEL.BACKBONE.FEAT_DIM", "64",
    "INPUT.SIZE_TEST", "[32,24]",
]  # fmt: skip


def test_the_command_says_how_far_file_and_model_differ(tmp_path, capsys):
    assert main(["--format", "torchscript", "--output", str(tmp_path / "a.pt"), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "of the largest feature value (allowed: 1e-04)" in shown
    assert (tmp_path / "a.pt").stat().st_size > 1000


def test_a_difference_is_the_exit_status(tmp_path, capsys, monkeypatch):
    class Counting(nn.Module):
        def forward(self, batch):
            return batch["images"].flatten(1)[:, :4] + len(batch["images"])

    monkeypatch.setattr(module, "_model", lambda cfg: Counting())
    assert main(["--format", "torchscript", "--output", str(tmp_path / "a.pt"), *SMALL]) == 1
    assert "error: the torchscript file and the model disagree by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["--output", str(tmp_path / "a.onnx"), *SMALL]) == 1
    assert "pip install '.[export]' from the checkout" in capsys.readouterr().err.splitlines()[0]


def test_old_commands_work_under_their_flags(tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert onnx_export(["--name", "small", "--output", str(tmp_path / "model"), "--opts", *SMALL]) == 0
    file = str(tmp_path / "model/small.onnx")
    infer = ["--model-path", file, "--input", str(tmp_path / "*.png"), "--output", str(tmp_path / "out")]
    assert onnx_inference([*infer, "--height", "32", "--width", "24"]) == 0
    feature = np.load(tmp_path / "out/a.npy")
    assert feature.shape == (1, 64)
    np.testing.assert_allclose(np.linalg.norm(feature), 1, rtol=1e-5)
    assert onnx_inference([*infer, "--height", "64"]) == 1
    assert "got height 64, width 0" in capsys.readouterr().err
    assert onnx_inference(["--model-path", "gone.onnx", "--input", str(tmp_path / "a.png")]) == 1
    assert "error: No such ONNX file: 'gone.onnx'" in capsys.readouterr().err


def test_the_guide_to_exported_files_runs(repo, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    Image.new("L", (30, 20), 200).save(tmp_path / "a.png")
    assert main(["--output", str(tmp_path / "a.onnx"), *SMALL]) == 0
    text = (repo / "docs/export.md").read_text(encoding="utf-8")
    shown = []
    for body in re.findall(r"^```python\n# file: (.*?)^```", text, re.MULTILINE | re.DOTALL):
        name, _, code = body.partition("\n")
        (tmp_path / name).write_text(code)
        command = [sys.executable, name, "a.onnx", "a.png"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(repo)}
        )
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout.strip().splitlines()[-1])
    assert shown == ["features: (1, 64)", "features: (4, 64)"]
