"""Which class each image of a picture belongs to, and what the classes are called."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.columns import with_derived
from fastreid.retrieval.graded import is_known

UNKNOWN, OTHER = -1, -2
ZERO_IS_UNKNOWN = ("dates", "year")


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows divided into named classes.

    Attributes:
        codes: int64 (n,), place of each row's class in ``names``, ``OTHER`` or ``UNKNOWN``.
        names: of the classes with a colour of their own, in the order of their values.
        joined: how many small classes are ``OTHER``.
    """

    codes: np.ndarray
    names: tuple[str, ...]
    joined: int = 0

    def count(self, code: int) -> int:
        return int((self.codes == code).sum())

    def legend(self) -> list[tuple[int, str, int]]:
        """(code, name, number of rows) of each class, of what is left over and of the unknown, where there are any."""
        rest = [(OTHER, f"other ({self.joined} classes)"), (UNKNOWN, "unknown")]
        entries = [*enumerate(self.names), *(entry for entry in rest if self.count(entry[0]))]
        return [(code, name, self.count(code)) for code, name in entries]


def labels_of(features: FeatureFile, column: str, option: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of every row of a feature file by a column of it, or one derived from such a column.

    Args:
        column: "class", "subclass", "frequency", "year", or a column of the file.
        option: the command's option that names it, for the error message.

    Returns:
        labels int64 (n,), -1 where the class is unknown, and the values (classes,) that they number.

    Raises:
        ValueError: the file has no such column, or knows the class of no image.
    """
    if column == "pids" and not features.relevance_known:
        raise ValueError(f"{option} {column}: this file does not know which images belong together (a test set)")
    values = column_of(features, column, option)
    values = values.astype(str) if values.dtype.kind == "O" else values
    known = is_known(values) & ((values != 0) if column in ZERO_IS_UNKNOWN else True)
    if not known.any():
        raise ValueError(f"{option} {column}: it is unknown for all {len(values)} images of this file")
    labels = np.full(len(values), UNKNOWN, dtype=np.int64)
    names, labels[known] = np.unique(values[known], return_inverse=True)
    return labels, names


def column_of(features: FeatureFile, column: str, option: str) -> np.ndarray:
    """Return a column of a feature file, or one derived from it, (n,). Head and tail are the file's own if known."""
    counted = "train" if "frequency" in features.columns else "gallery"
    sides = with_derived(features.query.columns, features.gallery.columns, [column], option, counted)
    return np.concatenate([side[column] for side in sides])


def join_small(labels: np.ndarray, names: Sequence[str], most: int) -> Groups:
    """Give the largest classes numbers 0, 1, ... in the order of ``names``; the others become ``OTHER``.

    Args:
        labels: int64 (n,), places in ``names``, -1 for unknown; a class without a row is left out.
        most: number of classes, "other" among them; of equally large ones the first stay.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=len(names))
    present = np.flatnonzero(sizes)
    kept = present if len(present) <= most else np.sort(present[np.argsort(-sizes[present], kind="stable")[: most - 1]])
    place = np.full(len(names) + 1, OTHER, dtype=np.int64)  # the last one is that of label -1
    place[kept], place[-1] = np.arange(len(kept)), UNKNOWN
    return Groups(place[labels], tuple(names[row] for row in kept), len(present) - len(kept))
