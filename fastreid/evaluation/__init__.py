"""Evaluation: evaluators, the protocol (rule, post-processors, metrics), results, report, submission."""

from fastreid.evaluation.clas_evaluator import ClasEvaluator
from fastreid.evaluation.collector import FeatureCollector
from fastreid.evaluation.evaluator import DatasetEvaluator, inference_context, inference_on_dataset
from fastreid.evaluation.protocol import Evaluation, Protocol
from fastreid.evaluation.reid_evaluation import ReidEvaluator
from fastreid.evaluation.results import evaluate
from fastreid.evaluation.testing import print_csv_format, verify_results

__all__ = [
    "ClasEvaluator",
    "DatasetEvaluator",
    "Evaluation",
    "FeatureCollector",
    "Protocol",
    "ReidEvaluator",
    "evaluate",
    "inference_context",
    "inference_on_dataset",
    "print_csv_format",
    "verify_results",
]
