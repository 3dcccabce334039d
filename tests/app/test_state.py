"""Saved searches and sets: kept, edited, replayed, damaged, on a full disk."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid.app.problems import Problem
from fastreid.app.state import State
from fastreid.engine.search_record import digest_of
from fastreid.index import open_index
from tests.app.conftest import error
from tests.engine.search_cases import draw, figures_of

ROOT = Path(__file__).resolve().parents[2]
LIKE = {"figure": "D3-rear"}


def path_of(client, name, kind="searches"):
    folder = client.service.state.folder / kind
    return folder / name if kind == "searches" else folder / f"{name}.json"


# -- searches --------------------------------------------------------------------------------------------------------


def test_a_search_is_saved_with_its_image(client, drawing):
    key = client.upload(drawing, "mine.png")
    found = client.search({"upload": key}, filter={"before": 20160101}, limit=3)
    answer = client.post("/api/searches", json={"search": found["search"], "name": "Chair", "notes": "first\nsecond"})
    saved = answer.json()
    assert answer.status_code == 201
    assert re.fullmatch("[0-9a-f]{16}", saved["id"])
    told = {name: saved[name] for name in ("name", "notes", "version", "query_figures", "filter", "total", "best")}
    assert told == {
        "name": "Chair", "notes": "first\nsecond", "version": 2, "query_figures": 1, "filter": {"before": 20160101},
        "total": 6, "best": "D3",
    }  # fmt: skip
    assert client.get("/api/searches").json() == [saved]
    client.delete(f"/api/uploads/{key}")
    record = client.get(f"/api/searches/{saved['id']}").json()
    assert record["results"] == found["results"]
    assert record["request"]["query"][0]["upload"] == key
    assert record["images"] == [{"upload": key, "sha256": key, "name": "mine.png", "width": 96, "height": 64}]
    assert (record["model"]["weights"], record["index"]["version"], record["exact"]) == ("00ff", 2, True)
    again = client.search({"upload": key}, limit=1)  # the record brought its image back
    assert again["results"][0]["patent"] == "D3"


def test_saved_things_are_for_their_owner_only(client, drawing):
    name = client.save({"upload": client.upload(drawing)})
    made = client.post("/api/sets", json={"name": "a"}).json()["id"]
    client.patch(f"/api/sets/{made}", json={"notes": "b"})
    client.patch(f"/api/searches/{name}", json={"notes": "b"})
    folder = client.service.state.folder
    assert len(list(folder.rglob("*"))) == 7
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_saved_searches_are_edited_listed_and_deleted(client):
    names = [client.save(LIKE, name=name) for name in "ab"]
    edited = client.patch(f"/api/searches/{names[0]}", json={"notes": "new"}).json()
    assert (edited["name"], edited["notes"]) == ("a", "new")
    assert client.patch(f"/api/searches/{names[0]}", json={"name": ""}).json()["name"] == ""
    assert client.get(f"/api/searches/{names[0]}").json()["notes"] == "new"
    assert {each["id"] for each in client.get("/api/searches").json()} == set(names)
    assert client.delete(f"/api/searches/{names[0]}").status_code == 204
    assert [each["id"] for each in client.get("/api/searches").json()] == names[1:]
    assert not path_of(client, names[0]).exists()
    for call in (client.get, client.delete):
        error(call(f"/api/searches/{names[0]}"), 404, "not_found")
    error(client.patch(f"/api/searches/{names[0]}", json={"name": "c"}), 404, "not_found")
    error(client.post(f"/api/searches/{names[0]}/replay"), 404, "not_found")


def test_only_what_was_searched_can_be_saved(client, monkeypatch):
    error(client.post("/api/searches", json={"search": "0" * 32}), 410, "search_gone")
    monkeypatch.setattr("fastreid.app.service.RECENT", 1)
    first, second = client.search(LIKE)["search"], client.search(LIKE)["search"]
    error(client.post("/api/searches", json={"search": first}), 410, "search_gone")
    assert client.post("/api/searches", json={"search": second}).status_code == 201


def test_recent_searches_are_bounded_by_their_images(client, monkeypatch):
    keys = [client.upload(draw(number, "top")) for number in range(3)]
    size = max(len(client.service.uploads.get(key).content) for key in keys)
    monkeypatch.setattr("fastreid.app.service.RECENT_BYTES", 2 * size)
    searches = [client.search({"upload": key}, limit=1)["search"] for key in keys for _ in range(2)]
    answers = [client.post("/api/searches", json={"search": search}).status_code for search in searches]
    assert answers[-4:] == [201] * 4
    assert answers[0] == 410


def test_a_replay_gives_the_same(client, drawing):
    upload = {"upload": client.upload(drawing), "box": [2, 2, 90, 60], "mirror": True}
    name = client.save(upload, LIKE, variants={"rotations": True}, filter={"locarno": ["14"]}, limit=3)
    client.delete(f"/api/uploads/{upload['upload']}")
    answer = client.post(f"/api/searches/{name}/replay").json()
    assert (answer["same"], answer["differences"], answer["notes"]) == (True, [], [])
    assert answer["recorded_version"] == answer["version"] == 2
    assert answer["response"]["results"] == client.get(f"/api/searches/{name}").json()["results"]


def test_a_replay_of_a_changed_index(make, own_folder):
    client = make(root=own_folder)
    name = client.save(LIKE, limit=5)
    first = client.get(f"/api/searches/{name}").json()["results"][0]["patent"]
    with open_index(str(own_folder / "index"), write=True) as index:
        index.delete(patents=[first])
        assert client.search(LIKE)["version"] == 3
        answer = client.post(f"/api/searches/{name}/replay").json()
        assert (answer["same"], answer["version"]) == (True, 2)  # the recorded version is still there
        index.compact()
    answer = client.post(f"/api/searches/{name}/replay").json()
    assert not answer["same"]
    assert answer["recorded_version"] == 2 < answer["version"]
    assert any(first in words for words in answer["differences"])
    assert "no longer has version 2" in answer["notes"][0]


def test_a_replay_with_another_model(client):
    name = client.save(LIKE)
    path = path_of(client, name) / "record.json"
    record = json.loads(path.read_text())
    record["model"]["weights"] = "1234"
    path.write_text(json.dumps(record))
    assert "its checksum is wrong" in error(client.post(f"/api/searches/{name}/replay"), 409, "damaged")
    path.write_text(json.dumps(record | {"sha256": digest_of(record)}))
    assert "another model" in error(client.post(f"/api/searches/{name}/replay"), 409, "other_model")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', "null", "[" * 100_000, '{"format": 1}'])
def test_a_damaged_search_is_left_out_of_the_list(client, content):
    good, bad = client.save(LIKE), client.save(LIKE)
    (path_of(client, bad) / "record.json").write_text(content)
    answer = client.get("/api/searches")
    assert [each["id"] for each in answer.json()] == [good]
    assert answer.headers["fastreid-damaged"] == "1"
    for answer in (client.get(f"/api/searches/{bad}"), client.post(f"/api/searches/{bad}/replay")):
        message = error(answer, 409, "damaged")
        assert str(client.service.state.folder) not in message
    error(client.post("/api/exports", json={"search": bad, "format": "csv"}), 409, "damaged")
    assert client.delete(f"/api/searches/{bad}").status_code == 204


def test_a_damaged_query_image(client, drawing):
    key = client.upload(drawing)
    name = client.save({"upload": key})
    (path_of(client, name) / key).write_bytes(b"something else")
    error(client.post(f"/api/searches/{name}/replay"), 409, "damaged")
    (path_of(client, name) / key).unlink()
    error(client.post(f"/api/searches/{name}/replay"), 404, "not_found")
    (path_of(client, name) / "record.json").unlink()
    error(client.get(f"/api/searches/{name}"), 404)


# -- sets ------------------------------------------------------------------------------------------------------------


def test_sets(client):
    made = client.post("/api/sets", json={"name": "Prior art"})
    assert made.status_code == 201
    name = made.json()["id"]
    assert (made.json()["name"], made.json()["notes"], made.json()["items"]) == ("Prior art", "", [])
    put = client.put(f"/api/sets/{name}/items", json={"figure_id": "D3-top", "note": "", "search": "ab"}).json()
    client.put(f"/api/sets/{name}/items", json={"figure_id": "D1-top", "note": "like"})
    found = client.put(f"/api/sets/{name}/items", json={"figure_id": "D3-top", "note": "legs"}).json()
    assert [(item["figure_id"], item["patent"], item["note"]) for item in found["items"]] == [
        ("D3-top", "D3", "legs"), ("D1-top", "D1", "like"),
    ]  # fmt: skip
    assert found["items"][0]["search"] == "ab"
    assert found["items"][0]["added"] == put["items"][0]["added"]
    assert found["items"][0]["figure"]["view"] == "top"
    assert client.get(f"/api/sets/{name}").json() == found == client.get("/api/sets").json()[0]
    error(client.put(f"/api/sets/{name}/items", json={"figure_id": "D99"}), 404, "not_found")
    left = client.delete(f"/api/sets/{name}/items", params={"figure_id": "D3-top"}).json()
    assert [item["figure_id"] for item in left["items"]] == ["D1-top"]
    error(client.delete(f"/api/sets/{name}/items", params={"figure_id": "D3-top"}), 404, "not_found")
    assert client.patch(f"/api/sets/{name}", json={"name": "New", "notes": "n"}).json()["notes"] == "n"
    assert client.delete(f"/api/sets/{name}").status_code == 204
    assert client.get("/api/sets").json() == []
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("PUT", "/items")):
        body = {"PATCH": {"name": "a"}, "PUT": {"figure_id": "D1-top"}}.get(method)
        error(client.request(method, f"/api/sets/{name}{path}", json=body), 404, "not_found")


def test_a_figure_of_a_set_that_left_the_index(make, own_folder):
    client = make(root=own_folder)
    name = client.post("/api/sets", json={"name": "a"}).json()["id"]
    client.put(f"/api/sets/{name}/items", json={"figure_id": "D3-top", "note": "kept"})
    with open_index(str(own_folder / "index"), write=True) as index:
        index.delete(patents=["D3"])
    client.get("/api/status")
    item = client.get(f"/api/sets/{name}").json()["items"][0]
    assert (item["figure"], item["patent"], item["note"]) == (None, "D3", "kept")
    changed = client.put(f"/api/sets/{name}/items", json={"figure_id": "D3-top", "note": "gone"}).json()
    assert changed["items"][0]["note"] == "gone"


@pytest.mark.parametrize(
    "change", [lambda s: "", lambda s: s[:-5], lambda s: "[]", lambda s: s.replace('"D1"', "1"), lambda s: "null",
               lambda s: s.replace('"note"', '"n"'), lambda s: s.replace('"id": "', '"id": "a'), lambda s: "[" * 99_999,
               lambda s: s.replace('"items": [', '"items": [1, ')],
)  # fmt: skip
def test_a_damaged_set_is_left_out_of_the_list(client, change):
    good, bad = (client.post("/api/sets", json={"name": name}).json()["id"] for name in "ab")
    client.put(f"/api/sets/{bad}/items", json={"figure_id": "D1-top"})
    path = path_of(client, bad, "sets")
    path.write_text(change(path.read_text()))
    answer = client.get("/api/sets")
    assert [each["id"] for each in answer.json()] == [good]
    assert answer.headers["fastreid-damaged"] == "1"
    error(client.get(f"/api/sets/{bad}"), 409, "damaged")
    error(client.put(f"/api/sets/{bad}/items", json={"figure_id": "D1-top"}), 409, "damaged")
    assert client.delete(f"/api/sets/{bad}").status_code == 204


# -- the folder ------------------------------------------------------------------------------------------------------


def fill_the_disk(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_loses_nothing(client, monkeypatch, drawing):
    name, search = client.save(LIKE, name="a"), client.search(LIKE)["search"]
    made = client.post("/api/sets", json={"name": "b"}).json()
    before = sorted((path, path.read_bytes()) for path in client.service.state.folder.rglob("*") if path.is_file())
    with monkeypatch.context() as patch:
        fill_the_disk(patch)
        for answer in (
            client.post("/api/searches", json={"search": search}),
            client.patch(f"/api/searches/{name}", json={"name": "c"}),
            client.post("/api/sets", json={"name": "d"}),
            client.put(f"/api/sets/{made['id']}/items", json={"figure_id": "D1-top"}),
        ):
            assert "nothing was lost" in error(answer, 507, "disk_full")
    after = sorted((path, path.read_bytes()) for path in client.service.state.folder.rglob("*") if path.is_file())
    assert after == before
    assert client.post("/api/searches", json={"search": search}).status_code == 201


def test_half_a_search_of_a_killed_process_is_cleared_away(tmp_path):
    State(tmp_path)
    old, young = (tmp_path / "searches" / f".{digit * 16}" for digit in "ab")
    for path in (old, young):
        path.mkdir()
        (path / "image").write_bytes(b"confidential")
    os.utime(old, (time.time() - 7200,) * 2)
    state = State(tmp_path)
    assert not old.exists()
    assert young.exists()  # another process may be about to finish it
    assert state.searches() == ([], [])


def test_foreign_files_are_left_alone(tmp_path):
    state = State(tmp_path)
    for path in ("searches/readme.txt", "sets/notes.json", "sets/.x.json.tmp"):
        (tmp_path / path).write_text("hello")
    assert state.searches() == state.sets() == ([], [])
    with pytest.raises(Problem, match="no such set"):
        state.set("notes")


MARK = """
import sys
from fastreid.app.state import State
state = State(sys.argv[1])
for number in range(40):
    state.put_item(sys.argv[2], {"figure_id": f"{sys.argv[4]}-{number}", "patent": "D", "note": ""})
    state.edit_search(sys.argv[3], {"notes" if sys.argv[4] == "a" else "name": str(number)})
"""


def test_two_servers_on_one_folder(client):
    made, name = client.post("/api/sets", json={"name": "a"}).json()["id"], client.save(LIKE)
    folder = client.service.state.folder
    servers = [
        subprocess.Popen([sys.executable, "-c", MARK, str(folder), made, name, which], cwd=ROOT) for which in "ab"
    ]
    assert [server.wait(60) for server in servers] == [0, 0]
    marked = {item["figure_id"] for item in client.get(f"/api/sets/{made}").json()["items"]}
    assert marked == {f"{which}-{number}" for which in "ab" for number in range(40)}
    record = client.get(f"/api/searches/{name}").json()
    assert (record["name"], record["notes"]) == ("39", "39")
    lock = folder / ".lock"
    assert (lock.read_bytes(), lock.stat().st_mode & 0o777) == (b"", 0o600)


def test_sets_of_two_at_once(client):
    from concurrent.futures import ThreadPoolExecutor

    state, made = client.service.state, client.post("/api/sets", json={"name": "a"}).json()["id"]
    names = figures_of()["figure_id"].tolist()
    item = {"patent": "D", "note": ""}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: state.put_item(made, {"figure_id": name, **item}), names))
    assert {each["figure_id"] for each in state.set(made)["items"]} == set(names)
