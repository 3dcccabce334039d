"""Records of searches: what was asked, of which index by which model, and what came out, to be done again."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastreid.engine.search_request import SearchRequest
from fastreid.utils.errors import nearest
from fastreid.utils.files import atomic_write

if TYPE_CHECKING:
    from fastreid.engine.searcher import Searcher, SearchResponse

FORMAT = 1
SCORE_SLACK = 1e-5  # by which a score may differ on another machine
FIELDS = (
    "format", "name", "notes", "time", "seconds", "request", "images", "model", "index", "searched", "total", "exact",
    "results", "fastreid",
)  # fmt: skip


def make_record(
    response: "SearchResponse",
    searcher: "Searcher",
    images: Iterable[Mapping[str, Any]] = (),
    name: str = "",
    notes: str = "",
) -> dict[str, Any]:
    """Return the record of a search as plain values.

    Args:
        images: of the query, ``{"upload", "sha256", "name", "width", "height"}`` each.
    """
    import fastreid

    info, encoder = searcher.index.info, searcher.encoder
    answer = response.as_json()
    return {
        "format": FORMAT,
        "name": name,
        "notes": notes,
        "time": answer["time"],
        "seconds": answer["seconds"],
        "request": {**response.request.as_json(), "version": response.version},
        "images": [dict(image) for image in images],
        "model": dict(info.model) if encoder is None else {"name": encoder.name, **encoder.identity},
        "index": {
            "uid": info.uid, "version": response.version, "backend": info.backend, "metric": info.metric,
            "figures": info.figures, "designs": info.designs, "recall": dict(info.recall),
        },
        "searched": answer["searched"],
        "total": answer["total"],
        "exact": answer["exact"],
        "results": answer["results"],
        "fastreid": fastreid.__version__,
    }  # fmt: skip


def save_record(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump(record, file, ensure_ascii=False, indent=1)


def load_record(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no record, or one of another format.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or "format" not in record:
            raise ValueError("it is no JSON object with a format")
        if record["format"] != FORMAT:
            raise ValueError(f"it has format {record['format']}; this version reads {FORMAT}")
        missing = [name for name in FIELDS if name not in record]
        if missing:
            raise ValueError(f"it lacks '{missing[0]}'")
        SearchRequest.from_json(record["request"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)} is not the record of a search: {error}") from error
    return record


def replay(record: Mapping[str, Any], searcher: "Searcher", images: Mapping[str, Any]):
    """Search again as a record says; return the response and the differences, in words.

    The recorded version of the index is searched where it still can be. Where it was compacted away, or where this is
    another index, the newest version is, and the differences say so.
    """
    from dataclasses import replace

    request, info, differences = SearchRequest.from_json(record["request"]), searcher.index.info, []
    version = record["index"]["version"]
    if info.uid != record["index"]["uid"]:
        differences.append("this is another index than the one that was searched")
        version = info.version
    elif not info.oldest_version <= version <= info.version:
        differences.append(f"version {version} of the index is gone; version {info.version} was searched")
        version = info.version
    if searcher.encoder is not None:
        # the record may have been made without the model, by figures of the index alone
        now = {"name": searcher.encoder.name, **searcher.encoder.identity}
        if record["model"].get("weights") not in (None, now.get("weights")):
            differences.append("the model has other weights than the one that searched")
    response = searcher.search(replace(request, version=version), images)
    return response, [*differences, *compare(record["results"], response.results)]


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say where two lists of results differ: their number, their order, and scores beyond ``SCORE_SLACK``."""
    differences = [] if len(old) == len(new) else [f"there are {len(new)} results instead of {len(old)}"]
    for before, after in zip(old, new, strict=False):
        rank = before["rank"]
        first, second = _name(before), _name(after)
        if first != second:
            differences.append(f"rank {rank} is {second} instead of {first}")
        elif abs(before["score"] - after["score"]) > SCORE_SLACK:
            differences.append(f"rank {rank} ({first}) scores {after['score']:.6f} instead of {before['score']:.6f}")
    return differences


def _name(result: Mapping[str, Any]) -> str:
    return result.get("patent") or result["figure"]["figure_id"]


def image_for(entry: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
    """Return the image with the recorded SHA-256; ``KeyError`` says which one is wanted."""
    if entry["sha256"] not in found:
        raise KeyError(
            f"the query image {entry['name']} (SHA-256 {entry['sha256'][:16]}...) is not among the files given."
            f"{nearest(entry['sha256'], found)}"
        )
    return found[entry["sha256"]]
