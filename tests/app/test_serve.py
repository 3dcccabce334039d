"""tools/serve.py as a process: its start, its errors, a kill, a new start."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from fastreid.app import serve
from fastreid.index import create_index
from tests.app.conftest import png
from tests.engine.search_cases import DESIGNS, VIEWS, draw, figures_of

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "correct horse battery"


def large(design, view):
    return draw(design, view).resize((480, 320), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def hog(tmp_path_factory):
    """An index of drawings by the HOG descriptor, which has no weights; its folder."""
    from fastreid.config import get_cfg
    from fastreid.data.images import read_image
    from fastreid.engine.query_encoder import QueryEncoder

    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/baselines/hog.yml"))
    encoder, folder = QueryEncoder(cfg), tmp_path_factory.mktemp("hog")
    (folder / "images").mkdir()
    for design in range(DESIGNS):
        for view in VIEWS:
            large(design, view).save(folder / "images" / f"D{design}-{view}.png")
    figures = figures_of()
    vectors = encoder.encode([read_image(folder / "images" / path, channels=None) for path in figures["path"]])
    more = {"model": encoder.identity, "config": cfg.dump(), "image_root": str(folder / "images")}
    with create_index(str(folder / "index"), dim=encoder.dim, **more) as index:
        index.add(figures, vectors)
    return folder / "index"


def command(*options, **environment):
    kept = {name: value for name, value in os.environ.items() if name != serve.TOKEN}
    return {
        "args": [sys.executable, str(ROOT / "tools/serve.py"), *map(str, options)], "cwd": ROOT,
        "env": {**kept, "OMP_NUM_THREADS": "1", **environment}, "text": True,
    }  # fmt: skip


class Server:
    """A running process; ``start`` is what it said until it could be asked."""

    def __init__(self, log, *options, **environment):
        self.log = open(log, "a+")  # noqa: SIM115  closed by stop
        self.process = subprocess.Popen(
            **command(*options, **environment), stdout=subprocess.PIPE, stderr=self.log, bufsize=1
        )
        self.start = ""
        while "Ctrl-C" not in self.start:
            line = self.process.stdout.readline()
            assert line, Path(log).read_text()
            self.start += line
        self.port = int(re.search(r":(\d+)/", self.start).group(1))

    def call(self, method, path, body=None, content=None, kind="application/json", **headers):
        data = content if content is not None else None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind, **headers}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def stop(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        status = self.process.wait(20)
        self.process.stdout.close()
        self.log.close()
        return status


def upload(server, image):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="mine.png"\r\n\r\n' + png(image)
    return server.call("POST", "/api/uploads", content=body + b"\r\n--x--\r\n", kind="multipart/form-data; boundary=x")


@pytest.mark.slow
def test_a_server_is_killed_and_started_again(hog, tmp_path):
    options = ("--index", hog, "--port", 0, "--state", tmp_path / "state")
    server = Server(tmp_path / "log", *options)
    try:
        assert "24 figures of 8 designs, version 2, store, exact" in server.start
        assert str(tmp_path / "state") in server.start
        assert "HOG" in server.start
        status = server.call("GET", "/api/status")
        assert (status["index"]["figures"], status["model"]["text"]) == (24, False)
        key = upload(server, large(3, "rear"))["upload"]
        found = server.call("POST", "/api/search", {"query": [{"upload": key}], "limit": 5})
        assert found["results"][0]["figure"]["figure_id"] == "D3-rear"
        assert found["results"][0]["score"] == pytest.approx(1, abs=1e-5)
        saved = server.call("POST", "/api/searches", {"search": found["search"], "name": "secret name"})
        marked = server.call("POST", "/api/sets", {"name": "secret set"})
        server.call("PUT", f"/api/sets/{marked['id']}/items", {"figure_id": "D1-top"})
    finally:
        server.stop()
    server = Server(tmp_path / "log", *options)
    try:
        assert server.call("GET", "/api/searches") == [saved]
        replayed = server.call("POST", f"/api/searches/{saved['id']}/replay")
        assert (replayed["same"], replayed["response"]["results"]) == (True, found["results"])
        assert server.call("GET", "/api/sets")[0]["items"][0]["figure_id"] == "D1-top"
        with pytest.raises(urllib.error.HTTPError, match="410"):  # what was not saved is gone
            server.call("POST", "/api/searches", {"search": found["search"]})
    finally:
        status = server.stop(signal.SIGTERM)
    assert status in (0, -signal.SIGTERM)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "secret" not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert ("POST", "/api/searches/{search}/replay", 200) in {
        (line["method"], line["route"], line["status"]) for line in lines
    }  # fmt: skip


@pytest.mark.slow
def test_a_token_no_model_and_the_end_by_ctrl_c(hog, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    server = Server(
        tmp_path / "log", "--index", hog, "--port", 0, "--state", tmp_path / "state", "--no-model", "--host", "0.0.0.0",
        "--token-file", tmp_path / "token",
    )  # fmt: skip
    try:
        assert "asks for the token" in server.start
        assert "none: search by figures of the index only" in server.start
        assert TOKEN not in server.start
        assert server.call("GET", "/api/status") == {"login": True}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.call("POST", "/api/search", {"query": [{"figure": "D1-top"}]})
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        found = server.call("POST", "/api/search", {"query": [{"figure": "D1-top"}], "limit": 2}, **bearer)
        assert len(found["results"]) == 2
        with socket.create_connection(("127.0.0.1", server.port)) as idle:  # a guest that stays does not keep it up
            idle.send(b"GET / HT")
            started = time.monotonic()
            status = server.stop(signal.SIGINT)
            assert time.monotonic() - started < serve.GRACE + 10
    finally:
        server.process.kill()
    assert status in (0, 130)
    assert TOKEN not in (tmp_path / "log").read_text()


def test_help_loads_no_model():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "try:\n    from fastreid.app.serve import main; main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'PIL', 'fastapi', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "--token-file" in done.stdout
    assert done.stdout.endswith("set()\n")
    assert "--token " not in done.stdout  # a command line can be read by others


def main(capsys, *options):
    """The error of a command that ends before anything is loaded."""
    assert serve.main([str(option) for option in options]) == 1
    return capsys.readouterr().err.splitlines()[0]


def test_errors_at_the_start(hog, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    for more in (("--host", "0.0.0.0"), ("--host", "192.168.0.5"), ("--name", "search.example.org")):
        error = main(capsys, "--index", hog, *more)
        assert more[1] in error
        assert "needs an access token" in error
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is empty" in main(capsys, "--index", hog, "--token-file", empty)
    assert "gone" in main(capsys, "--index", hog, "--token-file", tmp_path / "gone")
    monkeypatch.setenv(serve.TOKEN, "short")
    assert "at least 8 characters" in main(capsys, "--index", hog)
    monkeypatch.setenv(serve.TOKEN, TOKEN)
    assert serve.read_token(None) == TOKEN
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = main(capsys, "--index", hog, "--port", port)
        assert f"127.0.0.1:{port}" in error
        assert "choose another port with --port" in error
    assert "0 to 65535" in main(capsys, "--index", hog, "--port", 70000)
    assert "--host" in main(capsys, "--index", hog, "--host", "203.0.113.77", "--port", 0)


def test_errors_over_index_and_model(hog, tmp_path, capsys):
    state = ("--port", 0, "--state", tmp_path / "state")
    assert str(tmp_path / "nothing") in main(capsys, "--index", tmp_path / "nothing", *state)
    error = main(capsys, "--index", hog, *state, "INPUT.SIZE_TEST", "[64, 64]")
    assert "INPUT.SIZE_TEST" in error
    gone = tmp_path / "gone.pth"
    assert "gone.pth" in main(capsys, "--index", hog, *state, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", gone)
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in main(
        capsys, "--index", hog, "--no-model", "--port", 0, "--state", tmp_path / "file"
    )


def test_what_is_said_about_images_that_have_moved(hog, tmp_path):
    from types import SimpleNamespace

    from fastreid.index import open_index

    with open_index(str(hog)) as index:
        service = SimpleNamespace(index=index, encoder=None)
        args = SimpleNamespace(images=str(tmp_path / "gone"), state="state")
        assert "there is no folder" in serve.words(service, "127.0.0.1", 1, args, False)
        args.images = ""
        words = serve.words(service, "::", 1, args, True)
    assert "there is no folder" not in words
    assert "http://[::]:1/ (asks for the token)" in words
