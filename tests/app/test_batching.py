"""Searches that come at the same time; a server that has too much to do."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from fastreid.app import batching
from fastreid.app.batching import SharedIndex
from fastreid.app.limits import Gate
from fastreid.app.problems import Problem
from fastreid.app.serve import bind
from fastreid.index import Filter, open_index
from tests.app.conftest import error
from tests.engine.search_cases import DESIGNS, VIEWS, PixelEncoder, draw

LIKE = {"query": [{"figure": "D3-rear"}], "limit": 4}


class Slow:
    """An index whose searches wait for ``go`` and note how much was asked at once."""

    def __init__(self, index):
        self._index, self.go, self.asked = index, threading.Event(), []
        self.entered = threading.Event()

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, vectors, *given):
        self.entered.set()
        self.go.wait(20)
        self.asked.append((len(vectors), given))
        return self._index.search(vectors, *given)


@pytest.fixture
def index(folder):
    with open_index(str(folder / "index")) as index:
        yield index


@pytest.fixture
def vectors():
    return PixelEncoder().encode([draw(design, view) for design in range(DESIGNS) for view in VIEWS])


def start(pool, shared, *calls):
    """Submit one search that holds the index, then others, and wait until they all queue."""
    tasks = [pool.submit(shared.search, *calls[0])]
    assert shared._index.entered.wait(10)
    tasks += [pool.submit(shared.search, *call) for call in calls[1:]]
    for _ in range(2000):
        if len(shared._waiting) == len(calls) - 1:
            break
        threading.Event().wait(0.005)
    shared._index.go.set()
    return tasks


def same(found, alone):
    np.testing.assert_array_equal(found.rows, alone.rows)
    np.testing.assert_array_equal(found.scores, alone.scores)
    assert found.exact == alone.exact


def test_those_that_wait_share_a_pass_and_get_what_they_would_alone(index, vectors):
    shared, old = SharedIndex(Slow(index)), Filter(before=20140101)
    calls = [(vectors[:1], 5, None, 2)]
    calls += [(vectors[start : start + 1 + start % 3], 5, None, 2) for start in range(1, 12)]
    calls += [(vectors[3:4], 7, None, 2), (vectors[4:5], 5, old, 2), (vectors[5:7], 5, old, 2)]
    with ThreadPoolExecutor(len(calls)) as pool:
        found = [task.result(20) for task in start(pool, shared, *calls)]
    for one, call in zip(found, calls, strict=True):
        same(one, index.search(*call))
    assert shared.passes == len(shared._index.asked) == 4
    assert sorted(asked for asked, _ in shared._index.asked) == [1, 1, 3, sum(1 + start % 3 for start in range(1, 12))]
    assert not shared._waiting


def test_one_bad_query_among_others(index, vectors):
    shared = SharedIndex(Slow(index))
    bad = np.full((1, vectors.shape[1]), np.nan, np.float32)
    calls = [(vectors[:1], 3), (vectors[1:2], 3), (bad, 3), (vectors[2:3], 3)]
    with ThreadPoolExecutor(4) as pool:
        tasks = start(pool, shared, *calls)
        with pytest.raises(ValueError, match="NaN"):
            tasks[2].result(20)
        for place in (0, 1, 3):
            same(tasks[place].result(20), index.search(*calls[place]))
    with pytest.raises(ValueError, match="NaN"):
        shared.search(bad, 3)
    with pytest.raises(ValueError, match="shape"):
        shared.search(vectors[:, :5], 3)


def test_many_threads(index, vectors):
    shared, calls = SharedIndex(index), []
    for number in range(200):
        filter = [None, Filter(locarno=("06",)), Filter(view=("top",))][number % 3]
        calls.append((vectors[number % 20 : number % 20 + 1 + number % 4], 1 + number % 5, filter))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda call: shared.search(*call), calls))
    for one, call in zip(found, calls, strict=True):
        same(one, index.search(*call))
    assert shared.passes <= 200


def test_counts_are_kept_for_one_version(own_folder, monkeypatch):
    asked = []
    with open_index(str(own_folder / "index"), write=True) as index:
        shared, count = SharedIndex(index), index.count
        monkeypatch.setattr(index, "count", lambda *given: asked.append(given) or count(*given))
        for _ in range(3):
            assert shared.count(Filter(locarno=("06",))).figures == 12
            assert shared.facets()["view"]["top"].figures == 8
        assert len(asked) == 1
        index.delete(patents=["D0"])
        assert shared.count(Filter(locarno=("06",))).figures == 9
        assert shared.count(Filter(locarno=("06",)), 2).figures == 12
        assert len(asked) == 2
        monkeypatch.setattr("fastreid.app.batching.COUNTS", 3)
        for year in range(2010, 2020):
            shared.count(Filter(before=year * 10000 + 101))
        assert len(shared._counts) == 3


# -- too much to do --------------------------------------------------------------------------------------------------


def test_a_gate_lets_some_in_some_wait_and_refuses_more():
    async def run():
        gate, go = Gate(2, 1, 20), threading.Event()
        tasks = [asyncio.create_task(gate.run(go.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as raised:
            await gate.run(int)
        assert (raised.value.status, raised.value.headers()) == (503, {"Retry-After": "1"})
        go.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert await gate.run(int, "5") == 5
        gate.close()

    asyncio.run(run())


def test_a_gate_does_not_let_wait_for_ever_and_forgets_failures():
    async def run():
        gate, go = Gate(1, 5, 0.05), threading.Event()
        task = asyncio.create_task(gate.run(go.wait, 10))
        await asyncio.sleep(0.01)
        with pytest.raises(Problem) as raised:
            await gate.run(int)
        assert (raised.value.status, raised.value.headers()) == (503, {"Retry-After": "2"})
        go.set()
        await task
        for _ in range(9):
            with pytest.raises(ZeroDivisionError):
                await gate.run(lambda: 1 / 0)
        assert await gate.run(int, "5") == 5
        gate.close()

    asyncio.run(run())


def test_a_busy_server_says_so_and_recovers(make, folder):
    index = Slow(open_index(str(folder / "index")))
    client = make(index=index, running=2, waiting=1)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.post, "/api/search", json=LIKE) for _ in range(8)]
        refused = 0
        for _ in range(2000):
            refused = sum(answer.done() for answer in answers)
            if refused == 5:
                break
            threading.Event().wait(0.005)
        assert client.get("/").status_code == 200  # the page itself still comes
        index.go.set()
        answers = [answer.result(20) for answer in answers]
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 5
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert busy.headers["retry-after"] == "1"
    assert "busy" in error(busy, 503, "busy")
    assert client.post("/api/search", json=LIKE).status_code == 200


def test_searches_at_the_same_time_over_http(client):
    bodies = [
        {"query": [{"figure": f"D{number % 8}-{VIEWS[number % 3]}"}], "limit": 3 + number % 2} for number in range(24)
    ]
    alone = [client.post("/api/search", json=body).json()["results"] for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: client.post("/api/search", json=body).json()["results"], bodies))
    assert found == alone


def test_a_large_index_is_looked_at_again_after_a_while_only(monkeypatch):
    class Large:
        def __init__(self):
            self.info, self.looks = SimpleNamespace(figures=50_000), 0

        def refresh(self):
            self.looks += 1
            return self.looks % 2 == 0  # every second look finds a new version

    now, large = [100.0], Large()
    monkeypatch.setattr(batching.time, "monotonic", lambda: now[0])
    shared = SharedIndex(large)
    assert [shared.refresh() for _ in range(4)] == [False, True, False, False]
    assert large.looks == 2
    now[0] += batching.STALE * 50_000 / batching.STALE_FIGURES
    assert [shared.refresh(), large.looks] == [False, 3]
    assert [shared.refresh(), large.looks] == [True, 4]


def test_answers_are_not_held_back_to_be_joined():
    """With Nagle's algorithm each answer would wait 40 ms for the client's acknowledgement."""

    async def flags():
        seen = asyncio.get_running_loop().create_future()

        def connected(reader, writer):
            accepted = writer.get_extra_info("socket")
            seen.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bind("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(seen, 20)

    assert asyncio.run(flags())
