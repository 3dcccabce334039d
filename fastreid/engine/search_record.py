"""Records of searches: what was asked, of which index by which model, and what came out, to be done again."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import fastreid
from fastreid.data.feature_file import compare as compare_models
from fastreid.engine.search_request import SearchRequest
from fastreid.engine.search_words import count_words
from fastreid.index.base import Count
from fastreid.index.errors import OtherModel
from fastreid.utils.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

    from fastreid.engine.searcher import Searcher, SearchResponse

FORMAT = 1
DIGEST = "sha256"  # one more field: of `FIELDS`, but for those that may be changed afterwards
CHANGEABLE = ("name", "notes")
SCORE_SLACK = 1e-5  # by which a score may differ on another machine
FIELDS = {
    "format": int, "name": str, "notes": str, "time": str, "seconds": (int, float), "request": dict, "images": list,
    "model": dict, "index": dict, "searched": dict, "total": int, "exact": bool, "results": list, "fastreid": str,
}  # fmt: skip
PARTS = {  # what is read of an element
    "images": {"upload": str, "sha256": str, "name": str},
    "results": {"rank": int, "score": (int, float), "figure": dict},
}


def record_of(
    response: "SearchResponse",
    searcher: "Searcher",
    images: Iterable[Mapping[str, Any]] = (),
    name: str = "",
    notes: str = "",
) -> dict[str, Any]:
    """Return the record of a search without its checksum (see :func:`sealed`), which only one that is kept needs.

    Args:
        images: of the query, ``{"upload", "sha256", "name", "width", "height"}`` each; those that it does not name are
            left out.

    Returns:
        ``FIELDS``: among them ``request`` as JSON, with the version that was searched; ``model``, the identity of what
        made the vectors; ``index`` with ``uid``, ``version``, ``backend``, ``metric``, ``figures`` and ``designs``
        (now, before any filter), ``exact`` and ``recall``; ``results`` as :meth:`Searcher.search` gives them.
    """
    info, answer = searcher.index.info, response.as_json()
    uploads = {item.upload for item in response.request.query if item.upload}
    everything = searcher.index.count(as_of=response.version)
    return {
        "format": FORMAT,
        "name": name,
        "notes": notes,
        "time": answer["time"],
        "seconds": answer["seconds"],
        "request": {**response.request.as_json(), "version": response.version},
        "images": [dict(image) for image in images if image["upload"] in uploads],
        "model": dict(_model_of(searcher)),
        "index": {
            "uid": info.uid, "version": response.version, "backend": info.backend, "metric": info.metric,
            "figures": everything.figures, "designs": everything.designs, "exact": info.exact,
            "recall": dict(info.recall),
        },
        "searched": answer["searched"],
        "total": answer["total"],
        "exact": answer["exact"],
        "results": answer["results"],
        "fastreid": fastreid.__version__,
    }  # fmt: skip


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with ``DIGEST``, by which one that was changed since is noticed (it is no signature)."""
    return {**record, DIGEST: digest_of(record)}


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the ``FIELDS`` of a record without its name and its notes.

    Numbers count by their value, so that a program which writes 1.0 as 1 does not change it.
    """
    kept = {name: record[name] for name in FIELDS if name in record and name not in CHANGEABLE}
    return hashlib.sha256(json.dumps(_plain(kept), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def save_record(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    check_record(record)
    with atomic_write(path, "w") as file:
        json.dump(record, file, ensure_ascii=False, indent=1)
        file.write("\n")


def load_record(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no record, or one of another format; the message names the file.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        record = json.loads(content.decode("utf-8"))
        check_record(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is not the record of a search: {error}") from error
    return record


def check_record(record: Any) -> None:
    """Raise ``ValueError`` unless something is a record of a search, as far as a replay reads it."""
    if not isinstance(record, Mapping) or "format" not in record:
        raise ValueError("it is no JSON object with a 'format'")
    if record["format"] != FORMAT:
        raise ValueError(f"it has format {record['format']}; this version of fastreid reads format {FORMAT}")
    _check_types(record, FIELDS, "it")
    _check_types(record["index"], {"uid": str, "version": int}, "its index")
    for name, types in PARTS.items():
        for place, element in enumerate(record[name]):
            _check_types(element, types, f"{name}[{place}]")
    for place, result in enumerate(record["results"]):
        _check_types(result["figure"], {"figure_id": str}, f"the figure of results[{place}]")
    SearchRequest.from_json(record["request"])
    if DIGEST in record and record[DIGEST] != digest_of(record):  # those of earlier versions have none
        raise ValueError("it was changed after it was written: its checksum is wrong")


def _check_types(given: Any, types: Mapping[str, Any], what: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be an object; got {given!r}")
    for name, kind in types.items():
        if name not in given:
            raise ValueError(f"{what} lacks '{name}'")
        if not isinstance(given[name], kind):
            raise ValueError(f"'{name}' of {what} has the wrong type: {given[name]!r}")


@dataclass(frozen=True)
class Replay:
    """A recorded search made again.

    Attributes:
        differences: of the results, in words; none when they are the same.
        notes: what was not as recorded though it need not change the results: another version of the index, or another
            index, was searched.
    """

    response: "SearchResponse"
    recorded_version: int
    differences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.differences

    def as_json(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "differences": list(self.differences),
            "notes": list(self.notes),
            "recorded_version": self.recorded_version,
            "version": self.response.version,
            "response": self.response.as_json(),
        }


def replay(record: Mapping[str, Any], searcher: "Searcher", images: Mapping[str, "Image"] | None = None) -> Replay:
    """Search again as a record says, and compare.

    The recorded version of the index is searched where it still can be; where it was compacted away, or where this is
    another index, the newest version is, and ``notes`` say so.

    Args:
        images: by ``upload`` of the record. That they are those recorded is the caller's to check, by their SHA-256.

    Raises:
        OtherModel: another model than the recorded one made the vectors of this index.
        KeyError, ValueError, OSError: as :meth:`Searcher.search`.
    """
    request, notes = SearchRequest.from_json(record["request"]), []
    info, recorded, model = searcher.index.info, record["index"], _model_of(searcher)
    differences = compare_models(record["model"], model) if record["model"] and model else []
    if differences:
        raise OtherModel("the search was made with another model than that of this index: " + "; ".join(differences))
    version = recorded["version"]
    if info.uid != recorded["uid"]:
        version = info.version
        notes.append(f"this is another index than the one of the record; its version {version} was searched")
    elif not info.oldest_version <= version <= info.version:
        version = info.version
        notes.append(f"the index no longer has version {recorded['version']}; version {version} was searched")
    response = searcher.search(replace(request, version=version), images)
    found, differences = response.as_json(), compare(record["results"], response.results)
    if found["searched"] != record["searched"]:
        then, now = (count_words(Count(**each)) for each in (record["searched"], found["searched"]))
        words = f"{now} were searched; in the record it is {then}"
        # another version may hold other figures; the same one cannot
        (notes if notes else differences).append(words)
    return Replay(response, recorded["version"], tuple(differences), tuple(notes))


def _model_of(searcher: "Searcher") -> Mapping[str, Any]:
    """What made the vectors of the index, as it says, or else what it is searched with."""
    return searcher.index.info.model or (searcher.encoder.identity if searcher.encoder else {})


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in words where two lists of results differ.

    That is: what came, went and moved, scores that differ by more than ``SCORE_SLACK``, and designs that are now shown
    by another figure. An empty list: they are the same.
    """
    before, after = ({_name(result): result for result in results} for results in (old, new))
    gone = [f"{name} was rank {old['rank']} and is not found" for name, old in before.items() if name not in after]
    came = [f"{name} is new, at rank {new['rank']}" for name, new in after.items() if name not in before]
    return gone + came + [words for name in before if name in after for words in _changes(name, before, after)]


def _changes(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new, words = before[name], after[name], []
    if old["rank"] != new["rank"]:
        words.append(f"{name} was rank {old['rank']} and is rank {new['rank']}")
    if not abs(old["score"] - new["score"]) <= SCORE_SLACK:
        words.append(f"{name} scored {old['score']:.6f} and scores {new['score']:.6f}")
    if old["figure"]["figure_id"] != new["figure"]["figure_id"]:
        words.append(f"{name} was shown by {old['figure']['figure_id']} and is by {new['figure']['figure_id']}")
    return words


def _name(result: Mapping[str, Any]) -> str:
    return result.get("patent") or result["figure"]["figure_id"]
