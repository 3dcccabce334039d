"""What the commands write is trained on and judged through the command line."""

import json
import re
import shlex

import pytest

from fastreid.config import get_cfg
from fastreid.data.ingest import deeppatent2, uspto
from fastreid.data.ingest.dataset import DUPLICATE, OTHER_YEAR
from fastreid.engine.commands import train
from tests.data.ingest.collections import (
    grant_files,
    metadata,
    record,
    write_deeppatent2,
    write_images,
    write_records,
    write_zip,
)

QUICK = (
    "MODEL.DEVICE cpu MODEL.BACKBONE.DEPTH 10x MODEL.BACKBONE.WIDTH 8 MODEL.BACKBONE.FEAT_DIM 64 "
    "INPUT.SIZE_TRAIN [32,32] INPUT.SIZE_TEST [32,32] DATALOADER.NUM_WORKERS 0 DATALOADER.NUM_INSTANCE 2 "
    "SOLVER.IMS_PER_BATCH 8 SOLVER.MAX_EPOCH 1 SOLVER.WARMUP_ITERS 0 TEST.EVAL_PERIOD 1 TEST.REPORT.ENABLED False"
)


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())["FileList"]


def run(repo, folder, config, *arguments):
    (folder / "run.yml").write_text(f"_BASE_: [{repo}/configs/demo/filelist.yml, {config}]\n")
    assert train(["--config-file", str(folder / "run.yml"), *arguments]) == 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path


def test_deeppatent2_trains_and_is_judged_against_prior_art(repo, folder):
    source, output, log = folder / "in", folder / "data", folder / "log"
    write_deeppatent2(source, {2018: 8, 2019: 8, 2020: 4}, "lines")
    assert deeppatent2.main(["--input", str(source), "--output", str(output), "--val-share", "0.3"]) == 0
    run(repo, folder, output / "dataset.yml", *QUICK.split(), "OUTPUT_DIR", str(log))
    lists = json.loads((output / "report.json").read_text())["lists"]
    counts = results(log)["counts"]
    assert counts == {
        "queries": lists["val_query"]["images"],
        "gallery": lists["val_gallery"]["images"],
        "dropped queries": 0,
    }
    weights = ["MODEL.WEIGHTS", str(log / "model_final.pth"), "OUTPUT_DIR", str(folder / "test")]
    run(repo, folder, output / "test.yml", "--eval-only", *QUICK.split(), *weights)
    judged = results(folder / "test")
    assert judged["counts"] == {"queries": 16, "gallery": 64, "dropped queries": 0}


def test_uspto_trains(repo, folder):
    for k in range(12):
        number = f"00000{k:02d}"
        write_zip(folder / "in" / "I20210105" / f"USD{number}-20210105.ZIP", grant_files(number, "20210105"))
    options = ["--train-years", "2021", "--query-year", "2022", "--val-share", "0.3", "--workers", "0"]
    assert uspto.main(["--input", str(folder / "in"), "--output", str(folder / "data"), *options]) == 0
    run(repo, folder, folder / "data/dataset.yml", *QUICK.split(), "OUTPUT_DIR", str(folder / "log"))
    assert results(folder / "log")["counts"]["queries"] > 0


def commands(repo, script) -> list[list[str]]:
    """Arguments of a script in the examples of the page."""
    text = (repo / "docs/ingest.md").read_text().replace("\\\n", "")
    return [shlex.split(line) for line in re.findall(rf"^python tools/{script} (.*)$", text, re.MULTILINE)]


def test_the_examples_of_the_page_run(repo, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "configs").symlink_to(repo / "configs")
    write_deeppatent2(folder / "DeepPatent2", dict.fromkeys(range(2016, 2021), 2))
    write_zip(folder / "uspto/I20180102/DESIGN/USD0806350-20180102.ZIP", grant_files("0806350", "20180102"))
    [first], [second] = commands(repo, "prepare_deeppatent2.py"), commands(repo, "prepare_uspto.py")
    assert deeppatent2.main(first) == 0
    assert uspto.main([*second, "--workers", "0"]) == 0
    [(text, name)] = re.findall(r"^echo '(.*)' > (\S+)$", (repo / "docs/ingest.md").read_text(), re.MULTILINE)
    (folder / name).write_text(text)
    cfg = get_cfg()
    cfg.merge_from_file(folder / name)
    assert cfg.DATASETS.FILELIST.ROOT == str(folder / "DeepPatent2")


def test_the_page_names_every_field_and_its_record_is_read(repo, folder):
    page = (repo / "docs/ingest.md").read_text()
    [example] = map(json.loads, re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    fields = set(record()) - {"id"}  # which counts the records and says nothing
    cells = "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    assert set(example) == fields == set(re.findall(r"`(\w+)`", cells)) & fields
    write_records(folder / "in/design2019.json", [example])
    write_images(folder / "in/Segmented", [example])
    options = ["--train-years", "2019", "--query-year", "2020"]
    assert deeppatent2.main(["--input", str(folder / "in"), "--output", str(folder / "out"), *options]) == 0
    [line] = metadata(folder / "out")
    assert (line["locarno"], line["uspc"], len(line["figures"])) == ("3099", "D30/160", 1)
    assert set(line["figures"][0]) == {
        "file", "number", "view", "caption", "object", "aspect", "page", "box", "label_box"
    }  # fmt: skip


def test_the_page_names_every_reason(repo):
    code = "".join(path.read_text() for path in (repo / "fastreid/data/ingest").glob("*.py"))
    reasons = set(re.findall(r'(?:skipped|notes)\.add\(\s*"([^"]+)"', code))
    assert {"damaged JSON", "bad XML", "no sheet", "unreadable USPC code"} <= reasons
    page = (repo / "docs/ingest.md").read_text()
    more = ("no patentID", "unreadable patentID", "unreadable date", "no subfigure_file")
    more += (deeppatent2.NO_IMAGE, DUPLICATE, OTHER_YEAR)
    assert [reason for reason in (*reasons, *more) if f"`{reason}`" not in page] == []
