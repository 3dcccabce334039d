"""fast-reid's import path."""

from fastreid.evaluation.rank import evaluate_cy

__all__ = ["evaluate_cy"]
