"""What the service can do, without HTTP: an index, a model, query images, saved things, exports."""

import functools
import heapq
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from fastreid.app.batching import SharedIndex
from fastreid.app.exports import export_search, export_set
from fastreid.app.jobs import Job, Jobs
from fastreid.app.limits import Limits
from fastreid.app.problems import NO_FILE, Problem
from fastreid.app.state import State, now
from fastreid.app.uploads import Images, Upload, Uploads
from fastreid.engine.search_record import record_of, replay, sealed
from fastreid.engine.search_request import QueryItem, SearchRequest
from fastreid.engine.searcher import Searcher, told
from fastreid.index.base import Count, Index
from fastreid.index.errors import VersionGone
from fastreid.index.figures import DATE_COLUMNS
from fastreid.index.filters import Filter
from fastreid.index.patent_numbers import in_index
from fastreid.utils.locarno import read_locarno

RECENT, RECENT_BYTES = 200, 400 << 20  # searches that can still be saved or exported, their images in all
THUMBNAILS = 64 << 20  # bytes of small images that are kept
VALUES = 500  # of a facet in one answer; an index may know a hundred thousand applicants
NAMED = ("class", "locarno")  # facets whose values have names


class SearchService:
    """One index behind one model.

    Args:
        encoder: a ``QueryEncoder``; ``None``: only figures of the index can be searched for.
        image_root: folder of the index's images; "" for the one that it names.
    """

    def __init__(self, index: Index, state: State, encoder=None, image_root: str = "", limits: Limits | None = None):
        self.index, self.state, self.encoder, self.limits = SharedIndex(index), state, encoder, limits or Limits()
        self.searcher = Searcher(self.index, encoder, image_root)
        self.uploads, self.jobs = Uploads(self.limits), Jobs()
        self._recent: OrderedDict[str, dict[str, Any]] = OrderedDict()  # whatever can still be saved
        self._lock = threading.Lock()
        self._thumbnails: OrderedDict[tuple, bytes] = OrderedDict()
        self._thumbnail_bytes = 0

    def close(self) -> None:
        self.jobs.close()
        self.index.close()

    # -- the index ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        self.index.refresh()
        info, encoder = self.index.info, self.encoder
        model = encoder and {
            "name": encoder.name, "weights": encoder.identity["weights"][:12],
            "text": encoder.has_text, "patches": encoder.has_patches,
        }  # fmt: skip
        counted = self.counts(Filter(), None)
        names = ("uid", "version", "oldest_version", "backend", "metric", "figures", "designs", "changed")
        return {
            "index": {
                **{name: getattr(info, name) for name in names},
                "exact": info.exact, "recall": dict(info.recall), "facets": counted["facets"],
                "dates": self._date_range(),
            },
            "model": model or None,
            "limits": {
                "upload_bytes": self.limits.upload_bytes, "upload_pixels": self.limits.upload_pixels,
                "query_figures": self.limits.query_figures, "page": self.limits.page,
            },
        }  # fmt: skip

    def _date_range(self) -> dict[str, list[int]]:
        """First and last year, as dates, of each date column."""
        found = {}
        for name in DATE_COLUMNS:
            years = [int(year) for year in self.index.facets(Filter(date_field=name))["year"] if year]
            found[name] = [min(years) * 10000 + 101, max(years) * 10000 + 1231] if years else [0, 0]
        return found

    def counts(self, filter: Filter, version: int | None) -> dict[str, Any]:
        """Counts of what a filter permits, and of the values of each facet."""
        if version is None:
            self.index.refresh()
        filter = self.searcher.in_words_of_index(filter, version)
        count, facets = self.index.count(filter, version), self.index.facets(filter, version)
        return {
            "figures": count.figures,
            "designs": count.designs,
            "facets": {name: _facet(name, values, filter) for name, values in facets.items()},
        }

    def figure(self, row: int) -> dict[str, Any]:
        return told(self.index.figures(np.array([row])), [row])[0]

    def figure_size(self, row: int) -> dict[str, int]:
        """Width and height of the image of a figure, in which boxes of a query are given."""
        width, height = self._image_of(row).size
        return {"width": width, "height": height}

    def design(self, patent: str) -> dict[str, Any]:
        """All figures of a patent; of a figure_id, those of its patent."""
        self.index.refresh()
        patent = in_index(self.index, [patent])[patent] or patent
        rows = self.index.rows_of(patents=[patent])
        if not len(rows):
            rows = self.index.rows_of([patent])
            if len(rows):
                patent = self.index.figures(rows)["patent"][0]
                rows = self.index.rows_of(patents=[patent])
        if not len(rows):
            raise Problem(404, "not_found", f"the index has no design '{patent}'")
        return {"patent": patent, "figures": told(self.index.figures(rows), rows.tolist())}

    def _image_of(self, row: int) -> Image.Image:
        try:
            return self.searcher.image_of(row)
        except ValueError as error:  # no path, or one that leads out of the folder of images
            raise Problem(404, "image_missing", NO_FILE) from error

    def kept_image(self, row: int, side: int) -> bytes | None:
        """A picture of `figure_image` that was made lately."""
        key = self.index.info.uid, row, side
        with self._lock:
            if key in self._thumbnails:
                self._thumbnails.move_to_end(key)
            return self._thumbnails.get(key)

    def figure_image(self, row: int, side: int) -> bytes:
        """A figure as PNG, ``side`` pixels at most on the longer side, with lines that can still be seen."""
        key = self.index.info.uid, row, side
        content = as_png(self._image_of(row), side)
        with self._lock:
            self._thumbnail_bytes += len(content) - len(self._thumbnails.pop(key, b""))
            self._thumbnails[key] = content
            while self._thumbnail_bytes > THUMBNAILS:
                self._thumbnail_bytes -= len(self._thumbnails.popitem(last=False)[1])
        return content

    # -- searching ---------------------------------------------------------------------------------------------------

    def upload(self, content: bytes, name: str) -> dict[str, Any]:
        if self.encoder is None:
            raise Problem(409, "no_model", "this service runs without a model: search for figures of the index")
        upload = self.uploads.put(content, name)
        figures = [{"box": list(region.box), "labelled": region.labelled} for region in self.uploads.regions(upload)]
        return {**upload.described(), "figures": figures}

    def upload_image(self, key: str, side: int) -> bytes:
        """An image that was brought as PNG, ``side`` pixels at most on the longer side."""
        return as_png(self.uploads.image(self.uploads.get(key)), side)

    def search(self, request: SearchRequest) -> dict[str, Any]:
        """Answer a request, and remember it so that it can be saved or exported."""
        if len(request.query) > self.limits.query_figures:
            raise Problem(422, "invalid", f"a query has at most {self.limits.query_figures} figures")
        if request.limit > self.limits.page:
            raise Problem(422, "invalid", f"limit of a search must be at most {self.limits.page}; got {request.limit}")
        uploads = {item.upload: self.uploads.get(item.upload) for item in request.query if item.upload}
        images = Images(self.uploads, uploads)
        self.index.refresh()
        try:
            return self._search(request, images, uploads)
        except VersionGone:
            if request.version is not None:
                raise
            self.index.refresh()  # compacted between two looks at it
            return self._search(request, images, uploads)

    def _search(self, request: SearchRequest, images: Mapping[str, Image.Image], uploads: Mapping[str, Upload]) -> dict:
        response = self.searcher.search(request, images)
        self._remember(response, uploads)
        return response.as_json()

    def _remember(self, response, uploads: Mapping[str, Upload]) -> None:
        record = record_of(response, self.searcher, [upload.described() for upload in uploads.values()])
        kept = {"record": record, "images": {key: upload.content for key, upload in uploads.items()}}
        with self._lock:
            self._recent[response.search] = kept
            while len(self._recent) > 1 and (len(self._recent) > RECENT or self._recent_bytes() > RECENT_BYTES):
                self._recent.popitem(last=False)

    def _recent_bytes(self) -> int:
        return sum(
            {key: len(image) for kept in self._recent.values() for key, image in kept["images"].items()}.values()
        )

    def _recent_search(self, search: str) -> dict[str, Any] | None:
        """The record of a search and its images by name, while it is remembered."""
        with self._lock:
            kept = self._recent.get(search)
        return kept and {**kept, "record": sealed(kept["record"])}

    def explain(self, item: QueryItem, row: int, variant: str) -> bytes:
        """A picture, PNG, of where a query figure and a figure agree."""
        if self.encoder is None or not self.encoder.has_patches:
            raise Problem(409, "no_patches", "this model gives one vector per drawing and cannot say where two agree")
        images = Images(self.uploads, {item.upload: self.uploads.get(item.upload)} if item.upload else {})
        return as_png(self.searcher.explain(item, row, images, variant))

    # -- saved searches ----------------------------------------------------------------------------------------------

    def save_search(self, search: str, name: str, notes: str) -> dict[str, Any]:
        kept = self._recent_search(search)
        if kept is None:
            raise Problem(410, "search_gone", "this search is no longer kept; search again, then save it")
        return self.state.save_search({**kept["record"], "name": name, "notes": notes, "saved": now()}, kept["images"])

    def saved_search(self, name: str) -> dict[str, Any]:
        """The record, its query images brought back so that it can be searched again."""
        record = self.state.search(name)
        self._bring_back(name, record)
        return {"id": name, **record}

    def _bring_back(self, name: str, record: Mapping[str, Any]) -> dict[str, Upload]:
        found = {}
        for image in record["images"]:
            found[image["upload"]] = self.uploads.put(self.state.image(name, image["sha256"]), image["name"])
        return found

    def replay(self, name: str) -> dict[str, Any]:
        """Search again as recorded and compare."""
        record = self.state.search(name)
        uploads = self._bring_back(name, record)
        self.index.refresh()
        made = replay(record, self.searcher, Images(self.uploads, uploads))
        self._remember(made.response, uploads)
        return made.as_json()

    # -- sets and exports --------------------------------------------------------------------------------------------

    def shown_set(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """A set with its figures as the index has them, ``None`` for those that are gone."""
        names = [item["figure_id"] for item in found["items"]]
        rows = self.index.rows_of(names) if names else np.empty(0, dtype=np.int64)
        by_name = (
            {each["figure_id"]: each for each in told(self.index.figures(rows), rows.tolist())} if len(rows) else {}
        )
        return {
            **found,
            "items": [{"search": None, **item, "figure": by_name.get(item["figure_id"])} for item in found["items"]],
        }

    def put_item(self, name: str, figure_id: str, note: str, search: str) -> dict[str, Any]:
        self.index.refresh()
        rows = self.index.rows_of([figure_id])
        known = [item for item in self.state.set(name)["items"] if item["figure_id"] == figure_id]
        if not len(rows) and not known:
            raise Problem(404, "not_found", f"the index has no figure '{figure_id}'")
        patent = self.index.figures(rows)["patent"][0] if len(rows) else known[0]["patent"]
        item = {"figure_id": figure_id, "patent": patent, "note": note, **({"search": search} if search else {})}
        return self.shown_set(self.state.put_item(name, item))

    def export(self, form: str, search: str = "", set_: str = "") -> Job:
        """Start the export of a saved or recent search, or of a set."""
        if set_:
            shown = self.shown_set(self.state.set(set_))
            return self.jobs.start(functools.partial(export_set, shown, form, self))
        kept = self._recent_search(search)
        if kept is None:
            record = self.state.search(search)
            images = {image["sha256"]: self.state.image(search, image["sha256"]) for image in record["images"]}
            kept = {"record": record, "images": images}
        return self.jobs.start(functools.partial(export_search, kept["record"], kept["images"], form, self))


def as_png(image: Image.Image, side: int = 0) -> bytes:
    """Return an image as PNG, shrunk to ``side`` pixels on the longer side; 0: as it is."""
    from fastreid.evaluation.thumbnails import shrink

    buffer = io.BytesIO()
    (shrink(image, side) if side else image).save(buffer, "PNG")
    return buffer.getvalue()


def _facet(facet: str, values: Mapping[str, Count], filter: Filter) -> list[dict[str, Any]]:
    """Values of a facet in their order; of very many the most frequent and those that are chosen."""
    kept = set(heapq.nlargest(VALUES, values, key=lambda value: values[value].figures))
    kept.update(getattr(filter, facet, ()))
    return [_counted(facet, value, count) for value, count in values.items() if value in kept]


def _counted(facet: str, value: str, count: Count) -> dict[str, Any]:
    name = {"name": read_locarno(value + "-00" if len(value) <= 2 else value).class_name} if facet in NAMED else {}
    return {"value": value, **name, "figures": count.figures, "designs": count.designs}
