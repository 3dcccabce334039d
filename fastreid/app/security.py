"""Who may talk to the service, and what a browser may do with its answers: a layer around the whole application."""

import hashlib
import hmac
import json
import logging
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from fastreid.app.problems import Problem

logger = logging.getLogger("fastreid.app.access")
COOKIE = "fastreid_session"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = ("/api/login", "/api/status")  # without a token; the status then says only that there is a login
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# answers tell of designs that may not be published yet: no browser keeps them on a disk, unless they say otherwise
NOT_KEPT = {"Cache-Control": "no-store"}
PAGE = ("/", "/favicon.ico")


class Guard:
    """The rules of access.

    Args:
        token: what scripts send as ``Authorization: Bearer TOKEN`` and people enter once; "" for none.
        hosts: names under which the service may be reached, which defends it against pages whose own name was made to
            lead here. Empty: any, for a service with a token.
    """

    def __init__(self, token: str = "", hosts: tuple[str, ...] = LOOPBACK):
        self.token, self.hosts = token, hosts
        self._key = secrets.token_bytes(32)

    @property
    def session(self) -> str:
        """Value of the cookie; it ends with the process."""
        return hmac.new(self._key, self.token.encode(), hashlib.sha256).hexdigest()

    def accepts(self, token: str) -> bool:
        return bool(self.token) and hmac.compare_digest(token.encode(), self.token.encode())

    def is_known(self, headers: dict[str, str]) -> bool:
        """Whether a request carries the token or the cookie of a login, or none is needed."""
        if not self.token:
            return True
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.accepts(value.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.session.encode())

    def check(self, method: str, path: str, headers: dict[str, str]) -> None:
        """Raise a ``Problem`` for a request that may not be answered."""
        host = headers.get("host", "")
        if self.hosts and _name_of(host) not in self.hosts:
            raise Problem(421, "wrong_host", "this service is not reached under this name")
        if path.startswith("/api/") and path not in OPEN and not self.is_known(headers):
            raise Problem(401, "login", "enter the access token of this service")
        if method in ("POST", "PUT", "PATCH", "DELETE"):
            origin = headers.get("origin")
            if origin is not None and _place_of(origin) != host.lower():
                raise Problem(403, "wrong_origin", "another page may not use this service")
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                raise Problem(403, "wrong_origin", "another page may not use this service")
            self._check_type(path, headers)

    @staticmethod
    def _check_type(path: str, headers: dict[str, str]) -> None:
        if not int(headers.get("content-length") or 0) and "transfer-encoding" not in headers:
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if path == "/api/uploads" else "application/json"
        if kind != wanted:
            raise Problem(415, "content_type", f"the body of this request must be {wanted}")


def _place_of(origin: str) -> str:
    """Name and port of an Origin header; "" for one that is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Access:
    """ASGI layer: checks each request, adds the headers and writes a line of the log, which tells no content.

    Args:
        route_of: the path with its variable parts by name, for the log.
    """

    def __init__(self, app, guard: Guard):
        self.app, self.guard = app, guard

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, told = time.perf_counter(), {"status": 0, "bytes": 0}

        async def answer(message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                known = {name.lower() for name, _ in message["headers"]}
                kept = {} if scope["path"] in PAGE or scope["path"].startswith("/static/") else NOT_KEPT
                extra = {name.lower().encode(): value.encode() for name, value in {**HEADERS, **kept}.items()}
                message["headers"] = [*message["headers"], *((n, v) for n, v in extra.items() if n not in known)]
            elif message["type"] == "http.response.body":
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self.guard.check(scope["method"], scope["path"], headers)
        except Problem as problem:
            await refuse(problem, answer)
        except ValueError:  # a Content-Length that is no number
            await refuse(Problem(400, "bad_request", "the headers of this request cannot be read"), answer)
        else:
            await self.app(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            line = {
                "method": scope["method"],
                "route": route,
                **told,
                "ms": round(1000 * (time.perf_counter() - start)),
            }
            logger.info(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **line}))


async def refuse(problem: Problem, send) -> None:
    """Send the answer of a ``Problem`` by ASGI."""
    body = json.dumps(problem.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **problem.headers()}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
