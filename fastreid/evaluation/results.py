"""What an evaluation leaves behind: a table in the log, ``results.json`` and ``report.html``."""

import datetime
import json
import logging
import os
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastreid.data.feature_file import FeatureFile
from fastreid.data.text_bank import open_named
from fastreid.evaluation.presets import PROTOCOL_REGISTRY, differences, metrics_of_table, table_of
from fastreid.evaluation.protocol import Protocol
from fastreid.evaluation.stages import Evaluation, Stage
from fastreid.evaluation.text_retrieval import text_retrieval
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

UPSTREAM_NAMES = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric")
COUNTS = ("queries", "dropped queries")


def evaluate(
    cfg,
    feature_file: FeatureFile,
    dataset_name: str,
    output_dir: str | os.PathLike | None,
    weights: str = "",
    shared: bool = False,
) -> Evaluation | None:
    """Evaluate under the protocol of ``cfg``, log the table and, with ``output_dir``, write results and report.

    Args:
        weights: where those of the model came from, for the report; "" when they are in no file, as in a training
            (whose ``MODEL.WEIGHTS`` are those it started from).
        shared: all processes call this and share the work, see :meth:`Protocol.evaluate`.

    Returns:
        the evaluation; without labels it holds a ranking but no metrics. ``None`` where another process has it.
    """
    evaluation = judge(cfg, feature_file, shared)
    if evaluation is None:
        return None
    if evaluation.metrics is not None and evaluation.metrics.dropped:
        dropped, total = evaluation.metrics.dropped, evaluation.metrics.num_queries
        logger.warning("%d of %d queries have no permitted match and do not count", dropped, total)
    logger.info("%s\n%s", describe(feature_file, dataset_name), metric_table(evaluation))
    for more in (evaluation.texts and evaluation.texts.table(), evaluation.table and evaluation.table.text()):
        if more:
            logger.info("%s\n%s", dataset_name or "Evaluation", more)
    if output_dir:
        write_results(evaluation, feature_file, dataset_name, Path(output_dir) / "results.json")
        if evaluation.table:
            path = Path(output_dir) / f"protocol_{file_name(cfg.TEST.PROTOCOL)}.json"
            _put(path, dataset_name, {**evaluation.table.as_json(), "settings": evaluation.settings})
            logger.info("Table of the protocol: %s", path)
        if cfg.TEST.REPORT.ENABLED:
            from fastreid.evaluation.report import write_report

            alone = len(cfg.DATASETS.TESTS) <= 1
            name = "report.html" if alone else f"report_{file_name(dataset_name)}.html"
            write_report(cfg, evaluation, feature_file, dataset_name, Path(output_dir) / name, weights)
    return evaluation


def check_settings(cfg) -> Protocol:
    """Raise what :func:`judge` would say of the ``TEST`` node, without features; return the protocol."""
    if cfg.TEST.PROTOCOL:
        PROTOCOL_REGISTRY.get(cfg.TEST.PROTOCOL)
    open_named(cfg.TEST.TEXT_BANK, "TEST.TEXT_BANK")
    return Protocol.from_config(cfg)


def judge(cfg, features: FeatureFile, shared: bool = False) -> Evaluation | None:
    """Evaluate under the ``TEST`` node of ``cfg``, with what it asks for beside the ranking of images."""
    protocol, bank = Protocol.from_config(cfg), open_named(cfg.TEST.TEXT_BANK, "TEST.TEXT_BANK")
    evaluation = protocol.evaluate(features, shared, metrics_of_table(cfg))
    if evaluation is None:
        return None
    settings = dict(evaluation.settings)
    if cfg.TEST.PROTOCOL:
        changed = differences(cfg)
        settings |= {"protocol": cfg.TEST.PROTOCOL, "other than in the protocol": changed}
        if changed:
            said = ", ".join(f"{key} {value}" for key, value in changed.items())
            logger.warning("Not quite TEST.PROTOCOL %s: %s", cfg.TEST.PROTOCOL, said)
    return replace(
        evaluation,
        settings=settings,
        texts=text_retrieval(features, bank, cfg.TEST.TEXTS_PER_IMAGE, cfg.TEST.BLOCK_MIB) if bank else None,
        table=table_of(cfg, protocol, features, evaluation),
    )


def file_name(dataset_name: str) -> str:
    """Make a data set name safe as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", dataset_name) or "dataset"


def features_path(output_dir: str | os.PathLike, dataset_name: str) -> Path:
    """Where the feature file of a data set lies."""
    return Path(output_dir) / "features" / f"{file_name(dataset_name)}.npz"


def describe(feature_file: FeatureFile, dataset_name: str) -> str:
    queries, gallery = feature_file.num_query, len(feature_file) - feature_file.num_query
    return f"{dataset_name or 'Evaluation'}: {queries} queries against {gallery} gallery images"


def metric_table(evaluation: Evaluation) -> str:
    """Draw all stages as rows of a text table, in percent."""
    from tabulate import tabulate

    if not evaluation.labelled:
        return "This data set has no labels, so there is a ranking but no metric."
    rows = [{"stage": stage.name, **_percentages(stage)} for stage in evaluation.stages]
    table = tabulate(rows, headers="keys", tablefmt="simple", floatfmt=".2f")
    roc = "".join(f"\n{name}: {value:.2f}" for name, value in evaluation.roc.items())
    return table + roc


def headline(evaluation: Evaluation) -> OrderedDict[str, float]:
    """Metrics of the last stage: fast-reid's, in its order, then those asked for; without labels none of the images."""
    texts = evaluation.texts.headline() if evaluation.texts else {}
    if not evaluation.labelled:
        return OrderedDict(texts)
    table, extra = evaluation.metrics.table(), evaluation.stages[-1].extra
    upstream = ((name, table[name]) for name in UPSTREAM_NAMES)
    return OrderedDict([*upstream, *extra.items(), *evaluation.roc.items(), *texts.items()])


def as_json(evaluation: Evaluation, feature_file: FeatureFile) -> dict[str, Any]:
    """Return one data set's entry of ``results.json``: plain values, metrics in percent."""
    stages = []
    for stage in evaluation.stages:
        groups = {"groups": stage.groups} if stage.groups else {}
        stages.append({"stage": stage.name, "metrics": _percentages(stage), **groups})
    if evaluation.texts:
        stages[-1]["metrics"] |= evaluation.texts.headline()
    metrics = evaluation.metrics
    counts = {
        "queries": feature_file.num_query,
        "gallery": len(feature_file) - feature_file.num_query,
        "dropped queries": metrics.dropped if metrics else 0,
    }
    for level, found in evaluation.stages[-1].levels.items():
        counts[f"dropped queries@{level}"] = found.dropped
    more = {"text retrieval": evaluation.texts, "protocol": evaluation.table}
    return {
        "stages": stages,
        "roc": evaluation.roc,
        "counts": counts,
        **{name: part.as_json() for name, part in more.items() if part is not None},
        "labelled": evaluation.labelled,
        "settings": evaluation.settings,
        "features": feature_file.fingerprint,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _percentages(stage: Stage) -> dict[str, float]:
    return {name: value for name, value in stage.table().items() if name not in COUNTS}


def write_results(
    evaluation: Evaluation, feature_file: FeatureFile, dataset_name: str, path: str | os.PathLike
) -> None:
    """Put the entry of one data set into ``results.json``; those of other data sets stay."""
    _put(path, dataset_name, as_json(evaluation, feature_file))


def _put(path: str | os.PathLike, dataset_name: str, entry: dict[str, Any]) -> None:
    results = read_results(path)
    results[dataset_name] = entry
    with atomic_write(path, "w") as file:
        json.dump(results, file, indent=2)
        file.write("\n")


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """Return ``results.json`` as ``{data set: entry}``; empty when it is not there or not readable (said so)."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        logger.warning("%s is not valid JSON (%s) and is written anew", path, error)
        return {}
    return results
