"""Evaluation: evaluators, the protocol (rule, post-processors, metrics), results, report, submission.

Names are imported on first use: checking a submission needs no torch.
"""

import importlib
from typing import Any

_HOME = {
    "AttrEvaluator": "attr_evaluation",
    "build_evaluator": "build",
    "ClasEvaluator": "clas_evaluator",
    "FeatureCollector": "collector",
    "DatasetEvaluator": "evaluator",
    "inference_context": "evaluator",
    "inference_on_dataset": "evaluator",
    "Evaluation": "stages",
    "Protocol": "protocol",
    "PROTOCOL_REGISTRY": "presets",
    "evaluate_rank": "rank",
    "ReidEvaluator": "reid_evaluation",
    "evaluate": "results",
    "print_csv_format": "testing",
    "verify_results": "testing",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
