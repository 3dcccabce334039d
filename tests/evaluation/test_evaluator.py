import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation import (
    ClasEvaluator,
    DatasetEvaluator,
    FeatureCollector,
    ReidEvaluator,
    inference_context,
    inference_on_dataset,
)
from fastreid.evaluation.clas_evaluator import accuracy
from tests.evaluation.stand_ins import ToyLoader, ToyModel, feature_file


class Grab(DatasetEvaluator):
    def reset(self):
        self.outputs = []

    def process(self, inputs, outputs):
        self.outputs.append(outputs)

    def evaluate(self):
        return torch.cat(self.outputs)


def test_inference_context_restores_each_modules_mode_after_an_exception():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout())
    model.train()
    model[0].eval()  # a frozen norm must stay so
    with pytest.raises(RuntimeError), inference_context(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_flip_averages_the_mirror_image_and_leaves_the_batch_alone():
    loader, model = ToyLoader(), ToyModel()
    before = loader.images.clone()
    plain = inference_on_dataset(model, loader, Grab())
    flipped = inference_on_dataset(model, loader, Grab(), flip_test=True)
    mirror = plain[:, [1, 0, 3, 2]]  # corners change sides
    torch.testing.assert_close(flipped, (plain + mirror) / 2)
    assert torch.equal(loader.images, before)


def test_a_test_set_of_queries_alone_is_refused_before_the_first_image_unless_the_evaluator_measures_itself():
    class Recall(ReidEvaluator):
        def evaluate(self):
            return {"images": sum(len(batch["feats"]) for batch in self._predictions)}

    loader = ToyLoader()
    with pytest.raises(ValueError, match="gallery part of data set 'toy' is empty.*6 images are all queries"):
        inference_on_dataset(ToyModel(), loader, ReidEvaluator(get_cfg(), num_query=6))
    assert loader.passes == 0
    assert inference_on_dataset(ToyModel(), loader, Recall(get_cfg(), num_query=6)) == {"images": 6}


def test_amp_dtype_reaches_the_model():
    class Wide(ToyModel):
        def forward(self, batch):
            return torch.nn.functional.linear(batch["images"].flatten(1), torch.ones(2, 48))

    assert inference_on_dataset(Wide(), ToyLoader(), Grab(), amp_dtype=torch.bfloat16).dtype == torch.bfloat16


def test_an_evaluator_with_another_base_class_works():
    class Foreign:
        reset, process, evaluate = Grab.reset, Grab.process, Grab.evaluate

    assert inference_on_dataset(ToyModel(), ToyLoader(), Foreign()).shape == (6, 4)


def test_collector_gives_the_feature_file_in_loader_order():
    loader = ToyLoader()
    file = inference_on_dataset(ToyModel(), loader, FeatureCollector(2, get_cfg(), "toy"))
    assert isinstance(file, FeatureFile)
    expected = 0.5 * loader.images[:, 0][:, [0, 0, 3, 3], [0, 3, 0, 3]]
    np.testing.assert_allclose(file.features, expected.numpy(), rtol=1e-6)
    assert file.paths == [f"{i}.png" for i in range(6)]
    assert file.columns["dates"].tolist() == [20180102 + i for i in range(6)]
    assert (file.num_query, file.fingerprint["dataset"]) == (2, "toy")


@pytest.mark.parametrize(
    ("order", "message"),
    [([1, 0, 2, 3, 4, 5], r"out of order: row 0 is 1\.png, the list has 0\.png"), (range(5), "gave 5 images for 6")],
)
def test_a_shuffled_or_short_loader_is_refused(order, message):
    with pytest.raises(ValueError, match=message):
        inference_on_dataset(ToyModel(), ToyLoader(order), FeatureCollector(2))


def test_collector_names_images_with_nan_features():
    loader = ToyLoader()
    loader.images[3, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"row 3 \(3\.png\)"):
        inference_on_dataset(ToyModel(), loader, FeatureCollector(2))


def test_collector_refuses_outputs_that_are_no_features():
    with pytest.raises(ValueError, match=r"features of shape \(B, D\); got dict"):
        FeatureCollector(1).process({}, {"loss": 1})
    with pytest.raises(ValueError, match="no batch was processed"):
        FeatureCollector(1).evaluate()


def test_features_in_half_precision_are_kept_as_float32():
    collector = FeatureCollector(1)
    labels = {"targets": torch.tensor([1, 1]), "camids": torch.tensor([1, -1])}
    collector.process(labels, torch.ones(2, 3, dtype=torch.bfloat16))
    assert collector.evaluate().features.tolist() == [[1.0] * 3] * 2


def evaluator(output_dir=None, *options):
    cfg = get_cfg()
    cfg.merge_from_list(["TEST.REPORT.ENABLED", False, *options])
    return ReidEvaluator(cfg, 12, output_dir, "Toy")


def feed(target, file):
    for start in range(0, len(file), 7):
        rows = slice(start, start + 7)
        labels = {"targets": file.columns["pids"], "camids": file.columns["camids"]}
        batch = {name: torch.from_numpy(column[rows]) for name, column in labels.items()}
        target.process(batch, torch.from_numpy(file.features[rows]))


def test_reid_evaluator_returns_fast_reids_names_of_the_last_stage(tmp_path):
    file = feature_file()
    plain, expanded = evaluator(), evaluator(str(tmp_path), "TEST.AQE.ENABLED", True, "TEST.ROC.ENABLED", True)
    feed(plain, file)
    feed(expanded, file)
    first, second = plain.evaluate(), expanded.evaluate()
    assert list(first) == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
    assert list(second)[6:] == ["TPR@FPR=1e-04", "TPR@FPR=1e-03", "TPR@FPR=1e-02"]
    assert first["mAP"] != second["mAP"]
    assert first["metric"] == pytest.approx((first["mAP"] + first["Rank-1"]) / 2)
    assert FeatureFile.load(tmp_path / "features/Toy.npz").features.tolist() == file.features.tolist()
    plain.reset()
    with pytest.raises(ValueError, match="no batch was processed"):
        plain.evaluate()


def test_unlabelled_sets_have_no_metrics(tmp_path):
    class Unlabelled(ToyLoader):
        def __init__(self):
            super().__init__()
            self.dataset.relevance_known = False

    target = evaluator(str(tmp_path))
    target.num_query = 2
    assert inference_on_dataset(ToyModel(), Unlabelled(), target) == {}
    assert not FeatureFile.load(tmp_path / "features/Toy.npz").relevance_known


def test_clas_evaluator_and_accuracy():
    logits, targets = torch.tensor([[3.0, 1, 2], [0, 2, 1], [0, 2, 1], [5, 1, 2]]), torch.tensor([0, 2, 1, 1])
    target = ClasEvaluator(get_cfg())
    for rows in (slice(0, 3), slice(3, 4)):
        target.process({"targets": targets[rows]}, logits[rows])
    assert target.evaluate() == {"Acc@1": 50.0, "metric": 50.0}
    assert [float(value) for value in accuracy(logits, targets, (1, 2, 9))] == [50.0, 75.0, 100.0]
