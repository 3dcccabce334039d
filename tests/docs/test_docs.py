"""What the documents show is run: files, Python, YAML and commands."""

import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.retrieval import POSTPROCESSOR_REGISTRY, RULE_REGISTRY, Search, topk

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def documents(repo):
    return [repo / "README.md", *sorted((repo / "docs").glob("*.md")), *sorted((repo / "datasets").glob("*.md"))]


def blocks(path, *languages):
    return [body for language, body in BLOCK.findall(path.read_text(encoding="utf-8")) if language in languages]


def write_files(path, folder):
    """Write the blocks that begin with ``# file: NAME``; return the names."""
    names = []
    for body in blocks(path, "python", "yaml"):
        match = re.match(r"# file: (\S+)\n", body)
        if match:
            (folder / match.group(1)).write_text(body)
            names.append(match.group(1))
    return names


@pytest.fixture
def drawings(tmp_path):
    """Four identities of four images each, with list files."""
    rng = np.random.default_rng(0)
    lines = []
    for pid in range(4):
        for figure in range(4):
            Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8)).save(tmp_path / f"{pid}-{figure}.png")
            lines.append(f"{pid}-{figure}.png {pid}\n")
    for part, figures in (("train", range(4)), ("query", [0]), ("gallery", [1, 2])):
        (tmp_path / "my-vehicles" / part).mkdir(parents=True)
        for pid, figure in itertools.product(range(4), figures):
            name = f"{pid:04d}_c{figure + 1}_0.png"
            shutil.copy(tmp_path / f"{pid}-{figure}.png", tmp_path / "my-vehicles" / part / name)
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "query.txt").write_text("".join(lines[::4]))
    (tmp_path / "gallery.txt").write_text("".join(lines[1::4]))
    return tmp_path


def said(folder, *command):
    """Run a script in ``folder`` and return what it prints."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_yaml_block_is_a_valid_config(repo, tmp_path):
    found = 0
    for path in documents(repo):
        write_files(path, tmp_path)
        for number, body in enumerate(blocks(path, "yaml")):
            file = tmp_path / f"{path.stem}_{number}.yml"
            file.write_text(body)
            get_cfg().merge_from_file(file)
            found += 1
    assert found >= 2


def test_the_extension_guide_trains_and_evaluates_through_the_command_line(repo, drawings):
    names = write_files(repo / "docs" / "extending.md", drawings)
    assert names == ["my_parts.py", "my_config.yml", "my_whitening.py", "my_rule.py", "my_data.yml", "my_reid.py"]
    command = [sys.executable, str(repo / "tools" / "train_net.py"), "--config-file", "my_config.yml"]
    command += shlex.split(
        "MODEL.DEVICE cpu MODEL.BACKBONE.DEPTH 10x MODEL.BACKBONE.WIDTH 8 MODEL.BACKBONE.FEAT_DIM 64 "
        "DATASETS.NAMES \"('FileList','MyVehicles')\" DATASETS.TESTS \"('FileList','MyVehicles')\" "
        "MODEL.HEADS.NAME DropoutHead "
        "DATALOADER.NUM_WORKERS 0 DATALOADER.NUM_INSTANCE 2 "
        "DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler INPUT.SIZE_TRAIN [32,32] INPUT.SIZE_TEST [32,32] "
        "SOLVER.IMS_PER_BATCH 8 SOLVER.MAX_EPOCH 1 DATASETS.FILELIST.TRAIN train.txt "
        "DATASETS.FILELIST.QUERY query.txt DATASETS.FILELIST.GALLERY gallery.txt OUTPUT_DIR out "
        "PLUGINS \"('my_whitening.py','my_reid.py')\" TEST.WHITENING.ENABLED True"
    )
    done = subprocess.run(
        [*command, "DATASETS.FILELIST.ROOT", str(drawings)], cwd=drawings, capture_output=True, text=True,
        env={**os.environ, "FASTREID_DATASETS": str(drawings)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "loss_supcon" in (drawings / "out" / "metrics.json").read_text()
    results = json.loads((drawings / "out" / "results.json").read_text())
    assert [stage["stage"] for stage in results["FileList"]["stages"]] == ["plain", "+WHITENING"]
    assert "DROPOUT: 0.2" in (drawings / "out" / "config.yaml").read_text()
    assert results["MyVehicles"]["counts"] == {"queries": 4, "gallery": 8, "dropped queries": 0}
    assert write_files(repo / "docs" / "getting-started.md", drawings)[1:] == ["my_vectors.py", "my_features.py"]
    assert re.fullmatch(r"cosine similarity: 1\.000\n", said(drawings, "my_vectors.py", "out", "0-1.png", "0-1.png"))
    shown = said(drawings, "my_features.py", "out/features/FileList.npz")
    assert shown.startswith("queries: (4, 64)\n")
    assert shown.count(".png") == 4


def test_the_post_processor_of_the_extension_guide_whitens(repo, tmp_path, monkeypatch):
    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(POSTPROCESSOR_REGISTRY, table, dict(getattr(POSTPROCESSOR_REGISTRY, table)))
    write_files(repo / "docs" / "extending.md", tmp_path)
    whitening = runpy.run_path(str(tmp_path / "my_whitening.py"))["Whitening"](eps=1e-6)
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)) + 5
    search = whitening.apply(Search(gallery[:3], gallery))
    np.testing.assert_allclose(np.cov(search.gallery, rowvar=False), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(search.queries, search.gallery[:3], atol=1e-5)


def test_the_rule_of_the_extension_guide_permits_the_same_decade(repo, tmp_path, monkeypatch):
    monkeypatch.setattr(RULE_REGISTRY, "_objects", dict(RULE_REGISTRY._objects))
    write_files(repo / "docs" / "extending.md", tmp_path)
    runpy.run_path(str(tmp_path / "my_rule.py"))
    dates = {"dates": np.array([20190101, 20200107, 20200114, 20200121, 0])}
    query = {"dates": np.array([20200114])}
    indices, _ = topk(np.ones((1, 2)), np.ones((5, 2)), 5, rule="recent", q_columns=query, g_columns=dates)
    assert indices.tolist() == [[1, -1, -1, -1, -1]]


def test_the_retrieval_guide_runs(repo, tmp_path):
    assert write_files(repo / "docs" / "retrieval.md", tmp_path) == ["features.py"]
    plain, per_query, lists, expanded, reranked = said(tmp_path, "features.py").splitlines()
    assert re.match(r"mAP 0\.\d+, recall@10 0\.\d+, queries dropped: \d+$", plain)
    assert per_query == "per query: (80,)"
    assert lists.startswith("(80, 10) ")
    assert float(expanded.split()[-1]) > float(plain.split()[1].rstrip(","))
    assert re.match(r"re-ranked: nDCG@10 0\.\d+, mAP by", reranked)
    command = "--features features.npz TEST.RULE all TEST.AQE.ENABLED True"
    said(tmp_path, str(repo / "tools" / "test.py"), *command.split())
    assert np.load(tmp_path / "result.npy").shape == (80, 10)


def test_scripts_and_configs_named_in_commands_exist(repo):
    missing = []
    for path in documents(repo):
        for body in blocks(path, "bash", "sh", "console"):
            words = shlex.split(body, comments=True)
            for word in words:
                if word.startswith(("tools/", "configs/")) and "..." not in word and not (repo / word).exists():
                    missing.append(f"{path.name}: {word}")
    assert not missing


def test_links_between_documents_lead_somewhere(repo):
    missing = []
    for path in documents(repo):
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                missing.append(f"{path.name}: {target}")
    assert not missing
