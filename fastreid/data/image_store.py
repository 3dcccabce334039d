"""Decoded images in a folder of parts: written whole or not at all, memory-mapped, checked when they are read.

A part is two files: ``NAME.pixels``, uint8 images behind one another, and ``NAME.npz``, written after it, whose tables
say which files were read and where the pixels of each content lie. What a kill leaves without a table is no part.
"""

import hashlib
import itertools
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

# key: digest of path, size and time of change of a file; content: digest of its bytes
FILES = np.dtype([("key", "<u8", 2), ("content", "<u8", 2)])
PIXELS = np.dtype([("content", "<u8", 2), ("start", "<i8"), ("shape", "<i4", 3), ("crc", "<u4")])
TABLE_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class DamagedImage(ValueError):
    """The pixels of a stored image are not those that were written."""


def digest(content: bytes) -> tuple[int, int]:
    """Return 128 bits of BLAKE2b as two numbers."""
    words = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), "<u8")
    return int(words[0]), int(words[1])


class Lookup:
    """Rows of a table by digests, without a Python object per row; of equal digests the first row.

    Args:
        digests: uint64 (N, 2).
    """

    def __init__(self, digests: np.ndarray):
        self._order = np.lexsort((np.arange(len(digests)), digests[:, 1], digests[:, 0]))
        self._first = np.ascontiguousarray(digests[self._order, 0])
        self._second = np.ascontiguousarray(digests[self._order, 1])

    def find(self, wanted: tuple[int, int]) -> int:
        """Return the row of a digest; -1 where there is none."""
        first = np.uint64(wanted[0])
        place = int(self._first.searchsorted(first))
        while place < len(self._first) and self._first[place] == first:
            if self._second[place] == np.uint64(wanted[1]):
                return int(self._order[place])
            place += 1
        return -1

    def find_all(self, wanted: np.ndarray) -> np.ndarray:
        """Return the rows of digests, uint64 (N, 2), as int64 (N,); -1 where there is none."""
        found = np.full(len(wanted), -1, np.int64)
        places, pending = self._first.searchsorted(wanted[:, 0]), np.arange(len(wanted))
        while len(pending := pending[places[pending] < len(self._first)]):
            pending = pending[self._first[places[pending]] == wanted[pending, 0]]
            hit = self._second[places[pending]] == wanted[pending, 1]
            found[pending[hit]] = self._order[places[pending[hit]]]
            pending = pending[~hit]
            places[pending] += 1
        return found


def as_digests(digests: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return digests as uint64 (N, 2)."""
    return np.fromiter(itertools.chain.from_iterable(digests), np.uint64).reshape(-1, 2)


class PartWriter:
    """Takes the images of one part.

    Attributes:
        files: (key, content) of each file read.
        images: number of images stored; a file of known content adds none.
    """

    def __init__(self, file):
        self._file, self._start = file, 0
        self.files: list[tuple] = []
        self._pixels: list[tuple] = []
        self._contents: set[tuple[int, int]] = set()
        self._names: list[str] = []

    @property
    def images(self) -> int:
        return len(self._pixels)

    def has(self, content: tuple[int, int]) -> bool:
        return content in self._contents

    def add_file(self, key: tuple[int, int], content: tuple[int, int]) -> None:
        self.files.append((key, content))

    def add_image(self, content: tuple[int, int], pixels: np.ndarray, name: str) -> None:
        """Store uint8 pixels (H, W) or (H, W, 3) under the digest of the file ``name`` that they came from."""
        data = np.ascontiguousarray(pixels)
        shape = (*data.shape, 1) if data.ndim == 2 else data.shape
        self._file.write(data.data)
        self._pixels.append((content, self._start, shape, zlib.crc32(data.data)))
        self._contents.add(content)
        self._names.append(name)
        self._start += data.nbytes

    def tables(self) -> dict[str, np.ndarray]:
        names = json.dumps(self._names).encode("utf-8", "surrogatepass")
        return {
            "files": np.array(self.files, FILES),
            "pixels": np.array(self._pixels, PIXELS),
            "bytes": np.int64(self._start),
            "names": np.frombuffer(names, np.uint8),
        }


@contextmanager
def write_part(folder: Path, name: str) -> Iterator[PartWriter]:
    """Write a part; it is there when the block ends without an error, and nothing of it otherwise."""
    pixels = folder / f"{name}.pixels"
    try:
        with atomic_write(pixels) as file:
            writer = PartWriter(file)
            yield writer
        with atomic_write(folder / f"{name}.npz") as file:
            np.savez(file, **writer.tables())
    except OSError as error:
        if error.errno is None or not _is_within(error.filename, folder):
            raise
        pixels.unlink(missing_ok=True)
        raise OSError(error.errno, f"The image cache cannot be written: {error.strerror}", str(folder)) from error


def _is_within(name: str | bytes | None, folder: Path) -> bool:
    return name is not None and Path(os.fsdecode(name)).parent == folder


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill has left; only who holds the lock of the folder may do so."""
    for path in folder.glob(".*.tmp"):
        path.unlink()
    for path in folder.glob("*.pixels"):
        if not path.with_suffix(".npz").exists():
            path.unlink()


class ImageStore:
    """All parts of a folder as one table of images.

    A part whose table cannot be read, or whose file of pixels has another length, counts as missing, with a warning.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts, files, pixels = [], [np.empty(0, FILES)], [np.empty(0, PIXELS)]
        for path in sorted(folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as table:
                    own_files, own_pixels, size = table["files"], table["pixels"], int(table["bytes"])
                if path.with_suffix(".pixels").stat().st_size != size:
                    raise ValueError(f"{path.with_suffix('.pixels').name} does not have its {size} bytes")
            except TABLE_ERRORS as error:
                logger.warning("%s is damaged and counts as missing: %s", path, error)
                continue
            self.parts.append(path.with_suffix(""))
            files.append(own_files)
            pixels.append(own_pixels)
        self._ends = np.cumsum([len(part) for part in pixels[1:]], dtype=np.int64)
        self.pixels = np.concatenate(pixels)
        self._contents, own = Lookup(self.pixels["content"].reshape(-1, 2)), np.concatenate(files)
        self._keys = Lookup(own["key"].reshape(-1, 2))
        self._row_of_file = self._contents.find_all(own["content"].reshape(-1, 2))
        self._maps: dict[int, np.ndarray] = {}
        self._checked = np.zeros(len(self.pixels), bool)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size_in_bytes(self) -> int:
        """Bytes of all pixels."""
        return int(self.pixels["shape"].astype(np.int64).prod(axis=1).sum())

    def __getstate__(self) -> dict:  # a process that gets the store maps the files itself
        return {**self.__dict__, "_maps": {}}

    def find_content(self, content: tuple[int, int]) -> int:
        """Return the row of an image by the digest of its file; -1 where there is none."""
        return self._contents.find(content)

    def find_files(self, keys: np.ndarray) -> np.ndarray:
        """Return the rows, int64 (N,), of images by the digests of their files' paths and states, uint64 (N, 2); -1
        where there is none.
        """
        files = self._keys.find_all(keys)
        return np.where(files < 0, -1, self._row_of_file[files]) if len(self._row_of_file) else files

    def read(self, row: int) -> np.ndarray:
        """Return the pixels of a row, uint8 (H, W) or (H, W, 3), read-only; each is checked when first read.

        Raises:
            DamagedImage: their checksum differs.
        """
        entry = self.pixels[row]
        height, width, planes = (int(side) for side in entry["shape"])
        start = int(entry["start"])
        data = self._mapped(row)[start : start + height * width * planes]
        if not self._checked[row]:
            if len(data) != height * width * planes or zlib.crc32(data) != entry["crc"]:
                raise DamagedImage(f"{self.part_of(row)}.pixels, row {row}, is damaged: its checksum differs")
            self._checked[row] = True
        return data.reshape((height, width) if planes == 1 else (height, width, planes))

    def damaged(self) -> Iterator[tuple[Path, str]]:
        """Read all pixels; yield the part and the image of each one that is damaged."""
        start = 0
        for part, end in zip(self.parts, self._ends.tolist(), strict=True):
            with np.load(part.with_suffix(".npz"), allow_pickle=False) as table:
                names = json.loads(table["names"].tobytes().decode("utf-8", "surrogatepass"))
            for row in range(start, end):
                try:
                    self.read(row)
                except DamagedImage:
                    yield part, names[row - start]
            start = end

    def part_of(self, row: int) -> Path:
        """Return the path of the part that holds a row, without suffix."""
        return self.parts[self._number_of(row)]

    def _number_of(self, row: int) -> int:
        return int(self._ends.searchsorted(row, side="right"))

    def _mapped(self, row: int) -> np.ndarray:
        number = self._number_of(row)
        if number not in self._maps:
            # mapped anew in each process that reads; a plain array, because slices of np.memmap are slow
            self._maps[number] = np.asarray(np.memmap(f"{self.parts[number]}.pixels", np.uint8, mode="r"))
        return self._maps[number]
