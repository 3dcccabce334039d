"""Columns to group queries by and to grade items with: those of the data set, and what follows from them."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from fastreid.utils.errors import nearest
from fastreid.utils.locarno import head_codes, read_locarno

# derived column: (column it comes from, what it is)
DERIVED = {
    "class": ("taxonomy", 'Locarno class, "14"'),
    "subclass": ("taxonomy", 'Locarno class and subclass, "14-04"'),
    "frequency": ("taxonomy", '"head" for the 40 % of the subclasses with most images, else "tail"'),
    "year": ("dates", "of the date, 0 when it is unknown"),
}
FREQUENCIES = ("gallery", "train")  # where the images of a subclass are counted for "frequency"
Columns = Mapping[str, np.ndarray]


def with_derived(
    query: Columns, gallery: Columns, names: Iterable[str], key: str, frequency: str = "gallery"
) -> tuple[Columns, Columns]:
    """Return the columns of both sides with ``names`` among them; a column of the data set goes before a derived one.

    Args:
        key: the config key which names them, for the error message.
        frequency: one of `FREQUENCIES`; the column of "train" is not derived, the data set must have it (see
            `fastreid.evaluation.frequency`).

    Raises:
        ValueError: the data set has no such column, or not the one that it would be derived from.
    """
    query, gallery = dict(query), dict(gallery)
    for name in names:
        if name == "frequency":
            if frequency == "train":
                _require_trained(query, key)
            elif "taxonomy" in query:
                query.pop(name, None)  # that of the training set
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


def _require_trained(columns: Columns, key: str) -> None:
    if "frequency" not in columns:
        raise ValueError(
            f"{key} needs head and tail as the training set has them (TEST.FREQUENCY train), which these features "
            "lack: extract them with that setting, or count in their gallery with TEST.FREQUENCY gallery"
        )


def _derive(name: str, query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if name == "year":
        return query // 10000, gallery // 10000
    codes = locarno_level(query, name), locarno_level(gallery, name)
    return tuple(by_frequency(side, codes[1]) for side in codes) if name == "frequency" else codes


def locarno_level(taxonomy: np.ndarray, level: str) -> np.ndarray:
    """Codes as text; "" where the class is unknown, or below class level the subclass."""
    values, inverse = np.unique(taxonomy.astype(str), return_inverse=True)
    codes = [read_locarno(value) for value in values.tolist()]
    names = [code.class_code if level == "class" else code.subclass_code for code in codes]
    return np.array(names, dtype=str)[inverse]


def by_frequency(codes: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """ "head" or "tail" of each code by how often it is among ``counted`` (ties by code), "" for an unknown one."""
    head = head_codes(Counter(counted.tolist()))
    return np.where(codes == "", "", np.where(np.isin(codes, sorted(head)), "head", "tail"))
