"""Tables of settings x seeds: what is refused, what is run, what is run again, and what the results say."""

import fcntl
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer
from fastreid.engine.ablation import command, processes, runs
from fastreid.engine.ablation.rows import _is_of_training
from fastreid.engine.ablation.runs import Run
from fastreid.engine.ablation.summary import collect, spread
from fastreid.engine.ablation.table import METRICS, read_table, without_effect

# writes what a training leaves; mAP is 1000 x the learning rate + the seed, plus what the evaluation adds
STUB = """
import json, os, signal, sys
from pathlib import Path

words = sys.argv[1:]
pairs = [word for word in words if not word.startswith("--")][1:]
settings = dict(zip(pairs[0::2], pairs[1::2]))
folder, epochs = Path(settings["OUTPUT_DIR"]), int(settings.get("SOLVER.MAX_EPOCH", 1))
print("arguments", json.dumps(words), "threads", os.environ.get("OMP_NUM_THREADS"))
value = 1000 * float(settings["SOLVER.BASE_LR"]) + int(settings["SEED"])
if "--eval-only" in words:
    value += float(settings["TEST.RERANK.LAMBDA"])
    assert Path(settings["MODEL.WEIGHTS"]).read_text() == settings["SEED"]
    assert (folder / "features" / "MiniPatent.npz").read_text() == "of the training"
    (folder / "features" / "MiniPatent.npz").unlink()
elif epochs == 13:
    print("\\n".join(f"line {number}" for number in range(20)))
    sys.exit("error: the network has no weights\\n(FASTREID_TRACEBACK=1 shows the traceback)")
elif epochs == 14:
    sys.exit(0)
elif epochs > 14 and "--resume" not in words:
    (folder / "last_checkpoint").write_text("model_0001.pth")
    if epochs == 16:  # the table dies, this process goes on until the test lets it
        os.kill(os.getppid(), signal.SIGKILL)
        Path(os.environ["GATE"]).read_text()
    os.kill(os.getpid(), signal.SIGKILL)
else:
    (folder / "model_final.pth").write_text(settings["SEED"])
    (folder / "features").mkdir()
    (folder / "features" / "MiniPatent.npz").write_text("of the training")
    (folder / "metrics.json").write_text('{"iteration": 9}\\n{"iteration": 24}\\n')
metrics = {"mAP": value, "Rank-1": 2 * value}
entry = {"stages": [{"stage": "plain", "metrics": {"mAP": 0}}, {"stage": "+RERANK", "metrics": metrics}]}
(folder / "results.json").write_text(json.dumps({"MiniPatent": entry}))
"""
BASE = {
    "DATASETS.NAMES": ("MiniPatent",), "DATASETS.TESTS": ("MiniPatent",), "MODEL.DEVICE": "cpu",
    "SOLVER.MAX_EPOCH": 1, "SOLVER.IMS_PER_BATCH": 8, "TEST.EVAL_PERIOD": 1,
}  # fmt: skip
ROWS = [
    {"name": "slow", "set": {"SOLVER.BASE_LR": 0.001}},
    {"name": "fast", "set": {"SOLVER": {"BASE_LR": 0.02}}},
    {"name": "fast +rerank", "of": "fast", "set": {"TEST.RERANK.ENABLED": True, "TEST.RERANK.LAMBDA": 0.5}},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with ``base.yml``, where the trainer is a stub."""
    write_yaml(tmp_path / "base.yml", {key: list(v) if isinstance(v, tuple) else v for key, v in BASE.items()})
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(runs, "TRAINER", (sys.executable, str(tmp_path / "stub.py")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_yaml(path, values):
    path.write_text(yaml.safe_dump(values))


def table(folder, rows=ROWS, **values):
    """Write a table and return its path."""
    write_yaml(folder / "table.yaml", {"base": "base.yml", "rows": rows, **values})
    return str(folder / "table.yaml")


def ablate(*arguments):
    return command.main([*map(str, arguments)])


def results(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def refused(folder, capsys, rows=ROWS, **values):
    """The message with which a table ends before anything runs."""
    assert ablate(table(folder, rows, **values)) == 1
    assert not (folder / "logs").exists()
    return capsys.readouterr().err


# --- what is refused


@pytest.mark.parametrize(
    "values, message",
    [
        ({"seed": [0]}, "has no key 'seed'. Did you mean 'seeds'?"),
        ({"seeds": [0, "1"]}, "seeds of .*table.yaml must be different whole numbers from 0; got \\[0, '1'\\]"),
        ({"seeds": [0, True]}, "must be different whole numbers"),
        ({"seeds": [1, 1]}, "must be different whole numbers"),
        ({"seeds": -1}, "must be different whole numbers"),
        ({"seeds": []}, "must be different whole numbers"),
        ({"cost": "second"}, "cost of .* must be one of 'seconds', 'images'; got 'second'. Did you mean 'seconds'?"),
        ({"metrics": ["map"]}, "metrics of .*TEST.METRICS, LEVELS .* add more.* must be one of .*Did you mean 'mAP'?"),
        ({"tests": ["MiniPatents"]}, "tests of .* must be one of 'MiniPatent'; .*Did you mean 'MiniPatent'?"),
        ({"reference": "slwo"}, "the name of a row, must be one of 'slow', .*Did you mean 'slow'?"),
        ({"rows": []}, "rows of .* must be a list of at least one row"),
        ({"set": {"SEED": 1}}, "`set` may not hold SEED: the list `seeds` sets it"),
        ({"set": ["SEED", 1]}, "`set` must hold KEY: value"),
        ({"base": "bsae.yml"}, "row 'slow': Config file not found: 'bsae.yml'"),
    ],
)
def test_a_wrong_table_is_refused_by_name(folder, capsys, values, message):
    said = refused(folder, capsys, **values)
    assert re.search(message, said), said


@pytest.mark.parametrize(
    "row, message",
    [
        ({"nam": "x"}, "row 4: a row has no key 'nam'. Did you mean 'name'?"),
        ("x", "row 4: a row must hold keys (name, config, set, of); got 'x'"),
        ({"name": 7}, "row '7': its name must be a text; got 7"),
        ({"name": "slow"}, "row 'slow': an earlier row has this name"),
        ({"name": "x", "of": "fast"}, "rows: 'x' changes nothing about 'fast'"),
        ({"name": "fast_rerank"}, "row 'fast_rerank': its folder fast_rerank is that of 'fast +rerank': rename one"),
        (
            {"name": "x", "of": "fst"},
            "`of`, the name of a row that trains, must be one of 'slow', 'fast'; got 'fst'.",
        ),
        ({"name": "x", "of": "fast +rerank"}, "must be one of 'slow', 'fast'; got 'fast +rerank'"),
        ({"name": "x", "of": "fast", "config": "base.yml"}, "it takes the config of 'fast'"),
        ({"name": "x", "of": "fast", "set": {"SOLVER.BASE_LR": 1}}, "SOLVER.BASE_LR cannot change the trained models"),
        ({"name": "x", "set": {"SOLVER.BASELR": 1}}, "SOLVER.BASELR Did you mean 'SOLVER.BASE_LR'?"),
        ({"name": "x", "set": {"SOLVER.BASE_LR": "much"}}, "SOLVER.BASE_LR in the command line must be of type float"),
        ({"name": "x", "set": {"MODEL.LOSSES.NAME": ["TripletLos"]}}, "Did you mean 'TripletLoss'?"),
        ({"name": "x", "set": {"TEST.RULE": "all+camra"}}, "Did you mean 'camera'?"),
        ({"name": "x", "of": "fast", "set": {"TEST.RULE": "camra"}}, "Did you mean 'camera'?"),
        ({"name": "x", "set": {"TEST.METRICS": ["nDCG@x"]}}, "row 'x': TEST.METRICS: "),
        ({"name": "x", "set": {"TEST.GROUP_BY": ["subclas"]}}, "TEST.GROUP_BY, a column, must be one of 'pids',"),
        ({"name": "x", "set": {"TEST.RELEVANCE": "clas"}}, "TEST.RELEVANCE, a column, must be one of 'pids',"),
        ({"name": "x", "set": {"TEST.LEVELS": ["subclas"]}}, "Did you mean 'subclass'?"),
        ({"name": "x", "set": {"TEST.PROTOCOL": "lo2042"}}, "Did you mean 'lo2024'?"),
        ({"name": "x", "set": {"MODEL.HEADS.NAME": "EmbedingHead"}}, "Did you mean 'EmbeddingHead'?"),
        ({"name": "x", "set": {"MODEL.HEADS.POOL_LAYER": "GlobalMaxPol"}}, "Did you mean 'GlobalMaxPool'?"),
        ({"name": "x", "set": {"MODEL.META_ARCHITECTURE": "Basline"}}, "Did you mean 'Baseline'?"),
        ({"name": "x", "set": {"SOLVER.OPT": "Adem"}}, "Did you mean 'Adam'?"),
        ({"name": "x", "set": {"SOLVER.SCHED": "MultiStep"}}, "Did you mean 'MultiStepLR'?"),
        ({"name": "x", "set": {"INPUT.RESIZE.MODE": "crob"}}, "Did you mean 'crop'?"),
        (
            {"name": "x", "set": {"MODEL.HEADS.CLS_LAYER": "ArcSoftmax", "MODEL.HEADS.MARGIN": 28}},
            "MODEL.HEADS.MARGIN of ArcSoftmax is an angle in radians, 0..pi; got 28",
        ),
        ({"name": "x", "set": {"TEST.EVAL_PERIOD": 0}}, "TEST.EVAL_PERIOD is 0: its training would leave no results"),
        ({"name": "x", "set": {"SOLVER.BASE_LR": 0.001}}, "rows: 'slow' and 'x' have the same settings"),
    ],
)
def test_a_wrong_row_is_refused_before_anything_runs(folder, capsys, row, message):
    assert message in refused(folder, capsys, [*ROWS, row])


def test_all_wrong_rows_are_said_together(folder, capsys):
    wrong = [{"name": "a", "set": {"SOLVER.BASELR": 1}}, {"name": "b", "of": "c"}, {"name": "d", "size": 1}]
    said = refused(folder, capsys, [*ROWS, *wrong])
    assert all(f"row '{name}':" in said for name in "abd")


def test_a_row_of_a_wrong_row_is_not_called_wrong(folder, capsys):
    wrong = [{"name": "a", "set": {"SOLVER.BASELR": 1}}, {"name": "a +QE", "of": "a", "set": {"TEST.QE.K": 2}}]
    assert refused(folder, capsys, [*ROWS, *wrong]).count("row '") == 1
    wrong = [{"name": "a", "sett": {}}, {"name": "a +QE", "of": "a", "set": {"TEST.QE.K": 2}}]
    assert refused(folder, capsys, [*ROWS, *wrong]).count("row '") == 1


def test_a_row_without_any_config_is_refused(folder, capsys):
    write_yaml(folder / "table.yaml", {"rows": [{"name": "a"}]})
    assert ablate("table.yaml") == 1
    assert "row 'a': it needs a `config`, or the table a `base`" in capsys.readouterr().err
    assert ablate("tabel.yaml") == 1
    assert "error: No such table: 'tabel.yaml'" in capsys.readouterr().err
    (folder / "table.yaml").write_text("rows: [")
    assert ablate("table.yaml") == 1
    assert "table.yaml" in capsys.readouterr().err


def test_wrong_options_are_refused(folder, capsys):
    assert ablate(table(folder), "--only", "fats") == 1
    assert "rows of" in (said := capsys.readouterr().err)
    assert "Did you mean 'fast'?" in said
    assert ablate(table(folder), "--set", "SOLVER.BASE_LR") == 1
    assert "--set takes KEY VALUE pairs; the key 'SOLVER.BASE_LR' has no value" in capsys.readouterr().err
    assert ablate(table(folder), "--set", "OUTPUT_DIR", "x") == 1
    assert "`set` may not hold OUTPUT_DIR: --output sets it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ablate(table(folder), "--jobs", "0")
    assert "must be at least 1" in capsys.readouterr().err


def test_settings_of_training_are_told_from_those_of_an_evaluation():
    of_training = [
        "SOLVER.OPT",
        "MODEL.LOSSES.TRI.MARGIN",
        "MODEL.BACKBONE.PRETRAIN",
        "INPUT.REA.PROB",
        "MODEL.WEIGHTS",
    ]
    assert all(_is_of_training(key) for key in [*of_training, "DATASETS.NAMES", "KD.EMA.ENABLED", "INPUT.SIZE_TRAIN"])
    of_evaluation = ["TEST.RULE", "INPUT.SIZE_TEST", "INPUT.INK_CROP.ENABLED", "DATASETS.TESTS", "MODEL.DEVICE"]
    assert not any(_is_of_training(key) for key in [*of_evaluation, "DATASETS.MINIPATENT.SEED"])


def test_a_setting_without_effect_is_said(folder):
    rows = [*ROWS, {"name": "margin", "set": {"MODEL.HEADS.MARGIN": 0.5}}]
    (line,) = without_effect(read_table(table(folder, rows)))
    assert line.startswith("margin: MODEL.HEADS.MARGIN = 0.5 (MODEL.HEADS.CLS_LAYER is 'Linear'")


# --- what is run


def test_rows_and_seeds_are_run_with_their_settings_and_collected(folder, capsys):
    path = table(folder, seeds=[3, 4, 6], reference="slow", set={"SOLVER.MOMENTUM": 0.8}, title="Two rates")
    assert ablate(path, "--jobs", 2) == 0
    shown = capsys.readouterr().out
    output = Path("logs", "ablation", "table")
    text = (output / "fast" / "seed4" / "console.log").read_text()
    words = json.loads(text[text.index("[") : text.index("]") + 1])
    assert words[:2] == ["--config-file", str(folder / "base.yml")]
    pairs = dict(zip(words[2::2], words[3::2], strict=True))
    assert pairs == {
        "SOLVER.MOMENTUM": "0.8", "SOLVER.BASE_LR": "0.02", "SEED": "4", "OUTPUT_DIR": str(output / "fast" / "seed4")
    }  # fmt: skip
    assert text.endswith("threads 1\n")

    rows = {row["name"]: row for row in results(output)}
    values = {"slow": [4, 5, 7], "fast": [23, 24, 26], "fast +rerank": [23.5, 24.5, 26.5]}
    for name, wanted in values.items():
        mean = sum(wanted) / 3
        deviation = math.sqrt(sum((value - mean) ** 2 for value in wanted) / 2)
        found = rows[name]["metrics"]["MiniPatent"]
        assert found["mAP"] == {"mean": pytest.approx(mean), "std": pytest.approx(deviation), "count": 3}
        assert found["Rank-1"]["mean"] == pytest.approx(2 * mean)
        assert [run["metrics"]["MiniPatent"]["mAP"] for run in rows[name]["runs"].values()] == pytest.approx(wanted)
        assert all(run["images"] == 25 * 8 for run in rows[name]["runs"].values())
    for seed in "346":
        assert rows["fast +rerank"]["runs"][seed]["cpu_seconds"] > rows["fast"]["runs"][seed]["cpu_seconds"] > 0

    markdown = (output / "table.md").read_text()
    assert markdown in shown
    assert "## Two rates" in markdown
    assert "| | mAP | Rank-1 | mAP against slow | seeds | CPU s | images/CPU s |" in markdown
    assert "| slow | 5.3 ± 1.5 | 10.7 ± 3.1 |  | 3 |" in markdown
    assert "| fast +rerank | 24.8 ± 1.5 | 49.7 ± 3.1 | +19.5 ± 0.0 | 3 |" in markdown
    assert "over seeds 3, 4, 6" in markdown
    assert "Missing" not in markdown
    assert (output / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_spread_is_that_of_a_sample():
    assert spread([]) is None
    assert str(spread([2.0])) == "2.0"
    assert spread([2.0]).std is None
    assert (spread([1.0, 2.0, 6.0]).mean, spread([1.0, 2.0, 6.0]).std) == (3.0, pytest.approx(math.sqrt(7)))


def test_metrics_that_every_result_has(tiny_cfg):
    tiny_cfg.merge_from_list(["TEST.EVAL_PERIOD", "1"])
    DefaultTrainer.test(tiny_cfg, DefaultTrainer.build_model(tiny_cfg))
    stage = json.loads(Path(tiny_cfg.OUTPUT_DIR, "results.json").read_text())["FileList"]["stages"][-1]
    assert set(METRICS) == set(stage["metrics"])


def test_rows_bring_metrics_of_levels_and_texts(folder):
    shown = {"metrics": ["mAP@class", "text-to-image R@5", "mAP"]}
    with pytest.raises(ValueError, match="must be one of .*; got 'mAP@class'"):
        read_table(table(folder, **shown))
    given = read_table(table(folder, **shown, set={"TEST.LEVELS": ["subclass", "class"], "TEST.TEXT_BANK": "bank"}))
    assert given.metrics == ("mAP@class", "text-to-image R@5", "mAP")


def test_finished_runs_stay_and_changed_ones_are_refused_by_name(folder, capsys):
    output = folder / "out"
    assert ablate(table(folder), "--output", output) == 0
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if "seed0" in str(path)}
    assert ablate(table(folder), "--output", output) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if "seed0" in str(path)} == before

    changed = [{**ROWS[0], "set": {"SOLVER.BASE_LR": 0.005}}, *ROWS[1:]]
    capsys.readouterr()
    assert ablate(table(folder, changed), "--output", output) == 1
    said = capsys.readouterr().err
    assert "slow, seed 0: SOLVER.BASE_LR was 0.001, is now 0.005" in said
    assert "--overwrite runs them anew" in said
    assert "fast" not in said
    assert ablate(table(folder, changed), "--output", output, "--collect") == 0
    assert results(output)[0]["runs"]["0"]["state"] == "settings changed: SOLVER.BASE_LR was 0.001, is now 0.005"
    assert results(output)[0]["metrics"] == {"MiniPatent": {}}

    assert ablate(table(folder, changed), "--output", output, "--overwrite") == 0
    assert results(output)[0]["metrics"]["MiniPatent"]["mAP"]["mean"] == pytest.approx(5)
    kept = [path for path in before if path.relative_to(output).parts[0].startswith("fast")]
    assert kept
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)


def test_an_evaluation_with_other_settings_is_refused_and_made_again_when_its_model_changed(folder, capsys):
    output = folder / "out"
    assert ablate(table(folder), "--output", output) == 0
    other = [*ROWS[:2], {**ROWS[2], "set": {"TEST.RERANK.ENABLED": True, "TEST.RERANK.LAMBDA": 0.25}}]
    capsys.readouterr()
    assert ablate(table(folder, other), "--output", output) == 1
    assert "fast +rerank, seed 0: TEST.RERANK.LAMBDA was 0.5, is now 0.25" in capsys.readouterr().err
    assert ablate(table(folder), "--output", output) == 0  # nothing is lost
    assert results(output)[2]["metrics"]["MiniPatent"]["mAP"]["mean"] == pytest.approx(20.5)
    assert ablate(table(folder, other), "--output", output, "--overwrite") == 0
    assert results(output)[2]["metrics"]["MiniPatent"]["mAP"]["mean"] == pytest.approx(20.25)
    record = output / "fast_rerank" / "seed0" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))
    assert ablate(table(folder), "--output", output) == 0  # there was nothing to lose
    assert ablate(table(folder, other), "--output", output, "--overwrite") == 0
    weights = output / "fast" / "seed0" / "model_final.pth"
    weights.write_text("0 ")
    (run,) = (Run(row, 0, output) for row in read_table(table(folder, other)).rows if row.of)
    assert not run.finished
    assert run.changes[0].startswith("MODEL.WEIGHTS was ")
    assert not run.has_to_lose


def test_what_changes_no_result_and_keys_that_came_later_do_not_run_again(folder):
    output = folder / "out"
    assert ablate(table(folder, ROWS[:1]), "--output", output) == 0
    record = output / "slow" / "seed0" / "run.json"
    described = json.loads(record.read_text())
    del described["settings"]["TEST.THRES"]
    record.write_text(json.dumps(described))
    options = {"DATALOADER.NUM_WORKERS": 0, "TEST.REPORT.ENABLED": False, "SOLVER.CHECKPOINT_PERIOD": 3}
    (run,) = (Run(row, 0, output) for row in read_table(table(folder, ROWS[:1], set=options)).rows)
    assert run.finished
    (run,) = (Run(row, 0, output) for row in read_table(table(folder, ROWS[:1], set={"TEST.THRES": 0.4})).rows)
    assert run.changes == ["TEST.THRES was 0.5, is now 0.4"]


def test_a_failing_row_is_reported_and_the_others_go_on(folder, capsys):
    failing = [
        {"name": "broken", "set": {"SOLVER.BASE_LR": 0.1, "SOLVER.MAX_EPOCH": 13}},
        {"name": "broken +rerank", "of": "broken", "set": {"TEST.RERANK.ENABLED": True}},
        {"name": "empty", "set": {"SOLVER.BASE_LR": 0.1, "SOLVER.MAX_EPOCH": 14}},
    ]
    assert ablate(table(folder, [*failing, *ROWS]), "--output", "out") == 1
    shown = capsys.readouterr().out
    assert "broken, seed 0 ended with status 1: the network has no weights; its last lines" in shown
    assert "  | error: the network has no weights" in shown
    assert "  | line 10\n" in shown
    assert "  | line 9\n" not in shown
    assert "broken +rerank, seed 0 there is no trained model of 'broken'" in shown
    assert "empty, seed 0 ended without results.json" in shown
    rows = {row["name"]: row for row in results(folder / "out")}
    assert rows["fast +rerank"]["metrics"]["MiniPatent"]["mAP"]["mean"] == pytest.approx(20.5)
    assert rows["broken"]["metrics"] == {"MiniPatent": {}}
    markdown = (folder / "out" / "table.md").read_text()
    assert "| broken | - | - | 0 of 1 | - | - |" in markdown
    assert "- broken, seed 0: ended with status 1: the network has no weights\n" in markdown
    assert "- empty, seed 0: ended without results.json\n" in markdown
    record = json.loads((folder / "out" / "broken" / "seed0" / "run.json").read_text())
    assert record["error"] == "ended with status 1: the network has no weights"
    assert "- broken +rerank, seed 0: not started" in markdown


def test_some_rows_alone_and_a_partial_table(folder, capsys):
    path = table(folder, seeds=[0, 1])
    assert ablate(path, "--output", "out", "--collect") == 0
    assert "| slow | - | - | 0 of 2 | - | - |" in capsys.readouterr().out
    assert ablate(path, "--output", "out", "--only", "fast +rerank") == 0
    capsys.readouterr()
    shutil.rmtree(folder / "out" / "fast_rerank" / "seed1")
    assert ablate(path, "--output", "out", "--collect") == 0
    shown = capsys.readouterr().out
    assert "| slow | - | - | 0 of 2 |" in shown
    assert "| fast | 20.5 ± 0.7 | 41.0 ± 1.4 | 2 |" in shown
    assert "| fast +rerank | 20.5 | 41.0 | 1 of 2 |" in shown
    assert "- slow, seed 1: not started\n- fast +rerank, seed 1: not started" in shown


def test_a_dry_run_prints_what_is_left_to_do(folder, capsys):
    path = table(folder, seeds=[0, 1])
    assert ablate(path, "--output", "out", "--only", "slow") == 0
    capsys.readouterr()
    assert ablate(path, "--output", "out", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert shown.count("# ") == 4
    assert "# fast, seed 1: not started" in shown
    assert "TEST.RERANK.LAMBDA 0.5 MODEL.WEIGHTS out/fast/seed1/model_final.pth SEED 1 OUTPUT_DIR" in shown
    assert not (folder / "out" / "fast").exists()


def test_settings_for_every_row(folder):
    assert ablate(table(folder, ROWS[:1]), "--output", "out", "--set", "SOLVER.BASE_LR", "0.5") == 0
    assert results(folder / "out")[0]["metrics"]["MiniPatent"]["mAP"]["mean"] == pytest.approx(500)


def test_a_folder_of_somebody_else_is_left_alone(folder, capsys):
    own = folder / "out" / "slow" / "seed0" / "thesis.tex"
    own.parent.mkdir(parents=True)
    own.touch()
    assert ablate(table(folder, ROWS[:1]), "--output", "out") == 1
    assert "it is not of this tool" in capsys.readouterr().out
    assert own.exists()


# --- what is interrupted


def test_a_killed_run_goes_on_from_its_checkpoint(folder, capsys):
    path = table(folder, [{"name": "killed", "set": {"SOLVER.BASE_LR": 0.001, "SOLVER.MAX_EPOCH": 15}}])
    assert ablate(path, "--output", "out") == 1
    assert f"killed, seed 0 ended with status {-signal.SIGKILL}" in capsys.readouterr().out
    spent = json.loads((folder / "out" / "killed" / "seed0" / "run.json").read_text())["cpu_seconds"]
    assert spent > 0
    assert ablate(path, "--output", "out") == 0
    run = results(folder / "out")[0]["runs"]["0"]
    assert run["metrics"]["MiniPatent"]["mAP"] == 1
    assert run["cpu_seconds"] > spent
    assert "--resume" in (folder / "out" / "killed" / "seed0" / "console.log").read_text().splitlines()[1]


def test_a_killed_table_goes_on_when_its_runs_have_ended(folder, capsys, monkeypatch):
    """The run outlives the table: it is left alone as long as it works, and its cost is unknown then."""
    path = table(folder, [{"name": "killed", "set": {"SOLVER.BASE_LR": 0.001, "SOLVER.MAX_EPOCH": 16}}])
    gate = folder / "gate"
    os.mkfifo(gate)
    driver = "import sys; from fastreid.engine.ablation import command, runs; runs.TRAINER = tuple(sys.argv[1:3]); "
    driver += "command.main(sys.argv[3:])"
    done = subprocess.run(
        [sys.executable, "-c", driver, sys.executable, str(folder / "stub.py"), path, "--output", "out"],
        env={**processes.environment(1), "GATE": str(gate)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ablate(path, "--output", "out") == 1
    assert "another process works in out/killed/seed0" in capsys.readouterr().out
    gate.write_text("go on")
    with open(folder / "out" / "killed" / ".seed0.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the process is gone
    assert ablate(path, "--output", "out") == 0
    run = results(folder / "out")[0]["runs"]["0"]
    assert run["state"] == "finished"
    assert run["cpu_seconds"] is None
    assert "--resume" in (folder / "out" / "killed" / "seed0" / "console.log").read_text().splitlines()[1]


def test_an_interrupted_table_ends_its_runs(folder, capsys, monkeypatch):
    """SIGTERM to the table, sent by the run itself, comes back to the run."""
    waiting = "import os, signal, sys; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
    monkeypatch.setattr(runs, "TRAINER", (sys.executable, "-c", waiting))
    assert ablate(table(folder), "--output", "out") == 130
    assert "The same command goes on where it stopped" in capsys.readouterr().err
    assert json.loads((folder / "out" / "slow" / "seed0" / "run.json").read_text())["finished"] is False
    assert not (folder / "out" / "fast").exists()


# --- the real trainer

KILLED = """
import os
import signal

from fastreid.modeling.backbones import BACKBONE_REGISTRY

Tiny = BACKBONE_REGISTRY.get("TinyBackbone")


@BACKBONE_REGISTRY.register()
class KilledBackbone(Tiny):
    calls = 0

    def forward(self, x):
        type(self).calls += self.training
        if self.calls == 8 and not os.path.exists({marker!r}):
            open({marker!r}, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)
"""


@pytest.mark.slow
def test_a_real_training_killed_resumed_and_evaluated_again(tiny_data, tiny_options, tmp_path, capsys):
    base = get_cfg()
    base.merge_from_list(tiny_options)
    (tmp_path / "base.yml").write_text(base.dump())
    (tmp_path / "killed.py").write_text(KILLED.format(marker=str(tmp_path / "marker")))
    plugins = [str(tiny_data / "tiny_backbone.py"), str(tmp_path / "killed.py")]
    rows = [
        {"name": "killed", "set": {"PLUGINS": plugins, "MODEL.BACKBONE.NAME": "KilledBackbone"}},
        {"name": "killed +QE", "of": "killed", "set": {"TEST.QE.ENABLED": True, "TEST.QE.K": 2}},
    ]
    path, output = table(tmp_path, rows, cost="images"), tmp_path / "out"
    assert ablate(path, "--output", output, "--jobs", 2) == 1
    shown = capsys.readouterr().out
    assert f"killed, seed 0 ended with status {-signal.SIGKILL}" in shown
    assert "killed +QE, seed 0 there is no trained model of 'killed'" in shown
    assert ablate(path, "--output", output, "--jobs", 2) == 0
    assert "Training from epoch 3 to 3" in (output / "killed" / "seed0" / "console.log").read_text()
    assert "are read from" in (output / "killed_QE" / "seed0" / "console.log").read_text()
    trained, expanded = collect(read_table(path), output)
    assert trained.metrics[0]["FileList"]["mAP"] > 50
    assert trained.images[0] == expanded.images[0] == 3 * 3 * 8
    assert trained.seconds[0] < expanded.seconds[0]
    stages = json.loads((output / "killed_QE" / "seed0" / "results.json").read_text())["FileList"]["stages"]
    assert [stage["stage"] for stage in stages] == ["plain", "+QE"]
    assert stages[0]["metrics"] == trained.metrics[0]["FileList"]
    assert stages[1]["metrics"] == expanded.metrics[0]["FileList"]
