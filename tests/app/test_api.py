"""Every route of the API: what it answers, and what it says when it cannot."""

import io

import pytest
from PIL import Image

import fastreid
from fastreid.app import models
from fastreid.index import Figures, IndexCorrupt, open_index
from tests.app.conftest import error, png
from tests.engine.search_cases import draw

FIGURE = {
    "row", "figure_id", "patent", "figure", "view", "title", "caption", "locarno", "date", "filed", "office",
    "applicant",
}  # fmt: skip


def like(name="D3-rear", **more):
    return {"figure": name, **more}


def test_status(client):
    answer = client.get("/api/status").json()
    index = answer.pop("index")
    assert answer == {
        "version": fastreid.__version__, "login": False,
        "model": {"name": "Pixels", "weights": "00ff", "text": True, "patches": False},
        "limits": {"upload_bytes": 20 << 20, "upload_pixels": 64_000_000, "query_figures": 8, "page": 100},
    }  # fmt: skip
    assert (index["figures"], index["designs"], index["exact"], index["version"]) == (24, 8, True, 2)
    assert index["dates"] == {"date": [20100101, 20171231], "filed": [0, 0]}
    assert index["facets"]["class"] == [
        {"value": "06", "name": "Furnishing", "figures": 12, "designs": 4},
        {"value": "14", "name": "Recording, telecommunication, data processing", "figures": 12,
         "designs": 4},
    ]  # fmt: skip


def test_status_sees_a_new_version(make, own_folder):
    client = make(root=own_folder)
    assert client.get("/api/status").json()["index"]["figures"] == 24
    with open_index(str(own_folder / "index"), write=True) as index:
        index.delete(patents=["D7"])
    assert client.get("/api/status").json()["index"]["figures"] == 21
    assert client.search(like(), limit=10)["searched"] == {"figures": 18, "designs": 6}


def test_an_upload_is_searched_for(client, drawing):
    answer = client.post("/api/uploads", files={"file": ("chair é.png", png(drawing), "text/html")}).json()
    assert len(answer["upload"]) == 64
    assert answer["sha256"] == answer["upload"]
    assert (answer["name"], answer["width"], answer["height"]) == ("chair é.png", 96, 64)
    for region in answer["figures"]:
        left, top, right, bottom = region["box"]
        assert 0 <= left < right <= 96
        assert 0 <= top < bottom <= 64
    found = client.search({"upload": answer["upload"]}, limit=3)
    assert (found["group"], found["offset"], found["version"], found["exact"]) == ("design", 0, 2, True)
    assert (found["total"], found["searched"]) == (8, {"figures": 24, "designs": 8})
    best = found["results"][0]
    assert (best["rank"], best["patent"], best["figures"], best["figure"]["figure_id"]) == (1, "D3", 3, "D3-rear")
    assert best["score"] == pytest.approx(1)
    assert set(best["figure"]) == FIGURE
    assert best["evidence"] == [
        {"query": 0, "variant": "as given", "score": best["score"], "figure": best["figure"]}
    ]  # fmt: skip
    assert len(best["others"]) == 2


def test_a_page_of_several_figures_is_split(client):
    page = Image.new("L", (900, 1200), 255)
    for place in ((100, 100), (550, 700)):
        page.paste(draw(1, "front").resize((288, 192)), place)
    answer = client.post("/api/uploads", files={"file": ("page.png", png(page))}).json()
    assert len(answer["figures"]) == 2
    box = answer["figures"][1]["box"]
    assert box[0] >= 540
    assert box[1] >= 690
    found = client.search({"upload": answer["upload"], "box": box}, limit=3)
    assert found["results"] == client.search({"upload": client.upload(page.crop(box))}, limit=3)["results"]


def test_the_image_of_an_upload(client, drawing):
    key = client.upload(drawing.resize((960, 640)))
    answer = client.get(f"/api/uploads/{key}/image?side=320")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(answer.content)).size == (320, 213)
    assert client.delete(f"/api/uploads/{key}").status_code == 204
    error(client.get(f"/api/uploads/{key}/image"), 410, "upload_gone")


def test_a_search_for_an_image_that_is_gone(client):
    message = error(client.post("/api/search", json={"query": [{"upload": "ab" * 32}]}), 410, "upload_gone")
    assert message == "this image is no longer kept; upload it again"


def test_more_like_this_by_figure(client):
    found = client.search(like(), group="figure", limit=5)
    assert found["total"] == found["searched"]["figures"] == 21  # without the three of its own patent
    first = found["results"][0]
    assert set(first) == {"rank", "score", "query", "variant", "figure"}
    assert all(result["figure"]["patent"] != "D3" for result in found["results"])
    own = client.search(like(), group="figure", limit=5, exclude_own=False)
    assert own["results"][0]["figure"]["figure_id"] == "D3-rear"


def test_variants_texts_fusion_and_filters(client, drawing):
    key = client.upload(drawing.transpose(Image.Transpose.ROTATE_90))
    turned = client.search({"upload": key}, variants={"rotations": True}, limit=1)["results"][0]
    assert turned["patent"] == "D3"
    assert turned["evidence"][0]["variant"] == "rotated 90"
    mirrored = client.search({"upload": client.upload(drawing), "mirror": True}, variants={"mirror": True}, limit=1)
    assert mirrored["results"][0]["evidence"][0]["variant"] == "mirrored"
    assert client.search(text="D5", limit=1)["results"][0]["figure"]["figure_id"] == "D5-front"
    both = client.search(like("D1-top"), like("D2-top"), fusion="max", exclude_own=False, limit=2)
    assert {result["patent"] for result in both["results"]} == {"D1", "D2"}
    old = client.search(like(), filter={"before": 20130101, "locarno": ["14"]})
    assert {result["patent"] for result in old["results"]} == {"D1"}
    assert client.search(like(), filter={"before": 20100101})["results"] == []


def test_pages_of_results(client):
    whole = client.search(like(), limit=7)["results"]
    parts = [client.search(like(), offset=offset, limit=2)["results"] for offset in (0, 2, 4, 6)]
    assert [result for part in parts for result in part] == whole
    assert client.search(like(), offset=7)["results"] == []


def test_an_older_version(make, own_folder):
    with open_index(str(own_folder / "index"), write=True) as index:
        index.delete(patents=["D4"])
        client = make(root=own_folder)
        assert client.search(like(), version=2)["searched"]["designs"] == 7
        assert client.search(like())["searched"]["designs"] == 6
        index.compact()
    message = error(client.post("/api/search", json={"query": [like()], "version": 2}), 409, "version_gone")
    assert "2" in message


def test_figures_and_designs(client):
    design = client.get("/api/designs", params={"patent": "D3"}).json()
    assert [figure["view"] for figure in design["figures"]] == ["front", "rear", "top"]
    assert client.get("/api/designs", params={"patent": "D3-top"}).json() == design
    row = design["figures"][1]["row"]
    assert client.get(f"/api/figures/{row}").json() == design["figures"][1]
    assert "path" not in design["figures"][1]
    error(client.get("/api/designs?patent=D99"), 404, "not_found")
    error(client.get("/api/figures/999"), 404, "not_found")
    error(client.get("/api/figures/-1"), 422, "invalid")
    error(client.get(f"/api/figures/{2**70}"), 422, "invalid")
    error(client.get("/api/figures/first"), 422, "invalid")


def test_images_of_figures(client):
    answer = client.get("/api/figures/3/image?side=48")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (48, 32)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert client.get("/api/figures/3/size").json() == {"width": 96, "height": 64}
    again = client.get("/api/figures/3/image?side=48", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/figures/4/image?side=48").headers["etag"] != answer.headers["etag"]
    for side in (31, 2001, "large"):
        assert "side" in error(client.get(f"/api/figures/3/image?side={side}"), 422, "invalid")


def test_small_images_are_kept_within_bounds(client, monkeypatch):
    size = len(client.get("/api/figures/3/image").content)
    monkeypatch.setattr("fastreid.app.service.THUMBNAILS", 3 * size)
    for row in range(12):
        client.get(f"/api/figures/{row}/image")
        kept = client.service._thumbnails.values()
        assert sum(map(len, kept)) == client.service._thumbnail_bytes <= 3 * size
    assert client.service.kept_image(11, 256)
    assert client.service.kept_image(3, 256) is None


def test_a_missing_image(make, own_folder):
    client = make(root=own_folder)
    (own_folder / "images" / "D0-front.png").unlink()
    (own_folder / "images" / "D0-rear.png").write_bytes(b"no image")
    row = client.get("/api/designs?patent=D0").json()["figures"][0]["row"]
    for broken in (row, row + 1):
        message = error(client.get(f"/api/figures/{broken}/image"), 404, "image_missing")
        assert str(own_folder) not in message
        assert "--images" in message


@pytest.mark.parametrize("path", ["../secret.png", "/../secret.png", "a/../../secret.png"])
def test_a_path_that_leaves_the_folder_of_images(make, own_folder, path):
    draw(0, "top").save(own_folder / "secret.png")
    with open_index(str(own_folder / "index"), write=True) as index:
        row = {"figure_id": "bad", "patent": "B", "path": path}
        index.add(Figures.of([row]), index.vectors(index.rows_of(["D0-front"])))
    client = make(root=own_folder)
    row = client.get("/api/designs?patent=B").json()["figures"][0]["row"]
    for what in ("image", "size"):
        message = error(client.get(f"/api/figures/{row}/{what}"), 404, "image_missing")
        assert str(own_folder) not in message


def test_counts(client):
    answer = client.post("/api/counts", json={"filter": {"locarno": ["06"]}}).json()
    assert (answer["figures"], answer["designs"]) == (12, 4)
    assert [value["value"] for value in answer["facets"]["class"]] == ["06", "14"]  # its own condition left out
    assert {value["value"]: value["figures"] for value in answer["facets"]["view"]} == {"front": 4, "rear": 4, "top": 4}
    assert client.post("/api/counts", json={}).json()["designs"] == 8
    assert client.post("/api/counts", json={"filter": {"before": 20130101}}).json()["designs"] == 3
    error(client.post("/api/counts", json={"version": 99}), 409, "version_gone")


def test_a_facet_of_very_many_values_is_cut(client, monkeypatch):
    monkeypatch.setattr("fastreid.app.service.VALUES", 2)
    years = client.post("/api/counts", json={}).json()["facets"]["year"]
    assert [year["value"] for year in years] == ["2010", "2011"]
    views = client.post("/api/counts", json={"filter": {"view": ["top"]}}).json()["facets"]["view"]
    assert "top" in {view["value"] for view in views}


def test_explanations_need_a_model_with_patches(client):
    message = error(client.post("/api/explain", json={"query": like(), "row": 1}), 409, "no_patches")
    assert "one vector per drawing" in message


def test_an_explanation(make, monkeypatch):
    client = make()
    client.service.encoder.has_patches = True
    monkeypatch.setattr(client.service.searcher, "explain", lambda *given: Image.new("RGB", (30, 20)))
    answer = client.post("/api/explain", json={"query": like(), "row": 1, "variant": "mirrored"})
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (30, 20)
    gone = {"query": {"upload": "ab" * 32}, "row": 1}
    error(client.post("/api/explain", json=gone), 410, "upload_gone")


def test_without_a_model(make, drawing):
    client = make(encoder=None)
    assert client.get("/api/status").json()["model"] is None
    message = error(client.post("/api/uploads", files={"file": png(drawing)}), 409, "no_model")
    assert "without a model" in message
    assert client.search(like(), limit=2)["results"]
    error(client.post("/api/search", json={"query": [like(mirror=True)]}), 409, "no_model")
    error(client.post("/api/search", json={"text": "D1"}), 409, "no_model")
    error(client.post("/api/explain", json={"query": like(), "row": 1}), 409, "no_patches")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "a search needs a query figure or a text"),
        ({"query": [{}]}, "either an 'upload' or a 'figure'"),
        ({"query": [{"figure": "a", "upload": "b"}]}, "either an 'upload' or a 'figure'"),
        ({"query": [{"figure": "D1-top", "rotate": 45}]}, "query.0.rotate"),
        ({"query": [{"figure": "D1-top", "box": [0, 0, 5000, 5000]}]}, "within the image of 96 x 64"),
        ({"query": [{"figure": "D1-top", "box": [5, 5, 5, 9]}]}, "must not be empty"),
        ({"query": [{"figure": "D1-top"}] * 9}, "query"),
        ({"text": "D1", "limit": 101}, "limit"),
        ({"text": "D1", "limit": 0}, "limit"),
        ({"text": "D1", "offset": -1}, "offset"),
        ({"text": "D1", "fusion": "sum"}, "fusion"),
        ({"text": "D1", "filtre": {}}, "there is no 'filtre' here. Did you mean 'filter'?"),
        ({"text": "D1", "filter": {"locarnos": ["06"]}}, "there is no 'filter.locarnos' here. Did you mean 'locarno'?"),
        ({"text": "D1", "filter": {"before": 20181399}}, "before"),
        ({"text": "D1", "filter": {"before": 20180231}}, "before of a Filter must be a date yyyymmdd of the calendar"),
        ({"text": "D1", "filter": {"before": "yesterday"}}, "filter.before"),
        ({"text": "D1", "filter": {"locarno": "06"}}, "filter.locarno"),
        ({"text": "\ud800"}, ""),
        ({"\ud800": 1}, ""),
        ([], "the body"),
    ],
)
def test_searches_that_cannot_be(client, body, words):
    import json

    content = json.dumps(body).encode()
    answer = client.post("/api/search", content=content, headers={"Content-Type": "application/json"})
    assert words in error(answer, 422, "invalid")


def test_a_figure_that_is_not_there(client):
    message = error(client.post("/api/search", json={"query": [like("D3")]}), 404, "not_found")
    assert "D3-front" in message
    message = error(client.post("/api/search", json={"query": [like("US D0,003")]}), 404, "not_found")
    assert message.endswith("GET /api/designs?patent=D3 tells the figure_id of all")
    assert "GET" not in error(client.post("/api/search", json={"query": [like("D99")]}), 404, "not_found")


def test_addresses_and_methods_that_are_not_there(client):
    for path in ("/api/nothing", "/nothing", "/static/nothing.js", "/api/docs", "/docs", "/redoc", "/openapi.json"):
        error(client.get(path), 404, "not_found")
    answer = client.put("/api/search", json={})
    error(answer, 405, "method")
    assert answer.headers["allow"] == "POST"


def test_the_description_is_complete(client):
    answer = client.get("/api/openapi.json").json()
    routes = [
        (path, method, route) for path, methods in answer["paths"].items() for method, route in methods.items()
    ]  # fmt: skip
    assert len(routes) == 29
    for path, method, route in routes:
        assert route["description"], (path, method)
        assert {"401", "404", "413", "415", "422", "503"} <= set(route["responses"]), (path, method)
        form = route["responses"]["503"]["content"]["application/json"]["schema"]
        assert form == {"$ref": "#/components/schemas/ErrorAnswer"}
        good = [answer for status, answer in route["responses"].items() if status.startswith("2")]
        assert len(good) == 1
        for content in good[0].get("content", {}).values():
            assert content["schema"], (path, method)
    schemas = answer["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for name in [name for name in schemas if name.endswith("Body") and name not in ("LoginBody", "VariantsBody")]:
        assert schemas[name]["description"], name
        for shown in schemas[name]["examples"]:
            assert getattr(models, name).model_validate(shown), name


def test_the_page(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<!doctype html>" in answer.text.lower()
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
        answer = client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["cache-control"] == "no-cache"
        again = client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/favicon.ico").headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    ("raised", "code", "retry"),
    [
        (ConnectionError("the server of postgresql://me@host says: gone"), "index_away", "5"),
        (IndexCorrupt("/srv/index/vectors.bin is damaged"), "index_damaged", None),
        (OSError(24, "Too many open files", "/srv/index"), "system", "5"),
        (TimeoutError("/srv/index"), "system", "5"),
    ],
)
def test_what_is_wrong_with_the_server_is_told_to_its_log(client, monkeypatch, caplog, raised, code, retry):
    def fail(*_, **__):
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(client.service.index._index, "search", fail)
        answer = client.post("/api/search", json={"query": [like()]})
    message = error(answer, 503, code)
    assert answer.headers.get("retry-after") == retry
    assert "srv" not in message
    assert "host" not in message
    assert "srv" in caplog.text or "host" in caplog.text
    assert client.search(like())["results"]


def test_a_failure_inside_ends_one_request_only(client, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(client.service.searcher, "search", fail)
        message = error(client.post("/api/search", json={"query": [like()]}), 500, "bug")
    assert "a bug" not in message
    assert any("a request failed" in record.message for record in caplog.records)
    assert client.search(like())["results"]
