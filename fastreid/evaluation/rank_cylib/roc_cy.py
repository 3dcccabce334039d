"""fast-reid's import path."""

from fastreid.evaluation.roc import evaluate_roc_py as evaluate_roc_cy

__all__ = ["evaluate_roc_cy"]
