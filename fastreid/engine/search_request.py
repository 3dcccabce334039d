"""What a search asks for: the same on the command line, over HTTP and in a record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fastreid.engine.query_image import ROTATIONS
from fastreid.index.designs import FUSIONS
from fastreid.index.filters import Filter
from fastreid.utils.errors import nearest, require_choice, require_whole

GROUPS = ("design", "figure")
MOST = 1000  # results of one page


@dataclass(frozen=True)
class QueryItem:
    """One query figure: an image that the searcher is given, or a figure of the index.

    Args:
        upload: key of the image; "" for a figure of the index.
        figure: figure_id; "" for an image.
        box: (left, top, right, bottom) to cut out, in pixels; ``None``: all of it.
        rotate: degrees clockwise, after the cut.
        mirror: left to right, at last.
    """

    upload: str = ""
    figure: str = ""
    box: tuple[int, int, int, int] | None = None
    rotate: int = 0
    mirror: bool = False

    def __post_init__(self):
        if bool(self.upload) == bool(self.figure):
            raise ValueError("a query figure needs either 'upload' or 'figure'")
        require_choice("rotate of a query figure", self.rotate, ROTATIONS)
        if self.box is not None:
            if isinstance(self.box, str) or len(self.box) != 4:
                raise ValueError(f"box of a query figure must be [left, top, right, bottom]; got {self.box!r}")
            box = tuple(require_whole("box of a query figure", value, 0) for value in self.box)
            if box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError(f"box of a query figure must not be empty; got {list(box)}")
            object.__setattr__(self, "box", box)

    @property
    def is_plain(self) -> bool:
        """Whether it is a figure of the index as it is, whose vector the index has."""
        return bool(self.figure) and self.box is None and not self.rotate and not self.mirror

    def as_json(self) -> dict[str, Any]:
        values = {name: value for name, value in asdict(self).items() if value not in ("", None)}
        return {**values, "box": None if self.box is None else list(self.box)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "QueryItem":
        values = known_fields(cls, given, "a query figure")
        return cls(
            **{
                name: ("" if name in ("upload", "figure") and value is None else value)
                for name, value in values.items()
            }
        )


@dataclass(frozen=True)
class SearchRequest:
    """A search.

    Args:
        query: figures of one design.
        text: one more query figure, in words; "" for none.
        rotations, mirror: search with the query figures rotated by 90, 180 and 270 degrees, and mirrored, too.
        fusion: of several query figures, "mean" or "max" (see :mod:`fastreid.index.designs`).
        group: results are designs, or single figures.
        filter: what may be shown.
        exclude_own: leave out the patents of query figures that are in the index.
        offset, limit: the results wanted, counted from 0.
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
        object.__setattr__(self, "query", tuple(self.query))
        object.__setattr__(self, "text", " ".join(self.text.split()))
        if not self.query and not self.text:
            raise ValueError("a search needs a query figure or a text")
        require_choice("fusion of a search", self.fusion, FUSIONS)
        require_choice("group of a search", self.group, GROUPS)
        require_whole("offset of a search", self.offset, 0)
        if require_whole("limit of a search", self.limit, 1) > MOST:
            raise ValueError(f"limit of a search must be at most {MOST}; got {self.limit}")
        if self.version is not None:
            require_whole("version of a search", self.version, 1)

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
        """Return the request of plain values; an unknown name raises ``ValueError`` with the nearest one."""
        names = [name for name in (known.name for known in fields(cls)) if name not in ("rotations", "mirror")]
        values = checked_names(given, (*names, "variants"), "a search")
        chosen = checked_names(values.pop("variants", None) or {}, ("rotations", "mirror"), "variants of a search")
        if "query" in values:
            values["query"] = tuple(QueryItem.from_json(item) for item in values["query"] or ())
        values["filter"] = Filter.from_json(values.get("filter") or {})
        values["text"] = values.get("text") or ""
        return cls(**values, **chosen)


def known_fields(kind: type, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the values of a mapping whose names are fields of a dataclass."""
    return checked_names(given, [known.name for known in fields(kind)], what)


def checked_names(given: Mapping[str, Any], known: Sequence[str], what: str) -> dict[str, Any]:
    """Return a copy of ``given``; a name that is not ``known`` raises ``ValueError``."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be an object; got {type(given).__name__}")
    for name in given:
        if name not in known:
            raise ValueError(f"{what} has no '{name}'; it has {', '.join(known)}.{nearest(name, known)}")
    return dict(given)
