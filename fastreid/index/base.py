"""What every index backend offers, and what its answers look like."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastreid.data.feature_file import compare
from fastreid.index.errors import OtherModel
from fastreid.index.figures import Figures
from fastreid.index.filters import Filter
from fastreid.utils.registry import Registry

INDEX_REGISTRY = Registry("INDEX")
METRICS = ("cosine", "euclidean")
LONGEST = 1e18  # vector


@dataclass(frozen=True)
class IndexInfo:
    """The manifest of an index, as of one version.

    Attributes:
        uid: names this index for ever, 32 hex digits.
        version: number of the last commit; 1 is the empty index.
        oldest_version: earliest version that can still be searched (see ``as_of``).
        backend: registered name.
        dim: length of a vector.
        metric: "cosine" or "euclidean".
        model: what made the vectors, ``{"weights": sha256, "settings": {...}}``; {} when nobody said.
        config: the model's configuration as YAML text, "" when nobody said; ``weights_path`` where its weights lay.
        image_root: folder to which relative ``path`` values belong, "" for none.
        figures, designs: counts of live rows, and of different patents among them.
        created, changed: UTC, ISO 8601.
        options: of the backend, such as ``{"factory": "IVF1024,SQ8"}``.
        recall: of an approximate index, measured against exact search when it was built:
            ``{"k": 10, "queries": 200, "all": 0.997, "1%": 1.0}``; {} for an exact one.
    """

    uid: str
    version: int
    oldest_version: int
    backend: str
    dim: int
    metric: str
    figures: int
    designs: int
    created: str
    changed: str
    model: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    weights_path: str = ""
    image_root: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    recall: Mapping[str, float] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether searches give exactly the nearest rows."""
        return not self.recall

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def check_model(self, model: Mapping[str, Any]) -> None:
        """Raise :class:`OtherModel`, naming the differences, unless ``model`` made the vectors of this index."""
        if not self.model:
            return
        differences = compare(self.model, model)
        if differences:
            raise OtherModel(
                f"this model did not make the vectors of the index: {'; '.join(differences)}. Name the model that made "
                "them, by --config-file and MODEL.WEIGHTS, or make the index again: tools/build_index.py add with "
                "another --index"
            )


@dataclass(frozen=True)
class Neighbours:
    """Nearest rows of Q queries.

    Attributes:
        rows: int64 (Q, k), best first, ties by row; padded with -1 where fewer are permitted.
        scores: float64 (Q, k): the cosine, or minus the squared distance; padded with -inf.
        exact: whether no nearer row can have been missed.
    """

    rows: np.ndarray
    scores: np.ndarray
    exact: bool = True


@dataclass(frozen=True)
class Count:
    """Number of figures, and of designs (different patents) among them."""

    figures: int
    designs: int


class Index(ABC):
    """An index of figures, opened for reading or, by one process at a time, for writing.

    A row is a figure with its vector. It has a number, int64, that is never used again and grows with every row added;
    the version that added it and, once it is replaced or deleted, the version that removed it. A commit makes a new
    version: a reader sees all of it or nothing. Searches see the newest version that the reader knows (`refresh`), or
    an earlier one with ``as_of``, down to ``info.oldest_version``.

    Vectors are float32. With the metric "cosine" they are kept at unit length, and queries are brought to it.
    """

    name: ClassVar[str]  # under which it is registered

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def create(cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
               config: str = "", weights_path: str = "", image_root: str = "", **options: Any) -> "Index":  # fmt: skip
        """Make an empty index at ``uri`` and open it for writing; ``FileExistsError`` where there is one."""

    @classmethod
    @abstractmethod
    def open(cls, uri: str, write: bool = False) -> "Index":
        """Open an index.

        Raises:
            FileNotFoundError: there is none.
            IndexCorrupt: a file of it is damaged.
            IndexLocked: ``write``, and another process is writing.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and the writer's lock. May be called more than once."""

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    @abstractmethod
    def info(self) -> IndexInfo:
        """The manifest as this process last read or wrote it."""

    @abstractmethod
    def refresh(self) -> bool:
        """Take over what a writer has committed since; whether there was anything."""

    # -- writing: each call is one commit and returns the new version ------------------------------------------------

    @abstractmethod
    def add(self, figures: Figures, vectors: np.ndarray) -> int:
        """Add figures with their vectors, float32 (n, dim).

        Raises:
            ValueError: a ``figure_id`` is in the index already; vectors of another shape, not finite or (cosine) zero.
                Nothing is added then.
        """

    @abstractmethod
    def update(self, figures: Figures, vectors: np.ndarray) -> int:
        """As `add`, but a figure whose ``figure_id`` is in the index already takes that one's place (a new row)."""

    @abstractmethod
    def delete(self, figure_ids: Sequence[str] = (), patents: Sequence[str] = ()) -> int:
        """Remove figures by name, and all figures of some patents; a name that is not there raises ``KeyError``."""

    @abstractmethod
    def compact(self) -> int:
        """Drop removed rows, and with them the versions before this one; bring the rest into its quickest form."""

    @abstractmethod
    def set_info(self, **changed: Any) -> int:
        """Change ``config``, ``weights_path``, ``image_root`` or ``options`` of the manifest."""

    # -- reading -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        """Return the ``k`` nearest permitted rows of each query, float (Q, dim).

        With ``filter`` they are those of an index that holds the permitted figures only.

        Raises:
            ValueError: queries of another shape, not finite or (cosine) zero; k below 1.
            VersionGone: ``as_of`` is no version that can be searched.
        """

    @abstractmethod
    def scores(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the exact scores, float64 (Q, n), of some rows, removed ones included while they are kept."""

    @abstractmethod
    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of some rows, float32 (n, dim); an unknown row raises ``KeyError``."""

    @abstractmethod
    def figures(self, rows: np.ndarray) -> Figures:
        """Return what is known about some rows, in their order; an unknown row raises ``KeyError``."""

    @abstractmethod
    def rows_of(
        self, figure_ids: Sequence[str] = (), patents: Sequence[str] = (), as_of: int | None = None
    ) -> np.ndarray:
        """Return the rows, int64 in rising order, of named figures and of all figures of named patents.

        A name that is not there (in this version) is left out.
        """

    @abstractmethod
    def count(self, filter: Filter | None = None, as_of: int | None = None) -> Count:
        """Return how many figures, and of how many patents, are permitted."""

    @abstractmethod
    def facets(self, filter: Filter | None = None, as_of: int | None = None) -> dict[str, dict[str, Count]]:
        """Return for each of ``FACETS`` its values with their counts, values in rising order, "" for unknown ones.

        The values of a facet are counted under all conditions of ``filter`` but the one on that facet
        (`Filter.without`), so that a page can offer its other values. "class" and "year" are derived: the class of the
        code in ``locarno``, and the year of ``date_field``.
        """


def require_vectors(vectors: np.ndarray, dim: int, metric: str, what: str) -> np.ndarray:
    """Return vectors as a C-contiguous float32 (n, dim), at unit length for the cosine.

    Raises:
        ValueError: another shape, a value that is not finite, a vector longer than ``LONGEST``, or with the cosine a
            zero one; ``what`` names whose.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"{what} must have shape (n, {dim}); got {vectors.shape}")
    vectors = vectors.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(f"{what}: row {bad[0]} is NaN or infinite")
    if metric == "cosine":
        largest = np.abs(vectors).max(axis=1)
        zero = np.flatnonzero(largest == 0)
        if len(zero):
            raise ValueError(f"{what}: row {zero[0]} is zero, which has no direction for the cosine")
        vectors = np.ldexp(vectors, -np.frexp(largest)[1][:, None])  # squares stay in range; nothing is rounded
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    long = np.flatnonzero(lengths > LONGEST)
    if len(long):
        raise ValueError(f"{what}: row {long[0]} is longer than {LONGEST:g}: float32 cannot hold its squared distances")
    return np.ascontiguousarray(vectors / lengths[:, None] if metric == "cosine" else vectors, dtype=np.float32)


def exact_scores(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return float64 (Q, n) of vectors as `require_vectors` gives them, each pair summed in the same order always.

    It decides the order of results on every backend, so that a result depends neither on the backend nor on what else
    was asked at the same time.
    """
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    scores = np.empty((len(queries), len(vectors)))
    for place, query in enumerate(queries):  # a matrix product would sum in an order that depends on the shapes
        if metric == "cosine":
            scores[place] = np.einsum("nd,d->n", vectors, query)
        else:
            apart = vectors - query
            scores[place] = -np.einsum("nd,nd->n", apart, apart)
    return scores
