"""Evaluations during a training in parts, without gathered features, find what the gathered ones find: bit for bit."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.data.feature_file import fingerprint_of
from fastreid.engine import DefaultTrainer, launch, sharded_extraction
from fastreid.evaluation import collector
from tests.engine import training_evaluation as training

# batches of one image, so that both routes compute the same features; precise BN, so that hooks change the model
OPTIONS = ["TEST.IMS_PER_BATCH", "1", "TEST.EVAL_PERIOD", "1", "SOLVER.MAX_EPOCH", "2",
           "TEST.PRECISE_BN.ENABLED", "True", "TEST.PRECISE_BN.DATASET", "FileList", "TEST.PRECISE_BN.NUM_ITER", "2",
           "DATASETS.FILELIST.QUERY", "('hard_query.txt',)", "DATASETS.FILELIST.GALLERY", "('hard_gallery.txt',)",
           "TEST.METRICS", "('recall@5', 'AP_pessimistic')", "TEST.LEVELS", "('pids',)"]  # fmt: skip
PARTS = ["TEST.SHARD_SIZE", "3"]


@pytest.fixture(autouse=True)
def _hard(tiny_data) -> None:
    """Labels that the pictures do not show, so that no metric is 0 or 1; the last one only a query has."""
    names = [line.split()[0] for line in (tiny_data / "train.txt").read_text().splitlines()]
    lines = [f"{name} {row**2 % 5 % 4}" for row, name in enumerate(names)]
    (tiny_data / "hard_query.txt").write_text("\n".join([*lines[::3], f"{names[1]} 9"]))
    (tiny_data / "hard_gallery.txt").write_text("\n".join(lines[1::3] + lines[2::3]))


@pytest.fixture
def options(tiny_options) -> Iterator[list[str]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of two processes has
    yield [*tiny_options, *OPTIONS]
    torch.set_num_threads(threads)


def stages(out: Path) -> list[dict]:
    return json.loads((out / "results.json").read_text())["FileList"]["stages"]


def same_outcome(found: Path, expected: Path) -> None:
    (results, figures, _), (wanted, wanted_figures, _) = training.noted(found), training.noted(expected)
    assert results
    assert results == wanted
    assert figures == wanted_figures
    assert figures["mAP"] == results["mAP"]
    assert all(10 < results[name] < 90 for name in ("mAP", "AP_pessimistic", "recall@5"))
    assert stages(found) == stages(expected)
    one, other = training.features(found), training.features(expected)
    assert one.features.tobytes() == other.features.tobytes()
    assert one.paths == other.paths
    assert one.fingerprint == other.fingerprint
    best = [torch.load(out / "model_best.pth", weights_only=True) for out in (found, expected)]
    assert best[0]["epoch"] == best[1]["epoch"]
    assert best[0]["metric"] == best[1]["metric"]
    assert not (found / "features/FileList.shards").exists()


def test_one_process_finds_the_same_and_gathers_nothing(options, tmp_path, monkeypatch):
    training.train(options, str(tmp_path / "whole"))
    monkeypatch.setattr(collector.FeatureCollector, "evaluate", lambda self: pytest.fail("features were gathered"))
    training.train([*options, *PARTS], str(tmp_path / "parts"))
    same_outcome(tmp_path / "parts", tmp_path / "whole")
    assert training.noted(tmp_path / "parts")[2] == []
    assert training.noted(tmp_path / "whole")[2] != []


def test_two_processes_find_the_same_and_send_numbers_only(options, tmp_path, quick_launch):
    jobs = [(options, str(tmp_path / "whole")), ([*options, *PARTS], str(tmp_path / "parts"))]
    launch(training.train_all, 2, args=(jobs,))
    same_outcome(tmp_path / "parts", tmp_path / "whole")
    assert training.noted(tmp_path / "parts", 1)[0] == {}
    assert len(training.noted(tmp_path / "parts", 1)[2]) == 2, "one per evaluation"
    # an evaluator of fast-reid's kind keeps what it had
    own = tmp_path / "parts of its own"
    assert training.noted(own)[0] == training.noted(tmp_path / "whole")[0]
    assert not training.noted(own, 1)[0]


def evaluated(cfg, model, monkeypatch) -> list[int]:
    """Evaluate as a training does; return which parts were made."""
    made, save = [], sharded_extraction.FeatureShards.save

    def noted(shards, number, part):
        made.append(number)
        save(shards, number, part)

    with monkeypatch.context() as patch:
        patch.setattr(sharded_extraction.FeatureShards, "save", noted)
        DefaultTrainer.test(cfg, model)
    return made


def test_what_an_evaluation_of_other_weights_left_is_not_taken(tiny_cfg, tmp_path, monkeypatch):
    tiny_cfg.merge_from_list([*OPTIONS, *PARTS, "MODEL.HEADS.NUM_CLASSES", "4"])
    model = DefaultTrainer.build_model(tiny_cfg)
    folder = tmp_path / "out/features/FileList.shards"
    loader, num_query = DefaultTrainer.build_test_loader(tiny_cfg, "FileList")

    def leave(*numbers: int) -> None:
        """Parts of an evaluation that was killed."""
        fingerprint = fingerprint_of(tiny_cfg, model, loader.dataset.records, num_query, "FileList", False)
        fingerprint["batch"] = tiny_cfg.TEST.IMS_PER_BATCH
        shards = sharded_extraction.FeatureShards(folder, len(loader.dataset), 3, fingerprint)
        stream = sharded_extraction._loader_of(loader, sharded_extraction.ShardBatches(shards, numbers, 1))
        sharded_extraction.inference_on_dataset(model, stream, sharded_extraction.ShardWriter(shards, numbers))
        assert len(list(folder.iterdir())) >= len(numbers)

    count = -(-len(loader.dataset) // 3)
    assert evaluated(tiny_cfg, model, monkeypatch) == list(range(count))
    assert evaluated(tiny_cfg, model, monkeypatch) == list(range(count)), "a training extracts anew"
    leave(0, 2)
    (folder / "00000099.npz").write_bytes(b"of a longer list")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    expected = training.features(tmp_path / "out").features
    assert evaluated(tiny_cfg, model, monkeypatch) == list(range(count))
    assert not folder.exists()
    assert not np.allclose(training.features(tmp_path / "out").features, expected)
    leave(1)
    missing = [number for number in range(count) if number != 1]
    assert evaluated(tiny_cfg, model, monkeypatch) == missing, "the very same weights"


def test_a_loader_of_which_rows_are_unknown_goes_the_old_way(tiny_cfg, tmp_path, monkeypatch):
    class Batches(DefaultTrainer):
        @classmethod
        def build_test_loader(cls, cfg, dataset_name):
            loader, num_query = super().build_test_loader(cfg, dataset_name)
            return list(loader), num_query

    tiny_cfg.merge_from_list([*OPTIONS, *PARTS, "MODEL.HEADS.NUM_CLASSES", "4"])
    model = DefaultTrainer.build_model(tiny_cfg)
    expected = DefaultTrainer.test(tiny_cfg, model)
    monkeypatch.setattr(sharded_extraction.FeatureShards, "__init__", lambda *_: pytest.fail("in parts"))
    assert Batches.test(tiny_cfg, model) == expected
