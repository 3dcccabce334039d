"""``SentenceTransformer``: encoders of sentences in the format of sentence-transformers."""

from pathlib import Path

import numpy as np
import torch

from fastreid.modeling.text_encoders.build import BATCH, INSTALL, TEXT_ENCODER_REGISTRY, TextEncoder
from fastreid.utils.file_io import PathManager
from fastreid.utils.hashing import hash_weights
from fastreid.utils.hub import hub_access


@TEXT_ENCODER_REGISTRY.register(node="MODEL.TEXT_ENCODER")
class SentenceTransformer(TextEncoder):
    """An encoder of the package sentence-transformers (Reimers and Gurevych, EMNLP 2019). No code of the model is run.

    Args:
        model: a folder, "package://NAME/path" for one inside an installed Python package, or a name of the hub
            ("sentence-transformers/all-MiniLM-L6-v2").

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: no such folder, or the package is not installed.
        ConnectionError: the hub cannot be reached and the model is not in its cache, or the hub has none of this name.
        ValueError: the folder holds no such model.
    """

    has_weights = True

    def __init__(self, model: str = ""):
        if not model:
            raise ValueError(
                "SentenceTransformer needs MODEL.TEXT_ENCODER.MODEL: a folder, package://NAME/path or a name"
            )
        try:
            import sentence_transformers
        except ImportError as error:
            raise ImportError(
                f"SentenceTransformer needs sentence-transformers: {INSTALL}", name="sentence_transformers"
            ) from error

        folder = _local_folder(model)
        load = sentence_transformers.SentenceTransformer
        if folder is None:
            with hub_access(model, "Or name a folder in MODEL.TEXT_ENCODER.MODEL, or a package with the model inside."):
                self._model = load(model, device="cpu", trust_remote_code=False)
        else:
            try:
                self._model = load(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"MODEL.TEXT_ENCODER.MODEL: {folder} holds no model of sentence-transformers: {error}"
                ) from error
        self._model.eval().requires_grad_(False)
        self.width = self.embed(["a"]).shape[1]
        self.description = {
            "name": "SentenceTransformer", "model": model, "longest": self._model.max_seq_length,
            "sha256": hash_weights(self._model.state_dict()),
        }  # fmt: skip
        self.cut = 0

    def to(self, device: torch.device) -> "SentenceTransformer":
        self._model.to(device)
        return self

    def embed(self, texts: list[str]) -> np.ndarray:
        vectors = self._model.encode(texts, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        longest = self._model.max_seq_length or 0
        if longest:
            lengths = self._model.tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
            self.cut += sum(len(tokens) >= longest for tokens in lengths)
        return vectors


def _local_folder(model: str) -> Path | None:
    """Return the folder that ``model`` names; ``None`` for what can only be a name of the hub."""
    try:
        path = Path(PathManager.get_local_path(model)).expanduser()
    except FileNotFoundError as error:  # package://
        raise FileNotFoundError(f"MODEL.TEXT_ENCODER.MODEL: {error}") from error
    if path.is_dir():
        return path
    if path.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise FileNotFoundError(f"MODEL.TEXT_ENCODER.MODEL: there is no folder '{model}'")
    return None
