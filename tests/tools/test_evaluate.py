"""``fastreid evaluate``, and ``--protocol`` of the training tools, on drawings that HOG describes."""

import json

import numpy as np
import pytest
from PIL import Image

from fastreid.cli import main as cli
from fastreid.data.feature_file import FeatureFile
from fastreid.data.text_bank import FileTexts, TextBank
from fastreid.engine.commands import train
from fastreid.engine.evaluate import main
from tests.evaluation.stand_ins import classified_file

# patent: date and Locarno code; by the training list 06-01 is head, 14-04 and 26-01 are tail
PATENTS = {
    0: ("2020-01-07", "0601"), 1: ("2019-01-01", "0601"), 2: ("2020-01-07", "1404"), 3: ("2019-01-01", "14-04"),
    4: ("2020-01-07", "0601"), 5: ("2019-05-07", "2601"), 6: ("2020-01-07", ""),
}  # fmt: skip


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Settings for seven patents of three figures each, dates and codes among them; the working folder is empty."""
    rng, lines = np.random.default_rng(0), []
    metadata = []
    for pid, (date, code) in PATENTS.items():
        base, figures = rng.integers(0, 256, (24, 24)), []
        for number in range(3):
            noisy = np.clip(base + rng.integers(-90, 90, base.shape), 0, 255).astype("uint8")
            Image.fromarray(noisy).save(tmp_path / f"{pid}_{number}.png")
            lines.append(f"{pid}_{number}.png {pid}")
            figures.append({"file": f"{pid}_{number}.png"})
        metadata.append(json.dumps({"date": date, "locarno": code, "figures": figures}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(metadata))
    (tmp_path / "train.txt").write_text("\n".join([*lines[:6], *lines[6:9], *lines[15:16]]))
    (tmp_path / "query.txt").write_text("\n".join(lines[::3]))
    (tmp_path / "gallery.txt").write_text("\n".join(lines[1::3] + lines[2::3]))
    monkeypatch.chdir(tmp_path)
    return [
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "HOG", "INPUT.SIZE_TEST", "[32,32]",
        "DATASETS.NAMES", "FileList", "DATASETS.FILELIST.TRAIN", "train.txt",
        "DATASETS.TESTS", "FileList", "DATASETS.FILELIST.ROOT", str(tmp_path), "DATASETS.FILELIST.QUERY", "query.txt",
        "DATASETS.FILELIST.GALLERY", "gallery.txt", "DATASETS.FILELIST.METADATA", "metadata.jsonl",
        "DATALOADER.NUM_WORKERS", "0", "TEST.REPORT.ENABLED", "False",
    ]  # fmt: skip


def entry(folder, name="FileList"):
    return json.loads((folder / "results.json").read_text())[name]


def test_the_protocol_of_an_evaluation_and_of_its_features_is_the_same(options, tmp_path, capsys):
    assert train(["--eval-only", "--protocol", "lo2024", *options, "OUTPUT_DIR", "run"]) == 0
    assert "Lo et al., arXiv 2404.19360, table 1" in capsys.readouterr().out
    whole = entry(tmp_path / "run")
    # queries 0 and 4 find patent 1 alone, query 2 patent 3; nothing precedes the others, and 6 has no class
    assert whole["counts"] == {"queries": 7, "gallery": 14, "dropped queries": 4}
    assert whole["settings"]["frequency"] == "train"
    assert whole["protocol"]["blocks"][0]["queries"] == {"head": 2, "tail": 1, "all": 3}
    features = tmp_path / "run/features/FileList.npz"
    assert main(["--features", str(features), "--protocol", "lo2024", "--output", "again"]) == 0
    again = entry(tmp_path / "again")
    assert {name: again[name] for name in ("stages", "counts", "settings", "protocol", "features")} == {
        name: whole[name] for name in ("stages", "counts", "settings", "protocol", "features")
    }
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [
        "protocol_lo2024.json", "report.html", "results.json",
    ]  # fmt: skip


def test_settings_after_the_protocol_go_before_it(options, tmp_path):
    (tmp_path / "my.yml").write_text("TEST:\n  RULE: camera\n  METRIC: euclidean\n  GROUP_BY: ('year',)\n")
    classified_file(fingerprint={"dataset": "Toy"}).save(tmp_path / "f.npz")
    command = ["--features", "f.npz", "--config-file", "my.yml", "--protocol", "same-patent", "--output", "out"]
    assert main([*command, "TEST.METRICS", "('hit@3',)"]) == 0
    found = entry(tmp_path / "out", "Toy")
    assert found["settings"]["rule"] == "all", "the protocol goes over the config file"
    assert found["settings"]["metric"] == "euclidean"
    assert list(found["stages"][0]["groups"]) == ["year"]
    assert "hit@3" in found["stages"][0]["metrics"]
    assert "hit@5" not in found["stages"][0]["metrics"]
    assert found["settings"]["other than in the protocol"] == {"TEST.METRICS": ["hit@3"]}


def test_a_config_lends_its_training_set_to_features_without_head_and_tail(options, tmp_path, capsys):
    assert train(["--eval-only", *options, "OUTPUT_DIR", "run"]) == 0
    command = ["--features", "run/features/FileList.npz", "--protocol", "lo2024", "--output", "out"]
    assert main(command) == 1
    assert "which these features lack: extract them with that setting" in capsys.readouterr().err
    assert main([*command, "TEST.FREQUENCY", "gallery"]) == 0
    assert entry(tmp_path / "out")["settings"]["frequency"] == "gallery"
    assert main([*command, "--config-file", "run/config.yaml"]) == 0
    assert entry(tmp_path / "out")["protocol"]["blocks"][0]["queries"] == {"head": 2, "tail": 1, "all": 3}


@pytest.fixture
def plug_in(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fastreid.evaluation import PROTOCOL_REGISTRY\n\n\n"
        "@PROTOCOL_REGISTRY.register(name='mine')\n"
        "class Mine:\n    settings = {'TEST.RULE': 'other_patent', 'TEST.RELEVANCE': 'class'}\n"
    )
    yield str(tmp_path / "mine.py")
    from fastreid.evaluation import PROTOCOL_REGISTRY

    PROTOCOL_REGISTRY._objects.pop("mine", None)


def test_a_protocol_from_a_plug_in(options, tmp_path, plug_in):
    classified_file().save(tmp_path / "f.npz")
    assert main(["--features", "f.npz", "--protocol", "mine", "--output", "out", "PLUGINS", plug_in]) == 0
    assert entry(tmp_path / "out", "f")["settings"]["rule"] == "other_patent"


def texts_of(path, features):
    """Two texts for each image, where its features are; the first is nearer."""
    texts = FileTexts.of({name: [f"{name} near", f"{name} far"] for name in features.paths})
    rng, places = np.random.default_rng(0), {name: row for row, name in enumerate(features.paths)}
    vectors = [features.features[places[text.split(" ")[0]]] for text in texts.texts]
    noise = np.array([3.0 * text.endswith("far") for text in texts.texts])[:, None]
    return TextBank.write(path, texts, np.array(vectors) + noise * rng.normal(size=(len(vectors), len(vectors[0]))))


def test_texts_by_flags_and_by_settings(options, tmp_path, capsys):
    file = classified_file()
    file.save(tmp_path / "f.npz")
    texts_of(tmp_path / "bank", file)
    command = ["--features", "f.npz", "--text-bank", "bank", "--output"]
    assert main([*command, "out", "--texts-per-image", "1"]) == 0
    first, shown = entry(tmp_path / "out", "f")["text retrieval"], capsys.readouterr().out
    assert first["counts"]["texts"] == len(file)
    assert first["text-to-image"]["own"]["R@1"] == 100
    assert "image-to-text" in shown
    assert main([*command, "all"]) == 0
    everything = entry(tmp_path / "all", "f")["text retrieval"]
    assert everything["counts"]["texts"] == 2 * len(file)
    assert everything["text-to-image"]["own"]["R@1"] < 100 == everything["image-to-text"]["own"]["R@1"]
    assert train(["--eval-only", *options, "OUTPUT_DIR", "run"]) == 0
    described = FeatureFile.load(tmp_path / "run/features/FileList.npz")
    bank = texts_of(tmp_path / "bank of HOG", described)
    assert train(["--eval-only", *options, "OUTPUT_DIR", "run", "TEST.TEXT_BANK", str(bank.folder)]) == 0
    assert "text retrieval" in entry(tmp_path / "run")


def test_a_line_per_query(options, tmp_path):
    file = classified_file()
    file.save(tmp_path / "f.npz")
    command = ["--features", "f.npz", "--output", "out", "--per-query", "deep/q.jsonl", "TEST.RELEVANCE", "class"]
    assert main([*command, "TEST.LEVELS", "('pids',)", "TEST.METRICS", "('hit@1',)", "TEST.RULE", "all"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "deep/q.jsonl").read_text().splitlines()]
    assert [line["query"] for line in lines] == file.query.paths
    (stage,) = entry(tmp_path / "out", "f")["stages"]
    kept = [line for line in lines if line["matches"]]
    assert np.mean([line["metrics"]["AP"] for line in kept]) == pytest.approx(stage["metrics"]["mAP"])
    by_patent = [line["metrics"]["mAP@pids"] for line in lines if "mAP@pids" in line["metrics"]]
    assert np.mean(by_patent) == pytest.approx(stage["metrics"]["mAP@pids"])
    assert len(kept) != len(by_patent)
    for line in lines:
        assert len(line["items"]) == 10
        if line["matches"]:
            assert line["metrics"]["hit@1"] == 100 * line["items"][0]["right"]
        else:
            assert not any(item["right"] for item in line["items"])
    unlabelled = classified_file(relevance_known=False)
    unlabelled.save(tmp_path / "f.npz")
    assert main(["--features", "f.npz", "--output", "out", "--per-query", "q.jsonl", "TEST.RULE", "all"]) == 0
    line = json.loads((tmp_path / "q.jsonl").read_text().splitlines()[0])
    assert (line["matches"], line["metrics"], line["items"][0]["right"]) == (None, {}, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "gone.npz"], "No such feature file: 'gone.npz'"),
        (["--features", "list.txt"], "list.txt is not a feature file: not a whole .npz file"),
        (["--features", "f.npz", "--protocol", "lo2042"], "Did you mean 'lo2024'?"),
        (["--features", "f.npz", "--text-bank", "gone"], "TEST.TEXT_BANK: No text bank in"),
        (["--features", "f.npz", "--text-bank", "bank"], "the features have width 8, the texts of"),
        (["--features", "f.npz", "TEST.RELEVANCE", "clas"], "TEST.RELEVANCE names column 'clas'"),
        (["--features", "f.npz", "TEST.LEVEL", "class"], "TEST.LEVEL"),
        (["--features", "f.npz", "--output", "list.txt"], "--output cannot be written"),
        (["--features", "f.npz", "--texts-per-image", "few"], "TEST.TEXTS_PER_IMAGE"),
    ],
)
def test_what_is_wrong_is_one_line(options, tmp_path, words, message, capsys):
    (tmp_path / "list.txt").write_text("a.png 1\n")
    classified_file().save(tmp_path / "f.npz")
    TextBank.write(tmp_path / "bank", FileTexts.of({"a.png": ["x"]}), np.ones((1, 3)))
    assert main(["--output", "out", *words] if "--output" not in words else words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/*.json"))


def test_training_tools_refuse_an_unknown_protocol(options, capsys):
    assert train(["--eval-only", "--protocol", "lo", *options]) == 1
    assert "No object named 'lo' in the PROTOCOL registry" in capsys.readouterr().err


def test_the_console_command_shows_its_examples(capsys):
    with pytest.raises(SystemExit):
        cli(["evaluate", "--help"])
    shown = capsys.readouterr().out
    assert "fastreid evaluate --features FILE.npz --protocol lo2024" in shown
    assert "kavimandan2025" in shown
