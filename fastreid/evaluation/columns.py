"""Columns to group queries by and to grade items with: those of the data set, and what follows from them."""

from collections.abc import Iterable, Mapping

import numpy as np

from fastreid.utils.errors import nearest
from fastreid.utils.locarno import parse_locarno

HEAD_SHARE = 0.4  # of the classes: Lo et al., arXiv 2404.19360, figure 1
# derived column: (column it comes from, what it is)
DERIVED = {
    "class": ("taxonomy", 'Locarno class, "14"'),
    "subclass": ("taxonomy", 'Locarno class and subclass, "14-04"'),
    "frequency": ("taxonomy", '"head" for the 40 % of the subclasses with most gallery images, else "tail"'),
    "year": ("dates", "of the date, 0 when it is unknown"),
}
Columns = Mapping[str, np.ndarray]


def with_derived(query: Columns, gallery: Columns, names: Iterable[str], key: str) -> tuple[Columns, Columns]:
    """Return the columns of both sides with ``names`` among them; a column of the data set goes before a derived one.

    Args:
        key: the config key which names them, for the error message.

    Raises:
        ValueError: the data set has no such column, or not the one that it would be derived from.
    """
    query, gallery = dict(query), dict(gallery)
    for name in names:
        if name in query:
            continue
        source = DERIVED[name][0] if name in DERIVED else name
        if source not in query:
            available = [*query, *(derived for derived, (origin, _) in DERIVED.items() if origin in query)]
            missing = "" if source == name else f" (made from '{source}')"
            raise ValueError(
                f"{key} names column '{name}'{missing}, which the data set lacks; it has: {', '.join(available)}."
                f"{nearest(name, available)}"
            )
        query[name], gallery[name] = _derive(name, query[source], gallery[source])
    return query, gallery


def _derive(name: str, query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if name == "year":
        return query // 10000, gallery // 10000
    codes = _locarno(query, name), _locarno(gallery, name)
    return tuple(_frequency(side, codes[1]) for side in codes) if name == "frequency" else codes


def _locarno(taxonomy: np.ndarray, level: str) -> np.ndarray:
    """Codes as text; "" where the class is unknown, or below class level the subclass."""
    values, inverse = np.unique(taxonomy.astype(str), return_inverse=True)
    parsed = [parse_locarno(value) for value in values.tolist()]
    if level == "class":
        codes = [f"{first:02d}" if first else "" for first, _ in parsed]
    else:
        codes = [f"{first:02d}-{second:02d}" if second else "" for first, second in parsed]
    return np.array(codes, dtype=str)[inverse]


def _frequency(codes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """ "head" or "tail" of each code by its number of gallery items (ties by code), "" for an unknown one."""
    values, counts = np.unique(gallery[gallery != ""], return_counts=True)
    head = values[np.argsort(-counts, kind="stable")][: round(HEAD_SHARE * len(values))]
    return np.where(codes == "", "", np.where(np.isin(codes, head), "head", "tail"))
