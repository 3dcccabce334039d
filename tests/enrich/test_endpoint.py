"""One request, against a server that misbehaves."""

import socket
import time

import pytest

from fastreid.enrich import endpoint as module
from fastreid.enrich.endpoint import Endpoint, EndpointError, Refused, TryAgain, retry_after
from tests.enrich.server import Server, completion, cut_short, dripping, raw, reset, says, slow, status

BODY = {"model": "m", "messages": [{"role": "user", "content": "a list of exactly 2 strings"}]}
KEY = "sk-very-secret"


@pytest.fixture
def server():
    with Server() as running:
        yield running


def ask(server, key=KEY, read_timeout=5.0, **other):
    return Endpoint(other.pop("url", server.url), key, 5.0, read_timeout).ask(BODY)


def test_a_good_answer(server):
    answer = ask(server)
    assert answer.text.startswith('["This is')
    assert (answer.cut, answer.tokens) == (False, (100, 200))
    assert server.bodies == [BODY]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["Content-Type"] == "application/json"


def test_no_key_is_sent_where_there_is_none(server):
    ask(server, key="")
    assert "Authorization" not in server.headers[0]


def test_the_address_may_hold_the_whole_path(server):
    for url in (server.url, server.url + "/", server.url + "/chat/completions", server.url + "/chat/completions/"):
        assert Endpoint(url, "", 1, 1).url.rstrip("/") == server.url + "/chat/completions"


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "file:///etc/passwd", "ftp://host/v1", "http://"])
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match=r"ENRICH\.REWRITER\.URL must be an address http\(s\)://host"):
        Endpoint(url, "", 1, 1)


def test_clear_text_over_a_network_is_known():
    assert Endpoint("http://example.org/v1", "", 1, 1).clear
    assert not any(Endpoint(url, "", 1, 1).clear for url in ("https://example.org/v1", "http://localhost:1/v1"))


@pytest.mark.parametrize(
    ("action", "charged", "message"),
    [
        (slow(0.6), True, "no answer in time"),
        (dripping(2.0), True, "no answer in time"),
        (reset, True, "the connection broke"),
        (cut_short, True, "the connection broke: IncompleteRead"),
        (raw(b"\xff\xfe\x00garbage\x80"), True, "no chat completion"),
        (raw(b"<html>busy</html>"), True, "no chat completion"),
        (raw(b"[" * 100_000), True, "no chat completion"),
        (raw(b'{"error": "busy"}'), True, "no chat completion"),
        (raw(b'{"choices": []}'), True, "no chat completion"),
        (raw(b'{"choices": [{"message": {"content": [1]}}]}'), True, "no chat completion"),
        (raw(b"null"), True, "no chat completion"),
        (status(500, "out of memory"), False, "answered 500 Internal Server Error: out of memory"),
        (status(503), False, "answered 503"),
        (status(429, "slow down"), False, "answered 429"),
    ],
)
def test_what_may_pass(server, action, charged, message):
    server.script = [action]
    began = time.monotonic()
    with pytest.raises(TryAgain, match=message) as caught:
        ask(server, read_timeout=0.25)
    assert caught.value.charged is charged
    assert caught.value.after == 0
    assert time.monotonic() - began < 1.5
    assert len(server.bodies) == 1


def test_an_endless_answer_is_cut(server, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1 << 20)
    server.script = [raw(b" " * (3 << 20))]
    with pytest.raises(TryAgain, match="longer than 1 MiB"):
        ask(server)


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryAgain, match="cannot connect") as caught:
        Endpoint(f"http://127.0.0.1:{port}/v1", "", 1, 1).ask(BODY)
    assert not caught.value.charged


def test_a_connection_that_never_stands_ends_in_time():
    """A full queue of connections that nobody accepts: the next one hangs."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        others = []
        for _ in range(3):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(deaf.getsockname())
            others.append(other)
        began = time.monotonic()
        with pytest.raises(TryAgain) as caught:
            Endpoint(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", "", 0.2, 30).ask(BODY)
        assert time.monotonic() - began < 5
        assert "cannot connect" in str(caught.value)
        for other in others:
            other.close()


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_that_is_refused(server, code):
    server.script = [status(code, "bad words")]
    with pytest.raises(Refused, match=f"answered {code} .*bad words"):
        ask(server)


@pytest.mark.parametrize("code", [401, 402, 403, 404, 405])
def test_an_endpoint_that_is_of_no_use(server, code):
    server.script = [status(code, f"the key {KEY} is unknown")]
    with pytest.raises(EndpointError, match=f"answered {code} ") as caught:
        ask(server)
    assert KEY not in str(caught.value)
    assert "the key *** is unknown" in str(caught.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(server, code):
    server.script = [status(code, Location=server.url + "/elsewhere")]
    with pytest.raises(EndpointError, match=f"answered {code} "):
        ask(server)
    assert len(server.bodies) == 1


def test_a_proxy_is_for_other_machines_only(server, monkeypatch):
    with Server() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(server).tokens == (100, 200)
        assert (len(server.bodies), len(proxy.bodies)) == (1, 0)
        assert ask(server, url="http://llm.invalid/v1").tokens == (100, 200)
        assert (len(server.bodies), len(proxy.bodies)) == (1, 1)


def test_what_the_endpoint_does_not_say(server):
    for usage in (
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 1},
    ):
        server.script = [raw(completion("x", usage).encode())]
        assert ask(server).tokens is None
    server.script = [says(None), says("[", finish_reason="length")]
    assert ask(server).text == ""
    assert ask(server).cut is True


def test_retry_after(server):
    now = 1_000_000_000.0  # Sun, 09 Sep 2001 01:46:40 GMT
    assert retry_after("7", now) == 7
    assert retry_after("Sun, 09 Sep 2001 01:47:40 GMT", now) == 60
    assert retry_after("Sun, 09 Sep 2001 01:45:40 GMT", now) == 0
    assert retry_after(None, now) == retry_after("", now) == retry_after("soon", now) == retry_after("-3", now) == 0
    server.script = [status(429, Retry_After="11")]
    with pytest.raises(TryAgain) as caught:
        ask(server)
    assert caught.value.after == 11
