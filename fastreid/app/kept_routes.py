"""Routes of what is kept: saved searches, sets, exports."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from fastapi.responses import JSONResponse, Response

from fastreid.app import models
from fastreid.app.exports import TYPES
from fastreid.app.limits import Gate
from fastreid.app.problems import Problem
from fastreid.app.service import SearchService

BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE = {200: {"content": {kind.partition(";")[0]: BINARY for kind in TYPES.values()}, "description": "The file"}}
LISTED = {200: {"headers": {"Fastreid-Damaged": {
    "description": "How many cannot be read and are left out", "schema": {"type": "integer"},
}}, "description": "The newest first"}}  # fmt: skip
Id = Annotated[str, Path(max_length=64)]


def _listed(found: list, damaged: list) -> JSONResponse:
    """A list; how many saved things cannot be read is told in a header."""
    return JSONResponse(found, headers={"Fastreid-Damaged": str(len(damaged))} if damaged else None)


def _changes(body: models.EditBody) -> dict:
    return {name: value for name, value in body.model_dump().items() if value is not None}


def add_searches(app: FastAPI, service: SearchService, gate: Gate) -> None:
    state = service.state

    @app.post("/api/searches", status_code=201, response_model=models.Saved)
    async def save(body: models.SaveBody):
        """Save a search with its images, conditions and results."""
        return await gate.run(service.save_search, body.search, body.name, body.notes)

    @app.get("/api/searches", response_model=list[models.Saved], responses=LISTED)
    async def searches():
        """Saved searches."""
        return _listed(*await gate.run(state.searches))

    @app.get("/api/searches/{search}", response_model=models.Record)
    async def record(search: Id):
        """The record of a search. Its images can be searched for again."""
        return JSONResponse(await gate.run(service.saved_search, search))

    @app.patch("/api/searches/{search}", response_model=models.Saved)
    async def edit(search: Id, body: models.EditBody):
        """Change name or notes."""
        return await gate.run(state.edit_search, search, _changes(body))

    @app.delete("/api/searches/{search}", status_code=204)
    async def delete(search: Id):
        """Delete a saved search with its images."""
        await gate.run(state.delete_search, search)
        return Response(status_code=204)

    @app.post("/api/searches/{search}/replay", response_model=models.ReplayAnswer, response_model_exclude_unset=True)
    async def replay(search: Id):
        """Search again on the recorded version of the index, and compare."""
        return await gate.run(service.replay, search)


def add_sets(app: FastAPI, service: SearchService, gate: Gate) -> None:
    state, options = service.state, {"response_model": models.SetAnswer}

    def shown(work, *args):
        return gate.run(lambda: service.shown_set(work(*args)))

    @app.get("/api/sets", response_model=list[models.SetAnswer], responses=LISTED)
    async def sets():
        """Sets of marked figures."""

        def work():
            found, damaged = state.sets()
            return [service.shown_set(each) for each in found], damaged

        return _listed(*await gate.run(work))

    @app.post("/api/sets", status_code=201, **options)
    async def new(body: models.SetBody):
        """Start an empty set."""
        return await shown(state.new_set, body.name)

    @app.get("/api/sets/{set}", **options)
    async def one(set: Id):
        """A set; `figure` of an item is null when the index no longer has it."""
        return await shown(state.set, set)

    @app.patch("/api/sets/{set}", **options)
    async def edit(set: Id, body: models.EditBody):
        """Change name or notes."""
        return await shown(state.edit_set, set, _changes(body))

    @app.delete("/api/sets/{set}", status_code=204)
    async def delete(set: Id):
        """Delete a set."""
        await gate.run(state.delete_set, set)
        return Response(status_code=204)

    @app.put("/api/sets/{set}/items", **options)
    async def put(set: Id, body: models.SetItemBody):
        """Mark a figure, or change its note."""
        return await gate.run(service.put_item, set, body.figure_id, body.note, body.search)

    @app.delete("/api/sets/{set}/items", **options)
    async def drop(set: Id, figure_id: Annotated[str, Query(max_length=1000)]):
        """Remove the mark of a figure."""
        return await shown(state.drop_item, set, figure_id)


def add_exports(app: FastAPI, service: SearchService, gate: Gate) -> None:
    @app.post("/api/exports", status_code=202, response_model=models.JobAnswer)
    async def export(body: models.ExportBody):
        """Start an export; watch and fetch it as a job."""
        if bool(body.search) == bool(body.set):
            raise Problem(422, "invalid", "an export needs either 'search' or 'set'")
        job = await gate.run(service.export, body.format, body.search, body.set)
        return job.described()

    @app.get("/api/jobs/{job}", response_model=models.JobAnswer)
    async def watch(job: Id):
        """How far a job is."""
        return service.jobs.get(job).described()

    @app.delete("/api/jobs/{job}", response_model=models.JobAnswer)
    async def cancel(job: Id):
        """Cancel a job."""
        return service.jobs.cancel(job).described()

    @app.get("/api/jobs/{job}/result", response_class=Response, responses=FILE)
    async def result(job: Id):
        """The file that a job has made; 409 before it is done."""
        found = service.jobs.get(job)
        if found.result is None:
            raise Problem(409, "not_done", f"this export is {found.state}")
        disposition = f'attachment; filename="{found.result.name}"'
        headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
        return Response(found.result.content, media_type=found.result.media_type, headers=headers)
