"""A service over a small index of drawings, and a client that talks to it without a network."""

import io
import json
import time

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the search service needs fastapi")

from fastapi.testclient import TestClient

from fastreid.app.api import create_app
from fastreid.app.limits import Limits
from fastreid.app.security import Guard
from fastreid.app.service import SearchService
from fastreid.app.state import State
from fastreid.index import open_index
from tests.engine.search_cases import PixelEncoder, draw, make_index

URL = "http://localhost:8000"


class Client(TestClient):
    """Talks as the page does."""

    def __init__(self, app, **more):
        super().__init__(app, base_url=URL, raise_server_exceptions=False, **more)

    def upload(self, image, name="drawing.png"):
        """Upload an image and return its name there."""
        answer = self.post("/api/uploads", files={"file": (name, png(image), "image/png")})
        assert answer.status_code == 201, answer.text
        return answer.json()["upload"]

    def search(self, *query, **body):
        answer = self.post("/api/search", json={"query": list(query), **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def save(self, *query, name="", notes="", **body):
        """Search, save, and return the id."""
        found = self.search(*query, **body)
        answer = self.post("/api/searches", json={"search": found["search"], "name": name, "notes": notes})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def export(self, **body):
        """Export and return the answer with the file."""
        started = self.post("/api/exports", json=body)
        assert started.status_code == 202, started.text
        job, end = started.json()["job"], time.monotonic() + 60
        while (state := self.get(f"/api/jobs/{job}").json())["state"] == "running" and time.monotonic() < end:
            time.sleep(0.02)
        assert state["state"] == "done", state
        return self.get(f"/api/jobs/{job}/result")


def png(image: Image.Image, form: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return buffer.getvalue()


def error(answer, status, code=None):
    """Check the form of an error and return its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    assert code in (None, answer.json()["error"]["code"])
    message = answer.json()["error"]["message"]
    assert len(message) > 8
    json.dumps(message)
    return message


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the index and its images are; tests that change them take ``own_folder``."""
    folder = tmp_path_factory.mktemp("service")
    make_index(folder).close()
    return folder


@pytest.fixture
def own_folder(tmp_path):
    make_index(tmp_path / "own").close()
    return tmp_path / "own"


@pytest.fixture
def make(folder, tmp_path):
    """Make a client: ``make(token="", encoder=..., root=..., upload_bytes=...)``; it talks to ``client.service``."""
    made = []

    def client(token="", encoder="pixels", root=folder, index=None, hosts=None, **limits):
        state = State(tmp_path / "state")
        model = PixelEncoder() if encoder == "pixels" else encoder
        service = SearchService(index or open_index(str(root / "index")), state, model, limits=Limits(**limits))
        guard = Guard(token) if hosts is None else Guard(token, hosts)
        made.append(Client(create_app(service, guard)))
        made[-1].service = service
        return made[-1].__enter__()

    yield client
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def client(make):
    return make()


@pytest.fixture
def drawing():
    return draw(3, "rear")
