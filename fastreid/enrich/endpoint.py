"""One request to an OpenAI-compatible endpoint.

``urllib`` suffices: a model thinks for seconds, so that kept connections would gain nothing, proxies come from the
environment, and a connection class of a few lines has the two timeouts that it lacks. Another HTTP library would be a
dependency for all who never ask a server.
"""

import email.utils
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

LARGEST = 16 << 20  # bytes of an answer
_PATH = "/chat/completions"


class EndpointError(ConnectionError):
    """The endpoint cannot be used as it is: wrong address, key or model, or it does not answer at all."""


class Refused(Exception):
    """The endpoint does not take this one request, and would not take it a second time."""


class TryAgain(Exception):
    """The request may succeed later.

    Attributes:
        after: seconds to wait at least, as the endpoint says.
        charged: whether the model may have worked, so that the request may cost something.
    """

    def __init__(self, message: str, after: float = 0.0, charged: bool = False):
        super().__init__(message)
        self.after, self.charged = after, charged


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote ("" for nothing), whether it was cut off, and the tokens that the endpoint counted."""

    text: str
    cut: bool
    tokens: tuple[int, int] | None


class Endpoint:
    """An address that answers chat completions.

    Args:
        url: up to the version, such as "http://127.0.0.1:8000/v1", or with /chat/completions.
        key: sent as a bearer token; "" for none. It is in no message of an error.
        connect_timeout, read_timeout: seconds until the connection stands, and from then on for the whole answer.
    """

    def __init__(self, url: str, key: str, connect_timeout: float, read_timeout: float):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"ENRICH.REWRITER.URL must be an address http(s)://host...; got '{url}'")
        self.url = url.rstrip("/") + ("" if parts.path.rstrip("/").endswith(_PATH) else _PATH)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        self.clear = parts.scheme == "http" and not here
        self._key, self._read_timeout = key, read_timeout
        times = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
        handlers = [_Http(times), _Https(times), _NoRedirect()]
        if here:  # what is for this machine stays on it, whatever proxy the environment names
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, body: Mapping[str, Any]) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            TryAgain: no answer in time, a broken one, or one of the states that pass (408, 409, 429, 5xx).
            Refused: this request is wrong to the endpoint (400, 413, 422).
            EndpointError: every request would be (401, 403, 404, redirections, ...).
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "fastreid"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers, method="POST")
        try:
            with self._opener.open(request) as response:
                content = self._read(response)
        except urllib.error.HTTPError as error:
            with error:
                self._raise_for(error)
        except TimeoutError as error:
            raise TryAgain("no answer in time", charged=True) from error
        except urllib.error.URLError as error:
            raise TryAgain(f"cannot connect: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(f"the connection broke: {type(error).__name__}: {error}", charged=True) from error
        return _answer(content)

    def _read(self, response) -> bytes:
        """Read the body in blocks, so that a server that drips does not outlast the timeout."""
        end, content = time.monotonic() + self._read_timeout, bytearray()
        while block := response.read1(1 << 16):
            content += block
            if time.monotonic() > end:
                raise TimeoutError
            if len(content) > LARGEST:
                raise TryAgain(f"the answer is longer than {LARGEST >> 20} MiB", charged=True)
        if response.length:
            raise http.client.IncompleteRead(bytes(content), response.length)
        return bytes(content)

    def _raise_for(self, error: urllib.error.HTTPError) -> None:
        text = " ".join(_beginning(error).split())[:300]
        said = f"{self.url} answered {error.code} {error.reason}" + (f": {text}" if text else "")
        said = said.replace(self._key, "***") if self._key else said
        if error.code in (408, 409, 429) or error.code >= 500:
            raise TryAgain(said, after=retry_after(error.headers.get("Retry-After"), time.time()))
        if error.code in (400, 413, 422):
            raise Refused(said)
        raise EndpointError(said)


def _beginning(error: urllib.error.HTTPError) -> str:
    """Return what has come of the text of an error; a connection that breaks here changes nothing."""
    try:
        return error.fp.read1(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def retry_after(value: str | None, now: float) -> float:
    """Return the seconds that a header Retry-After asks for, a number or a date; 0 for none and for what is neither."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _answer(content: bytes) -> Answer:
    try:
        found = json.loads(content)
        choice = found["choices"][0]
        text = choice["message"]["content"] or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise TryAgain(f"the answer is no chat completion ({type(error).__name__}: {error})", charged=True) from error
    return Answer(text, choice.get("finish_reason") == "length", _tokens(found.get("usage")))


def _tokens(usage: Any) -> tuple[int, int] | None:
    """Return (of the prompt, of the answer); ``None`` where the endpoint does not count."""
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else [None]
    sound = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    return (counts[0], counts[1]) if sound else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **kwargs) -> None:
        """A redirected POST would become a GET, and the key would go to another host."""


def _timed(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
    class Connection(kind):
        """Has another timeout once it stands."""

        def __init__(self, *args, connect_timeout: float, read_timeout: float, **kwargs):
            super().__init__(*args, **{**kwargs, "timeout": connect_timeout})
            self._read_timeout = read_timeout

        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(self._read_timeout)

    return Connection


class _Timed:
    """What both handlers share: the timeouts of their connections."""

    def __init__(self, times: Mapping[str, float]):
        super().__init__()
        self._times = times

    def _open(self, kind: type[http.client.HTTPConnection], request: urllib.request.Request):
        return self.do_open(partial(_timed(kind), **self._times), request)


class _Http(_Timed, urllib.request.HTTPHandler):
    def http_open(self, request):
        return self._open(http.client.HTTPConnection, request)


class _Https(_Timed, urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self._open(http.client.HTTPSConnection, request)
