"""Classification and attribute recognition, from the command line to the metrics."""

from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.engine.arguments import default_argument_parser
from fastreid.engine.commands import run_training
from fastreid.engine.settings import settings_without_effect

# a test set that lacks a class: its own numbering would be another one than the model's
PLUGIN = """
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.records import Record

FOLDER = {folder!r}


def images(numbers, pids=range(4)):
    return [(f"{{FOLDER}}/{{pid}}_{{number}}.png", f"class{{pid}}", 0) for pid in pids for number in numbers]


@DATASET_REGISTRY.register()
class TinyClasses(ImageDataset):
    def __init__(self, root="", **kwargs):
        super().__init__(images(range(4)), images([4], [1, 3]), images([5], [3]), **kwargs)


@DATASET_REGISTRY.register()
class TinyAttributes(ImageDataset):
    attributes = ("odd", "large", "always")

    def __init__(self, root="", **kwargs):
        parts = (images(numbers) for numbers in (range(4), [4], [5]))
        super().__init__(*([self.record(*item) for item in part] for part in parts), **kwargs)

    def record(self, path, pid, camid):
        number = int(pid[-1])
        return Record(path, pid, camid, attributes=(number % 2, number // 2, 1))
"""


@pytest.fixture
def options(tiny_options, tiny_data):
    """Command line of a training long enough to learn the four patterns by heart."""
    plugin = tiny_data / "tiny_tasks.py"
    plugin.write_text(PLUGIN.format(folder=str(tiny_data)))
    given = dict(zip(tiny_options[::2], tiny_options[1::2], strict=True))
    given.update({
        "PLUGINS": str((str(tiny_data / "tiny_backbone.py"), str(plugin))),
        "INPUT.REA.ENABLED": "False",
        "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
        "SOLVER.BASE_LR": "0.01",
        "SOLVER.MAX_EPOCH": "15",
        "SOLVER.CHECKPOINT_PERIOD": "15",
        "TEST.EVAL_PERIOD": "15",
    })  # fmt: skip
    return given


def run(options, *flags, **changed):
    pairs = {**options, **{key.replace("__", "."): value for key, value in changed.items()}}
    line = [*flags, *(str(item) for pair in pairs.items() for item in pair)]
    return run_training(default_argument_parser().parse_args(line))


CLASSES = {
    "MODEL__HEADS__NAME": "ClasHead",
    "MODEL__LOSSES__NAME": "('CrossEntropyLoss',)",
    "DATASETS__NAMES": "('TinyClasses',)",
    "DATASETS__TESTS": "('TinyClasses',)",
}
ATTRIBUTES = {
    "MODEL__META_ARCHITECTURE": "AttrBaseline",
    "MODEL__HEADS__NAME": "AttrHead",
    "MODEL__LOSSES__NAME": "('BinaryCrossEntropyLoss',)",
    "DATASETS__NAMES": "('TinyAttributes',)",
    "DATASETS__TESTS": "('TinyAttributes',)",
}


def test_a_classifier_trains_and_is_judged_by_the_classes_of_its_training(options):
    results = run(options, **CLASSES)
    assert list(results) == ["Acc@1", "metric"]
    assert results["Acc@1"] == 100, "three images of classes that the test set numbers 0 and 1, training 1 and 3"
    assert run(options, "--eval-only", **CLASSES) == results


def test_an_attribute_model_trains_with_the_shares_of_its_training_set(options):
    results = run(options, **ATTRIBUTES)
    assert list(results) == ["mA", "Accu", "Prec", "Recall", "F1", "metric"]
    assert results["mA"] > 90
    log = Path(options["OUTPUT_DIR"], "log.txt").read_text()
    assert "MODEL.HEADS.NUM_CLASSES is 3" in log
    assert "MODEL.LOSSES.BCE.POSITIVE_SHARE is that of 16 training images" in log
    assert "1 of 3 attributes do not count in mA: the test set has them on all images or on none: always" in log
    assert run(options, "--eval-only", **ATTRIBUTES) == results


@pytest.mark.parametrize(
    "head, expected",
    [
        ("EmbeddingHead", ["TEST.THRES = 0.7 (the head gives no attributes)"]),
        ("AttrHead", ["TEST.RERANK.ENABLED = True (nothing is retrieved with this head)"]),
    ],
)
def test_settings_of_another_task_are_reported(head, expected):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.HEADS.NAME", head, "TEST.RERANK.ENABLED", "True", "TEST.THRES", "0.7"])
    assert settings_without_effect(cfg) == expected
    cfg.MODEL.LOSSES.NAME = ("BinaryCrossEntropyLoss",)
    cfg.MODEL.LOSSES.BCE.WEIGHT_ENABLED, cfg.MODEL.LOSSES.BCE.POSITIVE_SHARE = False, [0.5]
    idle = "MODEL.LOSSES.BCE.POSITIVE_SHARE = [0.5] (MODEL.LOSSES.BCE.WEIGHT_ENABLED is False)"
    assert settings_without_effect(cfg) == [idle, *expected]
