"""Training: loop, hooks, trainer, launch. Names are imported on first use, so that ``--help`` needs no torch."""

import importlib

_HOME = {
    "default_argument_parser": "arguments",
    "launch": "launcher",
    "HookBase": "train_loop",
    "TrainerBase": "train_loop",
    "SimpleTrainer": "train_loop",
    "AMPTrainer": "train_loop",
    "default_setup": "defaults",
    "AsyncPredictor": "predictor",
    "DefaultPredictor": "predictor",
    "DefaultTrainer": "defaults",
}
_MODULES = ("arguments", "defaults", "extraction", "hooks", "predictor", "settings", "train_loop")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
