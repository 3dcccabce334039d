"""Components by name.

A component is a plain class or function with keyword arguments. Registering it with the config node that holds its
options (``node="MODEL.LOSSES.TRI"``) makes the keys of that node, in lower case, its keyword arguments. A component
registered without a node is called with the whole ``cfg``, which is how components written for fast-reid work.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

from fastreid.utils.errors import nearest

logger = logging.getLogger(__name__)


class Registry:
    """A named table of components.

    >>> LOSSES = Registry("LOSSES")
    >>> @LOSSES.register(node="MODEL.LOSSES.TRI")
    ... class TripletLoss:
    ...     def __init__(self, margin=0.3): ...
    >>> LOSSES.get("TripletLos")
    Traceback (most recent call last):
    KeyError: "No object named 'TripletLos' in the LOSSES registry. Did you mean 'TripletLoss'? ..."
    """

    def __init__(self, name: str, key: str = "", retired: dict[str, str] | None = None):
        """Make an empty table.

        Args:
            key: the config key that selects from it, for the error message.
            retired: names of former versions and what to write instead, for the error message.
        """
        self.name, self.key = name, key
        self.retired = dict(retired or {})
        self._objects: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}

    def register(self, obj: Any = None, *, name: str | None = None, node: str | None = None) -> Any:
        """Register ``obj`` (or decorate with it) under ``name``, by default its ``__name__``.

        Args:
            node: dotted config node whose lower-case keys are the keyword arguments of ``obj``; ``None`` means that
                ``obj`` takes the whole ``cfg``.

        A component from outside replaces one of fastreid's own under the same name, with a warning: projects bring
        components (``AttrHead``, ...) that became part of fastreid later.

        Raises:
            KeyError: another object from outside, or another one of fastreid's, has this name.
        """
        if obj is None:
            return lambda decorated: self.register(decorated, name=name, node=node)
        key = name or obj.__name__
        known = self._objects.get(key, obj)
        if known is not obj:
            if _is_own(obj) or not _is_own(known):
                raise KeyError(f"'{key}' is already registered in the {self.name} registry as {known!r}")
            logger.warning("'%s' of the %s registry is now that of %s", key, self.name, obj.__module__)
            self._nodes.pop(key, None)
        self._objects[key] = obj
        if node is not None:
            self._nodes[key] = node
        return obj

    def get(self, name: str) -> Any:
        """Return the object registered as ``name``; an unknown name raises ``KeyError`` with the nearest match."""
        if name not in self._objects:
            known = ", ".join(sorted(self._objects)) or "none"
            successor = self.retired.get(name)
            hint = f" It is retired: use {successor}." if successor else nearest(name, self._objects)
            place = f"{self.name} registry ({self.key})" if self.key else f"{self.name} registry"
            raise KeyError(f"No object named '{name}' in the {place}.{hint} Registered: {known}")
        return self._objects[name]

    def node(self, name: str) -> str | None:
        """Return the config node of ``name``, or ``None`` for a component that takes the whole ``cfg``."""
        self.get(name)
        return self._nodes.get(name)

    def build(self, name: str, cfg, **wired: Any) -> Any:
        """Construct ``name`` from its config node; ``wired`` are arguments that other parts give, not the config."""
        obj, node = self.get(name), self._nodes.get(name)
        if node is None:
            return obj(cfg, **wired)
        options = cfg.get_node(node)
        kwargs = {name: options[key_of(name)] for name in option_names(obj) if key_of(name) in options}
        return obj(**{**kwargs, **wired})

    def enabled(self, name: str, cfg) -> bool:
        """Whether ``ENABLED`` of the node of ``name`` is set; ``ValueError`` for a component without such a switch."""
        node = self.node(name)
        if node is None or "ENABLED" not in cfg.get_node(node):
            raise ValueError(f"'{name}' of the {self.name} registry needs a config node with ENABLED to switch it on")
        return bool(cfg.get_node(node).ENABLED)

    def names(self) -> list[str]:
        return sorted(self._objects)

    def __contains__(self, name: str) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(sorted(self._objects.items()))

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        return f"Registry({self.name}: {', '.join(self.names())})"


def _is_own(component: Any) -> bool:
    return getattr(component, "__module__", "").startswith("fastreid.")


def option_names(component: Callable) -> list[str]:
    """Names of the arguments that a config node may set: those with a default, and keyword-only ones without."""
    parameters = inspect.signature(component).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty]


def key_of(option: str) -> str:
    """Config key of a keyword argument: ``margin`` -> ``MARGIN``; ``lambda_`` (a Python keyword) -> ``LAMBDA``."""
    return option.rstrip("_").upper()
