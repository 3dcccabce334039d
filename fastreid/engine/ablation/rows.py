"""The rows of an ablation's table: each is a config with settings laid over it, checked before anything runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg
from fastreid.config.config import flatten
from fastreid.data.feature_file import TRAIN_ONLY_INPUT, TRAIN_ONLY_MODEL
from fastreid.engine.ablation.checks import check_settings
from fastreid.evaluation.results import file_name
from fastreid.utils.command import message_of
from fastreid.utils.errors import nearest, require_choice

KEYS = ("name", "config", "set", "of")
# settings that belong to the table itself
OURS = {"SEED": "the list `seeds` sets it", "OUTPUT_DIR": "--output sets it"}


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table.

    Attributes:
        config: YAML file of the run.
        settings: ``{KEY: value}`` laid over it: the table's, those of the row that this one is ``of``, its own.
        own: the keys among them that the row itself sets.
        cfg: all settings, without seed and output folder.
        of: the row whose trained models this one evaluates; ``None``: it trains.
    """

    name: str
    config: Path
    settings: Mapping[str, Any]
    own: tuple[str, ...]
    cfg: CfgNode = field(repr=False)
    of: "Row | None" = None

    @property
    def folder(self) -> str:
        return file_name(self.name)

    @property
    def pairs(self) -> list[str]:
        """The settings as a command line gives them."""
        return [str(item) for pair in self.settings.items() for item in pair]


def read_rows(given: Mapping[str, Any], folder: Path, more: Mapping[str, Any]) -> list[Row]:
    """Build the rows of a table in their order.

    Args:
        given: the table as its YAML has it.
        folder: of the table.
        more: settings laid over those of every row.

    Raises:
        ValueError: all that is wrong with any of them, a line each.
    """
    problems: list[str] = []
    entries: dict[str, dict] = {}
    for number, entry in enumerate(given["rows"], start=1):
        if _collect(problems, _label(entry, number), _check_entry, entry, given, entries):
            entries[entry["name"]] = entry
    rows: dict[str, Row] = {}
    for evaluates in (False, True):  # a row may be of one below it
        trained = {name: row for name, row in rows.items() if row.of is None}
        # what is wrong with them is said already; nothing is known of the rows that are `of` them
        refused = [_name(entry) for entry in given["rows"] if not _evaluates(entry) and _name(entry) not in [*trained]]
        for name, entry in entries.items():
            if _evaluates(entry) == evaluates and not (evaluates and entry["of"] in refused):
                row = _collect(problems, f"row '{name}'", _row, entry, given, folder, more, trained)
                rows.update({name: row} if row else {})
    _collect(problems, "rows", _require_different, list(rows.values()))
    if problems:
        raise ValueError("\n  ".join(["The table cannot be run:", *problems]))
    return [rows[name] for name in entries]


def check_keys(given: Any, allowed: Sequence[str], whose: str) -> None:
    """Raise ``ValueError`` unless ``given`` is a mapping with keys among ``allowed``."""
    if not isinstance(given, dict):
        raise ValueError(f"{whose} must hold keys ({', '.join(allowed)}); got {given!r}")
    unknown = [f"'{key}'.{nearest(key, allowed)}" for key in given if key not in allowed]
    if unknown:
        raise ValueError(f"{whose} has no key {' '.join(unknown)} Allowed: {', '.join(allowed)}")


def _collect(problems: list[str], what: str, function: Callable, *args) -> Any:
    """Call ``function``; a mistake of the user becomes a line of ``problems``."""
    try:
        return function(*args)
    except (ValueError, KeyError, OSError) as error:
        problems.append(f"{what}: {message_of(error)}")
        return None


def _label(entry: Any, number: int) -> str:
    return f"row {number}" if _name(entry) is None else f"row '{_name(entry)}'"


def _name(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, dict) else None


def _evaluates(entry: Any) -> bool:
    return isinstance(entry, dict) and "of" in entry


def _check_entry(entry: Any, given: Mapping, earlier: Mapping[str, dict]) -> bool:
    check_keys(entry, KEYS, "a row")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"its name must be a text; got {name!r}")
    folders = {file_name(other): other for other in earlier}
    if name in earlier:
        raise ValueError("an earlier row has this name")
    if file_name(name) in folders:
        raise ValueError(f"its folder {file_name(name)} is that of '{folders[file_name(name)]}': rename one")
    if "of" in entry and "config" in entry:
        raise ValueError(f"it takes the config of '{entry['of']}', the row it is `of`, and can have none of its own")
    if not {"of", "config"} & entry.keys() and "base" not in given:
        raise ValueError("it needs a `config`, or the table a `base`")
    return True


def _row(entry: dict, given: Mapping, folder: Path, more: Mapping, trained: Mapping[str, Row]) -> Row:
    own = read_settings(entry.get("set"))
    if "of" in entry:
        require_choice("`of`, the name of a row that trains,", entry["of"], trained)
        of = trained[entry["of"]]
        _require_felt(own, of)
        settings = {**of.settings, **own, **more}
        return Row(entry["name"], of.config, settings, tuple(own), _cfg(of.config, settings), of)
    config = _find(entry.get("config") or given["base"], folder)
    settings = {**read_settings(given.get("set")), **own, **more}
    cfg = _cfg(config, settings)
    if cfg.TEST.EVAL_PERIOD < 1:
        raise ValueError("TEST.EVAL_PERIOD is 0: its training would leave no results")
    return Row(entry["name"], config, settings, tuple(own), cfg)


def read_settings(given: Any) -> dict[str, Any]:
    """Return ``{KEY: value}`` of a ``set``, whose keys may be nested."""
    if given is not None and not isinstance(given, dict):
        raise ValueError(f"`set` must hold KEY: value; got {given!r}")
    settings = flatten(given or {})
    for key in settings.keys() & OURS.keys():
        raise ValueError(f"`set` may not hold {key}: {OURS[key]}")
    return settings


def _require_felt(own: Mapping[str, Any], of: Row) -> None:
    """Refuse settings that a trained model no longer feels."""
    idle = [key for key in own if _is_of_training(key)]
    if idle:
        raise ValueError(f"{', '.join(idle)} cannot change the trained models of '{of.name}'")


def _is_of_training(key: str) -> bool:
    group, *below = key.split(".")
    only = {"INPUT": TRAIN_ONLY_INPUT, "MODEL": TRAIN_ONLY_MODEL - {"DEVICE"}}.get(group, set())
    return group in ("SOLVER", "KD") or key == "DATASETS.NAMES" or not only.isdisjoint(below)


def _find(config: Any, folder: Path) -> Path:
    """A file beside the table, else one in the current folder; of neither, the latter, for the error to name."""
    beside = folder / str(config)
    return beside if beside.is_file() else Path(str(config))


def _cfg(config: Path, settings: Mapping[str, Any]) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(config)
    cfg.merge_from_list([str(item) for pair in settings.items() for item in pair])
    cfg.freeze()
    check_settings(cfg)
    return cfg


def _require_different(rows: Sequence[Row]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        said = repr((row.of.name if row.of else "", row.cfg))
        if said in seen:
            raise ValueError(f"'{seen[said]}' and '{row.name}' have the same settings")
        seen[said] = row.name
        if row.of and repr(row.cfg) == repr(row.of.cfg):
            raise ValueError(f"'{row.name}' changes nothing about '{row.of.name}'")
