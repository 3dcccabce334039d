"""Files of an embedded index: segments of figures, lists of removed rows, and their checksums.

No file is ever changed: a commit writes new ones under fresh names and then replaces the manifest, which names all that
count, with size and CRC-32. What no manifest names was left by a killed writer.
"""

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.errors import IndexCorrupt
from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures

WHAT_NOW = "Restore it from a copy, or build the index again"
CHECK_BYTES = 1 << 22  # read at once for a checksum
PART_BYTES = 1 << 26  # of a file, for one thread
MOST_THREADS = 4
POLYNOMIAL = 0xEDB88320  # of CRC-32, without x^32, in reverse order


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
    return checksums([path])[0]


def checksums(paths: Sequence[Path]) -> list[int]:
    """CRC-32 of files, whose parts are read by several threads: `zlib.crc32` lets the others run."""
    parts = [(path, start) for path in paths for start in range(0, path.stat().st_size, PART_BYTES)]
    found = dict.fromkeys(paths, 0)
    with ThreadPoolExecutor(max(1, min(MOST_THREADS, os.cpu_count() or 1, len(parts)))) as pool:
        for (path, _), (value, length) in zip(parts, pool.map(_of_part, parts), strict=True):
            found[path] = joined_crc32(found[path], value, length)
    return [found[path] for path in paths]


def _of_part(part: tuple[Path, int]) -> tuple[int, int]:
    """CRC-32 and length of the part of a file that begins at some byte."""
    path, start = part
    value, length = 0, 0
    with open(path, "rb") as file:
        file.seek(start)
        while length < PART_BYTES and (block := file.read(min(CHECK_BYTES, PART_BYTES - length))):
            value = zlib.crc32(block, value)
            length += len(block)
    return value, length


def joined_crc32(first: int, second: int, length: int) -> int:
    """CRC-32 of two texts in a row, from those of each and the length of the second one in bytes.

    Text after the first one shifts its remainder: a product with x^(8 length) in the field of the polynomial, whose
    coefficients CRC-32 keeps in reverse order (x^0 is the highest bit).
    """
    power, square = 1 << 31, 1 << 23  # x^0 and x^8
    while length:
        if length & 1:
            power = _product(power, square)
        square, length = _product(square, square), length >> 1
    return _product(power, first) ^ second


def _product(a: int, b: int) -> int:
    """Product of two polynomials over GF(2), modulo that of CRC-32."""
    found = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            found ^= b
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return found


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
        for entry, value in zip(entries, checksums([folder / entry["name"] for entry in entries]), strict=True):
            if value != entry["crc32"]:
                raise IndexCorrupt(f"{folder / entry['name']} is damaged: its checksum is wrong. {WHAT_NOW}")


def write_vectors(path: Path, shape: tuple[int, int], blocks: Iterable[np.ndarray]) -> dict[str, Any]:
    """Write vectors, blocks (n, D) that make ``shape`` together, as one float32 array that can be mapped."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}

    def write(file) -> None:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=np.float32).data)

    return write_file(path, write)


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
