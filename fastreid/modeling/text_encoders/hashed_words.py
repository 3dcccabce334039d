"""``HashedWords``: texts by the words they have, a control for encoders that have learnt what words mean."""

import hashlib
import itertools
import re
import unicodedata
from functools import lru_cache

import numpy as np

from fastreid.modeling.text_encoders.build import TEXT_ENCODER_REGISTRY, TextEncoder
from fastreid.utils.errors import require_whole


@TEXT_ENCODER_REGISTRY.register(node="MODEL.TEXT_ENCODER")
class HashedWords(TextEncoder):
    """Counts of words and of pairs of neighbouring words, hashed with signs into ``width`` places.

    The hash kernel of Weinberger et al. (ICML 2009, definition 1): a feature counts +1 or -1 at one place, both by its
    hash, so that the dot product of two texts is that of their counts in expectation. Words are compared without case
    and compatibility forms ("Ⅲ" is "iii"). Nothing is learnt, and every machine gets the same numbers.

    A text of n words has 2n - 1 features, an odd number, so no vector is zero.
    """

    def __init__(self, width: int = 512):
        self.width = require_whole("MODEL.TEXT_ENCODER.WIDTH", width, 1)
        self.description = {"name": "HashedWords", "width": self.width}

    def embed(self, texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.width), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature in features_of(text):
                number = _hash(feature)
                vector[(number >> 1) % self.width] += 1 if number & 1 else -1
        return vectors


def features_of(text: str) -> list[str]:
    """Return the words of a text and the pairs of its neighbouring words; of one without words, itself."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()) or [text]
    return words + [f"{first} {second}" for first, second in itertools.pairwise(words)]


@lru_cache(maxsize=1 << 18)
def _hash(feature: str) -> int:
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
