"""What the service refuses, and what it lets a browser do."""

import asyncio
import json
import logging
import struct
import tempfile
import zlib

import pytest
from PIL import Image

from fastreid.app.bodies import FORM_BYTES
from fastreid.app.security import COOKIE
from tests.app.conftest import URL, error, png
from tests.engine.search_cases import draw

TOKEN = "correct horse battery"
LIKE = {"query": [{"figure": "D3-rear"}]}


def form(content: bytes, name=b"a.png", field=b"file") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="' + field + b'"; filename="' + name + b'"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n"


def post_form(client, body, **headers):
    return client.post(
        "/api/uploads", content=body, headers={"Content-Type": "multipart/form-data; boundary=x", **headers}
    )


# -- who -------------------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for(make):
    client = make(token=TOKEN)
    assert client.get("/api/status").json() == {"login": True}
    assert "token" in error(client.post("/api/search", json=LIKE), 401, "login")
    for path in ("/api/figures/1", "/api/searches", "/api/openapi.json", "/api/nothing", "/api/figures/1/image"):
        error(client.get(path), 401, "login")
    assert client.get("/").status_code == 200  # the page asks for it
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer é"):
        error(client.get("/api/searches", headers={"Authorization": wrong.encode()}), 401, "login")
    good = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/search", json=LIKE, headers=good).status_code == 200
    status = client.get("/api/status", headers=good).json()
    assert status["login"] is True
    assert status["index"]["figures"] == 24


def test_a_login_lasts_by_a_cookie(make):
    client = make(token=TOKEN)
    error(client.post("/api/login", json={"token": "wrong"}), 401, "login")
    assert not client.cookies
    answer = client.post("/api/login", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert client.post("/api/search", json=LIKE).status_code == 200
    client.cookies.clear()
    for false in ("", "x" * 64, '"'):
        error(client.get("/api/searches", headers={"Cookie": f"{COOKIE}={false}"}), 401, "login")


def test_the_cookie_of_another_process_is_worth_nothing(make):
    old = make(token=TOKEN)
    old.post("/api/login", json={"token": TOKEN})
    error(make(token=TOKEN).get("/api/sets", headers={"Cookie": f"{COOKIE}={old.cookies[COOKIE]}"}), 401, "login")


def test_without_a_token_nobody_logs_in(client):
    error(client.post("/api/login", json={"token": ""}), 401, "login")


def test_the_cookie_is_for_encrypted_connections_where_there_is_one(make):
    client = make(token=TOKEN)
    answer = client.post("https://localhost:8000/api/login", json={"token": TOKEN})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "", "127.0.0.1.evil", "[::2]", "[", "a:b"]
)
def test_other_names_than_this_computers(client, host):
    for path in ("/", "/api/status", "/static/main.js"):
        error(client.get(path, headers={"Host": host}), 421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"])
def test_names_of_this_computer(client, host):
    assert client.get("/api/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8001", "", "http://["])
def test_other_pages_do_not_write(client, origin):
    headers = {"Origin": origin}
    error(client.post("/api/sets", json={"name": "a"}, headers=headers), 403, "wrong_origin")
    error(post_form(client, form(png(draw(1, "top"))), **headers), 403, "wrong_origin")
    error(client.delete("/api/sets/" + "0" * 16, headers=headers), 403, "wrong_origin")
    assert client.get("/api/sets").json() == []


def test_the_own_page_writes(client):
    same = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/sets", json={"name": "a"}, headers=same).status_code == 201
    cross = {"Sec-Fetch-Site": "cross-site"}
    error(client.post("/api/sets", json={"name": "a"}, headers=cross), 403, "wrong_origin")


def test_types_of_bodies(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = client.post("/api/sets", content=b'{"name": "a"}', headers={"Content-Type": kind})
        assert "application/json" in error(answer, 415, "content_type")
    answer = client.post("/api/uploads", json={})
    assert "multipart/form-data" in error(answer, 415, "content_type")
    utf8 = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post("/api/sets", content=b'{"name": "a"}', headers=utf8).status_code == 201


def test_headers_of_every_answer(make):
    client = make(token=TOKEN)
    for path in ("/", "/static/main.js", "/api/status", "/api/sets", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "img-src 'self' blob:" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers
    for path, kept in (("/", "no-cache"), ("/api/status", "no-store"), ("/api/sets", "no-store"), ("/x", "no-store")):
        assert client.get(path).headers.get_list("cache-control") == [kept]


@pytest.mark.parametrize(
    "path", ["/static/../serve.py", "/static/..%2fserve.py", "/static/%2e%2e/serve.py", "/static/..%5cserve.py",
             "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/index.html%00.js"],
)  # fmt: skip
def test_files_beside_the_page(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("name", ["../sets/a", "..%2f..%2fetc", "%00", "0" * 15, "0" * 17, "G" * 16, "A" * 16, "."])
def test_names_of_saved_things_are_checked(client, name):
    for kind in ("searches", "sets"):
        assert client.get(f"/api/{kind}/{name}").status_code in (404, 200 if name == "." else 404)
        assert client.delete(f"/api/{kind}/{name}").status_code in (404, 405)
    assert client.post(f"/api/searches/{name}/replay").status_code in (404, 405)


# -- what ------------------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size, with hardly any content."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (8001, 8001), (200_000, 2)])
def test_bombs_are_refused_before_they_are_decoded(client, size):
    message = error(client.post("/api/uploads", files={"file": bomb(*size)}), 413, "too_many_pixels")
    assert f"{size[0]} x {size[1]}" in message or "more pixels than the 64,000,000 that are allowed" in message


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"GIF89a", bomb(10, 10),
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
)  # fmt: skip
def test_what_is_no_image_is_refused_whatever_its_name_says(client, content):
    answer = client.post("/api/uploads", files={"file": ("drawing.png", content, "image/png")})
    error(answer, 415, "no_image")


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_the_content_decides_about_the_type(client, kind):
    content = png(draw(1, "top").convert("RGB"), kind)
    assert client.post("/api/uploads", files={"file": ("notes.txt", content, "text/plain")}).status_code == 201


def test_an_upload_may_be_as_large_as_the_limit(make):
    content = png(draw(1, "top"))
    good, bad = make(upload_bytes=len(content)), make(upload_bytes=len(content) - 1)
    assert post_form(good, form(content)).status_code == 201
    assert "MB at most" in error(post_form(bad, form(content)), 413, "too_large")


def test_an_announced_size_is_judged_before_reading(make):
    client = make(upload_bytes=1000)
    error(post_form(client, b"", **{"Content-Length": str(10**12)}), 413, "too_large")


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [("/api/uploads", "multipart/form-data; boundary=x", 50_000 + FORM_BYTES), ("/api/sets", "application/json", 9000)],
)
def test_a_body_without_a_length_is_read_no_further_than_its_limit(make, path, kind, limit):
    client, sent = make(upload_bytes=50_000, body_bytes=9000), 0

    async def receive():
        nonlocal sent
        sent += 1000
        start = form(b"")[:-9] if sent == 1000 and "form" in kind else b'{"name": "' if sent == 1000 else b""
        return {"type": "http.request", "body": start + b"a" * (1000 - len(start)), "more_body": True}

    status, body = talk(client.app, path, kind, receive)
    assert status == 413
    assert json.loads(body)["error"]["code"] == "too_large"
    assert sent <= limit + 2000


def test_a_body_that_does_not_come(make):
    client, never = make(patience=0.05), asyncio.Event()

    async def receive():
        await never.wait()

    status, body = talk(client.app, "/api/sets", "application/json", receive)
    assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")


def test_a_body_that_drips(make):
    client = make(patience=5, body_seconds=0.3)

    async def receive():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    status, body = talk(client.app, "/api/sets", "application/json", receive)
    assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/uploads", "multipart/form-data; boundary=x"), ("/api/sets", "application/json")]
)
def test_somebody_leaves_in_the_middle(client, caplog, path, kind):
    messages = [{"type": "http.request", "body": form(b"")[:-9], "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    assert talk(client.app, path, kind, receive)[0] == 400
    assert not any(each.levelno >= logging.ERROR for each in caplog.records)  # nothing is wrong with the server


def talk(app, path, kind, receive):
    """POST by ASGI itself: status and body of the answer."""
    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        headers = [(b"host", b"localhost"), (b"content-type", kind.encode()), (b"transfer-encoding", b"chunked")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http", "root_path": "",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(run())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422), (b"--x--\r\n", 422), (b"nonsense", 400), (form(b"a", field=b"image"), 422),
        (form(b"a")[:-9], 422), (b'--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n', 400),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--\r\n', 422),
        (form(b"a")[:-7] + b"\r\n" + form(b"b"), 400),
        (b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"a" * (FORM_BYTES + 9) + b"\r\n--x--\r\n", 400),
    ],
)  # fmt: skip
def test_forms_that_cannot_be_read(client, body, status):
    answer = post_form(client, body)
    assert answer.status_code in ({status, 415} if status == 422 else {status}), answer.text
    error(answer, answer.status_code)


def test_a_form_without_a_boundary(client):
    answer = client.post("/api/uploads", content=b"a", headers={"Content-Type": "multipart/form-data"})
    error(answer, 400, "bad_request")


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": ' + b"1" * 5000 + b"}", b"NaN", b""])
def test_bodies_that_are_no_json(client, body):
    answer = client.post("/api/sets", content=body, headers={"Content-Type": "application/json"})
    error(answer, 422 if body in (b"NaN", b"") else 400)


def test_names_are_only_shown(client, drawing):
    for given, shown in (("../../etc/passwd", "../../etc/passwd"), ("a\x07b\u202e.png", "ab.png"), ("", None)):
        answer = post_form(client, form(png(drawing), given.encode()))
        if shown:
            assert answer.json()["name"] == shown
    long = client.post("/api/uploads", files={"file": ("x" * 500 + ".png", png(drawing))}).json()["name"]
    assert len(long) == 120
    assert long.endswith(".png")


def test_an_upload_never_touches_the_disk(client, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    rough = Image.effect_noise((1800, 1500), 90)
    content = png(rough)
    assert len(content) > 2 << 20  # from 1 MB on, files of forms usually go to the disk
    assert client.post("/api/uploads", files={"file": ("a.png", content)}).status_code == 201


def test_the_least_recently_used_uploads_go(make):
    client = make(uploads=2)
    first, second = client.upload(draw(1, "top")), client.upload(draw(2, "top"))
    client.search({"upload": first}, limit=1)
    third = client.upload(draw(3, "top"))
    error(client.get(f"/api/uploads/{second}/image"), 410)
    assert client.get(f"/api/uploads/{first}/image").status_code == 200
    assert client.get(f"/api/uploads/{third}/image").status_code == 200


def test_uploads_are_bounded_by_bytes(make):
    drawings = [draw(number, "top") for number in range(4)]
    client = make(uploads_bytes=sum(len(png(each)) for each in drawings[2:]))
    keys = [client.upload(each) for each in drawings]
    alive = [client.get(f"/api/uploads/{key}/image").status_code for key in keys]
    assert alive == [410, 410, 200, 200]


def colour(number):
    return Image.merge("RGB", [draw(number, "top")] * 2 + [draw(5, "rear")])


def test_large_images_of_one_query_do_not_push_each_other_out(make):
    client = make(pixel_bytes=2 * 96 * 64 * 3)
    keys = [client.upload(colour(number)) for number in range(8)]
    decoded = client.service.uploads._decoded
    assert list(decoded) == keys[-2:]
    found = client.search(*({"upload": key} for key in keys), limit=3)
    assert [match["query"] for match in found["results"][0]["evidence"]] == list(range(8))
    assert len(decoded) == 2
    alone = make()
    for number in range(8):
        alone.upload(colour(number))
    assert len(alone.service.uploads._decoded) == 8
    assert alone.search(*({"upload": key} for key in keys), limit=3)["results"] == found["results"]


def test_an_image_is_decoded_once_while_it_is_kept(client, monkeypatch, drawing):
    asked, decode = [], client.service.uploads._decode
    monkeypatch.setattr(client.service.uploads, "_decode", lambda content: asked.append(1) or decode(content))
    key = client.upload(drawing)
    client.search({"upload": key}, {"upload": key, "mirror": True})
    client.get(f"/api/uploads/{key}/image")
    assert len(asked) == 1


def test_a_forgotten_image_stays_forgotten(client, drawing):
    uploads = client.service.uploads
    kept = uploads.get(client.upload(drawing))
    assert client.delete(f"/api/uploads/{kept.key}").status_code == 204
    assert not uploads._decoded
    assert uploads.image(kept).size == drawing.size  # a search that had begun goes on
    assert not uploads._decoded


def test_the_log_tells_no_content(make, caplog, drawing):
    client = make(token=TOKEN)
    logging.getLogger("fastreid.app.access").propagate = True
    caplog.set_level(logging.DEBUG)
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    key = client.upload(drawing, "secret project.png")
    client.save({"upload": key}, name="My secret", notes="hidden words")
    client.search(text="D1", filter={"title": "thing", "patents": ["D2"]})
    client.get("/api/designs?patent=D3")
    client.get("/api/nothing?patent=D3")
    client.put("/api/sets/" + "0" * 16 + "/items", json={"figure_id": "D5-top", "note": "hidden words"})
    lines = [json.loads(each.message) for each in caplog.records if each.name == "fastreid.app.access"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/api/uploads", 201), ("POST", "/api/search", 200), ("POST", "/api/searches", 201),
        ("POST", "/api/search", 200), ("GET", "/api/designs", 200), ("GET", "-", 404),
        ("PUT", "/api/sets/{set}/items", 404),
    ]  # fmt: skip
    assert all(set(line) == {"time", "method", "route", "status", "bytes", "ms"} for line in lines)
    assert all(line["bytes"] > 0 for line in lines)
    ours = " ".join(each.getMessage() for each in caplog.records if not each.name.startswith("httpx"))
    for secret in ("secret", "hidden", "D5", "D2", "D3", "thing", TOKEN, key):
        assert secret not in ours
