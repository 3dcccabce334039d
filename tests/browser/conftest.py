"""The search page in a real browser against a real server; each test gets a page of its own.

``FASTREID_CHROMIUM`` names the browser where it is not Debian's chromium, ``FASTREID_SCREENSHOTS`` the folder for
screenshots of the main states (default ``logs/screenshots``).
"""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.browser.walk import of_patent

ROOT = Path(__file__).resolve().parents[2]
DESIGNS = {"num_train": 30, "num_val": 3, "num_test": 3}
OFFICES, APPLICANTS = ("US", "EM", "JP"), ("Northwind Furniture Inc.", "Alder & Sons", "")
# Debian's build cannot use a sandbox as root; nothing of the browser may call home
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
STARTED = 90  # seconds that a server may take to answer


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Drawn patents, as rows for an index: a figure each, with the absolute path of its image."""
    pytest.importorskip("manifold3d", reason="drawing MiniPatent needs manifold3d (extra synth)")
    from fastreid.data.synthetic.generate import IMAGES, METADATA_FILE, generate
    from fastreid.data.synthetic.plan import Settings

    root = tmp_path_factory.mktemp("minipatent")
    generate(root, Settings(**DESIGNS), workers=0)
    rows = []
    with open(root / METADATA_FILE, encoding="utf-8") as file:
        for number, patent in enumerate(map(json.loads, file)):
            date = int(patent["date"].replace("-", ""))
            for figure in patent["figures"]:
                path = root / IMAGES / figure["file"]
                rows.append({
                    "figure_id": path.stem, "patent": patent["patent_id"], "figure": str(figure["number"]),
                    "view": figure["view"], "title": patent["title"], "caption": figure["caption"],
                    "locarno": patent["locarno"], "date": date, "filed": date - 10000, "path": str(path),
                    "office": OFFICES[number % 3], "applicant": APPLICANTS[number % 3],
                })  # fmt: skip
    return rows


@pytest.fixture(scope="session")
def index(drawings, tmp_path_factory):
    """An index of the drawings by the HOG descriptor, which needs no training; its folder."""
    from PIL import Image

    from fastreid.config import get_cfg
    from fastreid.data.images import as_page
    from fastreid.engine.query_encoder import QueryEncoder
    from fastreid.index.figures import Figures
    from fastreid.index.open import create_index

    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/baselines/hog.yml"))
    encoder = QueryEncoder(cfg)
    pages = [as_page(Image.open(row["path"]), channels=None) for row in drawings]
    folder = tmp_path_factory.mktemp("index") / "hog"
    with create_index(str(folder), dim=encoder.dim, model=encoder.identity, config=cfg.dump()) as made:
        made.add(Figures.of(drawings), encoder.encode(pages))
    return folder


class Server:
    """A process of ``tools/serve.py`` on a free port."""

    def __init__(self, index, state, *options, environment=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, str(ROOT / "tools/serve.py"), "--index", str(index), "--port", str(self.port),
                        "--state", str(state), *options]  # fmt: skip
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.log = state / "server.log"
        self.start()

    def start(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment, cwd=ROOT)
        end = time.monotonic() + STARTED
        while self.process.poll() is None and time.monotonic() < end:
            try:
                self.call("GET", "/api/status")
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        pytest.fail(f"the server did not start: {self.log.read_text()[-2000:]}")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, path, body=None):
        """Return the JSON of an answer: what the page shows is compared with it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", "Origin": self.url}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None


@pytest.fixture(scope="session")
def serve(index, tmp_path_factory):
    """Start further servers of the index: ``serve(*options, environment={})``."""
    started = []

    def start(*options, environment=None):
        started.append(Server(index, tmp_path_factory.mktemp("state"), *options, environment=environment))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(serve):
    return serve()


@pytest.fixture(scope="module")  # while it lives, its event loop keeps other tests of the process from running one
def launch():
    """Start a browser, ``launch(**options)``; whoever starts it closes it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    path = os.environ.get("FASTREID_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no chromium here; FASTREID_CHROMIUM names another browser of its kind")
    with sync_api.sync_playwright() as playwright:
        yield functools.partial(playwright.chromium.launch, executable_path=path, args=ARGUMENTS)


@pytest.fixture(scope="module")
def browser(launch):
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture
def visit(browser, server, request):
    """Open the page: ``visit(width=..., height=..., dark=False, touch=False, server=None)`` returns a :class:`Walk`.

    At the end nothing may have been asked of another host, and nothing have gone wrong in the page's scripts. What the
    service refused is an error too unless the test says ``walk.refused = {status, ...}``.
    """
    from tests.browser.walk import Walk

    walks = []

    def open_page(width=1280, height=800, dark=False, touch=False, server=server, fragment="", **settings):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", has_touch=touch,
            is_mobile=touch, locale="en-GB", accept_downloads=True, **settings,
        )  # fmt: skip
        walk = Walk(context.new_page(), server, request.node.name)
        walks.append(walk)
        walk.page.goto(f"{server.url}/{fragment}")
        return walk

    yield open_page
    for walk in walks:
        walk.page.context.close()
    for walk in walks:
        walk.check()


@pytest.fixture
def clean(server):
    """Nothing is kept on the service."""
    for kind in ("sets", "searches"):
        for each in server.call("GET", f"/api/{kind}"):
            server.call("DELETE", f"/api/{kind}/{each['id']}")


@pytest.fixture
def walk(visit, drawings):
    """A search for a drawing of the index."""
    walk = visit()
    walk.upload(of_patent(drawings, 4)[0]["path"])
    walk.page.wait_for_selector(".filter-groups .option")
    return walk
