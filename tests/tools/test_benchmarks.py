"""The benchmark command on tiny data: its references, its report, and that it notices a wrong result."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import cases, compare, data, environment, measure, ours, plain, report, runner
from benchmarks.environment import Peers

TINY = data.Problem("market", 40, 300, 24, spread=1.3)


@pytest.fixture(scope="module")
def table():
    return TINY.make()


@pytest.fixture
def peers(tmp_path):
    return Peers(tmp_path / "peers", wanted=False)


def quiet(text):
    pass


# ---- data
def test_features_are_unit_rows_and_the_same_for_a_seed(table):
    np.testing.assert_allclose(np.linalg.norm(table.gallery, axis=1), 1, atol=1e-6)
    again = TINY.make()
    np.testing.assert_array_equal(again.queries, table.queries)
    np.testing.assert_array_equal(again.g_columns["pids"], table.g_columns["pids"])


@pytest.mark.parametrize("structure", data.STRUCTURES)
def test_structures_have_the_sizes_asked_for_and_matches(structure, monkeypatch):
    monkeypatch.setattr(data, "lists_folder", lambda: None)
    table = data.Problem(structure, 60, 400, 16, spread=1.0).make()
    assert (len(table.queries), len(table.gallery)) == (60, 400)
    assert {len(column) for column in table.g_columns.values()} == {400}
    assert np.isin(table.q_columns["pids"], table.g_columns["pids"]).mean() > 0.9


def test_identities_come_from_the_lists_where_they_are(tmp_path, monkeypatch):
    folder = tmp_path / "deeppatent_lists"
    folder.mkdir()
    (folder / "test_query_patent.txt").write_text("a/1.png 7\na/2.png 9\na/3.png 9\n")
    (folder / "test_db_patent.txt").write_text("b/1.png 9\nb/2.png 7\n")
    monkeypatch.setenv("FASTREID_TESTDATA", str(tmp_path))
    queries, gallery = data.Problem("deeppatent", 2, 38834, 8, spread=1.0).columns(np.random.default_rng(0))
    assert queries["pids"].tolist() == [7, 9]
    assert gallery["pids"].tolist() == [9, 7]


def test_a_table_is_made_once_and_read_back(tmp_path, table):
    folder = TINY.stored(tmp_path)
    written = (folder / "queries.npy").stat().st_mtime_ns
    assert TINY.stored(tmp_path) == folder
    assert (folder / "queries.npy").stat().st_mtime_ns == written
    read = data.load(folder)
    np.testing.assert_array_equal(read.gallery, table.gallery)
    np.testing.assert_array_equal(read.q_columns["camids"], table.q_columns["camids"])


def test_the_part_that_warms_up_has_matches(table):
    small = table.small()
    assert len(small.queries) == 4
    assert np.isin(small.q_columns["pids"], small.g_columns["pids"]).all()


# ---- the plain references are right, by our own functions and by the referees
@pytest.mark.parametrize("rule", ["all", "camera"])
def test_full_sort_and_referee_agree_with_ours(table, rule):
    own = ours.evaluate(table, rule)
    assert compare.disagreements(own, plain.full_sort(table, rule, block=16)) == []
    assert compare.disagreements(own, plain.referee_ap(table, rule, every=3), exact=True) == []
    assert 0.3 < own["ap"][own["ap"] >= 0].mean() < 0.99


def test_top_k_of_torch_and_of_the_referee_agree_with_ours(table, monkeypatch):
    monkeypatch.setattr(plain, "TOPK_BLOCK", 70)
    own = ours.topk(table, k=20)
    assert compare.disagreements(own, {"indices": plain.torch_topk(table, k=20)["indices"].numpy()}) == []
    assert compare.disagreements(own, plain.referee_topk(table, k=20), exact=True) == []


def test_dense_expansion_and_re_ranking_agree_with_ours(table):
    joined = {"features": ours.joint_aqe(table)["features"]()}
    assert compare.disagreements(joined, plain.joint_aqe(table)) == []
    assert compare.disagreements(ours.dba(table), plain.dba(table)) == []
    assert compare.disagreements(ours.k_reciprocal(table), plain.k_reciprocal(table)) == []


def test_re_ranking_into_the_metrics_is_the_sort_of_the_dense_distances(table):
    distances = plain.k_reciprocal(table)["distances"]
    order = np.argsort(distances, axis=1, kind="stable")
    same = table.g_columns["pids"][order] == table.q_columns["pids"][:, None]
    expected = np.array([plain.average_precision(row) for row in same])
    np.testing.assert_allclose(ours.k_reciprocal_ap(table)["ap"], expected, atol=1e-3)


def test_average_precision_by_hand():
    assert plain.average_precision(np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)
    assert plain.average_precision(np.array([False])) == compare.DROPPED


# ---- comparison
def test_a_wrong_ap_is_noticed_and_a_rounded_one_is_not():
    own = {"ap": np.array([0.5, 0.25, compare.DROPPED])}
    assert compare.disagreements(own, {"ap": own["ap"].copy()}, exact=True) == []
    moved = {"ap": own["ap"] + [1e-7, 0, 0]}
    assert "differs by up to 1e-07 (entry 0" in compare.disagreements(own, moved, exact=True)[0]
    assert compare.disagreements(own, moved) == []
    assert compare.disagreements(own, {"ap": own["ap"] + [1e-3, 0, 0]})
    assert compare.disagreements(own, {"ap": np.array([0.5, 0.25, 0])}) == ["other queries are dropped than by us"]
    assert compare.disagreements(own, {"map": 0.375}) == []
    assert compare.disagreements(own, {"map": 0.374})
    assert "nothing to compare" in compare.disagreements(own, {"map_max_bin": 0.375})[0]
    assert compare.disagreements(own, {"ap": np.array([0.25]), "rows": np.array([1])}, exact=True) == []


def test_wrong_lists_and_values_are_noticed():
    own = {"indices": np.arange(20).reshape(2, 10), "features": np.ones((50, 40))}
    swapped = own["indices"][:, ::-1]
    assert compare.disagreements(own, {"indices": swapped}) == []
    assert compare.disagreements(own, {"indices": swapped}, exact=True) == ["2 of 2 lists differ, the first is entry 0"]
    assert "overlap by 95" in compare.disagreements(own, {"indices": own["indices"] + [[1], [0]]})[0]
    wrong = own["features"] + 2e-5 * (np.arange(50) == 3)[:, None]
    assert "2.000% of the values" in compare.disagreements(own, {"features": wrong})[0]
    assert compare.disagreements(own, {"features": own["features"] * np.nan})
    assert "nothing to compare" in compare.disagreements(own, {})[0]


# ---- the runner
def case_of(*contestants, **changes):
    return cases.Case("tiny", "A tiny case", TINY, contestants, rounds=2, **changes)


RIGHT = measure.Contestant("right", "benchmarks.plain:full_sort", exact=True)
REFEREE = measure.Contestant("referee", "benchmarks.plain:referee_ap", exact=True, referee=True)


def test_contestants_run_in_turn_and_every_process_leaves_a_line(tmp_path, peers):
    second = measure.Contestant("second", "benchmarks.plain:full_sort", options={"block": 7})
    absent = measure.Contestant("absent", "benchmarks.peers:oml_map", "open-metric-learning")
    found = runner.run_case(case_of(RIGHT, second, absent, REFEREE), "cpu", tmp_path, peers, say=quiet)
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    order = [(line["contestant"], line["round"]) for line in lines]
    assert order == [("right", 0), ("second", 0), ("referee", 0), ("right", 1), ("second", 1)]
    assert all(line["cpu"] > 0 and line["wall"] > 0 and line["peak"] > line["extra"] >= 0 for line in lines)
    assert found.faults == {}
    assert found.compared == ["second", "referee"]
    assert found.missing == {"absent": "not installed (left out by --no-peers)"}


def test_a_planted_disagreement_and_a_crash_are_faults(tmp_path, peers, monkeypatch):
    code = (
        "from benchmarks import plain\n"
        "def shifted(table):\n    return {'ap': plain.full_sort(table)['ap'] * 0.999}\n"
        "def broken(table):\n    raise RuntimeError('no such luck')\n"
    )
    (tmp_path / "planted.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wrong = measure.Contestant("wrong", "planted:shifted")
    broken = measure.Contestant("broken", "planted:broken")
    found = runner.run_case(case_of(RIGHT, wrong, broken), "cpu", tmp_path, peers, rounds=1, say=quiet)
    assert set(found.faults) == {"wrong", "broken"}
    assert "differs from ours" in found.faults["wrong"][0]
    assert found.faults["broken"] == ["failed: RuntimeError: no such luck"]


def test_the_command_writes_a_report_and_refuses_to_after_a_disagreement(tmp_path, monkeypatch, capsys):
    target = cases.Target("right", 1e-9, why_short="it is a test")
    monkeypatch.setattr(runner, "CASES", (case_of(RIGHT, targets=(target,)),))
    output = tmp_path / "benchmarks.md"
    arguments = ["--no-peers", "--rounds", "1", "--work", str(tmp_path / "work"), "--output", str(output)]
    assert runner.main(arguments) == 0
    text = output.read_text()
    assert "short by" in text
    assert "it is a test" in text
    assert "| right |" in text
    assert "processor" in text
    monkeypatch.setattr(runner, "disagreements", lambda *given: ["planted"])
    monkeypatch.setattr(runner, "CASES", (case_of(RIGHT, REFEREE),))
    output.unlink()
    assert runner.main(arguments) == 1
    assert "tiny, referee: planted" in capsys.readouterr().err
    assert not output.exists()


def test_an_extra_allocation_is_seen_and_inputs_are_not_counted(tmp_path, peers, monkeypatch):
    code = "def greedy(table):\n    return {'ap': np.ones(100 << 17)[: len(table.queries)].copy()}\n"  # 100 MiB
    code = "import numpy as np\n" + code
    (tmp_path / "planted.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    greedy = measure.Contestant("greedy", "planted:greedy")
    found = runner.run_case(case_of(greedy), "cpu", tmp_path, peers, rounds=1, say=quiet)
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("an earlier peak hides the allocation here")
    assert 95 < found.runs["greedy"][0].extra < 110


def test_every_contestant_of_the_real_cases_can_be_called_as_it_is_described():
    for case in cases.CASES:
        assert len({contestant.name for contestant in case.contestants}) == len(case.contestants)
        for contestant in case.contestants:
            module, _, name = contestant.function.partition(":")
            signature = inspect.signature(getattr(importlib.import_module(module), name))
            signature.bind(*[None] * (3 if contestant.command else 1), **contestant.options)
        names = {contestant.name for contestant in case.contestants}
        assert all(target.of in names and (not target.over or target.over in names) for target in case.targets)


def test_a_real_case_runs_at_a_small_size(tmp_path, peers):
    (case,) = (case.scaled(cases.QUICK) for case in cases.CASES if case.name == "dba")
    found = runner.run_case(case, "cpu", tmp_path, peers, say=quiet)
    assert found.faults == {}
    assert set(found.runs) == {contestant.name for contestant in case.contestants}
    assert found.compared == [cases.AUTO, "NumPy full similarities"]


def test_a_submission_is_written_from_a_feature_file(tmp_path, peers):
    (case,) = (case.scaled(0.002) for case in cases.CASES if case.name == "submission")
    found = runner.run_case(case, "cpu", tmp_path, peers, say=quiet)
    assert found.faults == {}
    assert found.compared == [cases.AUTO]


def test_a_peer_that_cannot_be_installed_is_reported_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "attempt", lambda *command: "No matching distribution found")
    peers = Peers(tmp_path / "peers")
    assert peers.versions == {}
    absent = measure.Contestant("absent", "benchmarks.peers:faiss_flat", "faiss-cpu")
    assert runner.missing(absent, "cpu", peers) == "not installed (No matching distribution found)"


# ---- report and command line
def test_targets_say_whether_they_are_met_and_by_how_much_not():
    assert report.verdict(1.2, cases.Target("a", 1.3)) == "met"
    assert report.verdict(1.56, cases.Target("a", 1.3, why_short="slow")) == "**short by 20%**: slow"
    assert report.verdict(10, cases.Target("a", 10, at_least=True)) == "met"
    assert report.verdict(8, cases.Target("a", 10, at_least=True)) == "**short by 20%**"


def test_the_section_of_another_device_stays(tmp_path):
    path = tmp_path / "docs" / "benchmarks.md"
    for device, body in (("cuda", "fast"), ("cpu", "old"), ("cpu", "new")):
        report.write_section(path, device, body)
    text = path.read_text()
    assert text.startswith("# Benchmarks")
    assert text.index("new") < text.index("fast")
    assert "old" not in text


def test_mistakes_on_the_command_line_are_named(capsys):
    import torch

    assert runner.main(["--only", "evl-1k"]) == 1
    assert "Did you mean 'eval-1k'?" in capsys.readouterr().err
    assert runner.main(["--rounds", "0"]) == 1
    assert "--rounds, processes per contestant, must be at least 1; got 0" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert runner.main(["--gpu"]) == 1
        assert "--gpu needs a CUDA device" in capsys.readouterr().err


def test_help_loads_nothing_heavy(repo):
    script = repo / "tools" / "benchmarks" / "run.py"
    done = subprocess.run([sys.executable, "-X", "importtime", script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "eval-patents-2048" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "scipy", "faiss"}
