"""The evaluator that suits the head of a model."""

from collections.abc import Callable

from fastreid.data.build import train_records
from fastreid.data.common import CommDataset
from fastreid.evaluation.attr_evaluation import AttrEvaluator
from fastreid.evaluation.clas_evaluator import ClasEvaluator
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.evaluation.reid_evaluation import ReidEvaluator
from fastreid.modeling import REID_HEADS_REGISTRY
from fastreid.utils.errors import require_choice


def build_evaluator(cfg, num_query: int, output_dir: str | None, dataset_name: str) -> DatasetEvaluator:
    """Return the evaluator for the :func:`task_of` the model.

    Raises:
        ValueError: another task.
    """
    task = task_of(cfg)
    builders: dict[str, Callable[[], DatasetEvaluator]] = {
        "retrieval": lambda: ReidEvaluator(cfg, num_query, output_dir, dataset_name),
        "classification": lambda: ClasEvaluator(cfg, output_dir, training_classes(cfg)),
        "attributes": lambda: AttrEvaluator(cfg, output_dir),
    }
    require_choice(f"task of {cfg.MODEL.HEADS.NAME}", task, builders)
    return builders[task]()


def task_of(cfg) -> str:
    """Return ``task`` of the head's class; "retrieval" where it says none, or is no head of the registry."""
    name = cfg.MODEL.HEADS.NAME  # a meta-architecture from outside need not take its heads from the registry
    return getattr(REID_HEADS_REGISTRY.get(name), "task", "retrieval") if name in REID_HEADS_REGISTRY else "retrieval"


def training_classes(cfg) -> list:
    """Return the identities of ``DATASETS.NAMES`` in the order of the model's classes. Only lists are read."""
    return CommDataset([tuple(record) for record in train_records(cfg)]).pids
