"""Print results, flatten them, and hold them against what a config expects."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastreid.utils.errors import nearest

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the metrics of one data set (or ``{data set: metrics}``) as one readable table.

    The name is fast-reid's. A ``dataset`` entry, where present, labels the row.
    """
    from tabulate import tabulate

    nested = bool(results) and all(isinstance(value, Mapping) for value in results.values())
    rows = results if nested else {results.get("dataset", ""): results}
    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics if name != "dataset"))
    body = [[label, *(metrics.get(name) for name in names)] for label, metrics in rows.items()]
    table = tabulate(body, headers=["Dataset", *names], tablefmt="pipe", floatfmt=".2f", numalign="right")
    logger.info("Evaluation results:\n%s", table)


def verify_results(cfg, results: Mapping[str, Any]) -> bool:
    """Compare results with ``TEST.EXPECTED_RESULTS``, rows of ``[data set, metric, value, tolerance]``.

    Returns:
        True when all agree (or nothing is expected).

    Raises:
        ValueError: a value is further off than its tolerance, is NaN, or is not among the results.
    """
    problems = []
    for dataset, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        scope = results.get(dataset, results)
        if not isinstance(scope, Mapping) or metric not in scope:
            names = flatten_results_dict(results)
            problems.append(f"{dataset} {metric} is not among the results.{nearest(f'{dataset}/{metric}', names)}")
            continue
        actual = float(scope[metric])
        if not math.isfinite(actual) or abs(actual - expected) > tolerance:
            problems.append(f"{dataset} {metric} is {actual:.3f}, expected {expected} +- {tolerance}")
    if problems:
        raise ValueError("results differ from TEST.EXPECTED_RESULTS: " + "; ".join(problems))
    if cfg.TEST.EXPECTED_RESULTS:
        logger.info("All %d expected results were reached", len(cfg.TEST.EXPECTED_RESULTS))
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Join nested keys with slashes: ``{"a": {"b": 1}}`` becomes ``{"a/b": 1}``."""
    flat = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{inner}": leaf for inner, leaf in flatten_results_dict(value).items()})
        else:
            flat[key] = value
    return flat
