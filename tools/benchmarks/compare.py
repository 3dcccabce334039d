"""Do two contestants agree?"""

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
EXACT = 1e-9  # per-query AP of contestants that define rank by the same float64 score
ROUNDED_MAP = 1e-5  # mean AP where float32 rounding may swap two items of almost equal score
ROUNDED_LISTS = 1e-3  # share of a top-k list that rounding may exchange
ROUNDED_VALUE, ROUNDED_SHARE = 1e-5, 1e-3  # of features and distances: a neighbour exchanged changes a whole row
DROPPED = -1.0  # AP of a query without matches


def disagreements(own: Arrays, other: Arrays, exact: bool = False) -> list[str]:
    """Return in words where two results differ more than they may; empty when they agree.

    Both hold some of: ``ap`` float64 (Q,), -1 for a dropped query; ``map``, its mean; ``ap_max_bin`` and
    ``map_max_bin``, AP@max_bin_count; ``indices`` (Q, k); ``features`` and ``distances``, 2-D. ``rows`` in ``other``
    says which query rows it covers (all without it).
    """
    rows = other["rows"] if "rows" in other else slice(None)
    found = [
        problem
        for name, check in CHECKS.items()
        if name in other and SOURCE.get(name, name) in own
        for problem in check(own[SOURCE.get(name, name)], other[name], rows, exact)
    ]
    if not any(name in other and SOURCE.get(name, name) in own for name in CHECKS):
        found.append(f"nothing to compare: ours has {sorted(own)}, the other {sorted(other)}")
    return found


def check_ap(own: np.ndarray, other: np.ndarray, rows, exact: bool) -> list[str]:
    own = own[rows]
    if own.shape != other.shape:
        return [f"AP of {len(other)} queries, ours of {len(own)}"]
    if ((own == DROPPED) != (other == DROPPED)).any():
        return ["other queries are dropped than by us"]
    difference = np.abs(own - other)
    if exact and difference.max() > EXACT:
        row = int(difference.argmax())
        pair = f"entry {row}: {other[row]:.9f}, ours {own[row]:.9f}"
        return [f"per-query AP differs by up to {difference.max():.2g} ({pair})"]
    return check_map(own, mean_ap(other), slice(None), exact)


def check_map(own: np.ndarray, other, rows, exact: bool) -> list[str]:
    difference = abs(mean_ap(own[rows]) - float(other))
    if difference > (EXACT if exact else ROUNDED_MAP):
        return [f"mAP {float(other):.7f} differs from ours, {mean_ap(own[rows]):.7f}"]
    return []


def mean_ap(ap: np.ndarray) -> float:
    return float(ap[ap != DROPPED].mean())


def check_indices(own: np.ndarray, other: np.ndarray, rows, exact: bool) -> list[str]:
    own = own[rows]
    if own.shape != other.shape:
        return [f"lists of shape {other.shape}, ours {own.shape}"]
    if exact:
        wrong = np.flatnonzero((own != other).any(axis=1))
        return [f"{len(wrong)} of {len(own)} lists differ, the first is entry {wrong[0]}"] if len(wrong) else []
    shared = np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(own, other, strict=True)])
    return [f"the lists overlap by {shared:.4%} only"] if shared < 1 - ROUNDED_LISTS else []


def check_values(own: np.ndarray, other: np.ndarray, rows, exact: bool) -> list[str]:
    own = own[rows]
    if own.shape != other.shape:
        return [f"values of shape {other.shape}, ours {own.shape}"]
    difference = np.abs(own - other)
    share = float(np.mean(difference > ROUNDED_VALUE))
    if not np.isfinite(difference).all() or share > (0 if exact else ROUNDED_SHARE):
        return [f"{share:.3%} of the values differ by more than {ROUNDED_VALUE:g}, up to {difference.max():.2g}"]
    return []


CHECKS = {
    "ap": check_ap,
    "map": check_map,
    "map_max_bin": check_map,
    "indices": check_indices,
    "features": check_values,
    "distances": check_values,
}
SOURCE = {"map": "ap", "map_max_bin": "ap_max_bin"}  # what of ours a value is compared with
