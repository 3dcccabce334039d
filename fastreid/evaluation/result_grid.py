"""What a picture of results shows: which queries, what was found for each, and how that agrees with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.color_groups import column_of
from fastreid.evaluation.embedding_map import alternating
from fastreid.evaluation.grid_picture import Cell, Line
from fastreid.evaluation.image_words import about, kind_of_class
from fastreid.evaluation.protocol import Protocol
from fastreid.retrieval import evaluate_topk, topk_search
from fastreid.retrieval.graded import agrees, is_known
from fastreid.utils.errors import require_choice, require_whole

# how queries are chosen, in words; the last two compare the lists of two models
CHOICES = {
    "random": "drawn at random",
    "best": "of the highest average precision",
    "worst": "of the lowest average precision",
    "ahead": "where the first model is most ahead of the second",
    "behind": "where the first model is most behind the second",
}


@dataclass(frozen=True, eq=False)
class RankedLists:
    """What one model finds.

    Attributes:
        items: int64 (Q, k), gallery rows, nearest first, -1 where a query has fewer candidates.
        ap: float64 (Q,), average precision, NaN for a query without a match (or where nothing is judged).
        matches: int64 (Q,), number of permitted matches.
    """

    name: str
    items: np.ndarray = field(repr=False)
    ap: np.ndarray = field(repr=False)
    matches: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        matched = self.ap[np.isfinite(self.ap)]
        mean = f"mAP {100 * matched.mean():.2f} %" if len(matched) else "no mAP"
        return f"{mean} over {len(matched)} queries, {len(self.ap) - len(matched)} without a match"


def rank(features: FeatureFile, protocol: Protocol, k: int, name: str) -> RankedLists:
    """Search under a protocol, with its post-processing.

    Raises:
        ValueError: a column that the protocol needs is missing, or no query has a permitted match.
    """
    *_, (_, search) = protocol.searches(features)
    ap, matches = np.full(len(search.queries), np.nan), np.zeros(len(search.queries), dtype=np.int64)
    if not protocol.judges(features.relevance_known):
        return RankedLists(name, topk_search(search, k)[0], ap, matches)
    metrics, items, _ = evaluate_topk(search, k, relevance=protocol.relevance)
    ap[metrics.rows] = metrics.ap
    return RankedLists(name, items, ap, metrics.counts)


def require_same_images(first: FeatureFile, second: FeatureFile, names: Sequence[str]) -> None:
    """Raise ``ValueError`` unless both files are about the same queries and gallery in the same order."""
    for part, one, other in (("queries", first.query, second.query), ("gallery", first.gallery, second.gallery)):
        if len(one) != len(other):
            raise ValueError(
                f"two models are compared on the same images: {names[0]} has {len(one)} {part}, {names[1]} {len(other)}"
            )
        for row, pair in enumerate(zip(one.paths, other.paths, strict=True)):
            if pair[0] != pair[1]:
                raise ValueError(
                    f"two models are compared on the same images: row {row} of the {part} is {pair[0]} in {names[0]}, "
                    f"{pair[1]} in {names[1]}"
                )
    for name in ("pids", "dates", "taxonomy"):
        pair = [features.columns.get(name) for features in (first, second)]
        if all(column is not None for column in pair) and not np.array_equal(*pair):
            row = int(np.flatnonzero(pair[0] != pair[1])[0])
            values = f"{pair[0][row]!r} and {pair[1][row]!r}"
            raise ValueError(
                f"column '{name}' of {names[0]} and {names[1]} differs, first for {first.paths[row]}: {values}"
            )


def choose_rows(lists: Sequence[RankedLists], how: str, count: int, features: FeatureFile, seed: int = 0) -> list[int]:
    """Choose up to ``count`` queries by the AP of the first model; of each patent one, so that they differ.

    Queries without a match are left out. Ties: those with more matches first, then by row.

    Args:
        how: one of ``CHOICES``.
    """
    require_choice("--queries", how, CHOICES)
    require_whole("--grid", count, 1)
    ap = lists[0].ap
    rows = np.flatnonzero(np.isfinite(ap)) if np.isfinite(ap).any() else np.arange(len(ap))
    if how == "random":
        chosen = rows[alternating(frequency_of(features)[rows], np.random.default_rng(seed))]
    elif how in ("ahead", "behind") and len(lists) < 2:
        raise ValueError(f"--queries {how} compares two models: give a second feature file")
    elif not np.isfinite(ap).any():
        raise ValueError(f"--queries {how} needs labels, which this data set does not have; --queries random does not")
    else:
        value = ap if how in ("best", "worst") else ap - lists[1].ap
        sign = -1 if how in ("best", "ahead") else 1
        chosen = rows[np.lexsort((rows, -lists[0].matches[rows], sign * value[rows]))]
    if features.relevance_known:
        first = np.unique(features.query.columns["pids"][chosen], return_index=True)[1]
        chosen = chosen[np.sort(first)]
    return chosen[:count].tolist()


def describe_choice(ranked: RankedLists, shown: int, count: int, features: FeatureFile) -> str:
    """Say of how many queries :func:`choose_rows` took the ``shown`` ones, where ``count`` were asked for."""
    judged = int(np.isfinite(ranked.ap).sum())
    if not judged:
        return f"{shown} of {len(ranked.ap)} queries, {count} were asked for; none is judged"
    return (
        f"{judged} of {len(ranked.ap)} queries have candidates and a match; of each "
        f"{kind_of_class('pids', features.paths)} one at most is shown: {shown}, {count} were asked for"
    )


def rows_of(paths: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Rows of the queries that end in the paths ``wanted``; the ending of the file name may be left out.

    Raises:
        ValueError: no query, or more than one, ends in it.
    """
    parts, rows = [PurePath(path).parts for path in paths], []
    for text in wanted:
        *folders, name = PurePath(text).parts or ("",)
        length = len(folders) + 1
        found = [
            row for row, part in enumerate(parts)
            if part[-length:-1] == tuple(folders) and name in (part[-1], PurePath(part[-1]).stem)
        ]  # fmt: skip
        if len(found) != 1:
            several = f"{len(found)} queries end so, such as {' and '.join(paths[row] for row in found[:2])}"
            raise ValueError(f"--query {text}: {several if found else 'no query ends so'}")
        rows += found
    return rows


def frequency_of(features: FeatureFile) -> np.ndarray:
    """ "head" or "tail" of each query's subclass, (Q,); "" where it is unknown, and in files without classes."""
    if not {"frequency", "taxonomy"} & set(features.columns):
        return np.full(features.num_query, "")
    return column_of(features, "frequency", "--queries")[: features.num_query].astype(str)


def relations(features: FeatureFile, row: int, items: np.ndarray, relevance: str) -> list[str]:
    """How gallery rows agree with a query.

    Returns:
        per item "patent" (the same), "match" (the same value in the column ``relevance``), "mismatch", or "unknown"
        where one of the values is.
    """
    query, gallery = features.query.columns, features.gallery.columns
    same = agrees(query["pids"][row], gallery["pids"][items]) & features.relevance_known
    if relevance == "pids":
        known = np.full(len(items), features.relevance_known)
        return np.where(same, "patent", np.where(known, "mismatch", "unknown")).tolist()
    values = column_of(features, relevance, "TEST.RELEVANCE")
    value, others = values[row : row + 1], values[features.num_query :][items]
    known = is_known(value) & is_known(others)
    told = np.where(known, np.where(value == others, "match", "mismatch"), "unknown")
    return np.where(same, "patent", told).tolist()


def grid_lines(lists: Sequence[RankedLists], rows: Sequence[int], features: FeatureFile, relevance: str) -> list[Line]:
    """What is drawn for the queries ``rows``."""
    frequency = frequency_of(features)
    lines = []
    for row in rows:
        found = []
        for one in lists:
            items = one.items[row][one.items[row] >= 0]
            kinds = relations(features, row, items, relevance)
            cells = [_cell(features, features.num_query + item, kind) for item, kind in zip(items, kinds, strict=True)]
            found.append((_note(one.ap[row], kinds), cells))
        lines.append(Line(_cell(features, row, "query", frequency[row]), found))
    return lines


def _cell(features: FeatureFile, row: int, kind: str, mark: str = "") -> Cell:
    return Cell(features.paths[row], about(features, int(row)), kind, mark)


def _note(ap: float, kinds: Sequence[str]) -> str:
    right = sum(kind in ("match", "patent") for kind in kinds)
    if not kinds:
        return "no candidate"
    return f"AP {100 * ap:.1f} %, {right} of {len(kinds)}" if np.isfinite(ap) else "no match among the candidates"


def meanings(features: FeatureFile, relevance: str) -> dict[str, str]:
    """What the kinds of tiles mean, in words."""
    kind, identity = kind_of_class(relevance, features.paths), kind_of_class("pids", features.paths)
    unknown = f"{kind} unknown"
    return {"match": f"same {kind}", "patent": f"same {identity}", "mismatch": f"another {kind}", "unknown": unknown}
