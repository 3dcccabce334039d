"""Guests on the line that do not get round to a request."""

import asyncio

import pytest

pytest.importorskip("uvicorn", reason="the search service needs uvicorn")

import uvicorn

from fastreid.app import protocol


async def app(scope, receive, send):
    """Answers "/slow" only after longer than a request may take to arrive."""
    assert scope["type"] == "http"
    await asyncio.sleep(0.8 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def talk(monkeypatch):
    """Run ``talk(port)`` beside a server that waits 0.4 seconds for headers."""
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.4)

    def run(work):
        async def both():
            config = uvicorn.Config(
                app, port=0, http=protocol.PatientProtocol, lifespan="off", log_level="error", timeout_keep_alive=60
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                return await asyncio.wait_for(work(server.servers[0].sockets[0].getsockname()[1]), 20)
            finally:
                server.should_exit = True
                await task

        return asyncio.run(both())

    return run


def request(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return await reader.readexactly(2)


def test_who_sends_letter_by_letter_is_shown_out(talk):
    async def work(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        for letter in request() * 4:
            writer.write(bytes([letter]))
            sent += 1
            try:
                if not await asyncio.wait_for(reader.read(1), 0.05):
                    return sent
            except asyncio.TimeoutError:
                continue
            except ConnectionError:
                return sent
        return None

    sent = talk(work)
    assert sent is not None
    assert sent < len(request())


def test_who_sends_nothing_is_shown_out(talk):
    async def work(port):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        return await reader.read()

    assert talk(work) == b""


def test_whose_second_request_does_not_come_is_shown_out(talk):
    async def work(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.2)
        writer.write(request())
        first = await answer(reader)
        await asyncio.sleep(0.3)  # more than 0.4 since the start, less since the answer
        writer.write(request())
        second = await answer(reader)
        writer.write(request()[:9])
        return first, second, await reader.read()

    assert talk(work) == (b"ok", b"ok", b"")


def test_an_answer_may_take_longer(talk):
    async def work(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/slow"))
        first = await answer(reader)
        writer.write(request("/slow") + request())  # the second waits behind the first
        return first, await answer(reader), await answer(reader)

    assert talk(work) == (b"ok", b"ok", b"ok")
