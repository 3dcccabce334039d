"""What a search asks for: the same on the command line, over HTTP and in a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from fastreid.engine.query_image import ROTATIONS
from fastreid.index.designs import FUSIONS
from fastreid.index.filters import Filter
from fastreid.utils.errors import nearest, require_choice, require_whole

GROUPS = ("design", "figure")
QUERY_FIGURES = 8
LETTERS = 1000  # of a text
PAGE = 1000  # results of one page
DEEPEST = 10_000  # the last result that can be paged to


@dataclass(frozen=True)
class QueryItem:
    """One query figure: an image that the searcher is given, or a figure of the index.

    Args:
        upload: key of the image; "" for a figure of the index.
        figure: figure_id; "" for an image.
        box: (left, top, right, bottom) to cut out, in pixels; ``None``: all of it.
        rotate: degrees clockwise, after the cut.
        mirror: left to right, at last.

    Raises:
        ValueError: none or both of ``upload`` and ``figure``, or a value that is not allowed.
    """

    upload: str = ""
    figure: str = ""
    box: tuple[int, int, int, int] | None = None
    rotate: int = 0
    mirror: bool = False

    def __post_init__(self):
        for name in ("upload", "figure"):
            _require(f"{name} of a query figure", getattr(self, name), str, "a text")
        if bool(self.upload) == bool(self.figure):
            raise ValueError("a query figure must name either an 'upload' or a 'figure' of the index")
        require_choice("rotate of a query figure", self.rotate, ROTATIONS)
        object.__setattr__(self, "rotate", int(self.rotate))
        _require("mirror of a query figure", self.mirror, bool, "true or false")
        if self.box is not None:
            if not isinstance(self.box, (list, tuple)) or len(self.box) != 4:
                raise ValueError(f"box of a query figure must be [left, top, right, bottom]; got {self.box!r}")
            box = tuple(_whole("box of a query figure", value, 0) for value in self.box)
            if box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError(f"box of a query figure must not be empty; got {list(box)}")
            object.__setattr__(self, "box", box)

    @property
    def is_plain(self) -> bool:
        """Whether it is a figure of the index as it is, whose vector the index has."""
        return bool(self.figure) and self.box is None and not self.rotate and not self.mirror

    def as_json(self) -> dict[str, Any]:
        named = {"upload": self.upload} if self.upload else {"figure": self.figure}
        return {**named, "box": self.box and list(self.box), "rotate": self.rotate, "mirror": self.mirror}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "QueryItem":
        """Return the item of plain values, as `as_json` gives; only ``ValueError`` is raised."""
        values = _known(given, [known.name for known in fields(cls)], "a query figure")
        values.update({name: "" for name in ("upload", "figure") if values.get(name, "") is None})
        return cls(**values)


@dataclass(frozen=True)
class SearchRequest:
    """A search.

    Args:
        query: figures of one design, at most ``QUERY_FIGURES``.
        text: one more query figure, in words; "" for none.
        rotations, mirror: search with the query figures rotated by 90, 180 and 270 degrees, and mirrored, too.
        fusion: of several query figures, "mean" or "max" (see :mod:`fastreid.index.designs`).
        group: results are designs, or single figures.
        filter: what may be shown.
        exclude_own: leave out the patents of query figures that are in the index.
        offset, limit: the results wanted, counted from 0; at most ``PAGE``, and none beyond ``DEEPEST``.
        version: of the index; ``None``: the newest.

    Raises:
        ValueError: nothing to search for, or a value that is not allowed.
    """

    query: tuple[QueryItem, ...] = ()
    text: str = ""
    rotations: bool = False
    mirror: bool = False
    fusion: str = "mean"
    group: str = "design"
    filter: Filter = field(default_factory=Filter)
    exclude_own: bool = True
    offset: int = 0
    limit: int = 24
    version: int | None = None

    def __post_init__(self):
        _require("text of a search", self.text, str, "a text")
        object.__setattr__(self, "query", tuple(self.query))
        object.__setattr__(self, "text", " ".join(self.text.split()))
        if not self.query and not self.text:
            raise ValueError("a search needs a query figure or a text")
        if len(self.query) > QUERY_FIGURES:
            raise ValueError(f"a search takes at most {QUERY_FIGURES} query figures; got {len(self.query)}")
        if len(self.text) > LETTERS:
            raise ValueError(f"text of a search must have at most {LETTERS} letters; got {len(self.text)}")
        for name in ("rotations", "mirror", "exclude_own"):
            _require(f"{name} of a search", getattr(self, name), bool, "true or false")
        require_choice("fusion of a search", self.fusion, FUSIONS)
        require_choice("group of a search", self.group, GROUPS)
        _whole("offset of a search", self.offset, 0)
        if _whole("limit of a search", self.limit, 1) > PAGE:
            raise ValueError(f"limit of a search must be at most {PAGE}; got {self.limit}")
        if self.offset + self.limit > DEEPEST:
            raise ValueError(
                f"a search shows its first {DEEPEST} results; offset {self.offset} and limit {self.limit} go beyond"
            )
        if self.version is not None:
            _whole("version of a search", self.version, 1)

    def as_json(self) -> dict[str, Any]:
        """Return the request as `from_json` reads it."""
        return {
            "query": [item.as_json() for item in self.query],
            "text": self.text,
            "variants": {"rotations": self.rotations, "mirror": self.mirror},
            "fusion": self.fusion,
            "group": self.group,
            "filter": self.filter.as_json(),
            "exclude_own": self.exclude_own,
            "offset": self.offset,
            "limit": self.limit,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "SearchRequest":
        """Return the request of plain values, whatever they are; only ``ValueError`` is raised.

        An unknown name is refused with the nearest one. ``null`` stands for what is not said.
        """
        names = [name for name in (known.name for known in fields(cls)) if name not in ("rotations", "mirror")]
        values = _known(given, (*names, "variants"), "a search")
        values = {name: value for name, value in values.items() if value is not None}
        values.update(_known(values.pop("variants", {}), ("rotations", "mirror"), "variants of a search"))
        items = values.get("query", [])
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"query of a search must be a list of query figures; got {items!r}")
        values["query"] = tuple(QueryItem.from_json(item) for item in items)
        conditions = _known(values.get("filter", {}), [known.name for known in fields(Filter)], "filter of a search")
        try:
            values["filter"] = Filter.from_json(conditions)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return cls(**values)


def _known(given: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """Return a copy of a mapping; a name that is not one of ``names`` raises ``ValueError``."""
    _require(what, given, Mapping, "an object")
    for name in given:
        if name not in names:
            raise ValueError(f"{what} has no '{name}'; it has {', '.join(names)}.{nearest(name, names)}")
    return dict(given)


def _require(what: str, given: Any, kind: type, words: str) -> None:
    if not isinstance(given, kind):
        raise ValueError(f"{what} must be {words}; got {given!r}")


def _whole(what: str, given: Any, lowest: int) -> int:
    try:
        return require_whole(what, None if isinstance(given, bool) else given, lowest)
    except TypeError:
        raise ValueError(f"{what} must be a whole number; got {given!r}") from None
