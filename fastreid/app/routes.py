"""Routes of access, images and searches."""

import hashlib
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response

import fastreid
from fastreid.app import models
from fastreid.app.bodies import read_file
from fastreid.app.limits import Gate
from fastreid.app.problems import Problem
from fastreid.app.security import COOKIE, Guard
from fastreid.app.service import SearchService
from fastreid.engine.search_request import QueryItem, SearchRequest

PNG = {200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "A picture"}}
Side = Annotated[int, Query(ge=32, le=2000, description="Pixels of the longer side, at most")]
Row = Annotated[int, Path(ge=0, lt=2**63, description="Row of the index, as answers tell it")]
UploadId = Annotated[str, Path(max_length=64, description="`upload` of an answer")]


def add_access(app: FastAPI, guard: Guard, service: SearchService, gate: Gate) -> None:
    @app.get("/api/status", response_model=models.Status, response_model_exclude_unset=True)
    async def status(request: Request):
        """What is served: the index, its model, limits."""
        if not guard.is_known(dict(request.headers)):
            return {"login": True}
        return {"version": fastreid.__version__, "login": bool(guard.token), **await gate.run(service.status)}

    @app.post("/api/login", status_code=204)
    async def login(body: models.LoginBody, request: Request):
        """Enter the token once; the session is a cookie."""
        if not guard.accepts(body.token):
            raise Problem(401, "login", "this token is not right")
        answer = Response(status_code=204)
        safe = request.url.scheme == "https"
        answer.set_cookie(COOKIE, guard.session, httponly=True, samesite="strict", path="/", secure=safe)
        return answer


def _picture(content: bytes, request: Request, kept: bool = True) -> Response:
    """A PNG. What a browser keeps it asks for again each time: another index may lie at this address tomorrow."""
    if not kept:
        return Response(content, media_type="image/png", headers={"Cache-Control": "no-store"})
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


def add_uploads(app: FastAPI, service: SearchService, pictures: Gate) -> None:
    body = {"content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}},
    }}}, "required": True}  # fmt: skip

    @app.post("/api/uploads", status_code=201, response_model=models.UploadAnswer, openapi_extra={"requestBody": body})
    async def upload(request: Request):
        """Bring an image; the answer names the figures on it."""
        if service.encoder is None:
            raise Problem(409, "no_model", "this service runs without a model: search for figures of the index")
        content, name = await read_file(request, service.limits)
        return await pictures.run(service.upload, content, name)

    @app.get("/api/uploads/{upload}/image", response_class=Response, responses=PNG)
    async def upload_image(upload: UploadId, request: Request, side: Side = 1200):
        """An image that was brought, upright."""
        content = await pictures.run(lambda: service.upload_image(upload, side))
        return _picture(content, request, kept=False)

    @app.delete("/api/uploads/{upload}", status_code=204)
    async def forget(upload: UploadId):
        """Forget an image at once."""
        service.uploads.drop(upload)
        return Response(status_code=204)


def add_search(app: FastAPI, service: SearchService, gate: Gate, pictures: Gate) -> None:
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

        return _picture(await pictures.run(work), request, kept=False)

    @app.get("/api/figures/{row}", response_model=models.Figure)
    async def figure(row: Row):
        """What the index knows about a figure."""
        return await gate.run(service.figure, row)

    @app.get("/api/figures/{row}/image", response_class=Response, responses=PNG)
    async def figure_image(row: Row, request: Request, side: Side = 256):
        """The drawing, its lines kept visible however small it is."""
        content = service.kept_image(row, side) or await pictures.run(service.figure_image, row, side)
        return _picture(content, request)

    @app.get("/api/figures/{row}/size", response_model=models.Size)
    async def figure_size(row: Row):
        """Width and height of the drawing as it is kept: what a box of a query figure is counted in."""
        return await pictures.run(service.figure_size, row)

    @app.get("/api/designs", response_model=models.Design)
    async def design(patent: Annotated[str, Query(max_length=1000)]):
        """All figures of a patent, also named by one of its figures."""
        return await gate.run(service.design, patent)
