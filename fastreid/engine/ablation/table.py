"""The table of an ablation: rows x seeds and what to show of them, read from YAML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fastreid.engine.ablation.rows import Row, check_keys, read_rows, read_settings
from fastreid.engine.settings import settings_without_effect
from fastreid.evaluation.results import UPSTREAM_NAMES
from fastreid.evaluation.stages import level_metric
from fastreid.evaluation.text_retrieval import HEADLINE
from fastreid.utils.errors import require_choice

KEYS = ("title", "base", "set", "seeds", "rows", "metrics", "tests", "reference", "cost")
COSTS = ("seconds", "images")
METRICS = (*UPSTREAM_NAMES, "AP@10_min", "AP@10_R")  # what every results.json has; the rows' settings add to them


@dataclass(frozen=True)
class Table:
    """What to run and what to show.

    Attributes:
        seeds: each row is trained with each.
        metrics, tests: columns: names of metrics, of data sets.
        reference: name of the row that the others are compared with; "": none.
        cost: the plot's x axis, one of ``COSTS``: CPU seconds of a training, or images that it saw.
    """

    path: Path
    title: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    tests: tuple[str, ...]
    reference: str
    cost: str

    def select(self, names: Iterable[str] | None) -> list[Row]:
        """The rows of these names (``None``: all), each after the row it is ``of``.

        Raises:
            ValueError: no such row.
        """
        known = {row.name: row for row in self.rows}
        for name in names or ():
            require_choice(f"--only, rows of {self.path},", name, known)
        chosen = self.rows if names is None else [known[name] for name in names]
        return list(dict.fromkeys(row for wanted in chosen for row in (wanted.of, wanted) if row is not None))


def read_table(path: str | Path, settings: Sequence[str] = ()) -> Table:
    """Read and check a table.

    Args:
        settings: ``[KEY, VALUE, ...]`` laid over those of every row.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what is wrong with it; of the rows everything at once.
    """
    path = Path(path)
    given = _load(path)
    if len(settings) % 2:
        raise ValueError(f"--set takes KEY VALUE pairs; the key {settings[-1]!r} has no value")
    seeds = _seeds(given.get("seeds", [0]), path)
    more = read_settings(dict(zip(settings[0::2], settings[1::2], strict=True)))
    rows = read_rows(given, path.parent, more)
    reference, cost = given.get("reference", ""), given.get("cost", COSTS[0])
    require_choice(f"cost of {path}", cost, COSTS)
    if reference:
        require_choice(f"reference of {path}, the name of a row,", reference, [row.name for row in rows])
    further = [*map(level_metric, _all(rows, "LEVELS")), *_all(rows, "METRICS")]
    further += HEADLINE if any(row.cfg.TEST.TEXT_BANK for row in rows) else ()
    metrics = _names(given, "metrics", ["mAP", "Rank-1"], [*METRICS, *further], path)
    tests = _names(given, "tests", None, _all(rows, "TESTS"), path)
    return Table(path, str(given.get("title", path.stem)), tuple(rows), seeds, metrics, tests, reference, cost)


def without_effect(table: Table) -> list[str]:
    """Lines ``row: KEY = value (why)`` for settings of rows that change nothing: such a row shows a false result."""
    lines = []
    for row in table.rows:
        idle = settings_without_effect(row.cfg)
        lines += [f"{row.name}: {line}" for line in idle if line.partition(" = ")[0] in row.own]
    return lines


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"No such table: '{path}'")
    with open(path, encoding="utf-8") as file:
        given = yaml.safe_load(file)
    check_keys(given, KEYS, str(path))
    if not isinstance(given.get("rows"), list) or not given["rows"]:
        raise ValueError(f"rows of {path} must be a list of at least one row; got {given.get('rows')!r}")
    return given


def _seeds(given: Any, path: Path) -> tuple[int, ...]:
    seeds = given if isinstance(given, list) else [given]
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds of {path} must be different whole numbers from 0; got {given!r}")
    return tuple(seeds)


def _all(rows: Sequence[Row], key: str) -> list[str]:
    """The names in TEST.METRICS, TEST.LEVELS or DATASETS.TESTS of any row, in their order."""
    lists = (row.cfg.DATASETS.TESTS if key == "TESTS" else row.cfg.TEST[key] for row in rows)
    return list(dict.fromkeys(name for names in lists for name in names))


def _names(given: dict, key: str, default: list | None, allowed: list[str], path: Path) -> tuple[str, ...]:
    names = given.get(key, default or allowed)
    names = names if isinstance(names, list) else [names]
    source = {"metrics": "TEST.METRICS, LEVELS and TEXT_BANK add more", "tests": "DATASETS.TESTS of the rows"}[key]
    for name in names:
        require_choice(f"{key} of {path} ({source})", name, dict.fromkeys(allowed))
    return tuple(dict.fromkeys(names))
