"""The command that writes texts, from its arguments to the file and its exit status."""

import json

import pytest
from PIL import Image

from fastreid.cli import main as cli
from fastreid.data.texts import FileTexts, read_texts
from fastreid.enrich import CAPTIONER_REGISTRY, Captioner
from tests.enrich.server import Server, says, status

PATENTS = [
    {"locarno": "0601", "title": name, "figures": [{"file": f"{name}.png", "view": "front"}, {"file": f"{name} 2.png"}]}
    for name in ("chair", "sofa")
]


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def enrich(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(patent) + "\n" for patent in PATENTS))

    def run(*arguments):
        given = [
            "--metadata",
            str(tmp_path / "m.jsonl"),
            "--output",
            str(tmp_path / "texts.jsonl"),
            *map(str, arguments),
        ]
        return cli(["enrich-text", *given])

    return run


def language_model(server, *more):
    return [
        "ENRICH.VARIANTS", 2, "ENRICH.REWRITER.NAME", "OpenAIRewriter", "ENRICH.REWRITER.URL", server.url,
        "ENRICH.REWRITER.MODEL", "m", "ENRICH.REWRITER.RETRIES", 0, "ENRICH.REWRITER.REPAIRS", 0, *more,
    ]  # fmt: skip


def test_the_defaults_need_nothing_but_metadata(enrich, tmp_path, capsys):
    assert enrich() == 0
    assert capsys.readouterr().out.endswith("texts.jsonl: 0 kept, 4 made, 0 failed of 4 figures\n")
    rows = list(read_texts(tmp_path / "texts.jsonl"))
    assert len(rows) == 4 * 20
    assert rows[0]["rewriter"]["name"] == "TemplateRewriter"
    texts = FileTexts((row["file"], row["text"]) for row in rows)  # as encode-text reads them
    assert texts.files == ["chair.png", "chair 2.png", "sofa.png", "sofa 2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.jsonl", "texts.jsonl"]
    assert enrich() == 0
    assert "4 kept, 0 made" in capsys.readouterr().out


def test_settings_without_effect_are_said(enrich, capsys):
    enrich("ENRICH.REWRITER.MODEL", "m", "ENRICH.CAPTIONER.BATCH_SIZE", 3, "SOLVER.BASE_LR", 3.0)
    said = capsys.readouterr().out
    assert "ENRICH.REWRITER.MODEL = 'm' (only for OpenAIRewriter" in said
    assert "ENRICH.CAPTIONER.BATCH_SIZE = 3 (only for TransformersCaptioner" in said
    assert "BASE_LR" not in said
    enrich("ENRICH.VARIANTS", 5)
    assert "without effect" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "none"], "--images: no folder none"),
        (["--limit", "0"], "--limit must be at least 1; got 0"),
        (["ENRICH.CAPTIONER.NAME", "MetadataCaptoner"], "Did you mean 'MetadataCaptioner'?"),
        (["ENRICH.REWRITER.NAME", "x"], "ENRICH.REWRITER.NAME"),
        (["ENRICH.REWRITER.NAME", "OpenAIRewriter"], "ENRICH.REWRITER.MODEL is empty"),
        (["ENRICH.CAPTIONER.NAME", "TransformersCaptioner"], "ENRICH.CAPTIONER.MODEL must be a folder"),
        (["ENRICH.VARIANTS", "0"], "ENRICH.VARIANTS must be at least 1"),
        (["ENRICH.VARIANT", "3"], "ENRICH.VARIANTS"),
    ],
)
def test_mistakes_are_one_line(enrich, tmp_path, capsys, arguments, message):
    assert enrich(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_missing_metadata(tmp_path, capsys):
    assert cli(["enrich-text", "--metadata", "none.jsonl", "--output", str(tmp_path / "t")]) == 1
    assert "error: --metadata: no file none.jsonl" in capsys.readouterr().err


def test_a_language_model_and_what_it_answered(enrich, server, tmp_path, capsys):
    server.script = [status(400, "no")]
    assert enrich(*language_model(server)) == 1
    said = capsys.readouterr().out
    assert "3 made, 1 failed of 4 figures" in said
    assert "1 failed: " in said
    assert enrich("--fallback", "template", *language_model(server)) == 0
    assert "3 kept, 1 made, 0 failed" in capsys.readouterr().out
    assert len(server.bodies) == 5
    (tmp_path / "texts.jsonl").unlink()
    assert enrich(*language_model(server)) == 0  # the answers lie beside the output
    assert len(server.bodies) == 5
    assert (tmp_path / "texts.jsonl.answers.sqlite").is_file()


def test_the_fallback_of_the_command(enrich, server, tmp_path, capsys):
    server.script = [says("nothing")] * 2
    assert enrich("--fallback", "template", "--limit", 2, *language_model(server)) == 0
    assert "0 made, 2 by the fallback, 0 failed" in capsys.readouterr().out
    assert {row["rewriter"]["name"] for row in read_texts(tmp_path / "texts.jsonl")} == {"TemplateRewriter"}
    assert enrich(*language_model(server)) == 0  # without it, those two are asked for again
    assert len(server.bodies) == 2 + 4
    assert {row["rewriter"]["name"] for row in read_texts(tmp_path / "texts.jsonl")} == {"OpenAIRewriter"}


def test_the_cost_cap_is_said_and_leaves_what_is_there(enrich, server, tmp_path, capsys):
    prices = ["ENRICH.REWRITER.PRICE_OUT", 1000.0, "ENRICH.REWRITER.MAX_TOKENS", 300, "ENRICH.REWRITER.CONCURRENCY", 1]
    command = language_model(server, *prices, "ENRICH.REWRITER.COST_CAP")
    assert enrich(*command, 0.6) == 1
    said = capsys.readouterr().out
    assert "Stopped: 0.4000 of ENRICH.REWRITER.COST_CAP 0.6 are spent" in said
    assert "2 made, 0 failed of 4 figures" in said
    assert not (tmp_path / "texts.jsonl").exists()
    assert enrich(*command, 2.0) == 0
    assert len(server.bodies) == len(server.asked()) == 4


def test_images_are_opened_as_everywhere(enrich, tmp_path, monkeypatch):
    class Corner(Captioner):
        sees_images = True

        def describe(self, sources, images):
            return [f"a corner of {image.getpixel((0, 0))}" for image in images]

    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(CAPTIONER_REGISTRY, table, dict(getattr(CAPTIONER_REGISTRY, table)))
    CAPTIONER_REGISTRY.register(Corner, node="ENRICH.CAPTIONER")
    folder = tmp_path / "images"
    folder.mkdir()
    for patent in PATENTS:
        for figure in patent["figures"]:
            Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(folder / figure["file"])
    assert enrich("--images", folder, "ENRICH.CAPTIONER.NAME", "Corner") == 0
    assert {row["details"] for row in read_texts(tmp_path / "texts.jsonl")} == {"a corner of (255, 255, 255)"}
