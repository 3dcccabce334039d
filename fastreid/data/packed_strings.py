"""Many strings in two files, of which only those that are asked for are read."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np


class PackedStrings(Sequence):
    """Strings behind one another in ``<base>.txt`` (UTF-8); where each begins is in ``<base>.npy``, int64 (n + 1,).

    Both are memory-mapped, so that millions of strings cost no time to open and no memory.

    Raises:
        OSError, ValueError: a file is missing or is not whole.
    """

    def __init__(self, base: str | os.PathLike):
        path, starts = Path(f"{base}.txt"), f"{base}.npy"
        self._starts = np.load(starts, mmap_mode="r", allow_pickle=False)
        if self._starts.ndim != 1 or self._starts.dtype != np.int64 or not len(self._starts):
            raise ValueError(f"{starts} does not hold the beginnings of strings")
        size = path.stat().st_size
        if size != self._starts[-1]:
            raise ValueError(f"{path} has {size} bytes instead of {self._starts[-1]}")
        self._bytes = np.memmap(path, np.uint8, mode="r") if size else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> str:
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} strings, counted from 0; got {place}")
        return self._bytes[self._starts[place] : self._starts[place + 1]].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        content, starts = self._bytes.tobytes(), self._starts.tolist()
        for begin, end in itertools.pairwise(starts):
            yield content[begin:end].decode("utf-8", "surrogatepass")

    @staticmethod
    def write(base: str | os.PathLike, strings: Iterable[str]) -> None:
        lengths = [0]
        with open(f"{base}.txt", "wb") as file:
            for string in strings:
                lengths.append(file.write(string.encode("utf-8", "surrogatepass")))
        np.save(f"{base}.npy", np.cumsum(lengths, dtype=np.int64))
