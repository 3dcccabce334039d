"""Which patents are for training, validation, queries and gallery: by their year, and by a hash of their number."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LISTS = ("train", "val", "val_query", "val_gallery", "query", "gallery")


def read_years(text: str) -> tuple[int, ...]:
    """Read "2020", "2016-2019" or "2010,2016-2019".

    Raises:
        ValueError: it is none of these.
    """
    years: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{4})\s*(?:-\s*(\d{4})\s*)?", part)
        if match is None or (match[2] and match[2] < match[1]):
            raise ValueError(f"Years are written 2020, 2016-2019 or 2010,2016-2019; got {text!r}")
        years |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(years))


@dataclass(frozen=True)
class Split:
    """Years of the parts.

    Args:
        train: years of the patents for training and validation.
        query: later years, whose figures are queries.
        gallery: years whose figures are searched; empty: those of ``train``, validation included.
        val_share: share of the patents of ``train`` for validation.
        seed: of the draws. A draw is a hash of the patent's number, so it depends on no order and on no other patent.
    """

    train: tuple[int, ...]
    query: tuple[int, ...]
    gallery: tuple[int, ...] = ()
    val_share: float = 0.1
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.val_share < 1:
            raise ValueError(f"--val-share must be at least 0 and below 1; got {self.val_share}")
        if both := sorted(set(self.train) & set(self.query)):
            raise ValueError(f"--query-year and --train-years share {both[0]}: queries would be trained on")
        if not self.gallery:
            object.__setattr__(self, "gallery", self.train)

    @property
    def years(self) -> set[int]:
        return {*self.train, *self.query, *self.gallery}

    def parts(self, patent_id: str, year: int, files: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
        """Return the lists that a patent stands in, each with those of its files that do."""
        found: list[tuple[str, Sequence[str]]] = []
        if year in self.train and self._draw(patent_id) >= self.val_share:
            found.append(("train", files))
        elif year in self.train:
            queries = self._queries(files)
            found += [("val", files), ("val_query", [file for file in files if file in queries])]
            found.append(("val_gallery", [file for file in files if file not in queries]))
        if year in self.query:
            found.append(("query", files))
        if year in self.gallery:
            found.append(("gallery", files))
        return found

    def _queries(self, files: Sequence[str]) -> set[str]:
        """The rule of DeepPatent's lists: of 2 or 3 figures one is a query, of more two are; of 1 none."""
        return set(sorted(files, key=self._draw)[: 0 if len(files) < 2 else 1 if len(files) < 4 else 2])

    def _draw(self, name: str) -> float:
        """A number of [0, 1) that depends on seed and name alone."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:6], "big") / 2**48

    def as_dict(self) -> dict[str, Any]:
        years = {name: sorted(getattr(self, name)) for name in ("train", "query", "gallery")}
        return {**years, "val_share": self.val_share, "seed": self.seed}
