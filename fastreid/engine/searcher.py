"""A search from the images that somebody brings to the results that are shown."""

import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreid.engine.query_image import prepare, variants
from fastreid.engine.search_request import DEEPEST, QueryItem, SearchRequest
from fastreid.engine.search_words import letter
from fastreid.index.base import Count, Index
from fastreid.index.designs import DesignHit, Match, QueryFigure, search_designs, search_figures
from fastreid.index.errors import VersionGone
from fastreid.index.figures import Figures
from fastreid.index.filters import Filter
from fastreid.index.patent_numbers import in_index
from fastreid.utils.errors import nearest

if TYPE_CHECKING:
    from PIL.Image import Image

    from fastreid.engine.query_encoder import QueryEncoder

AS_GIVEN, TEXT = "as given", "text"  # variants of an image, of a text
OTHERS = 12  # further figures of a design that are told
QUERY_HINTS = 8  # figures of a patent that are named to somebody who gave its number


class NoModel(ValueError):
    """An image or a text was to be searched for without a model that could encode it."""


class NoFigure(KeyError):
    """The index has no such figure.

    Args:
        patent: of the index, that was named in its place; "" for none.
    """

    def __init__(self, message: str, patent: str):
        super().__init__(message)
        self.patent = patent


@dataclass(frozen=True)
class SearchResponse:
    """Results of a search.

    Attributes:
        search: names this search, 32 hex digits.
        version: of the index that was searched.
        exact: whether no better result can have been missed.
        searched: what was permitted, under the filter and without the query's own patents.
        seconds: that it took, the model's part included.
        time: when it was made, UTC, ISO 8601.
        results: plain values, see :meth:`Searcher.search`.
        unknown: patents of the filter that the index does not have, in any form of their numbers.
    """

    search: str
    request: SearchRequest
    version: int
    exact: bool
    searched: Count
    seconds: float
    time: str
    results: tuple[dict[str, Any], ...]
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many designs, or figures, can be paged through."""
        permitted = self.searched.designs if self.request.group == "design" else self.searched.figures
        return min(permitted, DEEPEST)

    def as_json(self) -> dict[str, Any]:
        return {
            "search": self.search,
            "version": self.version,
            "exact": self.exact,
            "searched": {"figures": self.searched.figures, "designs": self.searched.designs},
            "total": self.total,
            "seconds": self.seconds,
            "time": self.time,
            "group": self.request.group,
            "offset": self.request.offset,
            "unknown_patents": list(self.unknown),
            "results": list(self.results),
        }


class Searcher:
    """Searches an index with the model that made it. Several threads may use it at once.

    Args:
        encoder: ``None``: only figures of the index can be searched for.
        image_root: folder of the images, for relative paths; "" for the one that the index names.

    Raises:
        OtherModel: the encoder's model did not make the vectors of the index.
        ValueError: nobody said which model made them, and this one's have another length.
    """

    def __init__(self, index: Index, encoder: "QueryEncoder | None" = None, image_root: str = ""):
        if encoder is not None:
            index.info.check_model(encoder.identity)
            if encoder.dim != index.info.dim:
                raise ValueError(f"the model gives {encoder.dim} numbers per image, the index holds {index.info.dim}")
        self.index, self.encoder, self.image_root = index, encoder, image_root

    def search(self, request: SearchRequest, images: Mapping[str, "Image"] | None = None) -> SearchResponse:
        """Answer a request.

        Each query figure is encoded by itself and compared by the index's exact scores, so that results do not depend
        on what else is asked at the same time; a page is a slice of the whole list.

        Args:
            images: those that the query names by ``upload``.

        Returns:
            with results of designs ``{"rank", "patent", "score", "figure": its best one, "evidence": [{"query",
            "variant", "score", "figure"}] for each query figure (a text is the last), "others": [{"score", "figure"}],
            "figures": n}``, of figures ``{"rank", "score", "query", "variant", "figure"}``.

        Raises:
            KeyError: no such image, or figure in this version of the index.
            NoModel: there is no model for what is asked.
            VersionGone, ValueError: as the index says; a box outside of the image, a blank image.
            OSError: the image of a figure of the index cannot be read.
        """
        version = self.index.info.version if request.version is None else request.version
        try:
            return self._search(request, images or {}, version)
        except (VersionGone, KeyError):
            newest = self.index.info.version
            if request.version is not None or newest == version:
                raise
            return self._search(request, images or {}, newest)  # it was compacted away meanwhile

    def _search(self, request: SearchRequest, images: Mapping[str, "Image"], version: int) -> SearchResponse:
        start, now = time.perf_counter(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        queries = self.queries(request, images, version)
        known = self.known_patents(request.filter, version)
        filter, k = self.filter(request, version, known), request.offset + request.limit
        if request.group == "design":
            found = search_designs(self.index, queries, k, filter, request.fusion, version)
            results = self._designs(found.designs[request.offset :], request.offset)
        else:
            found = search_figures(self.index, queries, k, filter, version)
            results = self._figures(found.matches[request.offset :], request.offset)
        seconds = round(time.perf_counter() - start, 4)
        name = uuid.uuid4().hex
        unknown = tuple(number for number, there in known.items() if not there)
        return SearchResponse(name, request, version, found.exact, found.count, seconds, now, tuple(results), unknown)

    def filter(self, request: SearchRequest, version: int, known: Mapping[str, str] | None = None) -> Filter:
        """Return the filter of a request, with the patents of its own figures left out where it says so.

        Args:
            known: what `known_patents` gives, where it was asked already.
        """
        filter = self.in_words_of_index(request.filter, version, known)
        names = [item.figure for item in request.query if item.figure]
        if not request.exclude_own or not names:
            return filter
        own = self.index.figures(self.index.rows_of(names, as_of=version))["patent"].tolist()
        return replace(filter, not_patents=(*filter.not_patents, *own))

    def known_patents(self, filter: Filter, version: int | None = None) -> dict[str, str]:
        """Return for each patent of a filter how the index writes it, "" for one that it does not have."""
        return in_index(self.index, (*filter.patents, *filter.not_patents), version)

    def in_words_of_index(
        self, filter: Filter, version: int | None = None, known: Mapping[str, str] | None = None
    ) -> Filter:
        """Return a filter whose patents are written as the index writes them: "US D359,000" as "USD0359000"."""
        known = self.known_patents(filter, version) if known is None else known
        return replace(
            filter,
            patents=tuple(known[name] or name for name in filter.patents),
            not_patents=tuple(known[name] or name for name in filter.not_patents),
        )

    def without_each(self, request: SearchRequest, version: int) -> dict[str, Count]:
        """Return what would be permitted without each condition that is set, by its name in the filter or request.

        It tells which one leaves nothing.
        """
        counts = {}
        for name in [known.name for known in fields(Filter) if known.name in request.filter.as_json()]:
            if name != "date_field":
                loose = replace(request, filter=replace(request.filter, **{name: getattr(Filter(), name)}))
                counts[name] = self.index.count(self.filter(loose, version), version)
        without_own = replace(request, exclude_own=False)
        if self.filter(request, version) != (filter := self.filter(without_own, version)):
            counts["exclude_own"] = self.index.count(filter, version)
        return counts

    def queries(self, request: SearchRequest, images: Mapping[str, "Image"], version: int) -> list[QueryFigure]:
        """Return the vectors of all query figures, that of a text at last."""
        with_variants = request.rotations or request.mirror
        found = []
        for place, item in enumerate(request.query):
            if item.is_plain and not with_variants:
                found.append(QueryFigure(self.index.vectors(self._row_of(item.figure, version)), (AS_GIVEN,)))
                continue
            self._model("an image")
            shown = variants(self.image_of_item(item, images, version), request.rotations, request.mirror)
            names, pictures = zip(*shown, strict=True)
            found.append(QueryFigure(self._encode(pictures, place), names))
        if request.text:
            found.append(QueryFigure(self._model("a text").encode_texts([request.text]), (TEXT,)))
        return found

    def _encode(self, pictures: tuple["Image", ...], place: int) -> np.ndarray:
        """Return the vectors of the variants of one query figure, which is the ``place``-th, from 0."""
        encoder = self._model("an image")
        try:
            return encoder.encode(pictures)
        except ValueError as error:  # the encoder counts the variants
            raise ValueError(re.sub(r"^query image \d+", f"query figure {letter(place)}", str(error))) from error

    def _model(self, what: str) -> "QueryEncoder":
        if self.encoder is None:
            raise NoModel(
                f"the index is searched without a model, which {what} needs; figures of the index, as they are, can be "
                "searched for"
            )
        return self.encoder

    def _row_of(self, figure_id: str, version: int | None = None) -> np.ndarray:
        rows = self.index.rows_of([figure_id], as_of=version)
        if not len(rows):
            patent = in_index(self.index, [figure_id], version)[figure_id]
            of_patent = self.index.rows_of(patents=[patent], as_of=version)[:QUERY_HINTS] if patent else ()
            names = ", ".join(self.index.figures(of_patent)["figure_id"]) if len(of_patent) else ""
            hint = f"; a patent of this name has {names}" if names else ""
            earlier = "" if version in (None, self.index.info.version) else f" in version {version}"
            raise NoFigure(f"the index has no figure '{figure_id}'{earlier}{hint}", patent)
        return rows

    def image_of_item(self, item: QueryItem, images: Mapping[str, "Image"], version: int | None = None) -> "Image":
        """Return the image of a query figure, cut, rotated and mirrored as it says."""
        if item.figure:
            image = self.image_of(int(self._row_of(item.figure, version)[0]))
        elif item.upload in images:
            image = images[item.upload]
        else:
            raise KeyError(f"there is no image '{item.upload}'.{nearest(item.upload, images)}")
        return prepare(image, item.box, item.rotate, item.mirror)

    def path_of(self, row: int) -> Path:
        """Return the file of a figure's image, which need not be there.

        Raises:
            KeyError: no such row.
            ValueError: the index names no file, no folder for it, or one outside of that folder.
        """
        path = self.index.figures(np.array([row]))["path"][0]
        if not path:
            raise ValueError(f"the index names no image of row {row}")
        if os.path.isabs(path):
            return Path(path)
        root = self.image_root or self.index.info.image_root
        if not root:
            raise ValueError(f"the image {path} is relative, and the index has no folder of images; name one")
        inside = os.path.normpath(path)  # as it is written: the folder itself may hold links to elsewhere
        if inside.split(os.sep)[0] == os.pardir:
            raise ValueError(f"the image {path} lies outside of the folder of images {root}")
        return Path(root, inside)

    def image_of(self, row: int) -> "Image":
        """Return the image of a figure; ``BadImage`` when it cannot be read."""
        from fastreid.data.images import read_image

        return read_image(self.path_of(row), channels=None)

    def explain(
        self, item: QueryItem, row: int, images: Mapping[str, "Image"] | None = None, variant: str = AS_GIVEN
    ) -> "Image":
        """Return a picture of the places where a query figure, in one of its variants, and a figure agree.

        Raises:
            ValueError: there is no model, it has no feature map, or no such variant.
            KeyError, OSError: as :meth:`search`.
        """
        from fastreid.engine.patch_match import draw_patch_match, match_patches

        encoder, shown = self._model("an image"), dict(variants(self.image_of_item(item, images or {}), True, True))
        if variant not in shown:
            raise ValueError(f"there is no variant '{variant}' of an image.{nearest(variant, shown)}")
        return draw_patch_match(match_patches(encoder, shown[variant], self.image_of(row)))

    def _designs(self, hits: tuple[DesignHit, ...], offset: int) -> list[dict[str, Any]]:
        matches = [match.row for hit in hits for match in (hit.best, *hit.evidence)]
        shown = self.shown([*matches, *(row for hit in hits for row, _ in hit.others[:OTHERS])])
        results = []
        for rank, hit in enumerate(hits, offset + 1):
            evidence = [
                {"query": match.query, "variant": match.variant, "score": match.score, "figure": shown[match.row]}
                for match in hit.evidence
            ]
            others = [{"score": score, "figure": shown[row]} for row, score in hit.others[:OTHERS]]
            best = {"patent": hit.patent, "score": hit.score, "figure": shown[hit.best.row]}
            results.append({"rank": rank, **best, "evidence": evidence, "others": others, "figures": hit.figures})
        return results

    def _figures(self, matches: tuple[Match, ...], offset: int) -> list[dict[str, Any]]:
        shown = self.shown([match.row for match in matches])
        return [
            {"rank": rank, "score": one.score, "query": one.query, "variant": one.variant, "figure": shown[one.row]}
            for rank, one in enumerate(matches, offset + 1)
        ]

    def shown(self, rows: list[int]) -> dict[int, dict[str, Any]]:
        """Return what is told about some figures, by row: their columns but the path."""
        rows = sorted(set(rows))
        return dict(zip(rows, told(self.index.figures(np.array(rows, dtype=np.int64)), rows), strict=True))


def told(figures: Figures, rows: list[int]) -> list[dict[str, Any]]:
    """Return figures as plain values with their rows, without the paths of their images."""
    columns = [figures.row(place) for place in range(len(figures))]
    return [
        {"row": int(row), **{n: v for n, v in each.items() if n != "path"}}
        for row, each in zip(rows, columns, strict=True)
    ]
