# ruff: noqa
from .config import add_shapes_config
from .dataset import Shapes, ShapesRetrieval
from .evaluator import CommitEvaluator, RecallEvaluator, SelfRecallEvaluator
from .modeling import ShapesBaseline, ShapesHead, build_tiny_backbone
from .trainer import Committer, ShapesTrainer, TwoStepTrainer
