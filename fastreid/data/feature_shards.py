"""A feature file in the making: parts of a fixed number of rows, each written by itself, joined at the end.

What lies in a part depends on the rows alone, not on how many processes share the work or how often they were stopped.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.data.feature_file import FeatureFile, write_features
from fastreid.utils.errors import require_whole

logger = logging.getLogger(__name__)


class FeatureShards:
    """The parts in ``folder``; part ``k`` has the rows ``k * size`` to ``(k + 1) * size - 1`` of the whole.

    Args:
        rows: number of rows of the whole.
        size: rows of a part; the last one may have fewer.
        fingerprint: what the features are made of, and how (the size of a batch counts, since it may move the last
            bit of a sum). A part with another one does not count as there.

    Raises:
        ValueError, TypeError: ``rows`` or ``size`` is below 1 or no whole number.
    """

    def __init__(self, folder: str | os.PathLike, rows: int, size: int, fingerprint: Mapping[str, Any]):
        self.folder = Path(folder)
        self.rows = require_whole("rows of FeatureShards", rows, 1)
        self.size = require_whole("TEST.SHARD_SIZE", size, 1)
        self.fingerprint = dict(fingerprint)

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def span(self, number: int) -> range:
        """The rows of part ``number``."""
        return range(number * self.size, min(self.rows, (number + 1) * self.size))

    def path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.npz"

    def save(self, number: int, part: FeatureFile) -> None:
        """Write a part: as a feature file, whose archive holds a checksum of each array."""
        if len(part) != len(self.span(number)):
            raise ValueError(f"part {number} must have {len(self.span(number))} rows; got {len(part)}")
        FeatureFile(part.features, 0, part.columns, part.paths, self._fingerprint(number), part.relevance_known).save(
            self.path(number)
        )

    def load(self, number: int) -> FeatureFile:
        """Read a part, with its checksum.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged.
            StaleFeatures: it is of other weights, settings, images or rows.
        """
        part = FeatureFile.load(self.path(number))
        part.check(self._fingerprint(number))
        return part

    def missing(self, numbers: Sequence[int] | range) -> list[int]:
        """Return those of ``numbers`` whose part is absent, damaged or stale; the reason is logged."""
        return [number for number in numbers if not self._is_whole(number)]

    def join(self, path: str | os.PathLike, num_query: int, fingerprint: Mapping[str, Any]) -> None:
        """Write the feature file of all parts to ``path`` and remove the parts.

        One part is in memory at a time, and of the whole its columns and paths.

        Raises:
            FileNotFoundError, ValueError: a part is absent, damaged or stale.
        """
        columns: dict[str, list] = {}
        paths: list[str] = []
        first = self.load(0)
        known = first.relevance_known

        def blocks() -> Iterator[np.ndarray]:
            for number in range(len(self)):
                part = first if number == 0 else self.load(number)
                for name, values in part.columns.items():
                    columns.setdefault(name, []).append(values)
                paths.extend(part.paths)
                yield part.features

        def description() -> tuple[dict, dict]:
            fields = {"num_query": num_query, "paths": paths, "fingerprint": dict(fingerprint)}
            joined = {name: np.concatenate(values) for name, values in columns.items()}
            return {**fields, "relevance_known": known}, joined

        write_features(path, (self.rows, first.features.shape[1]), blocks(), description)
        self.remove()

    def remove(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fingerprint(self, number: int) -> dict[str, Any]:
        span = self.span(number)
        return {**self.fingerprint, "rows": [span.start, span.stop]}

    def _is_whole(self, number: int) -> bool:
        if not self.path(number).exists():
            return False
        try:
            self.load(number)
        except ValueError as error:
            logger.warning("%s is made again: %s", self.path(number), error)
            return False
        return True
