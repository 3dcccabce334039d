"""`tools/test.py --features`: from a feature file to result.npy, as a process and without model or images."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastreid.data.feature_file import FeatureFile
from fastreid.engine.submit import main
from fastreid.evaluation import Protocol
from fastreid.evaluation.submission import find_problems
from fastreid.retrieval import Search, topk_search
from fastreid.retrieval.postprocess import AQE
from tests.evaluation.stand_ins import feature_file

MADE = {"weights": "0123456789abcdef", "images": "fedcba9876543210", "dataset": "Toy"}


@pytest.fixture
def ranked(tmp_path, monkeypatch, capfd):
    """Call the tool in ``tmp_path`` with ``--features`` and return its status and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["--features", *words, "OUTPUT_DIR", "out"])
        said = capfd.readouterr()
        return status, said.out + said.err

    return run


def test_unlabelled_features_become_a_submission(tmp_path, repo):
    file = feature_file(relevance_known=False, fingerprint=MADE)
    file.save(tmp_path / "f.npz")
    (tmp_path / "my.yml").write_text("TEST:\n  RULE: all\n  AQE:\n    ENABLED: True\n    QE_K: 3\n")
    options = ["--features", "f.npz", "--config-file", "my.yml", "--output", "sub/r.npy"]
    script = [sys.executable, str(repo / "tools/test.py"), *options, "OUTPUT_DIR", "out", "TEST.AQE.ALPHA", "2.0"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    expanded = AQE(qe_k=3, alpha=2.0).apply(Search(file.query.features, file.gallery.features))
    ranks = np.load(tmp_path / "sub/r.npy")
    np.testing.assert_array_equal(ranks, topk_search(expanded, 10)[0])
    assert find_problems(tmp_path / "sub/r.zip", 12, 40) == []
    entry = json.loads((tmp_path / "out/results.json").read_text())["Toy"]
    assert (entry["labelled"], entry["features"]) == (False, MADE)
    log = done.stdout + done.stderr
    assert "unchecked: made of dataset Toy, weights 0123456789ab, images fedcba987654" in log
    assert "Ranked 12 x 40 in " in log
    assert (", peak memory " in log) == (sys.platform != "win32")
    assert "image<br>missing" in (tmp_path / "out/report.html").read_text()


def test_labelled_features_are_also_measured(tmp_path, ranked):
    file = feature_file()
    file.save(tmp_path / "mine.npz")
    status, said = ranked("mine.npz", "TEST.AQE.ENABLED", "True", "TEST.AQE.QE_K", "3")
    assert status == 0
    assert "the file does not say of what they were made" in said
    assert "stage" in said
    assert "+AQE" in said
    expected = Protocol(postprocessors=(("AQE", AQE(qe_k=3)),)).evaluate(file)
    entry = json.loads((tmp_path / "out/results.json").read_text())["mine"]
    assert [stage["metrics"]["mAP"] for stage in entry["stages"]] == [s.table()["mAP"] for s in expected.stages]
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), expected.indices)


def test_a_rule_that_leaves_too_few_items_gives_metrics_and_no_submission(tmp_path, ranked):
    feature_file().save(tmp_path / "f.npz")
    status, said = ranked("f.npz", "TEST.RULE", "granted_before")
    assert status == 0
    assert "No submission is written: TEST.RULE granted_before leaves" in said
    assert not (tmp_path / "result.npy").exists()
    assert json.loads((tmp_path / "out/results.json").read_text())["f"]["labelled"]


def test_without_labels_a_submission_is_what_is_asked_for(tmp_path, ranked):
    feature_file(relevance_known=False).save(tmp_path / "f.npz")
    status, said = ranked("f.npz", "TEST.RULE", "granted_before")
    assert status == 1
    assert "a submission ranks the whole database: use TEST.RULE all" in said


def wrong_files(folder):
    feature_file(num_query=0, columns={"pids": [0] * 40, "camids": [0] * 40}, paths=["a"] * 40,
                 features=np.ones((40, 2))).save(folder / "gallery.npz")  # fmt: skip
    np.savez(folder / "other.npz", features=np.ones((4, 2)))
    (folder / "list.txt").write_text("a.png 1\n")
    bad = feature_file(relevance_known=False)
    bad.features[3, 2] = np.nan
    bad.save(folder / "nan.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["gone.npz"], "No such feature file: 'gone.npz'"),
        (["list.txt"], "list.txt is not a feature file: not a whole .npz file"),
        (["other.npz"], "other.npz is not a feature file: description is not a file in the archive"),
        (["gallery.npz"], "gallery.npz has no queries: its 40 rows are all gallery images"),
        (["nan.npz"], "nan.npz: 1 of 52 feature rows are NaN or infinite: row 3 (p/USD0000003"),
        (["gallery.npz", "TEST.RULE", "al"], "'al'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, ranked, options, message):
    wrong_files(tmp_path)
    status, said = ranked(*options)
    assert status == 1
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "result.npy").exists()


def test_a_file_of_a_later_format_is_refused(tmp_path, ranked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastreid.data.feature_file.FORMAT", 99)
        feature_file().save(tmp_path / "f.npz")
    status, said = ranked("f.npz")
    assert status == 1
    assert "error: f.npz has feature file format 99; this version reads 1" in said


def test_query_and_gallery_of_a_loaded_file_are_views(tmp_path):
    feature_file().save(tmp_path / "f.npz")
    file = FeatureFile.load(tmp_path / "f.npz")
    assert np.shares_memory(file.query.features, file.features)
    assert np.shares_memory(file.gallery.features, file.features)
