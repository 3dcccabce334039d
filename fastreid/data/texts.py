"""Texts of images: files of JSON lines, and the table of the different ones."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastreid.data.json_lines import read_json_lines


def read_texts(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Iterate over the lines of a file of texts, ``{"file": "a/1.png", "variant": 0, "text": "A chair", ...}``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not such an object, naming file and line.
    """
    return read_json_lines(path, _check_row, "a line of texts must be a JSON object with `file` and `text`")


def _check_row(row: Any) -> None:
    if not all(isinstance(row[key], str) and row[key].strip() for key in ("file", "text")):
        raise TypeError("`file` and `text` must be texts, and not empty")


class FileTexts:
    """Texts by file, each different text once.

    Args:
        pairs: (file, text), in any order.

    Attributes:
        files: list of the N files, in the order in which they are met first.
        texts: list of the U different texts, likewise.
        starts, rows: int64 (N + 1,) and (P,): the texts of file i are those at ``rows[starts[i] : starts[i + 1]]``.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]):
        files: dict[str, int] = {}
        texts: dict[str, int] = {}
        owners, rows = array("q"), array("q")
        for file, text in pairs:
            owners.append(files.setdefault(file, len(files)))
            rows.append(texts.setdefault(text, len(texts)))
        self.files, self.texts = list(files), list(texts)
        owner = np.frombuffer(owners, np.int64) if owners else np.empty(0, np.int64)
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(files)))]).astype(np.int64)
        self.rows = np.asarray(rows, np.int64)[np.argsort(owner, kind="stable")]

    @classmethod
    def of(cls, texts_by_file: Mapping[str, Sequence[str]]) -> "FileTexts":
        return cls((file, text) for file, texts in texts_by_file.items() for text in texts)

    @cached_property
    def sha256(self) -> str:
        """A hash that changes with every file, text and their order."""
        digest = hashlib.sha256()
        for strings in (self.files, self.texts):
            digest.update(f"{len(strings)}:".encode())
            for string in strings:
                content = string.encode("utf-8", "surrogatepass")
                digest.update(b"%d:%s" % (len(content), content))
        digest.update(self.starts.tobytes() + self.rows.tobytes())
        return digest.hexdigest()
