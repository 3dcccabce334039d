"""``tools/draw_features.py``: both pictures from feature files by one command."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from fastreid.data.feature_file import FeatureFile
from fastreid.engine.draw_features import _save_picture, default_names, main

TAXONOMY = ["0601", "0601", "1404", "2601", "", "0602"]


@pytest.fixture
def features(tmp_path, monkeypatch):
    """``run/features/Toy.npz``: six patents of four images, one image of each a query; two images are missing."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    order = np.argsort(np.arange(24) % 4, kind="stable")  # queries first
    pids = (np.arange(24) // 4)[order]
    paths = [f"images/USD{pid:07d}-20180102-D{row:05d}.png" for row, pid in enumerate(pids)]
    (tmp_path / "images").mkdir()
    for path in paths[2:]:
        Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(path)
    columns = {
        "pids": pids, "camids": [1] * 6 + [2] * 18, "dates": 20180102 + pids, "text": ["Chair. FIG. 1 is"] * 24,
        "taxonomy": [TAXONOMY[pid] for pid in pids],
    }  # fmt: skip
    centres = rng.normal(size=(6, 8))
    made = FeatureFile(centres[pids] + 0.4 * rng.normal(size=(24, 8)), 6, columns, paths, {"dataset": "Toy"})
    save(made, "run")
    save(made, "other", features=rng.normal(size=(24, 8)))
    return made


def save(made, name, **changes):
    from dataclasses import replace

    replace(made, **changes).save(f"{name}/features/Toy.npz")


RUN, OTHER = "run/features/Toy.npz", "other/features/Toy.npz"


def test_one_command_draws_the_map_and_the_grid(features, tmp_path, capsys):
    assert main([RUN, "--output", "out", "--grid", "3", "--topk", "4"]) == 0
    shown = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "embedding_map.html", "embedding_map.png", "result_grid.png",
    ]  # fmt: skip
    assert re.search(r"run: Same Locarno class among the 10 nearest: \d+\.\d % \(by chance \d+\.\d %\)", shown)
    # earlier images of its subclass exist for one query alone
    assert "run: mAP" in shown
    assert "over 1 queries, 5 without a match" in shown
    one_each = "1 of 6 queries have candidates and a match; of each patent one at most is shown: 1, 3 were asked for"
    assert f"result_grid.png: {one_each}" in shown
    assert "2 of 24 images cannot be read and are grey in embedding_map.html, such as images/USD0000000" in shown
    assert "cannot be read and are grey in result_grid.png" in shown
    assert main([RUN, "--output", "again", "--grid", "3", "--topk", "4"]) == 0
    for name in ("embedding_map.html", "embedding_map.png", "result_grid.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    rows = json.loads(re.search(r'id="data">(.*?)</script>', (tmp_path / "out/embedding_map.html").read_text())[1])
    assert len(rows) == 24
    assert rows[2][1:] == ["Chair", "14-04 Recording, telecommunication, data processing", "USD0000002 D00002",
                           features.paths[2]]  # fmt: skip


def test_options_of_the_map_reach_it(features, tmp_path):
    options = "--sample 20 --stratified --classes 3 --perplexity 4 --seed 2 --color-by subclass --names ours --grid 0"
    assert main([RUN, "--output", "out", *options.split(), "--opts", "TEST.METRIC", "euclidean"]) == 0
    page = (tmp_path / "out/embedding_map.html").read_text()
    images = "20 of 24 images of Toy, drawn in turn from each Locarno subclass"
    assert f"t-SNE (perplexity 4, euclidean, seed 2) of {images}." in page
    assert "<title>Toy: ours - embedding map</title>" in page
    assert re.findall("<span>(.*?)</span><small>", page)[2:] == ["other (2 classes)", "unknown"]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["embedding_map.png"]


@pytest.fixture
def drawn(monkeypatch):
    """The calls of the grid's picture."""
    from fastreid.evaluation import grid_picture

    seen, draw = [], grid_picture.draw_grid

    def note(lines, names, title, words, width):
        seen.append((lines, names, title, words, width))
        return draw(lines, names, title, words, width)

    monkeypatch.setattr(grid_picture, "draw_grid", note)
    return seen


GRID = ["--map", "none", "--output", "out"]


def test_two_models_are_compared_under_the_rule_and_relevance_given(features, drawn):
    options = ["--rule", "all", "--relevance", "class", "--queries", "ahead", "--grid", "2", "--topk", "50"]
    assert main([RUN, OTHER, *GRID, *options]) == 0
    [(lines, names, title, words, width)] = drawn
    assert names == ["run", "other"]
    assert title == "Queries where the first model is most ahead of the second; candidates: all gallery images"
    assert words["match"] == "same Locarno class"
    assert width == 18
    assert [len(line.found) for line in lines] == [2, 2]
    for line in lines:
        ours, theirs = (float(note.split()[1]) for note, _ in line.found)
        assert ours >= theirs
        assert {cell.path for cell in line.found[0][1]} == set(features.gallery.paths)


@pytest.mark.parametrize("frequency", [["head", "tail"], ["head", ""]])
def test_head_and_tail_in_turn_is_said_where_both_are_shown(features, drawn, frequency):
    save(features, "run", columns={**features.columns, "frequency": frequency * 12})
    assert main([RUN, *GRID, "--rule", "all", "--grid", "4"]) == 0
    in_turn = ", head and tail in turn" if "tail" in frequency else ""
    assert drawn[0][2] == f"Queries drawn at random{in_turn}; candidates: all gallery images"


def test_queries_can_be_named(features, drawn):
    query = "USD0000003-20180102-D00003"
    assert main([RUN, *GRID, "--rule", "all", "--query", query, "--rows", "5", "3"]) == 0
    lines, _, title, *_ = drawn[0]
    assert [line.query.path for line in lines] == [features.paths[5], features.paths[3]]
    assert title.startswith("Queries chosen by hand")


def test_the_protocol_of_a_config_holds_and_flags_go_before_it(features, drawn, tmp_path):
    (tmp_path / "my.yml").write_text("TEST:\n  RULE: other_patent\n  RELEVANCE: class\n")
    assert main([RUN, *GRID, "--config-file", "my.yml"]) == 0
    assert main([RUN, *GRID, "--config-file", "my.yml", "--rule", "all"]) == 0
    assert main([RUN, *GRID, "--relevance", "pids", "--opts", "TEST.RULE", "same_class"]) == 0
    titles = [title.rpartition(": ")[2] for _, _, title, *_ in drawn]
    assert titles == ["all but the query's own patent", "all gallery images", "those of the query's Locarno class"]
    assert [words["mismatch"] for *_, words, _ in drawn] == ["another Locarno class"] * 2 + ["another patent"]


def test_classes_may_be_missing(features, tmp_path, capsys):
    columns = {name: features.columns[name] for name in ("pids", "camids")}
    save(features, "plain", columns=columns)
    plain = ["plain/features/Toy.npz", "--output", "out", "--rule", "camera"]
    assert main(plain) == 1
    assert capsys.readouterr().err.startswith(
        "error: plain/features/Toy.npz has no classes (column taxonomy), only pids, camids. Without them: "
        "--color-by pids --relevance pids --rule camera\n"
    )
    assert main([*plain, "--grid", "0"]) == 1
    assert "Without them: --color-by pids\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*plain, "--color-by", "patent", "--relevance", "pids", "--perplexity", "5"]) == 0
    # another model's file needs no columns of its own
    save(features, "bare", columns=columns)
    assert main([RUN, "bare/features/Toy.npz", *GRID]) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--map", "pca"], "--map must be one of 'tsne', 'umap', 'none'; got 'pca'"),
        (["--queries", "good"], "--queries must be one of"),
        (["--queries", "behind"], "--queries behind compares two models"),
        (["--sample", "0"], "--sample must be at least 1; got 0"),
        (["--topk", "0"], "--topk must be at least 1; got 0"),
        (["--classes", "33"], "--classes must be at most 32, the number of marks; got 33"),
        (["--map", "umap", "--perplexity", "5"], "--perplexity is an option of --map tsne; got --map umap"),
        (["--perplexity", "20"], "perplexity must be from 1 to 7.7, a third of the 24 points; got 20"),
        (["--map", "none", "--grid", "0"], "--map none and --grid 0 leave nothing to draw"),
        (["--names", "a", "b"], "--names must be one per file; got 2 names for 1 files"),
        (["--color-by", "views"], "--color-by names column 'views', which the data set lacks; it has: pids"),
        (["--rule", "granted"], "Did you mean 'granted_before'?"),
        (["--rows", "6"], "--rows must be in 0..5, the queries of the file; got 6"),
        (["--query", "gone.png"], "--query gone.png: no query ends so"),
        (["--relevance", "pids"], "none of the 6 queries has a match"),
    ],
)
def test_mistakes_are_one_line(features, options, message, capsys):
    quick = [] if {"--map", "--color-by", "--perplexity"} & set(options) else ["--map", "none"]
    assert main([RUN, *quick, *options]) == 1
    error = capsys.readouterr().err
    assert message in error.splitlines()[0]


def test_files_that_are_none_and_other_images_are_refused(features, tmp_path, capsys):
    assert main(["gone.npz"]) == 1
    assert "No such feature file: 'gone.npz'" in capsys.readouterr().err
    (tmp_path / "bad.npz").write_text("text")
    assert main(["bad.npz"]) == 1
    assert "bad.npz is not a feature file" in capsys.readouterr().err
    save(features, "moved", paths=[f"elsewhere/{path}" for path in features.paths])
    assert main([RUN, "moved/features/Toy.npz", *GRID]) == 1
    assert "row 0 of the queries is images/USD0000000" in capsys.readouterr().err


def test_pictures_of_few_colours_are_stored_with_a_palette_and_the_same_pixels(tmp_path):
    rng = np.random.default_rng(0)
    few = Image.fromarray(rng.integers(0, 256, (256, 3), dtype=np.uint8)[rng.integers(0, 256, (90, 70))])
    many = Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    for name, picture, mode in (("few", few, "P"), ("many", many, "RGB")):
        _save_picture(picture, tmp_path / name)
        stored = Image.open(tmp_path / name)
        assert stored.mode == mode
        assert stored.convert("RGB").tobytes() == picture.tobytes()


def test_models_are_named_by_their_folders(tmp_path):
    assert default_names(["logs/ours/features/A.npz", "logs/base/features/A.npz"]) == ["ours", "base"]
    assert default_names(["x/a.npz", "x/b.npz"]) == ["a", "b"]
    assert default_names(["x/a.npz", "y/a.npz"]) == ["x/a.npz", "y/a.npz"]
