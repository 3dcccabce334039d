"""``Precomputed``: vectors that another program made."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastreid.modeling.text_encoders.build import TEXT_ENCODER_REGISTRY, TextEncoder
from fastreid.utils.file_io import PathManager
from fastreid.utils.files import sha256_of


@TEXT_ENCODER_REGISTRY.register(node="MODEL.TEXT_ENCODER")
class Precomputed(TextEncoder):
    """Looks the vectors of texts up in a file.

    Args:
        weights: a ``.npz`` file with ``texts`` (U,), strings, and ``vectors`` (U, width); or a ``.npy`` file with the
            vectors, beside which a file of the same name and the suffix ``.json`` lists the texts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a text that it has twice.
    """

    def __init__(self, weights: str = ""):
        path = Path(PathManager.get_local_path(weights)).expanduser()
        if not weights or not path.is_file():
            raise FileNotFoundError(
                f"Precomputed looks vectors up in the file that MODEL.TEXT_ENCODER.WEIGHTS names; got '{weights}'"
            )
        try:
            texts, self._vectors = _read(path)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(
                f"MODEL.TEXT_ENCODER.WEIGHTS: {path} holds no texts with their vectors: {error}"
            ) from error
        self._rows = {text: row for row, text in enumerate(texts)}
        if len(self._rows) < len(texts):
            twice = next(text for row, text in enumerate(texts) if self._rows[text] != row)
            raise ValueError(f"MODEL.TEXT_ENCODER.WEIGHTS: {path} has the text {twice!r} more than once")
        self.width = self._vectors.shape[1]
        files = [path] if path.suffix == ".npz" else [path, path.with_suffix(".json")]
        self.description = {"name": "Precomputed", "sha256": [sha256_of(file) for file in files]}

    def missing(self, texts: Sequence[str]) -> list[str]:
        return [text for text in texts if text not in self._rows]

    def embed(self, texts: list[str]) -> np.ndarray:
        return self._vectors[[self._rows[text] for text in texts]]


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the texts and their vectors (U, width), those of a ``.npy`` file memory-mapped."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            texts, vectors = [str(text) for text in stored["texts"]], stored["vectors"]
    else:
        texts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(texts, list) or vectors.ndim != 2 or len(texts) != len(vectors) or vectors.dtype.kind != "f":
        raise ValueError(f"{len(texts)} texts and vectors {vectors.dtype} {vectors.shape}")
    return texts, vectors
