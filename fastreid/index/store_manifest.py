"""What ``manifest.json`` of an embedded index says, how it is read, and how it is put in the place of the last one."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fastreid.index.base import IndexInfo
from fastreid.index.errors import IndexCorrupt
from fastreid.index.open import MANIFEST
from fastreid.index.store_files import WHAT_NOW, sync_folder
from fastreid.utils.files import atomic_write

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        segments: in the order of their rows, each ``{"columns": entry, "vectors": entry, "rows": n}``.
        removed: entries of the lists of removed rows, one per commit that removed some.
        next_row: number of the next new row.
        extra: entries of further files by name, those of a backend that builds on this one.
    """

    info: IndexInfo
    segments: tuple[Mapping[str, Any], ...] = ()
    removed: tuple[Mapping[str, Any], ...] = ()
    next_row: int = 0
    extra: Mapping[str, Mapping[str, Any]] | None = None

    def entries(self) -> list[Mapping[str, Any]]:
        """Return the entries of all files."""
        of_segments = [segment[part] for segment in self.segments for part in ("columns", "vectors")]
        return [*of_segments, *self.removed, *(self.extra or {}).values()]

    def as_text(self) -> str:
        values = {
            "format": FORMAT,
            "backend": self.info.backend,
            "info": self.info.as_json(),
            "segments": self.segments,
        }
        values |= {"removed": self.removed, "next_row": self.next_row, "extra": self.extra or {}}
        return json.dumps({**values, "crc32": _crc32(values)}, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            checksum = values.pop("crc32", None)
            if values["format"] != FORMAT:
                raise IndexCorrupt(
                    f"{path} has format {values['format']}, this version reads {FORMAT}: use the version of fastreid "
                    "that wrote it, or build the index again"
                )
            if checksum != _crc32(values):
                raise IndexCorrupt(f"{path} is damaged: its checksum is wrong. {WHAT_NOW}")
            parts = {name: tuple(values[name]) for name in ("segments", "removed")}
            manifest = cls(IndexInfo(**values["info"]), **parts, next_row=values["next_row"], extra=values["extra"])
            manifest.entries()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"No index at '{folder}': {path} is missing. tools/build_index.py makes one"
            ) from None
        except IndexCorrupt:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexCorrupt(f"{path} is damaged: {error}. {WHAT_NOW}") from error
        return manifest

    def put(self, folder: Path) -> None:
        """Make this the manifest of a folder; it counts from the renaming on."""
        sync_folder(folder)  # the names of the new files, before one that refers to them
        with atomic_write(folder / MANIFEST, "w") as file:
            file.write(self.as_text())
        sync_folder(folder)


def now() -> str:
    """The time as manifests have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _crc32(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())
