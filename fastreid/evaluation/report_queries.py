"""The part of the report that shows queries and the first gallery images of each."""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from fastreid.data.feature_file import FeatureFile, FeatureRows
from fastreid.evaluation.protocol import Evaluation
from fastreid.evaluation.thumbnails import thumbnail

WORDS = {"class": "Locarno class", "subclass": "Locarno subclass", "views": "view"}
PATENT_FIGURE = re.compile(r"(USD\d+)(?:-\d{8})?-([A-Z]\d+)")


@dataclass(frozen=True)
class _Group:
    title: str
    note: str
    queries: list[int]


def choose_queries(evaluation: Evaluation, num_query: int, count: int, seed: int = 0) -> list[_Group]:
    """Choose ``count`` queries each of the best, the worst and the others at random; none appears twice.

    Among equal average precisions the query with more right figures comes first: the rarer feat, the greater failure.
    """
    rng = np.random.default_rng(seed)
    if not evaluation.labelled:
        rows = np.sort(rng.choice(num_query, min(3 * count, num_query), replace=False)).tolist()
        return [_Group("Sampled queries", "chosen at random", rows)]
    metrics = evaluation.metrics
    by_ap = np.lexsort((metrics.rows, -metrics.num_relevant, -metrics.ap))
    by_failure = np.lexsort((metrics.rows, -metrics.num_relevant, metrics.ap))
    best = by_ap[:count]
    worst = by_failure[~np.isin(by_failure, best)][:count]
    rest = np.setdiff1d(by_ap, np.concatenate([best, worst]))
    others = np.sort(rng.choice(rest, min(count, len(rest)), replace=False))
    groups = [
        _Group("Best queries", "highest average precision", metrics.rows[best].tolist()),
        _Group("Worst queries", "lowest average precision", metrics.rows[worst].tolist()),
        _Group("Random queries", "drawn from all others", metrics.rows[others].tolist()),
    ]
    return [group for group in groups if group.queries]


def query_section(evaluation: Evaluation, features: FeatureFile, count: int, topk: int) -> str:
    """Draw ``count`` queries of each kind with their first ``topk`` gallery images; empty when there is no query."""
    groups = choose_queries(evaluation, features.num_query, count)
    if not any(group.queries for group in groups):
        return ""
    query, gallery, body = features.query, features.gallery, ""
    for group in groups:
        body += f"<h3>{escape(group.title)}<small>{escape(group.note)}</small></h3>"
        body += "\n".join(_case(evaluation, query, gallery, row, topk) for row in group.queries)
    same = describe_match(evaluation, features)
    key = f'<span class="key"><span class="right">{same}</span><span class="wrong">another one</span></span>'
    faded = "A faded one comes after the last right figure: there was none left to find."
    key = f" {faded}<br>{key}" if evaluation.labelled else ""
    return (
        f"<section><h2>Queries and their first {topk}</h2><p>The query stands on the left, the nearest gallery images "
        f"beside it with their rank and distance.{key}</p>\n{body}</section>"
    )


def describe_match(evaluation: Evaluation, features: FeatureFile) -> str:
    """Say in words what a match has in common with its query."""
    relevance = evaluation.settings.get("relevance", "pids")
    if relevance != "pids":
        return f"same {WORDS.get(relevance, relevance)}"
    patents = all(PATENT_FIGURE.match(Path(path).stem) for path in features.query.paths)
    return "same patent" if patents else "same identity"


def _case(evaluation: Evaluation, query: FeatureRows, gallery: FeatureRows, row: int, topk: int) -> str:
    items = [item for item in evaluation.indices[row, :topk].tolist() if item >= 0]
    verdicts = _verdicts(evaluation, row, items)
    hits = []
    for rank, (item, verdict) in enumerate(zip(items, verdicts, strict=True), start=1):
        distance = round(float(evaluation.distances[row, rank - 1]), 3) + 0.0  # no "-0.000" for equal images
        score = f'<span class="score"><span>{rank}</span><span>{distance:.3f}</span></span>'
        hits.append(f"<li>{_shot(gallery.paths[item], verdict, f'rank {rank}', score)}</li>")
    shots = f'<ol class="hits">{"".join(hits)}</ol>' if hits else "<p>No gallery image is permitted for this query.</p>"
    shown = _shot(query.paths[row], "query", f"query {row + 1}", "")
    return f'<article class="card case"><p>{_case_title(evaluation, query, row)}</p>{shown}{shots}</article>'


def _verdicts(evaluation: Evaluation, row: int, items: list[int]) -> list[str]:
    """Class names of a query's hits: "right", "wrong", or "wrong spent" once no right figure is left to find."""
    if not evaluation.labelled:
        return [""] * len(items)
    query, gallery = evaluation.labels
    right = gallery[items] == query[row]
    at = int(np.searchsorted(evaluation.metrics.rows, row))
    left = int(evaluation.metrics.num_relevant[at]) - np.cumsum(right)
    return ["right" if hit else "wrong" if rest else "wrong spent" for hit, rest in zip(right, left, strict=True)]


def _case_title(evaluation: Evaluation, query: FeatureRows, row: int) -> str:
    parts = [f"<b>Query {row + 1}</b>"]
    for name in ("text", "taxonomy"):
        if name in query.columns and query.columns[name][row]:
            parts.append(escape(str(query.columns[name][row])))
    if evaluation.labelled:
        metrics = evaluation.metrics
        at = int(np.searchsorted(metrics.rows, row))
        relevant, first = int(metrics.num_relevant[at]), int(metrics.first_hit[at])
        parts.append(f"<b>AP {100 * metrics.ap[at]:.1f} %</b>")
        parts.append(f"{relevant} right figure{'s' if relevant > 1 else ''} in the gallery, the first at rank {first}")
    return ", ".join(parts)


def _shot(path: str, verdict: str, alt: str, score: str) -> str:
    """One image in its frame; what ``verdict`` says ("query", "right", "wrong", "") is never told by colour alone."""
    kind = verdict.split()[0] if verdict else ""
    sign = {"right": "✓", "wrong": "✗"}.get(kind, "")
    alt = escape(f"{alt}, {kind}: {Path(path).name}" if sign else f"{alt}: {Path(path).name}")
    address = thumbnail(path)
    if address:
        image = f'<img src="{address}" alt="{alt}">'
    else:
        image = f'<span class="missing" role="img" aria-label="{alt} (missing)">image<br>missing</span>'
    first, *others = (escape(line) for line in label(path))
    caption = f'<span class="id">{first}</span>' + "".join(f"<span>{line}</span>" for line in others)
    badge = f'<span class="badge" aria-hidden="true">{sign}</span>' if sign else ""
    return (
        f'<figure class="{f"shot {verdict}".strip()}" title="{escape(path)}"><div class="frame">{image}{badge}</div>'
        f"<figcaption>{score}{caption}</figcaption></figure>"
    )


def label(path: str) -> tuple[str, ...]:
    """Caption lines of an image: patent and figure where the name follows DeepPatent's grammar, else the file name."""
    stem = Path(path).stem
    match = PATENT_FIGURE.match(stem)
    return match.groups() if match else (stem,)
