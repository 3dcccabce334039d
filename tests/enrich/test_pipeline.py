"""From metadata to texts: what is made, kept, made anew, and what a kill leaves."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from fastreid.data.images import read_image
from fastreid.enrich import (
    BudgetSpent,
    Captioner,
    EndpointError,
    Makers,
    MetadataCaptioner,
    OpenAIRewriter,
    Pipeline,
    Progress,
    Rejected,
    Rewriter,
    TemplateRewriter,
    sources,
)
from fastreid.enrich.limits import Waiting
from fastreid.enrich.pipeline import MANY_WITHOUT_IMAGE
from tests.enrich.server import Server, question, says, status
from tests.enrich.test_limits import Clock


def metadata(*names, **patent):
    """Patents of one figure each: the file `chair.png` shows a chair."""
    return [
        {"title": name, "locarno": "0601", **patent, "figures": [{"file": f"{name}.png", "view": "front"}]}
        for name in names
    ]


class Recorder(Rewriter):
    """Writes two texts and remembers for whom."""

    model = "recorder"

    def __init__(self, prompt="p", fails=()):
        self.prompt, self.fails, self.calls = prompt, set(fails), []

    def recipe(self, variants):
        return [self.prompt, variants]

    def rewrite(self, source, details, variants):
        self.calls.append((source.object, details))
        if source.object in self.fails:
            raise Rejected(f"no words for number {len(self.calls)}")
        return [f"{self.prompt} {source.object} {number}" for number in range(variants)]


class Looker(Captioner):
    """Says the mean grey value of an image, and remembers how many it saw at a time."""

    sees_images, batch_size, model = True, 2, "looker 1"

    def __init__(self, prompt="?"):
        self.recipe, self.batches = {"prompt": prompt}, []

    def describe(self, sources, images):
        self.batches.append(len(images))
        assert all(image.mode == "RGB" for image in images)
        return [f"a grey\n value of {image.getpixel((0, 0))[0]}" for image in images]


def run(patents, output, rewriter=None, captioner=None, variants=2, images=None, fallback=None, **options):
    makers = Makers(captioner or MetadataCaptioner(), rewriter or TemplateRewriter(), variants, images, fallback)
    return Pipeline(makers, **options).run(lambda: iter(patents), output)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def counts(outcome):
    return outcome.kept, outcome.made, outcome.fallback, outcome.failed


@pytest.fixture
def output(tmp_path):
    return tmp_path / "texts.jsonl"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("chair", "lamp", "cup")):
        Image.new("L", (4, 4), 10 * number).save(folder / f"{name}.png")
    return folder, read_image


def test_texts_and_their_provenance(output):
    outcome = run(metadata("chair", "lamp"), output, Recorder())
    assert (outcome.total, *counts(outcome)) == (2, 0, 2, 0, 0)
    lines = read(output)
    assert [(line["file"], line["variant"], line["text"]) for line in lines] == [
        (f"{name}.png", number, f"p {name} {number}") for name in ("chair", "lamp") for number in (0, 1)
    ]
    assert set(lines[0]) == {
        "file", "variant", "variants", "text", "captioner", "rewriter", "prompt_sha256", "source_sha256", "details",
    }  # fmt: skip
    assert lines[0]["rewriter"] == {"name": "Recorder", "model": "recorder"}
    assert {**lines[0]["captioner"], "prompt_sha256": 0} == {
        "name": "MetadataCaptioner",
        "model": "",
        "prompt_sha256": 0,
    }
    assert lines[0]["details"] == "a front view of a chair"
    assert len(lines[0]["prompt_sha256"]) == len(lines[0]["source_sha256"]) == 64
    assert lines[0]["prompt_sha256"] == lines[2]["prompt_sha256"]
    assert lines[0]["source_sha256"] != lines[2]["source_sha256"]
    assert os.listdir(output.parent) == ["texts.jsonl"]


def test_a_second_run_changes_nothing(output):
    run(metadata("chair", "lamp"), output, Recorder())
    before, rewriter = output.read_bytes(), Recorder()
    assert counts(run(metadata("chair", "lamp"), output, rewriter)) == (2, 0, 0, 0)
    assert output.read_bytes() == before
    assert rewriter.calls == []


def test_what_changed_is_made_anew_and_nothing_else(output):
    patents = metadata("chair", "lamp", "cup")
    run(patents, output, Recorder())
    patents[1]["figures"][0]["view"] = "rear"
    rewriter = Recorder()
    assert counts(run(patents + metadata("vase"), output, rewriter)) == (2, 2, 0, 0)
    assert [name for name, _ in rewriter.calls] == ["lamp", "vase"]
    lines = read(output)
    assert [line["file"] for line in lines[::2]] == ["chair.png", "lamp.png", "cup.png", "vase.png"]
    assert len(lines) == 8
    assert lines[2]["details"] == "a rear view of a lamp"
    for changed in (Recorder("q"), Recorder()):  # another prompt, and the former one again: texts are replaced
        assert counts(run(patents, output, changed, prune=True)) == (0, 3, 0, 0)
    assert counts(run(patents, output, Recorder(), variants=3)) == (0, 3, 0, 0)
    assert len(read(output)) == 9


def test_the_order_is_that_of_the_metadata_whoever_is_ready_first(output):
    class Hasty(Recorder):
        concurrency = 4

        def rewrite(self, source, details, variants):
            time.sleep(0.05 if source.object == "chair" else 0)
            return super().rewrite(source, details, variants)

    run(metadata("chair", "lamp", "cup"), output, Hasty())
    assert [line["file"] for line in read(output)[::2]] == ["chair.png", "lamp.png", "cup.png"]


def test_failures_are_counted_and_tried_again(output, caplog):
    patents = metadata("chair", "lamp", "cup")
    outcome = run(patents, output, Recorder(fails=("chair", "cup")))
    assert counts(outcome) == (0, 1, 0, 2)
    assert dict(outcome.reasons) == {"no words for number #": 2}
    assert "chair.png: no words for number 1" in caplog.text
    assert {line["file"] for line in read(output)} == {"lamp.png"}
    rewriter = Recorder(fails=["cup"])
    assert counts(run(patents, output, rewriter)) == (1, 1, 0, 1)
    assert [name for name, _ in rewriter.calls] == ["chair", "cup"]
    assert [line["file"] for line in read(output)[::2]] == ["chair.png", "lamp.png"]


def test_the_fallback_writes_only_where_it_is_asked_for_and_says_so(output):
    patents = metadata("chair", "lamp")
    assert counts(run(patents, output, Recorder(fails=["lamp"]), fallback=TemplateRewriter())) == (0, 1, 1, 0)
    chair, lamp = read(output)[::2]
    assert chair["rewriter"] == {"name": "Recorder", "model": "recorder"}
    assert lamp["rewriter"] == {
        "name": "TemplateRewriter", "model": "templates of fastreid",
        "instead_of": {"name": "Recorder", "model": "recorder"},
    }  # fmt: skip
    assert lamp["reason"] == "no words for number 2"
    assert lamp["text"] == TemplateRewriter().rewrite(*sources(metadata("lamp")), lamp["details"], 2)[0]
    rewriter = Recorder()
    assert counts(run(patents, output, rewriter, fallback=TemplateRewriter())) == (2, 0, 0, 0)
    assert counts(run(patents, output, rewriter)) == (1, 1, 0, 0)  # nobody asks for it now: the rewriter has its turn
    assert [name for name, _ in rewriter.calls] == ["lamp"]
    assert all(line["rewriter"]["name"] == "Recorder" for line in read(output))
    empty = [{"figures": [{"file": "x.png"}]}]
    outcome = run(empty, output, Recorder(fails=[""]), fallback=TemplateRewriter(), prune=True)
    assert counts(outcome) == (0, 0, 0, 1)
    assert "and the fallback: neither the object" in str(outcome.reasons)


def test_a_limit_tries_so_many_and_loses_nothing(output, caplog):
    patents, rewriter = metadata("chair", "lamp", "cup", "vase"), Recorder()
    assert counts(run(patents, output, rewriter, limit=2)) == (0, 2, 0, 0)
    assert counts(run(patents, output, rewriter, limit=1)) == (2, 1, 0, 0)
    assert [line["file"] for line in read(output)[::2]] == ["chair.png", "lamp.png", "cup.png"]
    assert [name for name, _ in rewriter.calls] == ["chair", "lamp", "cup"]
    assert counts(run(metadata("bed", "door", "vase", "cup"), output, rewriter, limit=1, prune=True)) == (1, 1, 0, 0)
    assert [line["file"] for line in read(output)[::2]] == ["bed.png", "cup.png"]  # what is behind the limit stays
    run(patents[:3], output, rewriter, prune=True)
    before = output.read_bytes()
    assert counts(run(patents, output, Recorder("q"), limit=1)) == (0, 1, 0, 0)
    assert output.read_bytes() == before
    assert "stays as it is: it has other texts" in caplog.text
    rewriter = Recorder("q")
    assert counts(run(patents, output, rewriter)) == (1, 3, 0, 0)
    assert [line["text"][0] for line in read(output)] == ["q"] * 8


def test_the_metadata_name_each_figure_once(output):
    with pytest.raises(ValueError, match=r"'chair\.png' is named more than once"):
        run(metadata("chair", "lamp", "chair"), output)
    assert os.listdir(output.parent) == []


def test_texts_of_other_metadata_are_not_dropped_by_mistake(output):
    run(metadata("chair", "lamp"), output, Recorder())
    before, rewriter = output.read_bytes(), Recorder()
    with pytest.raises(ValueError, match=r"has texts of 1 figures .* such as 'lamp\.png'; .*--prune"):
        run(metadata("chair", "cup"), output, rewriter)
    assert output.read_bytes() == before
    assert rewriter.calls == []
    run(metadata("chair", "cup"), output, rewriter, prune=True)
    assert [line["file"] for line in read(output)[::2]] == ["chair.png", "cup.png"]


def test_no_figures_no_texts(output):
    for patents in ([], [{"title": "Chair", "figures": []}]):
        with pytest.raises(ValueError, match="the metadata name no figures"):
            run(patents, output)
    assert os.listdir(output.parent) == []


def test_a_captioner_sees_images_in_batches_and_never_the_same_twice(output, images):
    patents, looker = metadata("chair", "lamp", "cup"), Looker()
    run(patents, output, Recorder(), looker, images=images)
    assert looker.batches == [2, 1]
    assert [line["details"] for line in read(output)[::2]] == [f"a grey value of {value}" for value in (0, 10, 20)]
    for rewriter in (Recorder(), Recorder("q")):  # another rewriter: what the captioner said is known
        looker = Looker()
        run(patents, output, rewriter, looker, images=images)
        assert looker.batches == []
    assert [line["details"] for line in read(output)[::2]] == [f"a grey value of {value}" for value in (0, 10, 20)]
    assert all(line["text"].startswith("q ") for line in read(output))
    Image.new("L", (4, 4), 99).save(images[0] / "lamp.png")
    assert counts(run(patents, output, Recorder("q"), looker, images=images)) == (2, 1, 0, 0)
    assert looker.batches == [1]
    assert read(output)[2]["details"] == "a grey value of 99"
    looker, before = Looker("another question"), read(output)[0]
    run(patents, output, Recorder("q"), looker, images=images)
    assert looker.batches == [2, 1]
    assert read(output)[0]["prompt_sha256"] != before["prompt_sha256"]
    assert read(output)[0]["source_sha256"] == before["source_sha256"]


def test_missing_and_broken_images_are_failures(output, images):
    (images[0] / "lamp.png").write_bytes(b"no image")
    (images[0] / "chair.png").unlink()
    outcome = run(metadata("chair", "lamp", "cup"), output, Recorder(), Looker(), images=images)
    assert counts(outcome) == (0, 1, 0, 2)
    assert "no image: No such file or directory" in outcome.reasons
    assert any("Cannot read image" in reason for reason in outcome.reasons)
    assert {line["file"] for line in read(output)} == {"cup.png"}


def test_the_wrong_folder_of_images_is_noticed(output, tmp_path):
    patents = metadata(*(f"thing {number}" for number in range(MANY_WITHOUT_IMAGE + 5)))
    with pytest.raises(FileNotFoundError, match=f"none of the first {MANY_WITHOUT_IMAGE} images is there"):
        run(patents, output, Recorder(), Looker(), images=(tmp_path, read_image))


def test_a_captioner_that_looks_needs_a_folder():
    with pytest.raises(ValueError, match="Looker looks at the images: --images FOLDER"):
        Makers(Looker(), Recorder(), 2)
    with pytest.raises(ValueError, match=r"ENRICH\.VARIANTS must be at least 1; got 0"):
        Makers(MetadataCaptioner(), Recorder(), 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BudgetSpent("x"), EndpointError("down"), ZeroDivisionError])
def test_what_is_on_its_way_is_kept_whatever_ends_the_work(output, error):
    class Ending(Recorder):
        concurrency, stopped = 3, False

        def rewrite(self, source, details, variants):
            if source.object == "lamp":
                raise error
            time.sleep(0.1)
            return super().rewrite(source, details, variants)

        def stop(self):
            self.stopped = True

    rewriter = Ending()
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(metadata("chair", "lamp", "cup", *map(str, range(50))), output, rewriter)
    assert rewriter.stopped
    assert not output.exists()
    assert 2 <= len(rewriter.calls) < 20
    again = type("Ending", (Recorder,), {})()  # the same to the store
    outcome = run(metadata("chair", "lamp", "cup", *map(str, range(50))), output, again)
    assert outcome.kept == len(rewriter.calls)
    assert {name for name, _ in again.calls}.isdisjoint(name for name, _ in rewriter.calls)
    assert len(read(output)) == 2 * 53


def test_the_progress_line(output, caplog):
    clock = Clock()

    class Slow(Recorder):
        def rewrite(self, source, details, variants):
            clock.now += 4
            return super().rewrite(source, details, variants)

        def status(self):
            return "cost 0.5"

    makers = Makers(MetadataCaptioner(), Slow(), 2)
    with caplog.at_level(logging.INFO):
        Pipeline(makers).run(lambda: metadata(*"abcdefgh"), output, Progress(10, clock))
    lines = [record.message for record in caplog.records if "figures/s" in record.message]
    assert 3 <= len(lines) <= 5
    assert lines[-1] == "0 kept, 8 made, 0 failed of 8 figures; 0.2 figures/s; cost 0.5"


SCRIPT = """
import sys
from fastreid.data.metadata import read_metadata
from fastreid.enrich import *
url, metadata, output = sys.argv[1:]
rewriter = OpenAIRewriter(url=url, model="m", concurrency=3, cache=output + ".sqlite", read_timeout=30.0)
try:
    outcome = Pipeline(Makers(MetadataCaptioner(), rewriter, 2)).run(lambda: read_metadata(metadata), output)
finally:
    rewriter.close()
print(outcome)
"""


@pytest.fixture
def process(tmp_path, output, repo):
    file = tmp_path / "metadata.jsonl"
    file.write_text("".join(json.dumps(patent) + "\n" for patent in metadata(*(f"thing {i}" for i in range(40)))))
    started = []

    def start(server):
        command = [sys.executable, "-c", SCRIPT, server.url, str(file), str(output)]
        started.append(subprocess.Popen(command, cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def test_a_killed_process_is_taken_up_and_no_answered_question_asked_again(process, output):
    """``kill -9`` three times, each while three requests are on their way: those alone are sent again."""
    with Server() as server:
        server.script = [says("nonsense"), status(500), says("nonsense")]
        for answered in (5, 12, 23):
            server.hold, server.hold_after = threading.Event(), answered
            running = process(server)
            server.wait_for(answered + 3)
            running.kill()
            running.communicate()
            server.hold.set()
        server.hold = None
        said, _ = process(server).communicate(timeout=60)
        asked, held = server.asked(), server.asked(server.held)
    assert "0 failed of 40 figures" in said
    again = {name: count for name, count in (asked - held).items() if count != 1}
    assert sorted(again.values()) == [2]  # the one that was answered by 500
    assert len(server.held) == 9
    assert len(asked) == 40 + 2
    lines = read(output)
    assert [line["file"] for line in lines] == [f"thing {number}.png" for number in range(40) for _ in range(2)]
    assert [line["variant"] for line in lines] == [0, 1] * 40
    assert sorted(path.name for path in output.parent.iterdir() if "texts" in path.name) == [
        "texts.jsonl", "texts.jsonl.sqlite",
    ]  # fmt: skip


def test_ctrl_c_keeps_what_was_answered(process, output):
    with Server() as server:
        running = process(server)
        server.wait_for(10)
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
        assert "KeyboardInterrupt" in error
        assert running.returncode not in (0, -signal.SIGKILL)
        assert not output.exists()
        first = len(server.bodies)
        assert first < 40
        said, _ = process(server).communicate(timeout=60)
        assert max(server.asked().values()) == 1
        assert len(server.bodies) == 40
        assert f"{first} kept, {40 - first} made" in said
    assert all("thing" in question(body) for body in server.bodies)
    assert len(read(output)) == 80


def test_the_cost_cap_ends_a_run_and_a_higher_one_goes_on(output, tmp_path):
    patents = metadata(*(f"thing {number}" for number in range(12)))

    def attempt(cap, server):
        rewriter = OpenAIRewriter(
            url=server.url, model="m", concurrency=1, price_in=10.0, price_out=20.0, max_tokens=250, cost_cap=cap,
            cache=str(tmp_path / "a.sqlite"), waiting=Waiting(),
        )  # fmt: skip
        try:
            return run(patents, output, rewriter)
        finally:
            rewriter.close()

    with Server() as server:
        with pytest.raises(BudgetSpent):
            attempt(0.04, server)
        first = len(server.bodies)
        assert 1 <= first < 9
        assert not output.exists()
        assert counts(attempt(1.0, server)) == (first, 12 - first, 0, 0)
        assert len(server.bodies) == len(server.asked()) == 12
    assert len(read(output)) == 24


def test_nothing_goes_over_a_network_by_default(output, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert counts(run(metadata("chair"), output, variants=20)) == (0, 1, 0, 0)
    assert len(read(output)) == 20
