"""The column ``frequency`` of a feature file: head or tail by the images of each subclass in the training set."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fastreid.data.build import train_records
from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.columns import by_frequency, locarno_level


def with_frequency(cfg, features: FeatureFile) -> FeatureFile:
    """Return the features with the column where ``TEST.FREQUENCY`` is "train"; otherwise as they are.

    Lists of ``DATASETS.NAMES`` are read, no images. So features that are kept in a file need not be extracted again.

    Raises:
        ValueError: the test images have no classes.
    """
    if cfg.TEST.FREQUENCY != "train":
        return features
    require_taxonomy(features.columns)
    trained = [record.taxonomy or "" for record in train_records(cfg)]
    column = head_or_tail(features.columns["taxonomy"], trained)
    return replace(features, columns={**features.columns, "frequency": column})


def require_taxonomy(columns: Iterable[str]) -> None:
    """Raise ``ValueError`` where the test images have no column ``taxonomy``."""
    if "taxonomy" not in columns:
        raise ValueError("TEST.FREQUENCY train needs the classes of the test images (taxonomy), which they lack")


def head_or_tail(taxonomy: Sequence[str], trained: Sequence[str]) -> np.ndarray:
    """Return "head" or "tail" of each code in ``taxonomy`` by how often its subclass occurs in ``trained``, (N,) text.

    A subclass that does not occur there is tail; a code without a known subclass has "".
    """
    given, counted = (locarno_level(np.asarray(texts, dtype=object), "subclass") for texts in (taxonomy, trained))
    return by_frequency(given, counted)
