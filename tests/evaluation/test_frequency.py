"""Head and tail as the training set has them: in the feature file, and from there in every later judgement."""

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.data.records import Record
from fastreid.engine.extraction import cached_features
from fastreid.evaluation import Protocol, ReidEvaluator, frequency, inference_on_dataset
from fastreid.evaluation.columns import with_derived
from fastreid.evaluation.frequency import head_or_tail
from tests.evaluation.stand_ins import ToyLoader, ToyModel, classified_file, subclass_of

# five subclasses: 0601 and 1404 are the head
TRAINED = ["0601"] * 3 + ["14-04"] * 3 + ["1404", "0602", "0602", "2601", "0701", "", "1400", "no code"]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", ("A",), "TEST.REPORT.ENABLED", False, "TEST.FREQUENCY", "train", *options])
    return cfg


@pytest.fixture
def trained(monkeypatch):
    """The training set is one of ``TRAINED``; the codes can be changed."""
    codes = list(TRAINED)

    def records(cfg):
        return [Record(f"{row}.png", 0, 1, taxonomy=code or None) for row, code in enumerate(codes)]

    monkeypatch.setattr(frequency, "train_records", records)
    return codes


def test_head_and_tail_are_those_of_the_training_set():
    test = ["0601", "LOC (13) Cl. 14-04", "0602", "2601", "9901", "", "1400", "D14/138"]
    assert head_or_tail(test, TRAINED).tolist() == ["head", "head", "tail", "tail", "tail", "", "", ""]
    assert head_or_tail(test, []).tolist() == ["tail"] * 5 + [""] * 3
    assert head_or_tail([], TRAINED).tolist() == []


def test_a_subclass_that_training_lacks_is_tail_whatever_the_gallery_has():
    gallery = np.array(["9901"] * 9 + ["0601"])
    own = {"taxonomy": gallery, "frequency": head_or_tail(gallery, TRAINED)}
    for counted, expected in (("train", ["tail"] * 9 + ["head"]), ("gallery", ["head"] * 9 + ["tail"])):
        found = with_derived(own, own, ["frequency"], "TEST.GROUP_BY", counted)[1]
        assert found["frequency"].tolist() == expected


def test_the_protocol_goes_by_the_column_of_the_file():
    file = classified_file()
    codes = [subclass_of(text) for text in file.columns["taxonomy"]]
    column = ["head" if code == "26-01" else "tail" if code else "" for code in codes]
    counted = FeatureFile(**{**vars(file), "columns": {**file.columns, "frequency": column}})
    options = ["TEST.RULE", "all", "TEST.RELEVANCE", "subclass", "TEST.GROUP_BY", ("frequency",)]
    evaluation = Protocol.from_config(config(*options)).evaluate(counted)
    groups = evaluation.stages[0].groups["frequency"]["values"]
    rows = evaluation.metrics.rows
    assert groups["head"]["queries"] == sum(codes[row] == "26-01" for row in rows)
    assert groups["head"]["mAP"] == pytest.approx(
        100 * np.mean([ap for ap, row in zip(evaluation.metrics.ap, rows, strict=True) if codes[row] == "26-01"])
    )
    assert evaluation.settings["frequency"] == "train"
    in_gallery = Protocol.from_config(config(*options, "TEST.FREQUENCY", "gallery"))
    assert in_gallery.evaluate(counted).stages[0].groups == in_gallery.evaluate(file).stages[0].groups
    with pytest.raises(ValueError, match=r"TEST\.GROUP_BY needs head and tail .* which these features lack: extract"):
        Protocol.from_config(config(*options)).evaluate(file)


class Loader(ToyLoader):
    def __init__(self, codes=("0601", "9901", "1404", "", "0601", "1402")):
        super().__init__()
        records = zip(self.dataset.records, codes, strict=True)
        self.dataset.records = [Record(*record, date=record.date, taxonomy=code) for record, code in records]

    def __iter__(self):
        for batch in super().__iter__():
            numbers = [int(path.partition(".")[0]) for path in batch["img_paths"]]
            batch["taxonomy"] = [self.dataset.records[number].taxonomy for number in numbers]
            batch["frequency"] = torch.ones(len(numbers), dtype=torch.int64)  # as batches of a training have it
            yield batch


EXPECTED = ["head", "tail", "head", "", "head", "tail"]


def test_an_evaluation_carries_it_into_the_feature_file(tmp_path, trained):
    inference_on_dataset(ToyModel(), Loader(), ReidEvaluator(config(), 2, str(tmp_path)), progress=False)
    assert FeatureFile.load(tmp_path / "features" / "A.npz").columns["frequency"].tolist() == EXPECTED
    cfg = config("TEST.FREQUENCY", "gallery")
    inference_on_dataset(ToyModel(), Loader(), ReidEvaluator(cfg, 2, str(tmp_path / "b")), progress=False)
    assert "frequency" not in FeatureFile.load(tmp_path / "b" / "features" / "A.npz").columns


def test_kept_features_get_it_without_a_second_extraction(tmp_path, trained):
    loader, model = Loader(), ToyModel()
    path = tmp_path / "features" / "A.npz"
    without = cached_features(config("TEST.FREQUENCY", "gallery"), model, loader, 2, "A", tmp_path)
    found = cached_features(config(), model, loader, 2, "A", tmp_path)
    assert loader.passes == 1
    assert found.columns["frequency"].tolist() == FeatureFile.load(path).columns["frequency"].tolist() == EXPECTED
    assert (found.features == without.features).all()
    trained.extend(["9901"] * 20)
    found = cached_features(config(), model, loader, 2, "A", tmp_path)
    assert found.columns["frequency"].tolist() == ["tail", "head", "head", "", "tail", "tail"], "9901 and 1404 lead now"
    before = path.stat().st_mtime_ns
    cached_features(config(), model, loader, 2, "A", tmp_path)
    assert (loader.passes, path.stat().st_mtime_ns) == (1, before), "what is right stays as it is"


def test_test_images_without_classes_are_refused(trained):
    from fastreid.data import CommDataset

    dataset = CommDataset([Record("a.png", 0, 1), Record("b.png", 0, 2)], relabel=False)
    with pytest.raises(ValueError, match=r"TEST\.FREQUENCY train needs the classes of the test images"):
        ReidEvaluator(config(), 1).check(dataset)
    dataset = CommDataset([Record("a.png", 0, 1, taxonomy="0601"), Record("b.png", 0, 2)], relabel=False)
    ReidEvaluator(config("TEST.GROUP_BY", ("frequency",)), 1).check(dataset)


def test_a_wrong_place_to_count_is_refused():
    with pytest.raises(ValueError, match=r"TEST\.FREQUENCY must be one of 'gallery', 'train'; got 'training'"):
        Protocol.from_config(config("TEST.FREQUENCY", "training"))
