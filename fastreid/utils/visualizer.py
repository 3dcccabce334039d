"""The import path of fast-reid; the class is at home in ``fastreid.evaluation.visualizer``, which is loaded on use."""

import importlib
from typing import Any

_HOME = {"Visualizer": "fastreid.evaluation.visualizer"}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
