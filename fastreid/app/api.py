"""The REST API and the page as an ASGI application.

All errors have one form, ``{"error": {"code", "message"}}``. Whatever reads the index, an image or a model runs in a
thread, in its turn (:class:`fastreid.app.limits.Gate`). FastAPI's own pages of documentation load scripts from
elsewhere and are left out; ``/api/openapi.json`` describes everything.
"""

import contextlib
import hashlib
import logging
from pathlib import Path

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

import fastreid
from fastreid.app import models
from fastreid.app.limits import Gate
from fastreid.app.problems import Problem, problem_of
from fastreid.app.security import COOKIE, Access, Guard
from fastreid.app.service import SearchService, as_png
from fastreid.engine.search_request import QueryItem, SearchRequest
from fastreid.utils.errors import nearest

logger = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
MULTIPART_BYTES = 4096  # of a form around its file
COMMON = {
    status: {"model": models.ErrorAnswer, "description": text}
    for status, text in {
        400: "A request that cannot be read", 401: "A token is needed", 403: "Another page asked", 404: "Not there",
        409: "Not possible as things are", 410: "No longer kept", 413: "Too large", 415: "Of another type",
        421: "Reached under a wrong name", 422: "A value that is not allowed", 503: "Busy; try again",
        507: "The disk is full",
    }.items()
}  # fmt: skip
PNG = {200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "A picture"}}

FILE = {
    200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "description": "A file",
    }
}


def create_app(service: SearchService, guard: Guard | None = None) -> Access:
    """Return the application for one service."""
    guard = guard or Guard()
    gate = Gate(service.limits)

    @contextlib.asynccontextmanager
    async def life(_):
        yield
        gate.close()
        service.close()

    app = FastAPI(
        title="fastreid search", version=fastreid.__version__, docs_url=None, redoc_url=None, lifespan=life,
        openapi_url="/api/openapi.json", description="Search an index of patent drawings.", responses=COMMON,
    )  # fmt: skip
    _add_errors(app)
    _add_page(app)
    _add_login(app, guard, service, gate)
    _add_uploads(app, service, gate)
    _add_search(app, service, gate)
    _add_saved(app, service, gate)
    _add_sets(app, service, gate)
    _add_exports(app, service, gate)
    _bound_bodies(app, service)
    return Access(app, guard)


# -- errors ----------------------------------------------------------------------------------------------------------


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, problem.headers())


def _add_errors(app: FastAPI) -> None:
    async def invalid(_, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        text = f"{place or 'the body'}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            text = f"there is no '{place}' here.{nearest(str(first['loc'][-1]), FIELDS)}"
        return _answer(Problem(422, "invalid", text))

    async def refused(_, error: HTTPException) -> JSONResponse:
        words = {404: "there is nothing at this address", 405: "this address does not take this method"}
        return _answer(Problem(error.status_code, "http", words.get(error.status_code, str(error.detail))))

    async def failed(_, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem is None:
            logger.exception("a request failed", exc_info=error)
            problem = Problem(500, "bug", "the server failed over this request; its log says why")
        return _answer(problem)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    for kind in (Problem, OSError, ValueError, TypeError, KeyError, Exception):
        app.add_exception_handler(kind, failed)


FIELDS = {
    name
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, models.Strict)
    for name in kind.model_fields
}


def _bound_bodies(app: FastAPI, service: SearchService) -> None:
    """Stop reading a JSON body at its limit, whatever its header says."""

    class Bounded:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send) -> None:
            if scope["type"] != "http" or scope["path"] == "/api/uploads":
                await self.inner(scope, receive, send)
                return
            read = 0

            async def bounded():
                nonlocal read
                message = await receive()
                read += len(message.get("body", b""))
                if read > service.limits.body_bytes:
                    raise HTTPException(413, "the body of this request is too large")
                return message

            await self.inner(scope, bounded, send)

    app.add_middleware(Bounded)


# -- page ------------------------------------------------------------------------------------------------------------


def _add_page(app: FastAPI) -> None:
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}

    def file_answer(name: str) -> FileResponse:
        path = files.get(name)
        if path is None or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def page():
        return file_answer("index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon():
        return file_answer("icon.svg")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str):
        return file_answer(name)


def _add_login(app: FastAPI, guard: Guard, service: SearchService, gate: Gate) -> None:
    @app.get("/api/status", response_model=models.Status, response_model_exclude_unset=True)
    async def status(request: Request):
        """What is served: the index, its model, limits."""
        if not guard.is_known(dict(request.headers)):
            return {"login": True}
        return {"version": fastreid.__version__, "login": bool(guard.token), **await gate.run(service.status)}

    @app.post("/api/login", status_code=204)
    async def login(body: models.LoginBody):
        """Enter the token once; the session is a cookie."""
        if not guard.accepts(body.token):
            raise Problem(401, "login", "this token is not right")
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, guard.session, httponly=True, samesite="strict", path="/")
        return answer


# -- images ----------------------------------------------------------------------------------------------------------


def _picture(content: bytes, request: Request, lasting: bool = True) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600" if lasting else "no-store"}
    if lasting and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


def _add_uploads(app: FastAPI, service: SearchService, gate: Gate) -> None:
    limit = service.limits.upload_bytes

    async def read_form(request: Request) -> tuple[bytes, str]:
        """The file of a form, read no further than the limit."""
        too_large = Problem(413, "too_large", f"an image may have {limit >> 20} MB at most")
        if int(request.headers.get("content-length") or 0) > limit + MULTIPART_BYTES:
            raise too_large
        read, real = 0, request._receive

        async def bounded():
            nonlocal read
            message = await real()
            read += len(message.get("body", b""))
            if read > limit + MULTIPART_BYTES:
                raise too_large
            return message

        request._receive = bounded
        try:
            async with request.form(max_files=1, max_fields=4, max_part_size=MULTIPART_BYTES) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise Problem(422, "invalid", "the form needs an image as its part 'file'")
                return await file.read(), file.filename or ""
        except (MultiPartException, HTTPException) as error:
            raise Problem(400, "bad_request", "the form of this request cannot be read") from error

    body = {"content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}},
    }}}, "required": True}  # fmt: skip

    @app.post("/api/uploads", status_code=201, response_model=models.UploadAnswer, openapi_extra={"requestBody": body})
    async def upload(request: Request):
        """Bring an image; the answer names the figures on it."""
        if service.encoder is None:
            raise Problem(409, "no_model", "this service runs without a model: search for figures of the index")
        content, name = await read_form(request)
        return await gate.run(service.upload, content, name)

    @app.get("/api/uploads/{upload}/image", response_class=Response, responses=PNG)
    async def upload_image(upload: str, request: Request, side: int = Query(1200, ge=32, le=2000)):
        return _picture(await gate.run(lambda: as_png(service.uploads.get(upload).image, side)), request, lasting=False)

    @app.delete("/api/uploads/{upload}", status_code=204)
    async def forget(upload: str):
        """Forget an image at once."""
        service.uploads.drop(upload)
        return Response(status_code=204)


def _add_search(app: FastAPI, service: SearchService, gate: Gate) -> None:
    @app.post("/api/search", response_model=models.SearchAnswer, response_model_exclude_unset=True)
    async def search(body: models.SearchBody):
        """Search. The answer can be saved and exported under its `search` for a while."""
        return await gate.run(lambda: service.search(SearchRequest.from_json(body.model_dump())))

    @app.post("/api/counts", response_model=models.Counts, response_model_exclude_unset=True)
    async def counts(body: models.CountsBody):
        """How much a filter permits. The values of a facet are counted without the filter's condition on it."""
        return await gate.run(lambda: service.counts(body.filter.as_filter(), body.version))

    @app.post("/api/explain", response_class=Response, responses=PNG)
    async def explain(body: models.ExplainBody, request: Request):
        """A picture of the places where a query figure and a figure of the index agree."""

        def work():
            return service.explain(QueryItem.from_json(body.query.model_dump()), body.row, body.variant)

        return _picture(await gate.run(work), request, lasting=False)

    @app.get("/api/figures/{row}", response_model=models.Figure)
    async def figure(row: int):
        return await gate.run(service.figure, _row(row))

    @app.get("/api/figures/{row}/image", response_class=Response, responses=PNG)
    async def figure_image(row: int, request: Request, side: int = Query(256, ge=32, le=2000)):
        return _picture(await gate.run(service.figure_image, _row(row), side), request)

    @app.get("/api/designs", response_model=models.Design)
    async def design(patent: str = Query(max_length=1000)):
        """All figures of a patent, also named by one of its figures."""
        return await gate.run(service.design, patent)


def _row(row: int) -> int:
    if not 0 <= row < 2**63:
        raise Problem(404, "not_found", "the index has no such row")
    return row


# -- saved things ----------------------------------------------------------------------------------------------------


def _listed(found: list, damaged: list) -> JSONResponse:
    """A list; how many saved things cannot be read is told in a header."""
    return JSONResponse(found, headers={"Fastreid-Damaged": str(len(damaged))} if damaged else None)


def _changes(body: models.EditBody) -> dict:
    return {name: value for name, value in body.model_dump().items() if value is not None}


def _add_saved(app: FastAPI, service: SearchService, gate: Gate) -> None:
    state = service.state

    @app.post("/api/searches", status_code=201, response_model=models.Saved)
    async def save(body: models.SaveBody):
        """Save a search with its images, conditions and results."""
        return await gate.run(service.save_search, body.search, body.name, body.notes)

    @app.get("/api/searches", response_model=list[models.Saved])
    async def searches():
        return _listed(*await gate.run(state.searches))

    @app.get("/api/searches/{search}")
    async def record(search: str) -> dict:
        """The record of a search. Its images can be searched for again."""
        return await gate.run(service.saved_search, search)

    @app.patch("/api/searches/{search}", response_model=models.Saved)
    async def edit(search: str, body: models.EditBody):
        return await gate.run(state.edit_search, search, _changes(body))

    @app.delete("/api/searches/{search}", status_code=204)
    async def delete(search: str):
        await gate.run(state.delete_search, search)
        return Response(status_code=204)

    @app.post("/api/searches/{search}/replay", response_model=models.ReplayAnswer, response_model_exclude_unset=True)
    async def replay(search: str):
        """Search again on the recorded version of the index, and compare."""
        return await gate.run(service.replay, search)


def _add_sets(app: FastAPI, service: SearchService, gate: Gate) -> None:
    state, options = service.state, {"response_model": models.SetAnswer}

    def shown(work, *args):
        return gate.run(lambda: service.shown_set(work(*args)))

    @app.get("/api/sets", response_model=list[models.SetAnswer])
    async def sets():
        def work():
            found, damaged = state.sets()
            return [service.shown_set(each) for each in found], damaged

        return _listed(*await gate.run(work))

    @app.post("/api/sets", status_code=201, **options)
    async def new(body: models.SetBody):
        return await shown(state.new_set, body.name)

    @app.get("/api/sets/{set}", **options)
    async def one(set: str):
        return await shown(state.set, set)

    @app.patch("/api/sets/{set}", **options)
    async def edit(set: str, body: models.EditBody):
        return await shown(state.edit_set, set, _changes(body))

    @app.delete("/api/sets/{set}", status_code=204)
    async def delete(set: str):
        await gate.run(state.delete_set, set)
        return Response(status_code=204)

    @app.put("/api/sets/{set}/items", **options)
    async def put(set: str, body: models.SetItemBody):
        """Mark a figure, or change its note."""
        return await gate.run(service.put_item, set, body.figure_id, body.note, body.search)

    @app.delete("/api/sets/{set}/items", **options)
    async def drop(set: str, figure_id: str = Query(max_length=1000)):
        return await shown(state.drop_item, set, figure_id)


def _add_exports(app: FastAPI, service: SearchService, gate: Gate) -> None:
    @app.post("/api/exports", status_code=202, response_model=models.JobAnswer)
    async def export(body: models.ExportBody):
        """Start an export; watch and fetch it as a job."""
        if bool(body.search) == bool(body.set):
            raise Problem(422, "invalid", "an export needs either 'search' or 'set'")
        job = await gate.run(service.export, body.format, body.search, body.set)
        return job.described()

    @app.get("/api/jobs/{job}", response_model=models.JobAnswer)
    async def watch(job: str):
        return service.jobs.get(job).described()

    @app.delete("/api/jobs/{job}", response_model=models.JobAnswer)
    async def cancel(job: str):
        return service.jobs.cancel(job).described()

    @app.get("/api/jobs/{job}/result", response_class=Response, responses=FILE)
    async def result(job: str):
        found = service.jobs.get(job)
        if found.result is None:
            raise Problem(409, "not_done", f"this export is {found.state}")
        disposition = f'attachment; filename="{found.result.name}"'
        return Response(found.result.content, media_type=found.result.media_type, headers={
            "Content-Disposition": disposition, "Cache-Control": "no-store",
        })  # fmt: skip
