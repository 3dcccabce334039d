"""Table 1 of Lo et al., arXiv 2404.19360: head, tail and all classes x mAP, R@5, R@10, M@10.

What the paper leaves open stands side by side: R@K by four definitions, averages over classes (macro) and over queries
(micro), and where the date filter hides anything everything again without it, as a control.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.columns import with_derived
from fastreid.evaluation.stages import Evaluation
from fastreid.retrieval import RULE_REGISTRY, RetrievalMetrics
from fastreid.retrieval.graded import is_known

if TYPE_CHECKING:
    from fastreid.evaluation.protocol import Protocol

logger = logging.getLogger(__name__)

READINGS = ("hit", "recall", "capped_recall", "precision")  # of the paper's R@K
METRICS = (*(f"{reading}@{k}" for reading in READINGS for k in (5, 10)), "MRR@10")  # that it reads, besides AP
GROUPS = ("head", "tail", "all")
FIGURES = ("mAP", "R@5", "R@10", "M@10")
ONCE = ("mAP", "M@10")  # the same by every reading
AVERAGES = {
    "macro": "mean over classes of the mean of each, as the paper's All suggests",
    "micro": "mean over queries",
}
COUNTED = {"train": "of the training set", "gallery": "of the gallery"}
NOTE = "The paper's R@K is not reproducible as printed: docs/evaluation.md, protocols by name."
CONTROL = "control, rule {}: without the date filter, the query's own patent {}"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Block:
    """The rows of one set of candidates.

    Attributes:
        candidates: the rule, and for the control what it is.
        rows: ``{"average": "macro", "R@K": "hit", "head": {"mAP": percent, ...}, ...}``; ``None`` for an empty group.
        queries, classes: how many of them each group has.
    """

    candidates: str
    rows: tuple[Row, ...]
    queries: Mapping[str, int]
    classes: Mapping[str, int]


@dataclass(frozen=True)
class LoTable:
    """The table, what it was made of, and what the date filter did.

    Attributes:
        blocks: with the date filter; where that hides anything, a control without it too. As the filter takes away the
            query's own patent, which has the query's date, the control does so by rule ``other_patent``.
        made: stage, relevance, rule, and where head and tail were counted.
        counts: queries kept and dropped, and why; gallery items, and pairs that the date filter hides.
    """

    blocks: tuple[Block, ...]
    made: Mapping[str, str]
    counts: Mapping[str, int]

    def text(self) -> str:
        """Draw it as the paper does, a line per reading of R@K."""
        made = self.made
        lines = [
            f"Lo et al., arXiv 2404.19360, table 1; percent, stage {made['stage']}",
            f"A match has the query's {made['relevance']}; head and tail are those {COUNTED[made['frequency']]}.",
        ]
        for block in self.blocks:
            lines += ["", *_drawn(block, self.counts["queries"])]
        return "\n".join([*lines, "", *(f"{name}: {value:,}" for name, value in self.counts.items()), NOTE])

    def as_json(self) -> dict[str, Any]:
        blocks = [{key: list(value) if key == "rows" else value for key, value in vars(b).items()} for b in self.blocks]
        return {"made": dict(self.made), "counts": dict(self.counts), "blocks": blocks, "note": NOTE}


def lo_table(protocol: "Protocol", features: FeatureFile, evaluation: Evaluation) -> LoTable:
    """Make the table of the last stage of an evaluation."""
    level = protocol.relevance if protocol.relevance in ("class", "subclass") else "subclass"
    sides = features.query.columns, features.gallery.columns
    columns, _ = with_derived(*sides, ("frequency", level), "TEST.PROTOCOL", protocol.frequency)
    frequency, classes = columns["frequency"], columns[level]
    counts, hidden = _counts(protocol, features, evaluation)
    blocks = [_block(f"rule {protocol.rule}", evaluation.metrics, frequency, classes)]
    if hidden:
        blocks += _control(protocol, features, frequency, classes)
    made = {
        "stage": evaluation.stages[-1].name, "rule": protocol.rule, "relevance": protocol.relevance, "classes": level,
        "frequency": protocol.frequency,
    }  # fmt: skip
    return LoTable(tuple(blocks), made, counts)


def _control(
    protocol: "Protocol", features: FeatureFile, frequency: np.ndarray, classes: np.ndarray
) -> tuple[Block, ...]:
    """The block without the date filter; none, with a warning, where only the query's own patent would match."""
    own_out = features.relevance_known and protocol.relevance != "pids"  # else unknown, or all that matches
    names = [name.strip() for name in protocol.rule.split("+")]
    kept = [name for name in names if not _hides_later(name)]
    rule = "+".join(dict.fromkeys([*kept, "other_patent"] if own_out else kept)) or "all"
    shown = {"levels": (), "metrics": (), "group_by": (), "roc": False, "single_shot": 0}
    try:
        metrics = replace(protocol, rule=rule, **shown).evaluate(features, keep=METRICS).metrics
    except ValueError as error:
        logger.warning("No control without the date filter: %s", error)
        return ()
    said = CONTROL.format(rule, "left out as under it" if "other_patent" in rule else "counted")
    return (_block(said, metrics, frequency, classes),)


def _hides_later(rule: str) -> str | None:
    return getattr(RULE_REGISTRY.get(rule), "before", None)


def _block(candidates: str, metrics: RetrievalMetrics, frequency: np.ndarray, classes: np.ndarray) -> Block:
    frequency, classes = frequency[metrics.rows], classes[metrics.rows]
    members = {name: frequency == name if name != "all" else np.ones(len(classes), dtype=bool) for name in GROUPS}
    rows = [
        {"average": average, "R@K": reading}
        | {name: _figures(metrics, reading, average, members[name], classes) for name in GROUPS}
        for average in AVERAGES
        for reading in READINGS
    ]
    queries = {name: int(mask.sum()) for name, mask in members.items()}
    return Block(candidates, tuple(rows), queries, {n: len(_classes(classes[mask])) for n, mask in members.items()})


def _figures(
    metrics: RetrievalMetrics, reading: str, average: str, members: np.ndarray, classes: np.ndarray
) -> dict[str, float] | None:
    if not members.any():
        return None
    names = dict(zip(FIGURES, ("AP", f"{reading}@5", f"{reading}@10", "MRR@10"), strict=True))
    values = {figure: metrics.values(name)[members] for figure, name in names.items()}
    if average == "micro":
        return {figure: 100 * float(found.mean()) for figure, found in values.items()}
    own = classes[members]
    parts = [own == value for value in _classes(own)] or [np.ones(len(own), dtype=bool)]
    return {figure: 100 * float(np.mean([found[part].mean() for part in parts])) for figure, found in values.items()}


def _classes(classes: np.ndarray) -> np.ndarray:
    return np.unique(classes[is_known(classes)])


def _counts(protocol: "Protocol", features: FeatureFile, evaluation: Evaluation) -> tuple[dict[str, int], int]:
    """Counts to print, and the number of pairs that the date filter hides."""
    _, search = next(iter(protocol.searches(features)))
    column = next(filter(None, map(_hides_later, map(str.strip, protocol.rule.split("+")))), None)
    labelled, dropped = is_known(evaluation.labels[0]), evaluation.metrics.counts == 0
    dated = search.q_columns[column] > 0 if column else np.ones(len(labelled), dtype=bool)
    limits, size = search.candidates.limits, len(search.gallery)
    hidden = 0 if limits is None else len(limits) * size - int(limits.sum())
    counts = {
        "queries": len(labelled),
        "queries kept": evaluation.metrics.num_queries - evaluation.metrics.dropped,
        f"queries dropped, {protocol.relevance} unknown": int((dropped & ~labelled).sum()),
        "queries dropped, date unknown": int((dropped & labelled & ~dated).sum()),
        f"queries dropped, no permitted item of their {protocol.relevance}": int((dropped & labelled & dated).sum()),
        "gallery items": size,
        "pairs of query and item": len(labelled) * size,
        "pairs hidden by the date filter": hidden,
        "items hidden from every query by the date filter": 0 if limits is None else size - int(limits.max()),
    }
    return counts, hidden


def _drawn(block: Block, queries: int) -> Iterable[str]:
    """A block as lines of text, of so many queries at all."""
    width, cell = 27, 7
    classes = block.classes
    yield block.candidates
    yield (
        f"{block.queries['all']:,} of {queries:,} queries count, in {classes['all']:,} classes (head "
        f"{classes['head']:,}, tail {classes['tail']:,})"
    )
    yield " " * width + " |".join(name.center(4 * cell) for name in GROUPS).rstrip()
    yield " " * width + " |".join("".join(figure.rjust(cell) for figure in FIGURES) for _ in GROUPS)
    for row in block.rows:
        name, first = f"  R@K = {row['R@K']}@K", row["R@K"] == READINGS[0]
        if first:
            yield f"{row['average']}: {AVERAGES[row['average']]}"
        left_empty = () if first else ONCE
        yield (name.ljust(width) + " |".join(_numbers(row[group], cell, left_empty) for group in GROUPS)).rstrip()
    for name, counts in (("queries", block.queries), ("classes", block.classes)):
        yield name.ljust(width) + " |".join(f"{counts[group]:,}".rjust(4 * cell) for group in GROUPS)


def _numbers(figures: Mapping[str, float] | None, cell: int, left_empty: tuple[str, ...]) -> str:
    shown = {name: "-" if figures is None else f"{figures[name]:.1f}" for name in FIGURES}
    return "".join(("" if name in left_empty else shown[name]).rjust(cell) for name in FIGURES)
