"""Files of an embedded index: segments of figures, lists of removed rows, and their checksums.

No file is ever changed: a commit writes new ones under fresh names and then replaces the manifest, which names all that
count, with size and CRC-32. What no manifest names was left by a killed writer.
"""

import json
import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.errors import IndexCorrupt
from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures

CHECK_BYTES = 1 << 22  # read at once for a checksum


def write_file(path: Path, write) -> dict[str, Any]:
    """Write a new file by ``write(file)``, flushed to the disk; return its entry for the manifest."""
    try:
        with open(path, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    return {"name": path.name, "bytes": path.stat().st_size, "crc32": checksum(path)}


def checksum(path: Path) -> int:
    """CRC-32 of a file, which notices damage; it is no protection against intent."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(CHECK_BYTES):
            value = zlib.crc32(block, value)
    return value


def sync_folder(folder: Path) -> None:
    """Make new names in ``folder`` last, should the machine fail."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_files(folder: Path, entries: Iterable[dict[str, Any]], contents: bool = True) -> None:
    """Compare files with their entries of the manifest.

    Raises:
        FileNotFoundError: one is missing.
        IndexCorrupt: one has another size or, with ``contents``, another checksum.
    """
    entries = list(entries)
    for entry in entries:
        size = (folder / entry["name"]).stat().st_size
        if size != entry["bytes"]:
            raise IndexCorrupt(
                f"{folder / entry['name']} is damaged: {size} bytes instead of {entry['bytes']}. {WHAT_NOW}"
            )
    if contents:
        with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:  # crc32 lets other threads run
            found = pool.map(lambda entry: checksum(folder / entry["name"]), entries)
            for entry, value in zip(entries, found, strict=True):
                if value != entry["crc32"]:
                    raise IndexCorrupt(f"{folder / entry['name']} is damaged: its checksum is wrong. {WHAT_NOW}")


WHAT_NOW = "Restore it from a copy, or build the index again"


def write_columns(path: Path, figures: Figures, rows: np.ndarray, added: np.ndarray) -> dict[str, Any]:
    """Write what is known about the figures of a segment, texts as their different values and codes."""
    arrays: dict[str, np.ndarray] = {"row": rows, "added": added}
    arrays.update({name: figures[name] for name in DATE_COLUMNS})
    texts = {}
    for name in TEXT_COLUMNS:
        values, codes = encode(figures[name].tolist())
        texts[name], arrays[name] = values, codes
    described = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    arrays["texts"] = np.frombuffer(described, dtype=np.uint8)
    return write_file(path, lambda file: np.savez(file, **arrays))


def read_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Return the arrays of `write_columns`, and the values of each text column."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in ("row", "added", *DATE_COLUMNS, *TEXT_COLUMNS)}
        return arrays, json.loads(stored["texts"].tobytes().decode("utf-8", "surrogatepass"))


def encode(values: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the different values in the order of their first occurrence, and the code of each, int32 (n,)."""
    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32, len(values))
    return list(known), codes
