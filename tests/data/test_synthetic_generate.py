"""MiniPatent on disk: plans, layout, lists, resuming, refusals, and the data set class."""

import collections
import dataclasses
import datetime
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("manifold3d")

from PIL import Image

from fastreid.data.datasets.minipatent import long_tail
from fastreid.data.synthetic import generate as module
from fastreid.data.synthetic.generate import generate, main
from fastreid.data.synthetic.plan import SPLITS, Settings, plan_design

SMALL = Settings(num_train=4, num_val=2, num_test=3, size=64, seed=7)


def lines(path) -> list[list[str]]:
    return [line.split(" ") for line in Path(path).read_text().splitlines()]


def pixels(root) -> dict[str, bytes]:
    found = sorted(Path(root, "train_data/patent_data").rglob("*.png"))
    return {path.name: np.asarray(Image.open(path)).tobytes() for path in found}


def drawings(root) -> list[Path]:
    return list(Path(root, "train_data/patent_data").glob("I*/USD*/*.png"))


def set_incomplete(root) -> None:
    settings = json.loads(Path(root, "settings.json").read_text())
    Path(root, "settings.json").write_text(json.dumps(settings | {"complete": False}))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("minipatent")
    assert generate(root, SMALL, workers=0)["drawn"] == 9
    return root


def test_plans_follow_the_rules_of_deeppatent():
    plans = [plan_design(split, index, SMALL) for split in SPLITS for index in range(60)]
    assert len({plan.patent_id for plan in plans}) == len(plans)
    for plan in plans:
        day = datetime.datetime.strptime(str(plan.date), "%Y%m%d")
        assert day.weekday() == 1
        assert datetime.datetime(2018, 1, 2) <= day <= datetime.datetime(2019, 6, 25)
        views = [figure.camera.view for figure in plan.figures]
        assert 3 <= len(views) <= 7
        assert len(set(views)) == len(views)
        assert "perspective" in views
        assert [figure.number for figure in plan.figures] == list(range(1, len(views) + 1))
        assert sum(figure.query for figure in plan.figures) == (1 if len(views) <= 3 else 2)
    first = [plan.figures[0].camera.view for plan in plans]
    assert first.count("perspective") < 0.5 * len(first)  # the number does not give the view away
    assert {len(plan.figures) for plan in plans} == {3, 4, 5, 6, 7}
    assert 0.1 < np.mean([bool(plan.style.label) for plan in plans]) < 0.5


def test_numbers_grow_with_dates_over_all_splits_and_every_week_has_its_share():
    settings = Settings(num_train=400, num_val=100, num_test=100)
    plans = [plan_design(split, index, settings) for split in SPLITS for index in range(settings.count(split))]
    in_order = sorted(plans, key=lambda plan: plan.patent_id)
    assert [plan.date for plan in in_order] == sorted(plan.date for plan in plans)
    assert len({plan.patent_id for plan in plans}) == len(plans)
    weeks = collections.Counter(plan.date for plan in plans if plan.split == "train")
    assert len(weeks) == 78
    assert max(weeks.values()) - min(weeks.values()) <= 1
    last = [plan_design(split, Settings.most(split) - 1, settings).patent_id for split in SPLITS]
    assert all(re.fullmatch(r"USD0\d{6}", patent_id) for patent_id in last)


def test_families_take_turns_in_every_split():
    for split in SPLITS:
        for siblings in (1, 3):
            settings = Settings(siblings=siblings)
            families = [plan_design(split, index, settings).family.name for index in range(33 * siblings)]
            assert set(collections.Counter(families).values()) == {siblings}


def test_siblings_are_patents_of_one_line():
    plain, lines = Settings(), Settings(siblings=3)
    plans = [plan_design("test", index, lines) for index in range(9)]
    assert [plan.line for plan in plans] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({plan.patent_id for plan in plans}) == 9
    for first in (0, 3, 6):
        line = plans[first : first + 3]
        assert len({(plan.family.name, plan.style) for plan in line}) == 1
        assert len({plan.shape.between("width", 0, 1) for plan in line}) == 3
        assert {plan.shape.choice("kind", range(50)) for plan in line} == {
            plan_design("test", first // 3, plain).shape.choice("kind", range(50))
        }
        assert len({plan.figures for plan in line}) == 3
    assert plan_design("test", 4, Settings(siblings=1)).metadata() == plan_design("test", 4, plain).metadata()


def test_half_of_the_patents_leave_out_a_side_that_is_a_mirror_image():
    settings, with_both, with_one = Settings(), {True: 0, False: 0}, {True: 0, False: 0}
    for index in range(1500):
        plan = plan_design("train", index, settings)
        views = {figure.camera.view for figure in plan.figures}
        assert len(views) >= 3
        said = [figure for figure in plan.metadata()["figures"] if "mirror image" in figure["caption"]]
        assert len(said) == (plan.family.mirrored and len(views & {"left", "right"}) == 1)
        if len(views) >= 6 or (len(views) == 5 and not {"left", "right"} & views):
            with_both[plan.family.mirrored] += {"left", "right"} <= views
            with_one[plan.family.mirrored] += not {"left", "right"} <= views
    assert with_both[False] / (with_both[False] + with_one[False]) > 0.8
    assert 0.3 < with_both[True] / (with_both[True] + with_one[True]) < 0.75


def test_broken_lines_are_noted(small, tmp_path):
    from fastreid.data.synthetic.surface import build_surface

    settings = Settings(num_train=0, num_val=33, num_test=0, size=64)
    generate(tmp_path, settings, workers=0)
    records = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    for index, record in enumerate(records):
        plan = plan_design("val", index, settings)
        partly = not build_surface(plan.family.build(plan.shape)).claimed.all()
        assert ("note" in record) == partly
        assert record["claim"].startswith("The ornamental design for ")
        assert record["classification"].endswith(f"{record['locarno'][:2]}-{record['locarno'][2:]}")
    assert 0 < sum("note" in record for record in records) < 33


def test_plan_depends_on_seed_split_and_index_only():
    grown = Settings(num_train=999, size=SMALL.size, seed=SMALL.seed)
    assert plan_design("val", 3, SMALL).metadata() == plan_design("val", 3, grown).metadata()
    others = [plan_design("val", 4, SMALL), plan_design("train", 3, SMALL), plan_design("val", 3, Settings(seed=8))]
    assert all(plan_design("val", 3, SMALL).figures != other.figures for other in others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 32}, "size of MiniPatent must be 64 to 2048; got 32"),
        ({"num_val": -1}, "num_val of MiniPatent must be 0 to 78000; got -1"),
        ({"style": "mixt"}, "got 'mixt'. Did you mean 'mixed'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        Settings(**options)


def test_layout_lists_and_metadata_agree(small):
    records = [json.loads(line) for line in (small / "metadata.jsonl").read_text().splitlines()]
    assert [r["split"] for r in records] == ["train"] * 4 + ["val"] * 2 + ["test"] * 3
    names = {"train": ["train_patent_trn.txt"]}
    names |= {split: [f"{split}_query_patent.txt", f"{split}_db_patent.txt"] for split in ("val", "test")}
    for split in SPLITS:
        patents = [r for r in records if r["split"] == split]
        listed = [row for name in names[split] for row in lines(small / "train_data" / name)]
        expected = [[f["file"], str(k)] for k, r in enumerate(patents, 1) for f in r["figures"]]
        assert sorted(listed) == sorted(expected)  # labels restart at 1
        for path, _ in listed:
            image = Image.open(small / "train_data/patent_data" / path)
            assert image.mode == "1"
            assert image.size == (64, 64)
            assert not np.asarray(image).all()
    queries = lines(small / "train_data/val_query_patent.txt")
    assert [path for path, _ in queries] == [
        f["file"] for r in records if r["split"] == "val" for f in r["figures"] if f["query"]
    ]
    assert not list((small / "train_data/patent_data").rglob("*.tmp"))


def test_design_drawn_twice_at_once_is_kept_once(tmp_path):
    module.draw_design(("train", 0), tmp_path, SMALL)
    before = pixels(tmp_path)
    module.draw_design(("train", 0), tmp_path, SMALL)
    assert pixels(tmp_path) == before
    assert not list(tmp_path.rglob(".*.tmp"))


def test_killed_run_leaves_no_worker_behind(tmp_path):
    """The workers hold the write end of the pipe: it closes when the last of them is gone."""
    command = [
        sys.executable,
        "-m",
        "fastreid.data.synthetic.generate",
        "--root",
        tmp_path,
        "--workers",
        "2",
        "--size",
        "64",
    ]
    counts = ["--train", "200", "--val", "0", "--test", "0"]
    run = subprocess.Popen([*command, *counts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while run.poll() is None and not drawings(tmp_path):
        pass
    run.kill()
    run.communicate(timeout=60)
    drawn = drawings(tmp_path)
    assert 0 < len({path.parent for path in drawn}) < 200


def test_submission_set_has_no_labels_and_the_same_order(small):
    for name, part, labelled in (("queries", "queries", "query"), ("database", "database", "db")):
        paths = lines(small / f"codalab_test_set/lists/test_{name}.txt")
        truth = lines(small / f"train_data/test_{labelled}_patent.txt")
        assert [Path(row[0]).name for row in paths] == [Path(row[0]).name for row in truth]
        assert all(len(row) == 1 and row[0].startswith(f"{part}/") for row in paths)
        assert all((small / "codalab_test_set" / row[0]).is_file() for row in paths)


def test_same_seed_same_pixels_whatever_the_numbers_and_workers(small, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WORTH_A_POOL", 1)
    other = Settings(num_train=2, num_val=3, num_test=1, size=64, seed=7)
    generate(tmp_path / "pool", other, workers=2)
    ours, theirs = pixels(small), pixels(tmp_path / "pool")
    common = ours.keys() & theirs.keys()
    assert len(common) >= 15
    assert all(ours[name] == theirs[name] for name in common)
    generate(tmp_path / "seed", Settings(1, 0, 0, size=64, seed=8), workers=0)
    assert not any(image in ours.values() for image in pixels(tmp_path / "seed").values())


def test_interrupted_run_continues_and_a_larger_one_extends(tmp_path):
    start = Settings(num_train=2, num_val=1, num_test=0, size=64, seed=7)
    generate(tmp_path, start, workers=0)
    before = pixels(tmp_path)
    folder = next((tmp_path / "train_data/patent_data").glob(f"{plan_design('train', 1, start).folder}*"))
    for file in folder.iterdir():
        file.unlink()
    half = folder.rename(folder.parent / f".{folder.name}.tmp")  # as a kill leaves it
    assert generate(tmp_path, start, workers=0)["drawn"] == 0  # complete: nothing is looked at
    set_incomplete(tmp_path)
    assert generate(tmp_path, start, workers=0)["drawn"] == 1
    assert pixels(tmp_path) == before
    assert not half.exists()
    grown = Settings(num_train=3, num_val=1, num_test=0, size=64, seed=7)
    assert generate(tmp_path, grown, workers=0)["drawn"] == 1
    assert len(before) < len(pixels(tmp_path))
    assert pixels(tmp_path).items() >= before.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 128}, "drawn with size=64, but size=128 is asked"),
        ({"seed": 1}, "drawn with seed=7, but seed=1 is asked"),
        ({"siblings": 2}, "drawn with siblings=1, but siblings=2"),
        ({"style": "fixed"}, "drawn with style='mixed', but style='fixed'"),
        ({"num_val": 1}, "holds num_val=2 designs, but 1 are asked"),
    ],
)
def test_changed_settings_are_refused(small, options, message):
    asked = {"num_train": 4, "num_val": 2, "num_test": 3, "size": 64, "seed": 7} | options
    with pytest.raises(ValueError, match=message):
        generate(small, Settings(**asked), workers=0)


def test_other_generator_version_is_refused(small, monkeypatch):
    monkeypatch.setattr(module, "VERSION", 999)
    message = r"holds drawings of version 2 of MiniPatent, .* draws version 999; .*DATASETS\.MINIPATENT\.ROOT"
    with pytest.raises(ValueError, match=message):
        generate(small, SMALL, workers=0)


@pytest.mark.parametrize("content", ["", '{"version": 2, "si', '{"version": 2, "seed": 0}', "[]"])
def test_settings_of_something_else_are_refused(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json is damaged or describes no MiniPatent\. Choose another"):
        generate(tmp_path, SMALL, workers=0)


def test_command_line(tmp_path, capsys):
    arguments = [
        "--root",
        str(tmp_path),
        "--train",
        "1",
        "--val",
        "0",
        "--test",
        "0",
        "--size",
        "64",
        "--gray",
        "--workers",
        "0",
    ]
    assert main(arguments) == 0
    assert "1 patents" in capsys.readouterr().out
    assert Image.open(next(tmp_path.rglob("*.png"))).mode == "L"
    assert main([*arguments[:-3], "--workers", "0"]) == 1
    assert "bilevel=False, but bilevel=True" in capsys.readouterr().err


def test_data_set_reads_what_was_drawn(small):
    from fastreid.data.datasets.minipatent import MiniPatent

    val = MiniPatent(root=small, num_train=4, num_val=2, num_test=3, size=64, seed=7)
    test = MiniPatent(root=small, num_train=4, num_val=2, num_test=3, size=64, seed=7, split="test")
    assert val.name == "minipatent"
    assert val.relevance_known
    assert len({record.pid for record in val.train}) == 4
    assert {record.pid for record in val.query} == {record.pid for record in val.gallery} == {1, 2}
    assert {record.pid for record in test.gallery} == {1, 2, 3}
    patents = {json.loads(line)["patent_id"]: json.loads(line) for line in (small / "metadata.jsonl").open()}
    for record in val.train + val.query + val.gallery + test.query:
        patent = patents[Path(record.path).name.split("-")[0]]
        assert Path(record.path).is_file()
        assert record.taxonomy == patent["locarno"]
        assert record.date == int(patent["date"].replace("-", ""))
        figure = next(f for f in patent["figures"] if Path(f["file"]).name == Path(record.path).name)
        assert record.text == f"{patent['title']}. {figure['caption']}"
        assert record.view == figure["view"]
    paths = [
        {record.path for record in part} for part in (val.train, val.query + val.gallery, test.query + test.gallery)
    ]
    assert not (paths[0] & paths[1])
    assert not (paths[0] & paths[2])
    assert not (paths[1] & paths[2])


def test_a_long_tail_thins_out_the_training_list_alone(small, tmp_path, monkeypatch):
    from fastreid.data.datasets import minipatent

    options = {"root": small, "num_train": 4, "num_val": 2, "num_test": 3, "size": 64, "seed": 7}
    whole, asked = minipatent.MiniPatent(**options), []

    def first_of_each(families, imbalance):
        asked.extend([*families, imbalance])
        return {asked[0][0], *(record.path.split("/")[-2].partition("-")[0] for record in whole.query)}

    monkeypatch.setattr(minipatent, "long_tail", first_of_each)
    tail = minipatent.MiniPatent(**options, imbalance=9)
    assert len(asked) == 5  # the designs of training alone
    assert asked[-1] == 9
    left = [record.path for record in whole.train if asked[0][0] not in record.path]
    assert [record.path for record in tail.train] == left
    assert len(left) < len(whole.train)
    assert (len(tail.query), len(tail.gallery)) == (len(whole.query), len(whole.gallery))
    with pytest.raises(ValueError, match=r"MINIPATENT.IMBALANCE must be at least 1; got 0.5"):
        minipatent.MiniPatent(**options, imbalance=0.5)


def test_sizes_of_families_in_a_long_tail():
    families = [(f"{family}{number}", family) for number in range(27) for family in "abcd"]
    out = long_tail(families, 27)
    sizes = collections.Counter(family for design, family in families if design not in out)
    assert sorted(sizes.values()) == [1, 3, 9, 27]
    kept = [design for design, family in families if family == "b" and design not in out]
    assert kept == [f"b{number}" for number in range(sizes["b"])]  # the first ones
    assert long_tail(families, 1) == long_tail([], 9) == set()
    assert long_tail([("x1", "x"), ("x2", "x")], 9) == set()


def test_data_set_and_command_have_the_same_defaults():
    from fastreid.data.datasets.minipatent import MiniPatent

    options = inspect.signature(MiniPatent).parameters
    asked = dataclasses.asdict(Settings())
    assert asked.pop("bilevel"), "the data set has no such option"
    assert {name: options[name].default for name in asked} == asked


def test_data_set_passes_style_and_siblings_on(tmp_path):
    from fastreid.data.datasets.minipatent import MiniPatent

    options = {"num_train": 2, "num_val": 0, "num_test": 0, "size": 64, "style": "fixed", "siblings": 2}
    MiniPatent(root=tmp_path, **options)
    written = json.loads((tmp_path / "settings.json").read_text())
    assert {name: written[name] for name in options} == options
    records = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [record["line"] for record in records] == [0, 0]
    with pytest.raises(ValueError, match="style='fixed', but style='mixed'"):
        MiniPatent(root=tmp_path, **options | {"style": "mixed"})


def test_data_set_draws_on_first_use_and_refuses_other_settings(tmp_path):
    from fastreid.data.datasets.minipatent import MiniPatent

    options = {"root": tmp_path / "new", "num_train": 1, "num_val": 1, "num_test": 0, "size": 64}
    assert len(MiniPatent(**options).train) >= 3
    with pytest.raises(ValueError, match="size=64, but size=96"):
        MiniPatent(**options | {"size": 96})
    with pytest.raises(ValueError, match="split of data set minipatent must be one of 'val', 'test'; got 'train'"):
        MiniPatent(**options, split="train")
