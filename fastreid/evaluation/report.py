"""``report.html``: one file without outside requests that shows what an evaluation found."""

import json
import logging
import os
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.charts import Series, bar_chart, line_chart
from fastreid.evaluation.protocol import Evaluation
from fastreid.evaluation.report_queries import describe_match, query_section
from fastreid.evaluation.results import as_json
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, is_descriptor
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

TABLE_COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "AP@10_min", "AP@10_R")
CURVES = ("mAP", "Rank-1", "mINP")
CMC_RANKS = 20
SHOWN_GROUPS = 40
RULE_WORDS = {
    "all": "all gallery images",
    "camera": "all but those of the query's identity by the query's own camera",
    "other_patent": "all but the query's own patent",
    "granted_before": "those granted before the query",
    "no_opposite_view": "all but the opposite view of the query's own patent",
    "same_class": "those of the query's Locarno class",
    "same_subclass": "those of the query's Locarno class and subclass",
}


def write_report(
    cfg, evaluation: Evaluation, features: FeatureFile, dataset_name: str, path: str | os.PathLike, weights: str = ""
) -> None:
    """Write the report of one data set to ``path``; ``weights`` is where those of the model came from, if known.

    Training curves are read from ``metrics.json`` beside it, after those named in ``TEST.REPORT.METRICS``.
    """
    logs = [*map(Path, cfg.TEST.REPORT.METRICS), Path(path).parent / "metrics.json"]
    sections = [
        _header(evaluation, features, dataset_name, weights),
        _result_section(evaluation),
        _training_section(logs),
        _ranking_section(evaluation),
        *(_group_section(evaluation, column) for column in evaluation.stages[-1].groups),
        query_section(evaluation, features, cfg.TEST.REPORT.NUM_QUERIES, cfg.TEST.REPORT.TOPK),
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


def _header(evaluation: Evaluation, features: FeatureFile, dataset_name: str, weights: str) -> str:
    entry, metrics = as_json(evaluation, features), evaluation.metrics
    settings, digest = features.fingerprint.get("settings", {}), features.fingerprint.get("weights", "")
    facts = {
        "queries": f"{features.num_query:,}",
        "gallery images": f"{len(features) - features.num_query:,}",
        "dropped queries": f"{metrics.dropped:,}" if metrics else "",
        "feature width": f"{features.features.shape[1]:,}",
        "distance": evaluation.settings.get("metric", ""),
        "candidates": describe_rule(evaluation.settings.get("rule", "")),
        "a right figure has the": describe_match(evaluation, features) if evaluation.labelled else "",
        "network": _network(settings),
        "input": " x ".join(str(side) for side in settings.get("INPUT.SIZE_TEST", [])),
        "weights": " ".join(part for part in (weights, f"({digest[:12]})" if digest else "") if part),
    }
    terms = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items() if v)
    return (
        f'<header><p class="kicker">fastreid retrieval report, {escape(entry["date"][:16].replace("T", " "))} UTC</p>'
        f'<h1>{escape(dataset_name)}</h1>{_lede(evaluation)}<dl class="facts">{terms}</dl></header>'
    )


def describe_rule(rule: str) -> str:
    """Say in words which gallery images a query may find; a rule from outside goes by its name."""
    names = [name.strip() for name in rule.split("+")] if rule else []
    return " and ".join(RULE_WORDS.get(name, f"rule {name}") for name in names)


def _network(settings: dict) -> str:
    """Backbone and depth; the whole model's name where it has no backbone."""
    whole = settings.get("MODEL.META_ARCHITECTURE", "")
    if whole in META_ARCH_REGISTRY and is_descriptor(whole):
        return whole
    name = str(settings.get("MODEL.BACKBONE.NAME", ""))
    depth = str(settings.get("MODEL.BACKBONE.DEPTH", ""))
    return f"{name} {depth}".strip() if "resnet" in name or not name else name  # others have no such depth


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
    tables = [stage.table() for stage in evaluation.stages]
    columns = list(dict.fromkeys([*TABLE_COLUMNS, *evaluation.stages[-1].extra]))
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("Stage", *columns))
    rows = []
    for number, stage in enumerate(evaluation.stages):
        cells = "".join(_cell([t[name] for t in tables], number) for name in columns)
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
    charts = "".join(
        line_chart(title, [_series(rows, name) for name in chosen[:6]], "iteration", dividers, whole_x=True)
        for title, chosen in (("Loss", losses), ("Validation, %", metrics))
    )
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
    charts = line_chart("Queries with a right figure among the first k, %", curves, "k", whole_x=True)
    charts += bar_chart("Number of queries by average precision, %", edges, counts, "average precision, %")
    return f'<section><h2>Ranking</h2><div class="charts">{charts}</div></section>'


def _group_section(evaluation: Evaluation, column: str) -> str:
    """Averages of the last stage per value of a column, the largest groups first."""
    groups = evaluation.stages[-1].groups[column]
    ordered = sorted(groups["values"].items(), key=lambda group: -group[1]["queries"])
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in (column, "queries", *groups["macro"]))
    rows = [("mean over the groups", {"queries": "", **groups["macro"]}), *ordered[:SHOWN_GROUPS]]
    body = ""
    for value, row in rows:
        cells = "".join(f"<td>{row[name]:.2f}</td>" for name in groups["macro"])
        body += f"<tr><th scope=row>{escape(value) or 'unknown'}</th><td>{row['queries']}</td>{cells}</tr>"
    more = f" The {SHOWN_GROUPS} largest of {len(ordered)} groups." if len(ordered) > SHOWN_GROUPS else ""
    return (
        f"<section><h2>By {escape(column)}</h2><p>Queries of the last stage with a right figure, in percent.{more}</p>"
        f"\n<div class='card scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _settings_section(evaluation: Evaluation, features: FeatureFile) -> str:
    entry = as_json(evaluation, features)
    text = json.dumps({"settings": entry["settings"], "features": entry["features"]}, indent=2, ensure_ascii=False)
    return (
        "<section><h2>How this was made</h2><details class='card'><summary>Settings and fingerprint of the features"
        f"</summary><pre>{escape(text)}</pre></details></section>"
    )
