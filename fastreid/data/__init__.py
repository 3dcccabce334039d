"""Data: records, data sets, samplers, transforms, loaders and the feature file.

Imports are lazy, so that reading a feature file does not load the training pipeline.
"""

import importlib
from typing import Any

_PLACES = {
    "build_reid_train_loader": "build",
    "build_reid_test_loader": "build",
    "CommDataset": "common",
    "FeatureFile": "feature_file",
    "Record": "records",
    "read_image": "images",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"fastreid.data.{_PLACES[name]}"), name)
    if name in ("transforms", "datasets", "samplers"):
        return importlib.import_module(f"fastreid.data.{name}")
    raise AttributeError(f"module 'fastreid.data' has no attribute {name!r}")
