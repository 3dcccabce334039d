"""Meshes on disk become patents on disk: layout, lists, names, resuming, bad files, refusals, the command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.data.datasets.filelist import FileList
from fastreid.data.datasets.patent import DeepPatent
from fastreid.data.synthetic.meshes import MeshSettings, find_meshes, main, plan_mesh, render_designs
from tests.data.meshes import ball, box, write_obj

SMALL = MeshSettings(size=64, seed=5)


def pixels(root) -> dict[str, bytes]:
    return {p.name: np.asarray(Image.open(p)).tobytes() for p in sorted(Path(root).rglob("*.png"))}


def metadata(root) -> list[dict]:
    return [json.loads(line) for line in Path(root, "metadata.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes") / "models"
    for k in range(4):
        write_obj(folder / f"box {k}.obj", *box((1, 1 + k, 2)))
    write_obj(folder / "more" / "box 1.obj", *box((1, 1, 5)))
    write_obj(folder / "ball.obj", *ball(8))
    return folder


@pytest.fixture(scope="module")
def drawn(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    assert render_designs([models], root, SMALL, val=0.5, workers=0)["drawn"] == 6
    return root


def test_layout_and_metadata(drawn):
    rows = metadata(drawn)
    assert [row["source"] for row in rows] == sorted(
        ["models/ball.obj", "models/more/box 1.obj"] + [f"models/box {k}.obj" for k in range(4)]
    )
    assert len({row["patent_id"] for row in rows}) == 6
    assert {row["title"] for row in rows} == {"ball", "box 0", "box 1", "box 2", "box 3"}
    for row in rows:
        assert 3 <= len(row["figures"]) <= 7
        assert "perspective" in {figure["view"] for figure in row["figures"]}
        assert row["figures"][0]["caption"].startswith("FIG. 1 is a ")
        assert row["locarno"] is None
        for figure in row["figures"]:
            image = Image.open(drawn / "train_data/patent_data" / figure["file"])
            assert (image.mode, image.size) == ("1", (64, 64))
            assert 0.005 < 1 - np.asarray(image).mean() < 0.5
    assert (drawn / "failures.tsv").read_text() == ""
    assert not list(drawn.rglob("*.tmp"))


def test_lists_are_read_by_the_data_sets(drawn):
    train = [row for row in metadata(drawn) if row["split"] == "train"]
    val = [row for row in metadata(drawn) if row["split"] == "val"]
    assert train
    assert val
    folder = drawn / "train_data"
    lists = {"train": "train_patent_trn.txt", "query": "val_query_patent.txt", "gallery": "val_db_patent.txt"}
    ours = FileList(folder / "patent_data", **{part: [str(folder / name)] for part, name in lists.items()})
    for data in (ours, DeepPatent(root=folder)):
        assert len({record.pid for record in data.train}) == len(train)
        assert len(data.train) == sum(len(row["figures"]) for row in train)
        assert len(data.query) + len(data.gallery) == sum(len(row["figures"]) for row in val)
        assert {record.pid for record in data.query} == {record.pid for record in data.gallery}
        assert all(Path(record.path).is_file() and record.date > 20180101 for record in data.train + data.query)


def test_share_for_validation(models):
    jobs = find_meshes([models])
    assert {plan_mesh(job, SMALL, 0.0).split for job in jobs} == {"train"}
    assert {plan_mesh(job, SMALL, 1.0).split for job in jobs} == {"val"}


def test_drawings_depend_on_seed_and_name_alone(drawn, models, tmp_path):
    """Not on the other files, on where the folder lies, or on the processes."""
    moved = tmp_path / "elsewhere" / "models"
    shutil.copytree(models, moved)
    (moved / "ball.obj").unlink()
    render_designs([moved], tmp_path / "a", SMALL, val=0.5, workers=0)
    ours, theirs = pixels(tmp_path / "a"), pixels(drawn)
    assert len(ours) > 12
    assert ours.items() < theirs.items()
    assert not set(pixels(tmp_path / "a")) - set(theirs)
    other = MeshSettings(size=64, seed=6)
    render_designs([models / "box 2.obj"], tmp_path / "b", other, workers=0)
    assert not set(pixels(tmp_path / "b").values()) & set(theirs.values())


def test_missing_patents_alone_are_drawn_again(models, tmp_path):
    root = tmp_path / "out"
    assert render_designs([models], root, SMALL, workers=0)["drawn"] == 6
    before = pixels(root)
    folders = sorted((root / "train_data/patent_data").glob("I*/*"))
    for file in folders[0].iterdir():
        file.unlink()
    half = folders[0].rename(folders[0].parent / f".{folders[0].name}.1.tmp")  # as a kill leaves it
    kept = folders[1].stat().st_mtime_ns
    done = render_designs([models], root, SMALL, workers=0)
    assert (done["patents"], done["drawn"]) == (6, 1)
    assert pixels(root) == before
    assert folders[1].stat().st_mtime_ns == kept
    assert not half.exists()
    write_obj(tmp_path / "new.obj", *box((1, 1, 9)))
    assert render_designs([models, tmp_path / "new.obj"], root, SMALL, workers=0)["drawn"] == 1
    assert len(metadata(root)) == 7


def test_names_are_told_apart_by_their_folders(tmp_path):
    for height, name in enumerate(("p/a", "q/a", "q/b"), start=1):
        write_obj(tmp_path / name / "x.obj", *box((1, 2, height)))
    inputs = [tmp_path / "p/a", tmp_path / "q/a", tmp_path / "q/b", tmp_path / "q/b/x.obj"]
    assert [job.key for job in find_meshes(inputs)] == ["b/x.obj", "p/a/x.obj", "q/a/x.obj"]
    assert len({plan_mesh(job, SMALL, 0).patent_id for job in find_meshes(inputs)}) == 3
    assert find_meshes([tmp_path])[0].key == f"{tmp_path.name}/p/a/x.obj"


def test_titles_and_locarno_codes_from_a_table(models, tmp_path):
    table = tmp_path / "titles.tsv"
    table.write_text("id\tlocarno\ttitle\nball\t2102\tGame ball\nbox 1\t\tCrate\n")
    render_designs([models], tmp_path / "out", SMALL, workers=0, titles=table)
    rows = {row["source"]: row for row in metadata(tmp_path / "out")}
    assert rows["models/ball.obj"]["title"] == "Game ball"
    assert rows["models/ball.obj"]["classification"].endswith("Cl. 21-02")
    assert rows["models/more/box 1.obj"]["title"] == "Crate"
    assert rows["models/box 0.obj"]["title"] == "box 0"
    table.write_text("name\ttitle\n")
    with pytest.raises(ValueError, match="needs the columns id and title; got name, title"):
        render_designs([models], tmp_path / "out", SMALL, titles=table)


@pytest.mark.parametrize(("up", "tall"), [("y", True), ("auto", True), ("z", False)])
def test_up_axis(tmp_path, up, tall):
    write_obj(tmp_path / "tower.obj", *box((1, 5, 1)))
    settings = MeshSettings(size=64, views="all", up=up, style="fixed")
    render_designs([tmp_path / "tower.obj"], tmp_path / "out", settings, workers=0)
    (row,) = metadata(tmp_path / "out")
    assert {figure["view"] for figure in row["figures"]} == {
        "perspective", "front", "rear", "left", "right", "top", "bottom",
    }  # fmt: skip
    file = next(figure["file"] for figure in row["figures"] if figure["view"] == "right")
    rows, columns = np.nonzero(~np.asarray(Image.open(tmp_path / "out/train_data/patent_data" / file)))
    assert (np.ptp(rows) > 2 * np.ptp(columns)) == tall


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 32}, "size of drawn meshes must be 64 to 2048; got 32"),
        ({"crease": 0}, "crease of drawn meshes must be 1 to 179; got 0"),
        ({"seed": -1}, "seed of drawn meshes must be 0 to"),
        ({"style": "mixt"}, "style of drawn meshes must be one of .*Did you mean 'mixed'"),
        ({"views": "seven"}, "views of drawn meshes must be one of 'all', 'random'"),
        ({"up": "x"}, "up of drawn meshes must be one of 'auto', 'y', 'z'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        MeshSettings(**options)


def test_bad_inputs(models, drawn, tmp_path):
    with pytest.raises(FileNotFoundError, match="No file or folder .*nowhere"):
        find_meshes([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"No mesh \(\.obj, "):
        find_meshes([tmp_path])
    (tmp_path / "a.step").write_text("")
    with pytest.raises(ValueError, match=r"Format of a mesh must be one of .* got '\.step'"):
        find_meshes([tmp_path / "a.step"])
    with pytest.raises(ValueError, match=r"The share val of drawn meshes must be 0 to 1; got 2"):
        render_designs([models], tmp_path, SMALL, val=2)
    with pytest.raises(ValueError, match="was drawn with size=64, but size=128 is asked"):
        render_designs([models], drawn, MeshSettings(size=128, seed=5))


def test_command_draws_the_good_ones_among_broken_files(repo, models, tmp_path):
    """In processes of its own, with a file of each fault; a second run draws nothing but tries the broken ones."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.obj").write_text("")
    (bad / "noise.obj").write_bytes(bytes(range(256)) * 20)
    (bad / "number.obj").write_text("v 1 2 x\n")
    (bad / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (bad / "point.obj").write_text("v 1 0 0\nv 1 0 0\nv 1 0 0\nf 1 2 3\n")
    write_obj(bad / "good.obj", *box((2, 2, 3)))
    for k in range(8):
        write_obj(bad / f"post{k}.obj", *box((1, 5 + k, 1)))
    command = [sys.executable, repo / "tools/render_designs.py", "--input", bad, models, "--output", tmp_path / "out"]
    command += ["--size", "64", "--workers", "2", "--gray", "--val", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert first.returncode == 0, first.stderr
    assert "15 patents" in first.stdout
    assert "(15 patents drawn now, " in first.stdout
    assert "5 files could not be drawn" in first.stdout
    failures = dict(line.split("\t") for line in (tmp_path / "out/failures.tsv").read_text().splitlines())
    assert {Path(path).stem for path in failures} == {"empty", "noise", "number", "nan", "point"}
    assert all(f"not drawn: {path}: {reason}" in first.stdout for path, reason in failures.items())
    assert failures[str(bad / "number.obj")].startswith("line 1: could not convert")
    assert failures[str(bad / "empty.obj")] == "holds no triangles"
    assert Image.open(next((tmp_path / "out").rglob("*.png"))).mode == "L"
    listed = (tmp_path / "out/train_data/train_patent_trn.txt").read_text().splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(
        figure["file"] for row in metadata(tmp_path / "out") for figure in row["figures"]
    )
    assert main([str(word) for word in command[2:]]) == 0
    assert {Path(row["source"]).stem for row in metadata(tmp_path / "out")} >= {"good", "ball", "post7"}


def test_command_without_any_good_file_fails(tmp_path, capsys):
    (tmp_path / "empty.obj").write_text("")
    arguments = ["--input", str(tmp_path / "empty.obj"), "--output", str(tmp_path / "out"), "--workers", "0"]
    assert main(arguments) == 1
    assert "empty.obj: holds no triangles" in capsys.readouterr().out
    assert main([*arguments, "--size", "1"]) == 1
    assert "size of drawn meshes must be 64 to 2048; got 1" in capsys.readouterr().err


def test_copies_are_drawn_once(tmp_path, caplog):
    for name in ("a/one", "b/two", "a/three"):
        write_obj(tmp_path / f"{name}.obj", *box((1, 2, 3)))
    write_obj(tmp_path / "b/one.obj", *box((1, 2, 4)))
    assert [job.path.name for job in find_meshes([tmp_path / "a", tmp_path / "b"])] == ["one.obj", "one.obj"]
    assert "b/two.obj has the content of another file and is left out" in caplog.text
