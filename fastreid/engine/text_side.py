"""The text side of a model of images: the frozen encoder whose vectors its features were trained to meet."""

import contextlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from fastreid.config import CfgNode, get_cfg
from fastreid.data.text_bank import open_text_bank
from fastreid.modeling import LOSS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from fastreid.modeling.text_encoders import TextEncoder, build_text_encoder

KEY = "MODEL.TEXT_ENCODER"


class TextSide:
    """The text encoder in whose space the features of an image model lie, where all of this holds:

    - the model was trained against texts: ``MODEL.META_ARCHITECTURE`` is a ``Baseline`` (such as ``ImageText``), a loss
      of ``MODEL.LOSSES.NAME`` reads ``text_features``, and it has trained weights;
    - it is known which encoder made these: ``MODEL.TEXT_ENCODER`` is the one that the text bank of the training
      (``DATASETS.TEXT_BANK``) names or, where that bank is not at hand, is set to something else than the default;
    - that encoder can be built here without a network;
    - its vectors are as wide as the features.

    Args:
        dim: width of the features.
        weights: path of the weights of the image model, "" for none.

    Attributes:
        encoder: ``None`` where something of it does not hold; ``why_not`` then says what.
    """

    def __init__(self, cfg: CfgNode, dim: int, weights: str):
        self.encoder: TextEncoder | None = None
        self.why_not = _why_untrained(cfg, weights)
        if not self.why_not:
            self.encoder, self.why_not = _build(cfg, dim)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors, float32 (n, dim), of unit length.

        Raises:
            TypeError: a single text.
            ValueError: there is no encoder, or a text is empty or has no vector.
        """
        if self.encoder is None:
            raise ValueError(f"this model cannot search by text: {self.why_not}")
        if not isinstance(texts, str) and not all(text.strip() for text in texts):
            raise ValueError("a text to search for is empty")
        return self.encoder.encode(texts)


def _why_untrained(cfg: CfgNode, weights: str) -> str:
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    losses = [LOSS_REGISTRY.get(name) for name in cfg.MODEL.LOSSES.NAME]
    reads = any("text_features" in getattr(loss, "needs", ()) for loss in losses)
    if not (isinstance(architecture, type) and issubclass(architecture, Baseline) and reads):
        return "it was trained on images alone"
    return "" if weights else "it is not trained"


def _build(cfg: CfgNode, dim: int) -> tuple[TextEncoder | None, str]:
    """Return the encoder, or why there is none."""
    settings, default = cfg.MODEL.TEXT_ENCODER, get_cfg().MODEL.TEXT_ENCODER
    try:
        bank = open_text_bank(cfg)
        absent = "DATASETS.TEXT_BANK is empty"
    except (OSError, ValueError) as error:
        bank, absent = None, str(error)
    if bank is None and settings == default:
        return None, f"it is not known which encoder read its texts ({absent}; {KEY} is the default)"
    try:
        with _offline():
            encoder = build_text_encoder(cfg)
    except (ImportError, OSError, ValueError, KeyError) as error:
        return None, f"its text encoder cannot be built: {error.args[0] if error.args else error}"
    if bank is not None and json.loads(json.dumps(encoder.description)) != bank.encoder:
        return None, f"{KEY} is {encoder.description}, but the texts of its training were read by {bank.encoder}"
    if encoder.width != dim:
        return None, f"its features have width {dim}, the vectors of {settings.NAME} {encoder.width}"
    return encoder, ""


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let the client of the Hugging Face hub, where there is one, look into its cache alone."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    former, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = former
