"""tools/build_index.py: adding from images and feature files, keeping, checking."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from fastreid.data.images import read_image
from fastreid.engine import build_index, feature_demo
from fastreid.engine.query_encoder import QueryEncoder
from fastreid.index import open_index
from tests.engine.search_cases import VIEWS, draw

MODEL = ["MODEL.META_ARCHITECTURE", "HOG", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
MODEL += ["INPUT.SIZE_TEST", "[32,32]"]
DESIGNS = 4


def patent_of(design):
    return f"USD08{design:05d}"


def make_drawings(folder, designs=DESIGNS):
    """A folder per patent with three drawings each."""
    for design in range(designs):
        (folder / patent_of(design)).mkdir(parents=True)
        for view in VIEWS:
            draw(design, view).save(folder / patent_of(design) / f"{view}.png")
    return folder


@pytest.fixture
def drawings(tmp_path):
    return make_drawings(tmp_path / "drawings")


@pytest.fixture
def metadata(tmp_path):
    """Of all designs but the last."""
    path = tmp_path / "metadata.jsonl"
    patents = [
        {"patent_id": patent_of(design), "title": f"Thing {design}", "locarno": ("0601", "1404")[design % 2],
         "date": f"201{design}-03-01", "filed": f"200{design}-03-01", "applicant": "ACME", "figures": [
             {"file": f"{patent_of(design)}/{view}.png", "number": number, "view": view, "caption": f"A {view} view."}
             for number, view in enumerate(VIEWS, start=1)]}
        for design in range(DESIGNS - 1)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, patents)))
    return path


def run(*args):
    build_index.run([str(arg) for arg in args])


def add(index, images, *more, model=MODEL):
    run("add", "--index", index, "--images", *([images] if not isinstance(images, list) else images), *more, *model)


def contents(path):
    """All figures by name, with their vectors."""
    with open_index(str(path)) as index:
        rows = index.search(np.ones((1, index.info.dim)), 10_000).rows[0]
        rows = np.sort(rows[rows >= 0])
        figures, vectors = index.figures(rows), index.vectors(rows)
        return {figures["figure_id"][i]: (figures.row(i), vectors[i]) for i in range(len(rows))}


def fails(capsys, *args):
    """The one line that a wrong command ends with."""
    assert build_index.main([str(arg) for arg in args]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    return next(line for line in reversed(lines) if "error:" in line)


# -- images ------------------------------------------------------------------------------------------------------------


def test_a_folder_with_metadata(tmp_path, drawings, metadata, capsys):
    add(tmp_path / "index", drawings, "--metadata", metadata, "--batch", 5)
    out = capsys.readouterr().out
    assert re.search(
        r"Added 12 figures in [\d.]+ s \([\d.]+ a second\); 0 were there already, 0 were left out, 0 of them blank\.",
        out,
    )
    assert "The index has 12 figures of 4 designs, version 4." in out  # three commits after the empty index
    found = contents(tmp_path / "index")
    assert sorted(found) == sorted(f"{patent_of(design)}/{view}.png" for design in range(DESIGNS) for view in VIEWS)
    figure = found[f"{patent_of(1)}/rear.png"][0]
    assert figure == {
        "figure_id": f"{patent_of(1)}/rear.png", "path": f"{patent_of(1)}/rear.png", "patent": patent_of(1),
        "figure": "2", "view": "rear", "title": "Thing 1", "caption": "A rear view.", "locarno": "14-04",
        "office": "US", "applicant": "ACME", "date": 20110301, "filed": 20010301,
    }  # fmt: skip
    unknown = found[f"{patent_of(3)}/top.png"][0]
    assert (unknown["patent"], unknown["office"], unknown["title"], unknown["date"]) == (patent_of(3), "US", "", 0)


def test_vectors_are_those_of_the_query_encoder_of_the_index(tmp_path, drawings):
    add(tmp_path / "index", drawings)
    with open_index(str(tmp_path / "index")) as index:
        encoder = QueryEncoder.of_index(index.info)
        assert index.info.model == json.loads(json.dumps(encoder.identity))
        assert index.info.image_root == str(drawings)
    for name, (_, vector) in contents(tmp_path / "index").items():
        wanted = encoder.encode([read_image(drawings / name, channels=None)])[0]
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_list_names_the_patents(tmp_path, drawings):
    lists = tmp_path / "some.txt"
    lists.write_text(f"{patent_of(0)}/front.png 17\n{patent_of(1)}/top.png EM0012345\n")
    add(tmp_path / "index", lists, "--image-root", drawings)
    found = contents(tmp_path / "index")
    told = {name: (figure["patent"], figure["office"]) for name, (figure, _) in found.items()}
    assert told == {f"{patent_of(0)}/front.png": ("17", ""), f"{patent_of(1)}/top.png": ("EM0012345", "EM")}


def test_a_list_without_a_root_is_relative_to_its_folder(tmp_path, drawings):
    (drawings / "some.txt").write_text(f"{patent_of(0)}/front.png 17\n")
    add(tmp_path / "index", drawings / "some.txt")
    assert list(contents(tmp_path / "index")) == [f"{patent_of(0)}/front.png"]


def test_figures_that_are_there_are_skipped_or_replaced(tmp_path, drawings, metadata, capsys):
    add(tmp_path / "index", [drawings / patent_of(0), drawings / patent_of(1)], "--image-root", drawings)
    add(tmp_path / "index", drawings, "--metadata", metadata)
    assert re.search("Added 6 figures.*; 6 were there already", capsys.readouterr().out)
    assert contents(tmp_path / "index")[f"{patent_of(0)}/front.png"][0]["title"] == ""
    add(tmp_path / "index", drawings, "--metadata", metadata, "--replace")
    assert re.search("Added 12 figures.*; 0 were there already", capsys.readouterr().out)
    found = contents(tmp_path / "index")
    assert len(found) == 12
    assert found[f"{patent_of(0)}/front.png"][0]["title"] == "Thing 0"


def test_metadata_that_do_not_match_the_images_are_told(tmp_path, drawings, metadata, capsys):
    lines = metadata.read_text().splitlines()
    wrong = [*lines[:2], lines[2].replace("/rear.png", "/9.png"), lines[1].replace(patent_of(1), patent_of(3))]
    metadata.write_text("\n".join(wrong))
    add(tmp_path / "index", drawings, "--metadata", metadata)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"Warning: 1 image without metadata: {patent_of(2)}/rear.png. Only what their paths tell is known of them; a "
        "search with a cut-off date finds none without a date.",
        f"Warning: metadata of 1 file without an image: {patent_of(2)}/9.png.",
    ]
    metadata.write_text("\n".join([*lines, wrong[3].replace("Thing 1", "Thing 3")]))
    add(tmp_path / "index", drawings, "--metadata", metadata)
    shown = capsys.readouterr().out
    assert "12 were there already" in shown
    named = f"{patent_of(2)}/rear.png, {patent_of(3)}/front.png, {patent_of(3)}/rear.png and 1 more"
    assert shown.splitlines()[-1] == (
        f"Warning: 4 of those that were there already have other metadata now: {named}. They were left as they are; "
        "--replace makes them anew."
    )
    assert contents(tmp_path / "index")[f"{patent_of(3)}/top.png"][0]["title"] == "Thing 1"
    add(tmp_path / "index", drawings, "--metadata", metadata, "--replace")
    assert "Warning" not in capsys.readouterr().out
    assert contents(tmp_path / "index")[f"{patent_of(3)}/top.png"][0]["title"] == "Thing 3"
    for more in (["--metadata", metadata], []):
        add(tmp_path / "index", drawings, *more)
        assert "Warning" not in (out := capsys.readouterr().out)
        assert "Note" not in out
    add(tmp_path / "part", drawings / patent_of(0), "--metadata", metadata)
    note = f"Note: metadata of 9 files without an image: {patent_of(1)}/front.png, "
    assert capsys.readouterr().out.splitlines()[-1].startswith(note)


def test_later_images_are_named_from_the_root_of_the_index(tmp_path, drawings):
    add(tmp_path / "index", drawings)
    (drawings / "USD0900000").mkdir()
    draw(9, "front").save(drawings / "USD0900000" / "new.png")
    add(tmp_path / "index", drawings / "USD0900000")
    assert "USD0900000/new.png" in contents(tmp_path / "index")


def test_bad_and_blank_images_are_counted_and_told(tmp_path, drawings, capsys):
    (drawings / "bad.png").write_bytes(b"no image")
    (drawings / patent_of(0) / "front.png").write_bytes((drawings / patent_of(0) / "front.png").read_bytes()[:90])
    Image.new("L", (64, 64), 255).save(drawings / "blank.png")
    add(tmp_path / "index", drawings, "--batch", 4)
    out = capsys.readouterr().out
    assert re.search(r"Added 11 figures.* 3 were left out, 1 of them blank\.", out)
    assert f"  left out: {drawings / 'blank.png'}: it is blank" in out
    assert f"  left out: {drawings / 'bad.png'}: UnidentifiedImageError: cannot identify image file" in out
    assert re.search(rf"  left out: {drawings / patent_of(0) / 'front.png'}: \w+: .+", out)
    assert len(contents(tmp_path / "index")) == 11


def test_only_ten_bad_images_are_named(tmp_path, drawings, capsys):
    for number in range(13):
        (drawings / f"bad{number:02d}.png").write_bytes(b"no image")
    add(tmp_path / "index", drawings)
    out = capsys.readouterr().out
    assert out.count("left out: ") == 10
    assert "  and 3 more" in out


def test_no_images_end_with_a_sentence(tmp_path, drawings, capsys):
    (tmp_path / "empty").mkdir()
    line = fails(capsys, "add", "--index", tmp_path / "index", "--images", tmp_path / "empty", *MODEL)
    assert "No image at" in line
    assert "(--images): no file below that folder ends in" in line
    args = ["add", "--index", tmp_path / "i", "--images", drawings, "--image-root", tmp_path / "empty", *MODEL]
    assert "lies outside of --image-root" in fails(capsys, *args)
    assert not (tmp_path / "index").exists()


def test_what_does_not_belong_into_an_index_is_refused(tmp_path, drawings, capsys):
    add(tmp_path / "index", drawings)
    before = contents(tmp_path / "index")
    start = ["add", "--index", tmp_path / "index", "--images", drawings, "--replace"]
    other = fails(capsys, *start, *MODEL[:-1], "[48,48]")
    assert "error: this model did not make the vectors of the index: settings > INPUT.SIZE_TEST" in other
    assert "--metric is cosine in the index that is there already; got euclidean" in fails(
        capsys, *start, "--metric", "euclidean", *MODEL
    )
    assert "--backend is store in" in fails(capsys, *start, "--backend", "faiss", *MODEL)
    assert "--factory is none in" in fails(capsys, *start, "--factory", "Flat", *MODEL)
    wrong_root = fails(capsys, *start, "--image-root", tmp_path, *MODEL)
    assert f"the index names its figures relative to {drawings}" in wrong_root
    after = contents(tmp_path / "index")
    assert [figure for figure, _ in after.values()] == [figure for figure, _ in before.values()]


def test_a_new_index_has_the_backend_that_is_asked_for(tmp_path, drawings):
    add(tmp_path / "a", drawings, "--factory", "IVF4,SQ8", "--metric", "euclidean")
    with open_index(str(tmp_path / "a")) as index:
        assert (index.info.backend, index.info.metric, index.info.options) == (
            "faiss", "euclidean", {"factory": "IVF4,SQ8"},
        )  # fmt: skip


def test_options_of_a_backend(tmp_path, drawings, capsys):
    pytest.importorskip("milvus_lite")
    uri = f"milvus:{tmp_path / 'x.db'}"
    start = ["add", "--index", uri, "--images", drawings]
    assert "--option must be NAME=VALUE; got 'shards'" in fails(capsys, *start, "--option", "shards", *MODEL)
    assert "has no option 'shard'" in fails(capsys, *start, "--option", "shard=2", *MODEL)
    add(uri, drawings, "--option", "partition_key=class_code", "--option", "partitions=4")
    with open_index(uri) as index:
        assert index.info.options == {"partition_key": "class_code", "partitions": 4}
    other = fails(capsys, *start, "--option", "partitions=8", *MODEL)
    assert "--option partitions is 4 in the index that is there already; got 8" in other


# -- killed ----------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, repo, capsys):
    drawings = make_drawings(tmp_path / "drawings", 20)
    command = [sys.executable, repo / "tools/build_index.py", "add", "--index", tmp_path / "index", "--batch", 3]
    command += ["--images", drawings, *MODEL]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = tmp_path / "index" / "manifest.json"
    try:
        while process.poll() is None and not (manifest.exists() and json.loads(manifest.read_text())["next_row"] >= 6):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30)
    assert process.returncode == -signal.SIGKILL
    kept = contents(tmp_path / "index")
    assert 6 <= len(kept) < 60
    assert len(kept) % 3 == 0
    add(tmp_path / "index", drawings)
    assert f"Added {60 - len(kept)} figures" in (out := capsys.readouterr().out)
    assert f"{len(kept)} were there already" in out
    add(tmp_path / "whole", drawings)
    found, whole = contents(tmp_path / "index"), contents(tmp_path / "whole")
    assert {name: figure for name, (figure, _) in found.items()} == {name: fig for name, (fig, _) in whole.items()}
    for name, (_, vector) in whole.items():
        np.testing.assert_allclose(found[name][1], vector, atol=1e-5)


# -- feature files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def features(tmp_path, drawings):
    """A feature file of some drawings: the first four are queries; one of them is in the gallery too."""
    from fastreid.config import get_cfg
    from fastreid.data.feature_file import FeatureFile

    cfg = get_cfg()
    cfg.merge_from_list(MODEL)
    paths = sorted(str(path) for path in drawings.rglob("*.png"))
    made = feature_demo.extract(cfg, [*paths[:4], paths[0], *paths[4:]])
    count = len(made)
    columns = {
        "pids": np.arange(count) // 3, "camids": np.zeros(count), "dates": [20100101 + i for i in range(count)],
        "taxonomy": ["0601"] * count, "views": ["front"] * count, "text": ["Lamp. A view."] * count,
    }  # fmt: skip
    path = tmp_path / "run" / "features" / "x.npz"
    path.parent.mkdir(parents=True)
    FeatureFile(made.features, 4, columns, made.paths, made.fingerprint).save(path)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    return path


def test_a_feature_file_with_its_config_beside_it(tmp_path, drawings, features, metadata):
    run("add", "--index", tmp_path / "index", "--features", features, "--metadata", metadata, "--image-root", drawings)
    found = contents(tmp_path / "index")
    add(tmp_path / "whole", drawings, "--metadata", metadata)
    whole = contents(tmp_path / "whole")
    assert found.keys() == whole.keys()
    for name, (figure, vector) in whole.items():
        np.testing.assert_allclose(found[name][1], vector, atol=1e-5)
        if figure["title"]:
            assert found[name][0] == figure  # metadata come before the columns of the file
    last, _ = found[f"{patent_of(3)}/rear.png"]
    assert (last["patent"], last["locarno"], last["view"], last["date"]) == ("3", "06-01", "front", 20100112)
    with open_index(str(tmp_path / "index")) as index, open_index(str(tmp_path / "whole")) as images:
        assert index.info.model == images.info.model
        assert QueryEncoder.of_index(index.info).identity["weights"] == index.info.model["weights"]


def test_a_feature_file_tells_what_does_not_match_the_metadata(tmp_path, features, metadata, capsys):
    start = ("add", "--index", tmp_path / "index", "--features", features)
    run(*start, "--metadata", metadata)
    assert "Warning: 3 images without metadata: " in capsys.readouterr().out
    metadata.write_text(metadata.read_text().replace("Thing 1", "Chair"))
    run(*start, "--metadata", metadata)
    assert "Warning: 3 of those that were there already have other metadata now" in capsys.readouterr().out
    run(*start)
    assert "Warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("rows", "count"), [("query", 4), ("gallery", 9), ("all", 12)])
def test_rows_of_a_feature_file(tmp_path, features, rows, count):
    run("add", "--index", tmp_path / "index", "--features", features, "--rows", rows)
    found = contents(tmp_path / "index")
    assert len(found) == count
    assert all(figure["path"] == name for name, (figure, _) in found.items())  # absolute without a root


def test_zero_features_are_left_out_and_told(tmp_path, features, capsys):
    from fastreid.data.feature_file import FeatureFile

    made = FeatureFile.load(features)
    made.features[[2, 6]] = 0
    made.save(features)
    run("add", "--index", tmp_path / "index", "--features", features)
    out = capsys.readouterr().out
    assert "Added 10 figures" in out
    assert "2 were left out, 2 of them blank" in out
    assert f"  left out: {made.paths[2]}: its feature is zero" in out
    assert not {made.paths[2], made.paths[6]} & contents(tmp_path / "index").keys()


def test_patents_of_features_of_unlabelled_images_are_their_folders(tmp_path, drawings):
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_list(MODEL)
    feature_demo.extract(cfg, sorted(map(str, drawings.rglob("*.png")))).save(tmp_path / "x.npz")
    run("add", "--index", tmp_path / "index", "--features", tmp_path / "x.npz")
    patents = {figure["patent"] for figure, _ in contents(tmp_path / "index").values()}
    assert patents == {patent_of(design) for design in range(DESIGNS)}


def test_relative_paths_of_a_feature_file_may_be_below_the_root(tmp_path, drawings, features):
    from fastreid.data.feature_file import FeatureFile

    made = FeatureFile.load(features)
    paths = [path.removeprefix(f"{drawings}/") for path in made.paths]
    FeatureFile(made.features, 4, made.columns, paths, made.fingerprint).save(features)
    run("add", "--index", tmp_path / "index", "--features", features, "--image-root", drawings)
    found = contents(tmp_path / "index")
    assert set(found) == set(paths)
    assert all(figure["path"] == name for name, (figure, _) in found.items())


def test_commits_are_of_so_many_figures_whatever_the_model_takes_at_once(tmp_path, drawings):
    batch = ["--batch", 5]
    add(tmp_path / "index", drawings, *batch, model=[*MODEL, "TEST.IMS_PER_BATCH", 2])
    add(tmp_path / "once", drawings, *batch)
    with open_index(str(tmp_path / "index")) as index, open_index(str(tmp_path / "once")) as once:
        assert (index.info.version, once.info.version) == (1 + 2, 1 + 3)  # 6 + 6; 5 + 5 + 2
    whole = contents(tmp_path / "once")
    for name, (figure, vector) in contents(tmp_path / "index").items():
        assert figure == whole[name][0]
        np.testing.assert_allclose(vector, whole[name][1], atol=1e-6)


def test_a_feature_file_of_another_model_is_refused(tmp_path, drawings, features, capsys):
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("META_ARCHITECTURE: HOG", "META_ARCHITECTURE: RawPixels"))
    args = ["add", "--index", tmp_path / "index", "--features", features]
    assert "this model did not make the features" in fails(capsys, *args, "--config-file", config)
    run(*args)  # a config that is only found is left alone
    with open_index(str(tmp_path / "index")) as index:
        assert index.info.config == ""
        assert index.info.model
    add(tmp_path / "other", drawings, model=[*MODEL[:-1], "[48,48]"])
    args[2] = tmp_path / "other"
    assert "did not make the vectors of the index" in fails(capsys, *args)


def test_features_of_an_unknown_model_are_not_mixed_with_those_of_a_known_one(tmp_path, features, capsys):
    from fastreid.data.feature_file import FeatureFile

    made, path = FeatureFile.load(features), tmp_path / "unknown.npz"
    FeatureFile(made.features, 4, made.columns, made.paths, {}).save(path)
    run("add", "--index", tmp_path / "known", "--features", features, "--rows", "query")
    line = fails(capsys, "add", "--index", tmp_path / "known", "--features", path)
    assert "the feature file does not say which model made it" in line
    assert len(contents(tmp_path / "known")) == 4
    for rows in ("query", "all"):  # among themselves they may be
        run("add", "--index", tmp_path / "unknown", "--features", path, "--rows", rows)
    assert len(contents(tmp_path / "unknown")) == 12


# -- keeping -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path, drawings, metadata, capsys):
    add(tmp_path / "index", drawings, "--metadata", metadata)
    capsys.readouterr()
    return tmp_path / "index"


def test_delete_and_compact(index, capsys):
    run("delete", "--index", index, "--patent", patent_of(0), "--figure", f"{patent_of(1)}/top.png")
    assert "Removed 4 figures; 8 figures of 3 designs left, version 3." in capsys.readouterr().out
    assert len(contents(index)) == 8
    run("compact", "--index", index)
    assert re.search(r"holds +8 figures of 3 designs", capsys.readouterr().out)
    with open_index(str(index)) as opened:
        assert opened.info.oldest_version == opened.info.version == 4


def test_delete_wants_names_that_are_there(index, capsys):
    assert "delete needs --figure or --patent" in fails(capsys, "delete", "--index", index)
    line = fails(capsys, "delete", "--index", index, "--patent", "USD0800099")
    assert "the index has no patent 'USD0800099'. Did you mean" in line
    assert len(contents(index)) == 12


def test_info(index, capsys):
    run("info", "--index", index)
    out = capsys.readouterr().out
    assert re.search(r"holds +12 figures of 4 designs", out)
    assert re.search(r"backend +store, cosine", out)
    assert re.search(r"search +exact", out)
    assert re.search(r"office +US 12\n", out)
    assert re.search(r"class +06 6, (14 3, unknown 3|unknown 3, 14 3)\n", out)
    assert re.search(r"year +2010 3, 2011 3, 2012 3, unknown 3|year +unknown 3, 2010 3", out)
    run("info", "--index", index, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["figures"], told["version"], told["facets"]["office"]) == (
        12,
        2,
        {"US": {"figures": 12, "designs": 4}},
    )
    assert told["bytes"] == sum(path.stat().st_size for path in index.iterdir())


def test_verify_finds_damage(index, capsys):
    run("verify", "--index", index)
    assert "Whole: 12 figures of 4 designs, version 2." in capsys.readouterr().out
    (path,) = index.glob("*.vectors.npy")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    line = fails(capsys, "verify", "--index", index)
    assert f"{path} is damaged: its checksum is wrong" in line


def test_one_design_is_no_designs(tmp_path, drawings, capsys):
    (drawings / patent_of(0) / "top.png").unlink()
    add(tmp_path / "index", drawings / patent_of(0))
    assert "The index has 2 figures of 1 design, version 2." in capsys.readouterr().out
    run("info", "--index", tmp_path / "index")
    assert re.search(r"holds +2 figures of 1 design\n", capsys.readouterr().out)
    run("verify", "--index", tmp_path / "index")
    assert capsys.readouterr().out == "Whole: 2 figures of 1 design, version 2.\n"
    run("delete", "--index", tmp_path / "index", "--figure", "front.png")
    assert "Removed 1 figure; 1 figure of 1 design left" in capsys.readouterr().out


def test_there_is_no_index(tmp_path, capsys):
    for command in ("info", "verify", "compact"):
        assert "No index at" in fails(capsys, command, "--index", tmp_path / "none")


def test_help_needs_no_libraries(repo):
    code = "import sys\nfrom fastreid.engine import build_index\n"
    code += "for words in ([], ['add'], ['info']):\n    try:\n        build_index.main([*words, '--help'])\n"
    code += "    except SystemExit:\n        pass\n"
    code += "print({'torch', 'PIL', 'faiss', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_values_of_settings_may_follow_several_paths(tmp_path):
    args = build_index.parser().parse_args(
        ["add", "--index", "i", "--images", "a", "b", "--metadata", "m.jsonl", "MODEL.WEIGHTS", "w.pth", "PLUGINS", "p"]
    )
    assert build_index._settings_behind(args, args.metadata) == ["m.jsonl"]
    assert args.opts == ["MODEL.WEIGHTS", "w.pth", "PLUGINS", "p"]
    assert build_index._settings_behind(args, ["a", "b"]) == ["a", "b"]


def test_a_random_network_makes_no_index(tmp_path, drawings, capsys):
    random = ["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", "False", "INPUT.SIZE_TEST", "[32,32]"]
    start = ["add", "--index", tmp_path / "index", "--images", drawings, *random, *MODEL[2:6]]
    assert "error: MODEL.WEIGHTS is empty: nobody could search an index of a network that is random" in fails(
        capsys, *start
    )
    assert not (tmp_path / "index").exists()


def test_an_index_that_has_grown_gets_another_backend(tmp_path, drawings, capsys):
    path = tmp_path / "index"
    add(path, drawings)
    before = contents(path)
    wrong = fails(capsys, "compact", "--index", path, "--backend", "faiss", "--factory", "IVF4,SQ9")
    assert "factory of a faiss index: 'IVF4,SQ9' is none" in wrong
    assert "--factory is of the backend faiss, not of store" in fails(
        capsys, "compact", "--index", path, "--backend", "store", "--factory", "Flat"
    )
    with open_index(str(path)) as index:
        assert (index.info.backend, index.info.version) == ("store", 2)
    run("compact", "--index", path, "--factory", "IVF2,SQ8")
    with open_index(str(path)) as index:
        assert (index.info.backend, index.info.options) == ("faiss", {"factory": "IVF2,SQ8"})
        assert index.info.recall["all"] >= 0.99
    after = contents(path)
    assert after.keys() == before.keys()
    for name, (_, vector) in before.items():
        np.testing.assert_array_equal(after[name][1], vector)
    run("compact", "--index", path, "--backend", "store")
    with open_index(str(path)) as index:
        assert (index.info.backend, index.info.options, index.info.recall, index.info.exact) == ("store", {}, {}, True)
    assert not list(path.glob("extra-*"))
