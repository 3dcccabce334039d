"""Text encoders: frozen models that turn texts into vectors, once, before the training."""

from fastreid.modeling.text_encoders.build import TEXT_ENCODER_REGISTRY, TextEncoder, build_text_encoder
from fastreid.modeling.text_encoders.hashed_words import HashedWords
from fastreid.modeling.text_encoders.openclip import OpenClip
from fastreid.modeling.text_encoders.precomputed import Precomputed
from fastreid.modeling.text_encoders.sentence_transformer import SentenceTransformer

__all__ = [name for name in dir() if not name.startswith("_")]
