"""Text banks: the texts of images and the vectors that a frozen text encoder made of them.

A folder that ``tools/encode_text.py`` writes. ``bank.json`` says what it holds, what encoded it, and in which folder
beside it the data are: ``vectors.npy`` (one row per different text), ``texts`` and ``files`` (``PackedStrings``), and
which rows are the texts of file i: ``rows[starts[i] : starts[i + 1]]``.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.data.packed_strings import PackedStrings
from fastreid.data.path_index import PathIndex
from fastreid.data.texts import FileTexts, read_texts
from fastreid.utils.errors import require_choice
from fastreid.utils.files import atomic_write, data_root, expand

__all__ = ["FileTexts", "TextBank", "open_text_bank", "read_texts"]

FORMAT = 1
DATA = re.compile(r"data-[0-9a-f]{16}")  # folders of data; all but the one that bank.json names are left-overs
DTYPES = ("float16", "float32")
BLOCK = 1 << 14  # vectors that are checked and written at a time


def open_text_bank(cfg) -> "TextBank | None":
    """Open the bank that ``DATASETS.TEXT_BANK`` names; see :func:`open_named`."""
    return open_named(cfg.DATASETS.TEXT_BANK, "DATASETS.TEXT_BANK")


def open_named(folder: str, key: str) -> "TextBank | None":
    """Open the bank in a folder that a setting names, below the data root or absolute; ``None`` when it names none.

    Args:
        key: of the setting, for the error message.

    Raises:
        FileNotFoundError: there is none in this folder.
        ValueError: the path has a variable that is not set, or see :meth:`TextBank.open`.
    """
    if not folder:
        return None
    try:
        return TextBank.open(data_root() / expand(folder))
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{key}: {error}") from error


class TextBank:
    """A text bank on disk: ``TextBank.open(folder)``. Its length is the number of different texts, U.

    It can be handed to other processes, each of which maps the files into its memory.

    Attributes:
        vectors: memory-mapped, float16 or float32 (U, width), of unit length.
        encoder: what made the vectors, as plain JSON values.
        sha256: of the texts, see :attr:`FileTexts.sha256`.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open; the same as :meth:`open`."""
        self.folder = Path(folder)
        described = self._described()
        data = self.folder / described["data"]
        try:
            arrays = (data / f"{name}.npy" for name in ("vectors", "starts", "rows"))
            self.vectors, self._starts, self._rows = (
                np.load(path, mmap_mode="r", allow_pickle=False) for path in arrays
            )
            self._texts, self._files = PackedStrings(data / "texts"), PackedStrings(data / "files")
            self._check(described)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"{self.folder} is no whole text bank: {error}. Make it again: tools/encode_text.py"
            ) from error
        self.encoder, self.sha256 = described["encoder"], described["sha256"]

    @classmethod
    def open(cls, folder: str | os.PathLike) -> "TextBank":
        """Open a bank.

        Raises:
            FileNotFoundError: there is none in this folder.
            ValueError: of a format that this version does not read, or not whole.
        """
        return cls(folder)

    def _described(self) -> dict[str, Any]:
        path = self.folder / "bank.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"No text bank in '{self.folder}': it has no bank.json. Make one: tools/encode_text.py --texts FILE "
                f"--output {self.folder}"
            )
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            if described["format"] == FORMAT:
                return {
                    key: described[key] for key in ("data", "width", "dtype", "files", "texts", "encoder", "sha256")
                }
            found = described["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not describe a text bank; {type(error).__name__}: {error}") from error
        raise ValueError(f"{path} has text bank format {found}; this version reads {FORMAT}")

    def _check(self, described: Mapping[str, Any]) -> None:
        shape = (described["texts"], described["width"])
        if self.vectors.shape != shape or self.vectors.dtype != described["dtype"]:
            raise ValueError(f"vectors.npy holds {self.vectors.dtype} {self.vectors.shape} instead of "
                             f"{described['dtype']} {shape}")  # fmt: skip
        counts = len(self._texts), len(self._files), len(self._starts) - 1
        if counts != (described["texts"], described["files"], described["files"]):
            raise ValueError(f"texts, files and starts have {counts} entries")
        whole = self._starts[0] == 0 and self._starts[-1] == len(self._rows) and (np.diff(self._starts) >= 0).all()
        if not whole or (len(self._rows) and not 0 <= self._rows.min() <= self._rows.max() < shape[0]):
            raise ValueError("rows.npy and starts.npy do not fit each other and the vectors")

    @property
    def width(self) -> int:
        return self.vectors.shape[1]

    @property
    def dtype(self) -> str:
        return str(self.vectors.dtype)

    @cached_property
    def _index(self) -> PathIndex:
        return PathIndex(self._files)

    @property
    def files(self) -> list[str]:
        return self._index.names

    def place(self, path: str) -> int:
        """Return the number of the file that ``path`` ends in; -1 when the bank has none."""
        return self._index.find(path)

    def rows_at(self, place: int) -> np.ndarray:
        """Return the rows, int64 (n,), of the texts of the file with this number; none for -1."""
        return np.array(self._rows[self._starts[place] : self._starts[place + 1]] if place >= 0 else (), np.int64)

    def rows(self, path: str) -> np.ndarray:
        """Return the rows, int64 (n,), of the texts of an image, found by the end of its path; empty for none."""
        return self.rows_at(self.place(path))

    def texts(self, path: str) -> list[str]:
        """Return the texts of an image, in the order of :meth:`rows`."""
        return [self.text(row) for row in self.rows(path)]

    def text(self, row: int) -> str:
        """Return the text whose vector is in this row."""
        return self._texts[row]

    def __len__(self) -> int:
        return len(self.vectors)

    def __reduce__(self) -> tuple:
        return TextBank, (self.folder,)

    @classmethod
    def write(
        cls, folder: str | os.PathLike, texts: FileTexts | Mapping[str, Sequence[str]], vectors: np.ndarray, *,
        encoder: Mapping[str, Any] | None = None, dtype: str = "float16",
    ) -> "TextBank":  # fmt: skip
        """Write a bank and open it. An old one in this folder stays whole until the new one takes its place.

        Args:
            texts: those of each file; ``vectors`` are in the order of ``FileTexts.texts``.
            vectors: (U, width), finite and not zero; they are written with unit length.
            encoder: what made them, as plain JSON values.
            dtype: "float16" or "float32".

        Raises:
            ValueError: another number of vectors, a vector that is NaN, infinite or zero, or a file named twice.
        """
        require_choice("dtype of a TextBank", dtype, DTYPES)
        texts = texts if isinstance(texts, FileTexts) else FileTexts.of(texts)
        if vectors.ndim != 2 or len(vectors) != len(texts.texts):
            raise ValueError(f"{len(texts.texts)} texts need vectors of shape ({len(texts.texts)}, width); "
                             f"got {vectors.shape}")  # fmt: skip
        PathIndex(texts.files)  # refuses a file that is named twice, as "a.png" and "./a.png"
        described = {
            "format": FORMAT, "data": f"data-{secrets.token_hex(8)}", "width": vectors.shape[1], "dtype": dtype,
            "files": len(texts.files), "texts": len(texts.texts), "pairs": len(texts.rows),
            "encoder": dict(encoder or {}), "sha256": texts.sha256,
        }  # fmt: skip
        folder = Path(folder)
        data = folder / described["data"]
        data.mkdir(parents=True)
        try:
            _write_data(data, texts, vectors, dtype)
            with atomic_write(folder / "bank.json", "w") as file:
                json.dump(described, file, indent=1, ensure_ascii=False)
        except BaseException:
            shutil.rmtree(data, ignore_errors=True)
            raise
        for former in folder.iterdir():
            if DATA.fullmatch(former.name) and former != data:
                shutil.rmtree(former, ignore_errors=True)
        return cls(folder)


def _write_data(folder: Path, texts: FileTexts, vectors: np.ndarray, dtype: str) -> None:
    np.save(folder / "starts.npy", texts.starts)
    np.save(folder / "rows.npy", texts.rows)
    PackedStrings.write(folder / "files", texts.files)
    PackedStrings.write(folder / "texts", texts.texts)
    _write_vectors(folder / "vectors.npy", vectors, dtype, texts.texts)
    for path in folder.iterdir():  # a crash of the machine must not leave a bank.json with empty files beside it
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _write_vectors(path: Path, vectors: np.ndarray, dtype: str, texts: Sequence[str]) -> None:
    with open(path, "wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": vectors.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(vectors), BLOCK):
            block = np.asarray(vectors[start : start + BLOCK], np.float32)
            lengths = np.linalg.norm(block, axis=1, keepdims=True)
            bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
            if len(bad):
                raise ValueError(
                    f"vector {start + bad[0]} has the length {lengths[bad[0], 0]}; it must be finite and not zero. Its "
                    f"text: {texts[start + bad[0]]!r}"
                )
            file.write((block / lengths).astype(dtype).tobytes())
