"""``report.html``: one file without outside requests that shows what an evaluation found."""

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from fastreid.data.feature_file import FeatureFile, FeatureRows
from fastreid.evaluation.charts import Series, bar_chart, line_chart
from fastreid.evaluation.protocol import Evaluation
from fastreid.evaluation.results import as_json
from fastreid.evaluation.thumbnails import thumbnail
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

TABLE_COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "AP@10_min", "AP@10_R")
CURVES = ("mAP", "Rank-1", "mINP")
CMC_RANKS = 20
PATENT_FIGURE = re.compile(r"(USD\d+)(?:-\d{8})?-([A-Z]\d+)")


def write_report(
    cfg, evaluation: Evaluation, features: FeatureFile, dataset_name: str, path: str | os.PathLike
) -> None:
    """Write the report of one data set to ``path``.

    Training curves are read from ``metrics.json`` beside it, after those named in ``TEST.REPORT.METRICS``.
    """
    logs = [*map(Path, cfg.TEST.REPORT.METRICS), Path(path).parent / "metrics.json"]
    sections = [
        _header(evaluation, features, dataset_name),
        _result_section(evaluation),
        _training_section(logs),
        _ranking_section(evaluation),
        _query_section(evaluation, features, cfg.TEST.REPORT.NUM_QUERIES, cfg.TEST.REPORT.TOPK),
        _settings_section(evaluation, features),
    ]
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(dataset_name)} - fastreid report</title>\n<style>\n{style}</style></head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )
    with atomic_write(path, "w") as file:
        file.write(page)
    logger.info("Report: %s", path)


# --------------------------------------------------------------------------------------------- head and result


def _header(evaluation: Evaluation, features: FeatureFile, dataset_name: str) -> str:
    entry, metrics = as_json(evaluation, features), evaluation.metrics
    settings = features.fingerprint.get("settings", {})
    facts = {
        "queries": f"{features.num_query:,}",
        "gallery images": f"{len(features) - features.num_query:,}",
        "dropped queries": f"{metrics.dropped:,}" if metrics else "",
        "feature width": f"{features.features.shape[1]:,}",
        "distance": evaluation.settings.get("metric", ""),
        "candidates": f"rule {evaluation.settings.get('rule', '')}",
        "network": str(settings.get("MODEL.BACKBONE.DEPTH", "")),
        "input": " x ".join(str(side) for side in settings.get("INPUT.SIZE_TEST", [])),
        "weights": features.fingerprint.get("weights", "")[:12],
    }
    terms = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items() if v)
    return (
        f'<header><p class="kicker">fastreid retrieval report, {escape(entry["date"][:16].replace("T", " "))} UTC</p>'
        f"<h1>{escape(dataset_name)}</h1>{_lede(evaluation)}<dl class=\"facts\">{terms}</dl></header>"
    )


def _lede(evaluation: Evaluation) -> str:
    if not evaluation.labelled:
        return '<p class="lede">This set has no labels: the rankings below are shown without right or wrong.</p>'
    table = evaluation.metrics.table()
    text = (
        f"A right figure comes first for <strong>{table['Rank-1']:.1f} %</strong> of the queries and is among the "
        f"first ten for <strong>{table['Rank-10']:.1f} %</strong>. Mean average precision is "
        f"<strong>{table['mAP']:.1f} %</strong>"
    )
    if len(evaluation.stages) > 1:
        plain = evaluation.stages[0].metrics.table()["mAP"]
        text += f", against {plain:.1f} % without post-processing"
    return f'<p class="lede">{text}.</p>'


def _result_section(evaluation: Evaluation) -> str:
    if not evaluation.labelled:
        return ""
    tables = [stage.metrics.table() for stage in evaluation.stages]
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("Stage", *TABLE_COLUMNS))
    rows = []
    for number, stage in enumerate(evaluation.stages):
        cells = "".join(_cell([t[name] for t in tables], number) for name in TABLE_COLUMNS)
        rows.append(f"<tr><th scope=row>{escape(stage.name)}</th>{cells}</tr>")
    roc = "".join(f"<p>{escape(name)}: {value:.2f} %</p>" for name, value in evaluation.roc.items())
    return (
        "<section><h2>Result</h2><p>In percent. Each row adds one post-processor to the row above it; the small "
        "numbers are the change against the plain features. AP@10 is divided by min(R, 10) or by R, the number of "
        f"right figures.</p>\n<div class='card scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{roc}</section>"
    )


def _cell(values: Sequence[float], number: int) -> str:
    best = ' class="best"' if len(values) > 1 and values[number] == max(values) else ""
    change = f"<small>{values[number] - values[0]:+.2f}</small>" if number else ""
    return f"<td{best}>{values[number]:.2f}{change}</td>"


# ------------------------------------------------------------------------------------------------------ curves


def read_metrics(path: str | os.PathLike) -> list[dict]:
    """Return the lines of a ``metrics.json`` in order of iteration; a half-written last line is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    rows = {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("iteration"), int):
            rows[row["iteration"]] = {**rows.get(row["iteration"], {}), **row}
    return [rows[iteration] for iteration in sorted(rows)]


def _training_section(logs: Sequence[Path]) -> str:
    """Curves of one or several stages of training, one after the other on a common axis of iterations."""
    stages = [rows for rows in map(read_metrics, dict.fromkeys(logs)) if rows]
    if not stages:
        return ""
    starts = np.cumsum([0, *(rows[-1]["iteration"] + 1 for rows in stages)])[:-1].tolist()
    shifted = zip(starts, stages, strict=True)
    rows = [{**row, "iteration": row["iteration"] + start} for start, stage in shifted for row in stage]
    dividers = [(start, f"stage {number}") for number, start in enumerate(starts, start=1)] if len(stages) > 1 else []
    names = dict.fromkeys(name for row in rows for name in row)
    losses = [name for name in names if name == "total_loss" or re.match(r"loss_\w+$", name)]
    metrics = [name for curve in CURVES for name in names if name.rsplit("/", 1)[-1] == curve]
    charts = line_chart("Loss", [_series(rows, name) for name in losses[:6]], "iteration", dividers)
    charts += line_chart("Validation, %", [_series(rows, name) for name in metrics[:6]], "iteration", dividers)
    return f'<section><h2>Training</h2><div class="charts">{charts}</div></section>' if charts else ""


def _series(rows: Sequence[dict], name: str) -> Series:
    chosen = [row for row in rows if isinstance(row.get(name), int | float)]
    return Series(name, [row["iteration"] for row in chosen], [row[name] for row in chosen])


def _ranking_section(evaluation: Evaluation) -> str:
    if not evaluation.labelled:
        return ""
    curves = []
    for stage in evaluation.stages:
        cmc = 100 * np.asarray(stage.metrics.cmc[:CMC_RANKS], dtype=float)
        curves.append(Series(stage.name, list(range(1, len(cmc) + 1)), cmc.tolist()))
    edges = list(range(0, 101, 10))
    counts = np.histogram(100 * evaluation.metrics.ap, bins=edges)[0].tolist()
    charts = line_chart("Queries with a right figure among the first k, %", curves, "k")
    charts += bar_chart("Queries by average precision, %", edges, counts, "average precision")
    return f'<section><h2>Ranking</h2><div class="charts">{charts}</div></section>'


# ----------------------------------------------------------------------------------------------------- queries


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


def _query_section(evaluation: Evaluation, features: FeatureFile, count: int, topk: int) -> str:
    groups = choose_queries(evaluation, features.num_query, count)
    if not any(group.queries for group in groups):
        return ""
    query, gallery, body = features.query, features.gallery, ""
    for group in groups:
        body += f"<h3>{escape(group.title)}<small>{escape(group.note)}</small></h3>"
        body += "\n".join(_case(evaluation, query, gallery, row, topk) for row in group.queries)
    key = '<span class="key"><span class="right">same patent</span><span class="wrong">another one</span></span>'
    faded = "A faded one comes after the last right figure: there was none left to find."
    key = f" {faded}<br>{key}" if evaluation.labelled else ""
    return (
        f"<section><h2>Queries and their first {topk}</h2><p>The query stands on the left, the nearest gallery images "
        f"beside it with their rank and distance.{key}</p>\n{body}</section>"
    )


def _case(evaluation: Evaluation, query: FeatureRows, gallery: FeatureRows, row: int, topk: int) -> str:
    items = [item for item in evaluation.indices[row, :topk].tolist() if item >= 0]
    verdicts = _verdicts(evaluation, query, gallery, row, items)
    hits = []
    for rank, (item, verdict) in enumerate(zip(items, verdicts, strict=True), start=1):
        distance = evaluation.distances[row, rank - 1]
        shown = f"{distance:.3f}" if distance >= 0.001 or distance == 0 else f"{distance:.1e}"
        score = f'<span class="score"><span>{rank}</span><span>{shown}</span></span>'
        hits.append(f"<li>{_shot(gallery.paths[item], verdict, f'rank {rank}', score)}</li>")
    shots = f'<ol class="hits">{"".join(hits)}</ol>' if hits else "<p>No gallery image is permitted for this query.</p>"
    shown = _shot(query.paths[row], "query", f"query {row + 1}", "")
    return f'<article class="card case"><p>{_case_title(evaluation, query, row)}</p>{shown}{shots}</article>'


def _verdicts(
    evaluation: Evaluation, query: FeatureRows, gallery: FeatureRows, row: int, items: list[int]
) -> list[str]:
    """Class names of a query's hits: "right", "wrong", or "wrong spent" once no right figure is left to find."""
    if not evaluation.labelled:
        return [""] * len(items)
    right = gallery.columns["pids"][items] == query.columns["pids"][row]
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


def _settings_section(evaluation: Evaluation, features: FeatureFile) -> str:
    entry = as_json(evaluation, features)
    text = json.dumps({"settings": entry["settings"], "features": entry["features"]}, indent=2, ensure_ascii=False)
    return (
        "<section><h2>How this was made</h2><details class='card'><summary>Settings and fingerprint of the features"
        f"</summary><pre>{escape(text)}</pre></details></section>"
    )
