"""The REST API and the page as an ASGI application.

All errors have one form, ``{"error": {"code", "message"}}``. Whatever reads the index, an image or a model runs in a
thread, in its turn (:class:`fastreid.app.limits.Gate`). FastAPI's own pages of documentation load scripts from
elsewhere and are left out; ``/api/openapi.json`` describes everything.

Lists of saved searches and sets leave out what cannot be read; the header ``Fastreid-Damaged`` then tells how many
there are. A facet lists its 500 most frequent values and those that the filter names.
"""

import contextlib
import logging
import os
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import fastreid
from fastreid.app import kept_routes, models, routes
from fastreid.app.bodies import Bounded
from fastreid.app.limits import Gate
from fastreid.app.problems import CODES, Problem, problem_of
from fastreid.app.security import Access, Guard
from fastreid.app.service import SearchService
from fastreid.index.blas import one_blas_thread
from fastreid.utils.errors import nearest

logger = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
COMMON = {
    status: {"model": models.ErrorAnswer, "description": text}
    for status, text in {
        400: "A request that cannot be read", 401: "A token is needed", 403: "Another page asked", 404: "Not there",
        408: "Its body did not arrive", 409: "Not possible as things are", 410: "No longer kept", 413: "Too large",
        415: "Of another type", 421: "Reached under a wrong name", 422: "A value that is not allowed",
        503: "Busy; try again", 507: "The disk is full",
    }.items()
}  # fmt: skip
FIELDS = {
    name
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, models.Strict)
    for name in kind.model_fields
}


def create_app(service: SearchService, guard: Guard | None = None) -> Access:
    """Return the application for one service."""
    guard, limits = guard or Guard(), service.limits
    gate = Gate(limits.running, limits.waiting, limits.patience)
    pictures = Gate(limits.decoding, limits.waiting, limits.patience)

    @contextlib.asynccontextmanager
    async def life(_):
        with one_blas_thread():  # all the time: scores are computed outside scans too, and clients keep both cores busy
            yield
        gate.close()
        pictures.close()
        service.close()

    app = FastAPI(
        title="fastreid search", version=fastreid.__version__, docs_url=None, redoc_url=None, lifespan=life,
        openapi_url="/api/openapi.json", description="Search an index of patent drawings.", responses=COMMON,
    )  # fmt: skip
    _add_errors(app)
    _add_page(app)
    routes.add_access(app, guard, service, gate)
    routes.add_uploads(app, service, pictures)
    routes.add_search(app, service, gate, pictures)
    kept_routes.add_searches(app, service, gate)
    kept_routes.add_sets(app, service, gate)
    kept_routes.add_exports(app, service, gate)
    app.add_middleware(Bounded, limits=limits)
    return Access(app, guard)


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, problem.headers())


def _add_errors(app: FastAPI) -> None:
    async def invalid(_, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])  # the first says whether body, query or path
        if first["type"] == "json_invalid":
            return _answer(Problem(400, "bad_request", "the body of this request is no JSON"))
        text = f"{place or 'the body'}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            text = f"there is no '{place}' here.{nearest(str(first['loc'][-1]), FIELDS)}"
        return _answer(Problem(422, "invalid", text))

    async def refused(_, error: HTTPException) -> JSONResponse:
        words = {404: "there is nothing at this address", 405: "this address does not take this method"}
        code, text = CODES.get(error.status_code, "refused"), words.get(error.status_code, str(error.detail))
        return JSONResponse(Problem(error.status_code, code, text).body(), error.status_code, error.headers)

    async def failed(_, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem is None:
            logger.exception("a request failed", exc_info=error)
            problem = Problem(500, "bug", "the server failed over this request; its log says why")
        return _answer(problem)

    async def left(_, __) -> JSONResponse:
        return _answer(Problem(400, "bad_request", "the connection ended before the request did"))

    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    for kind in (Problem, OSError, ValueError, TypeError, KeyError, Exception):
        app.add_exception_handler(kind, failed)


def _add_page(app: FastAPI) -> None:
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}

    def file_answer(name: str, request: Request) -> Response:
        path = files.get(name)
        if path is None or not path.is_file():
            raise HTTPException(404)
        answer = FileResponse(
            path, media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"}, stat_result=os.stat(path)
        )
        if answer.headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={name: answer.headers[name] for name in ("etag", "cache-control")})
        return answer

    @app.get("/", include_in_schema=False)
    async def page(request: Request):
        return file_answer("index.html", request)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request):
        return file_answer("icon.svg", request)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str, request: Request):
        return file_answer(name, request)
