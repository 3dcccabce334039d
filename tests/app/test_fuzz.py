"""The API under requests of all kinds that its own description allows, and of many that it does not."""

import zlib

import pytest

from fastreid.app.limits import Limits
from fastreid.app.security import Guard
from fastreid.app.service import SearchService
from fastreid.app.state import State
from fastreid.index import open_index
from tests.app.conftest import URL, Client, create_app
from tests.engine.search_cases import PixelEncoder, draw

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra dev)")
hypothesis = pytest.importorskip("hypothesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

CHECKS = (
    schemathesis.checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
)  # fmt: skip
RULES = hypothesis.settings(
    max_examples=30, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    limits = Limits(upload_bytes=100_000, upload_pixels=1_000_000)
    state = State(tmp_path_factory.mktemp("state"))
    service = SearchService(open_index(str(folder / "index")), state, PixelEncoder(), limits=limits)
    with Client(create_app(service, Guard())) as client:
        yield client


@pytest.fixture(scope="module")
def names(client):
    """Things that exist, and values that make sense, by the names under which requests name them."""
    search = client.save({"figure": "D3-rear"}, limit=3)
    return {
        "upload": client.upload(draw(3, "rear")), "search": search, "figure": "D3-rear", "figure_id": "D1-top",
        "set": client.post("/api/sets", json={"name": "a"}).json()["id"], "patent": "D3", "row": 5,
        "job": client.post("/api/exports", json={"search": search, "format": "csv"}).json()["job"],
        "before": 20160101, "since": 0, "text": "D5", "version": 2, "box": [0, 0, 60, 60],
    }  # fmt: skip


@pytest.fixture(scope="module")
def api(client):
    """The API as it describes itself; each request is made in a loop of its own, without start and end of the app."""

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await client.app(scope, receive, send)
            return
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})

    schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json())
    schema.app = app
    return schema


def with_known(given, names):
    """Put what exists and makes sense in the place of most of what is made up."""
    if isinstance(given, list):
        return [with_known(each, names) for each in given]
    if not isinstance(given, dict):
        return given
    given = {name: with_known(value, names) for name, value in given.items()}
    for name in names.keys() & given.keys():
        if zlib.crc32(repr(given[name]).encode("utf-8", "replace")) % 4 and not isinstance(given[name], dict):
            given[name] = names[name]
    items = given["query"] if isinstance(given.get("query"), list) else [given.get("query")]
    for place, item in enumerate(item for item in items if isinstance(item, dict)):
        if len(item) + place:  # an empty one, alone, stays
            item.pop("upload" if place % 2 else "figure", None)
            item.update({"figure": names["figure"]} if place % 2 else {"upload": names["upload"]})
    return given


def kinds(operation):
    """Requests as the description allows them, and such as break it in one place."""
    modes = schemathesis.GenerationMode
    return operation.as_strategy(modes.POSITIVE) | operation.as_strategy(modes.NEGATIVE)


@pytest.mark.slow
def test_no_request_breaks_the_server(api, client, names):
    operations = [found.ok() for found in api.get_all_operations()]
    reached = {operation.label: set() for operation in operations}
    for operation in operations:

        @RULES
        @hypothesis.given(case=kinds(operation))
        def run(case):
            if case.method != "DELETE":  # what exists must go on to exist
                case.path_parameters = with_known(case.path_parameters, names)
                case.query = with_known(case.query, names)
                case.body = with_known(case.body, names)
            answer = case.call_and_validate(checks=CHECKS, base_url=URL)
            reached[case.operation.label].add(answer.status_code)

        run()
    assert all(reached.values())
    good = {label for label, statuses in reached.items() if min(statuses) < 300}
    assert good >= {
        "POST /api/search", "POST /api/counts", "GET /api/figures/{row}/image", "PUT /api/sets/{set}/items",
        "PATCH /api/searches/{search}", "GET /api/jobs/{job}", "POST /api/searches/{search}/replay",
        "GET /api/designs",
    }, reached  # fmt: skip
    assert sum(422 in statuses for statuses in reached.values()) >= 8
    assert client.get("/api/status").json()["index"]["figures"] == 24
