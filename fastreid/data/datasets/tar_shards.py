"""``TarShards``: images in tar archives, as the package webdataset lays them out."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.datasets.build import DATASET_REGISTRY, expand
from fastreid.data.datasets.patent import GALLERY_CAMERA, QUERY_CAMERA
from fastreid.data.images import IMAGE_SUFFIXES
from fastreid.data.records import Record
from fastreid.data.tar_files import INSIDE, members, read_member

FIELDS = ("date", "taxonomy", "text", "view")


@DATASET_REGISTRY.register(node="DATASETS.TARSHARDS")
class TarShards(ImageDataset):
    """Archives in which the files of one image share a name up to its first dot: ``KEY.png`` and what is known of it.

    ``KEY.json`` is an object with ``pid``, the identity, and optionally ``camid``, ``date`` (yyyymmdd), ``taxonomy``,
    ``text`` and ``view`` (see ``Record``); or ``KEY.cls`` holds the identity alone.

    Args:
        root: folder of the archives (config: ``DATASETS.TARSHARDS.ROOT``).
        train, query, gallery: names below ``root``, absolute paths or http(s) addresses of archives; ``{000..099}`` in
            one stands for all numbers between.

    Raises:
        ValueError: a part that is asked for names no archive; an image has no identity, or what is known of it cannot
            be read.
        OSError: an archive is missing or not whole.
    """

    dataset_name = "tarshards"

    def __init__(
        self, root: str | os.PathLike = "", train: Sequence[str] = (), query: Sequence[str] = (),
        gallery: Sequence[str] = (), **kwargs,
    ):  # fmt: skip
        self.folder = Path(root)
        super().__init__(
            lambda: self._records("TRAIN", train, 1, f"{self.name}_"),
            lambda: self._records("QUERY", query, QUERY_CAMERA),
            lambda: self._records("GALLERY", gallery, GALLERY_CAMERA),
            **kwargs,
        )

    def _records(self, part: str, names: Sequence[str], camera: int, prefix: str = "") -> list[Record]:
        if not names:
            raise ValueError(f"Data set TarShards has no {part} archive: name some in DATASETS.TARSHARDS.{part}")
        names = [names] if isinstance(names, str) else names
        archives = [self._find(part, each) for name in names for each in expand_numbers(name)]
        return [record for archive in archives for record in _records_in(archive, camera, prefix)]

    def _find(self, part: str, name: str) -> str:
        if name.startswith(("http://", "https://")):
            return name
        path = self.folder / expand(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"DATASETS.TARSHARDS.{part}: archive '{name}' not found at {path.absolute()}; archives are addresses, "
                f"absolute or relative to DATASETS.TARSHARDS.ROOT, which lies below FASTREID_DATASETS unless absolute"
            )
        return str(path)


def expand_numbers(name: str) -> Iterator[str]:
    """Yield the names that ``name`` stands for: ``{08..11}`` is 08, 09, 10 and 11; other braces stay."""
    span = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if not span:
        yield name
        return
    first, last = span.groups()
    for number in range(int(first), int(last) + 1):
        yield from expand_numbers(f"{name[: span.start()]}{number:0{len(first)}d}{name[span.end() :]}")


def _records_in(archive: str, camera: int, prefix: str) -> Iterator[Record]:
    names = members(archive)
    for name in names:
        if not name.lower().endswith(IMAGE_SUFFIXES):
            continue
        key = key_of(name)
        path, known = f"{archive}{INSIDE}{name}", _known(archive, key, names)
        pid = known.get("pid")
        if isinstance(pid, bool) or not isinstance(pid, (int, str)):
            raise ValueError(f"{path} has no identity: {key}.json must have a 'pid', a whole number or a text, or {key}"
                             f".cls hold it; got {pid!r}")  # fmt: skip
        fields = {field: known.get(field) for field in FIELDS}
        yield Record(path, f"{prefix}{pid}" if prefix else pid, known.get("camid", camera), source=archive, **fields)


def key_of(name: str) -> str:
    """Return what the files of one image share: the path up to the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _known(archive: str, key: str, names: dict[str, Any]) -> dict[str, Any]:
    """What an archive says about a key, by the names of JSON fields."""
    if f"{key}.json" in names:
        place = f"{archive}{INSIDE}{key}.json"
        try:
            known = json.loads(read_member(place))
        except ValueError as error:
            raise ValueError(f"{place} is no JSON: {error}") from None
        if not isinstance(known, dict):
            raise ValueError(f"{place} must hold an object; got {known!r}")
        return known
    if f"{key}.cls" in names:
        text = read_member(f"{archive}{INSIDE}{key}.cls").decode("utf-8", "replace").strip()
        return {"pid": int(text) if text.isdecimal() else text or None}
    return {}
