"""``CfgNode``: yacs with bases, plug-ins, helpful errors and a freeze that merges respect too."""

import ast
import copy
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode as _YacsNode

from fastreid.config.compat import REMOVED_KEYS, RENAMED_KEYS, current_value
from fastreid.config.plugins import load_plugin
from fastreid.utils.errors import nearest

BASE_KEY = "_BASE_"


class CfgNode(_YacsNode):
    """A tree of configuration keys. Keys and the types of their values are fixed by ``config/defaults.py``."""

    def merge_from_file(self, cfg_filename: str | os.PathLike) -> None:
        """Merge a YAML file: first the files named in its ``_BASE_``, then its ``PLUGINS``, then its keys.

        Raises:
            FileNotFoundError: the file or one of its bases does not exist.
            KeyError: unknown keys, all of them listed with their nearest matches.
            ValueError: a value has the wrong type, or the bases form a circle.
        """
        values, plugins = _read_with_bases(Path(cfg_filename).expanduser(), ())
        self._load_plugins(plugins)
        self._merge(values, str(cfg_filename))

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merge ``[KEY, VALUE, KEY, VALUE, ...]``, as given on a command line (values may be strings)."""
        flags = [item for item in cfg_list[0::2] if str(item).startswith("-")]
        if flags:
            raise ValueError(
                f"Found the option {flags[0]} among the KEY VALUE pairs. Options such as --config-file and --resume "
                f"(which takes no path: MODEL.WEIGHTS names a file) come before the first pair."
            )
        if cfg_list and _is_path(str(cfg_list[0]).partition("=")[0]):
            raise ValueError(
                f"Found the path '{cfg_list[0]}' where the first KEY belongs. --resume takes no path: it continues "
                "from the last checkpoint in OUTPUT_DIR; to start from a file, set MODEL.WEIGHTS FILE"
            )
        joined = [str(item) for item in cfg_list[0::2] if "=" in str(item)]
        if joined:
            key, _, value = joined[0].partition("=")
            raise ValueError(f"Overrides are KEY VALUE pairs without '=': write {key} {value} instead of {joined[0]}")
        if len(cfg_list) % 2:
            raise ValueError(f"Overrides are KEY VALUE pairs; the key {cfg_list[-1]!r} has no value")
        values: dict[str, Any] = {}
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            decoded = _decode(value)
            # a number stays as typed until its key is known: the folder 2024_01 is not 202401
            values[key] = value if _is_number(decoded) else decoded
        plugins = values.get("PLUGINS", ())
        self._load_plugins([plugins] if isinstance(plugins, str) else plugins)
        self._merge(values, "the command line")

    def merge_from_other_cfg(self, cfg_other: Mapping) -> None:
        self._merge(dict(cfg_other), "another config")

    def get_node(self, path: str) -> Any:
        """Return what stands at a dotted path, e.g. ``cfg.get_node("MODEL.LOSSES.TRI")``."""
        if not self.has_node(path):
            raise KeyError(f"The config has no '{path}'.{nearest(path, flatten(self))}")
        return functools.reduce(dict.__getitem__, path.split("."), self)

    def has_node(self, path: str) -> bool:
        """Whether something stands at a dotted path."""
        node = self
        for part in path.split("."):
            if not isinstance(node, CfgNode) or part not in node:
                return False
            node = node[part]
        return True

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"The config has no '{name}' here.{nearest(name, self)} Keys: {', '.join(self)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if self.is_frozen():
            raise AttributeError(f"Cannot set {name}: the config is frozen. Change it before freeze(), or defrost() it")
        super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict) -> "CfgNode":
        # the default copies the frozen flag before the keys, and could then not set them
        node = type(self)()
        for key, value in self.items():
            dict.__setitem__(node, key, copy.deepcopy(value, memo))
        node.__dict__.update(self.__dict__)
        return node

    def __reduce__(self) -> tuple:
        # as above; a config travels to the processes of a predictor
        return _restore_node, (type(self), dict(self), dict(self.__dict__))

    def __delitem__(self, name: str) -> None:
        if self.is_frozen():
            raise AttributeError(f"Cannot delete {name}: the config is frozen")
        super().__delitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if self.is_frozen():
            raise AttributeError(f"Cannot set {name}: the config is frozen. Change it before freeze(), or defrost() it")
        super().__setitem__(name, value)

    def _load_plugins(self, plugins: list[str]) -> None:
        for plugin in plugins:
            add_config = getattr(load_plugin(plugin), "add_config", None)
            if add_config is not None:
                add_config(self)

    def _merge(self, values: Mapping, source: str) -> None:
        """Check all values first, then write them: a refused merge changes nothing."""
        if self.is_frozen():
            raise AttributeError(f"Cannot merge {source}: the config is frozen. Merge before freeze(), or defrost() it")
        known, unknown, accepted = flatten(self), [], {}
        for key, value in flatten(values).items():
            if key not in known and not (self._is_node(key) and value == {}):
                key = RENAMED_KEYS.get(key, key)
            if key in known:
                accepted[key] = _coerce(current_value(key, value), known[key], key, source)
                if key == "PLUGINS":  # all that were loaded, so that the saved config loads them too
                    accepted[key] = tuple(dict.fromkeys((*known[key], *accepted[key])))
            elif self._is_node(key):
                if value != {}:
                    keys = ", ".join(self.get_node(key))
                    raise ValueError(f"{key} in {source} is a group of keys ({keys}), not a value; got {value!r}")
            else:
                unknown.append(f"  {key}{_explain_unknown(key, known)}")
        if unknown:
            raise KeyError(_Text(f"Unknown config keys in {source}:\n" + "\n".join(unknown)))
        for key, value in accepted.items():
            path, _, leaf = key.rpartition(".")
            (self.get_node(path) if path else self)[leaf] = value

    def _is_node(self, key: str) -> bool:
        return any(name.startswith(key + ".") for name in flatten(self))


def _is_path(text: str) -> bool:
    return "/" in text or os.sep in text or text.endswith((".pth", ".pt", ".safetensors"))


def _restore_node(kind: type, items: dict, attributes: dict) -> CfgNode:
    node = kind()
    dict.update(node, items)
    node.__dict__.update(attributes)
    return node


class _Text(str):
    """A message that ``KeyError`` shows as it is, with its line breaks."""

    __repr__ = str.__str__


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Return ``{"A.B.C": value}`` for a nested mapping; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, path + "."))
        else:
            flat[path] = value
    return flat


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> tuple[dict, list[str]]:
    if path == Path():
        raise FileNotFoundError("No config file given: the path is empty (is --config-file missing?)")
    if not path.is_file():
        wanted_by = f" (named as {BASE_KEY} in {chain[-1]})" if chain else ""
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = nearest(path.name, (file.name for file in beside if file.suffix in (".yml", ".yaml")))
        raise FileNotFoundError(f"Config file not found: '{path}'{wanted_by}{hint and f'.{hint}'}")
    if path.resolve() in chain:
        raise ValueError(f"{BASE_KEY} forms a circle: {' > '.join(map(str, (*chain, path.resolve())))}")
    with open(path, encoding="utf-8") as file:
        values = _parse(file.read(), path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of keys; it holds a {type(values).__name__}")
    bases = values.pop(BASE_KEY, [])
    merged, plugins = {}, []
    for base in [bases] if isinstance(bases, str) else bases:
        base_values, base_plugins = _read_with_bases(
            path.parent / Path(base).expanduser(), (*chain, path.resolve())
        )
        merged.update(base_values)
        plugins += base_plugins
    own = values.pop("PLUGINS", [])
    plugins += [_resolve_plugin(plugin, path.parent) for plugin in ([own] if isinstance(own, str) else own)]
    # keys are renamed before files are laid over each other, so that an old and a new spelling do not collide
    merged.update({RENAMED_KEYS.get(key, key): value for key, value in flatten(values).items()})
    if plugins:
        merged["PLUGINS"] = tuple(dict.fromkeys(plugins))
    return merged, plugins


def _parse(text: str, path: Path) -> Any:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ValueError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error


def _resolve_plugin(plugin: str, folder: Path) -> str:
    """A file beside the YAML file, else one in the current folder; of neither, the first, for the error to name."""
    beside, here = folder / Path(plugin).expanduser(), Path(plugin).expanduser()
    found = beside.is_file() or not here.is_file()
    return str(beside.resolve()) if plugin.endswith(".py") and found else plugin


def _explain_unknown(key: str, known: Mapping) -> str:
    if key in REMOVED_KEYS:
        return f": removed. {REMOVED_KEYS[key]}"
    hint = nearest(key, known)
    if not hint:
        leaf = key.rpartition(".")[2]
        same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
        hint = f" Did you mean '{same_leaf[0]}'?" if same_leaf else ""
    return hint


def _decode(value: Any) -> Any:
    """A string from the command line as Python literal (``[1, 2]``, ``0.1``, ``True``), otherwise as it is."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(value.lower(), value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# fast-reid declares them as int; a fraction is meaningful
FRACTIONS = (".SCALE", ".GAMMA")


def _coerce(value: Any, default: Any, key: str, source: str) -> Any:
    """Return ``value`` with the type of ``default``: int for float, scalar for a list of one, list for tuple."""
    if isinstance(value, str) and not isinstance(default, str):
        value = _decode(value)
    kind, is_number = type(default), _is_number(value)
    if kind in (list, tuple):
        if isinstance(value, (list, tuple)):
            return kind(value)
        if isinstance(value, (int, float, str)):
            return kind([value])
    elif kind is int and is_number and (float(value).is_integer() or key.endswith(FRACTIONS)):
        return int(value) if float(value).is_integer() else value
    elif kind in (float, str) and is_number:
        return kind(value)
    elif kind is not int and isinstance(value, kind):  # True is an int
        return value
    wanted = f"{'a whole number' if kind is int else f'of type {kind.__name__}'} like its present value {default!r}"
    raise ValueError(f"{key} in {source} must be {wanted}; got {value!r}")


def get_cfg() -> CfgNode:
    """Return a fresh copy of the default configuration."""
    from fastreid.config.defaults import _C

    return _C.clone()


global_cfg = CfgNode()


def set_global_cfg(cfg: CfgNode) -> None:
    """Let ``fastreid.config.global_cfg`` hold the keys of ``cfg``, for code that cannot be handed a config."""
    global_cfg.clear()
    global_cfg.update(cfg)


def configurable(init_func: Callable | None = None, *, from_config: Callable | None = None) -> Callable:
    """Let a constructor or function with plain arguments be called with a ``cfg`` too.

    On ``__init__`` the class needs a class method ``from_config(cls, cfg, ...)`` that returns the keyword arguments;
    on a function, ``from_config=`` gives it. Arguments passed beside ``cfg`` go to ``from_config`` where it takes
    them and otherwise override what it returns.

    >>> class Head:
    ...     @configurable
    ...     def __init__(self, width, margin=0.0): ...
    ...     @classmethod
    ...     def from_config(cls, cfg): return {"width": cfg.MODEL.BACKBONE.FEAT_DIM}
    """
    if init_func is None:
        return lambda function: configurable(function, from_config=from_config)
    if from_config is not None:

        @functools.wraps(init_func)
        def function(*args, **kwargs):
            if _called_with_cfg(args, kwargs):
                return init_func(**_arguments(from_config, args, kwargs))
            return init_func(*args, **kwargs)

        function.from_config = from_config
        return function

    @functools.wraps(init_func)
    def __init__(self, *args, **kwargs):
        if not _called_with_cfg(args, kwargs):
            return init_func(self, *args, **kwargs)
        if not hasattr(type(self), "from_config"):
            raise AttributeError(f"{type(self).__name__} is @configurable and needs from_config(cls, cfg)")
        return init_func(self, **_arguments(type(self).from_config, args, kwargs))

    return __init__


def _called_with_cfg(args: tuple, kwargs: dict) -> bool:
    return isinstance(args[0] if args else kwargs.get("cfg"), _YacsNode)


def _arguments(from_config: Callable, args: tuple, kwargs: dict) -> dict:
    parameters = inspect.signature(from_config).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return from_config(*args, **kwargs)
    taken = {p.name for p in parameters}
    arguments = from_config(*args, **{k: v for k, v in kwargs.items() if k in taken})
    return {**arguments, **{k: v for k, v in kwargs.items() if k not in taken}}
