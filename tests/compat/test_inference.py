"""How trackers use fast-reid: a config, a model, its weights, features of crops."""

import logging

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine import AsyncPredictor, DefaultPredictor, DefaultTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.checkpoint import Checkpointer

YAML = """
MODEL:
  DEVICE: cpu
  BACKBONE: {DEPTH: 18x, FEAT_DIM: 512, PRETRAIN: True, WITH_IBN: True}
  HEADS: {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: True, NUM_CLASSES: 5, POOL_LAYER: GeneralizedMeanPoolingP}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
INPUT: {SIZE_TEST: [64, 32]}
TEST: {IMS_PER_BATCH: 8}
"""


@pytest.fixture
def setup(tmp_path):
    """A config file and the weights of its model, in the form of fast-reid's model zoo."""
    (tmp_path / "sbs.yml").write_text(YAML)
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "sbs.yml"))
    cfg.MODEL.BACKBONE.PRETRAIN = False
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model": weights, "epoch": 119}, tmp_path / "zoo.pth")
    return tmp_path, model


def config(folder):
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "sbs.yml"))
    cfg.merge_from_list(["MODEL.WEIGHTS", str(folder / "zoo.pth")])
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.freeze()
    return cfg


@pytest.mark.parametrize("build", [build_model, DefaultTrainer.build_model])
def test_a_tracker_gets_features_of_its_crops(setup, build):
    folder, original = setup
    cfg = config(folder)
    model = build(cfg)
    model.eval()
    assert Checkpointer(model).load(cfg.MODEL.WEIGHTS) == {"epoch": 119}
    patches = torch.rand(3, 3, 64, 32) * 255
    with torch.no_grad():
        features = model(patches)
        torch.testing.assert_close(features, original(patches))
        half = model.half()(patches.half())
    assert half.dtype == torch.float16
    assert torch.nn.functional.cosine_similarity(half.float(), features).min() > 0.99


def test_predictor_and_async_predictor_agree_in_order(setup):
    folder, original = setup
    batches = [torch.rand(size, 3, 64, 32) * 255 for size in (1, 3, 2, 1, 2)]
    single = DefaultPredictor(config(folder))
    expected = [single(images) for images in batches]
    torch.testing.assert_close(expected[0], original(batches[0]).detach())
    with AsyncPredictor(config(folder), num_gpus=2) as predictor:
        assert (len(predictor), predictor.default_buffer_size, len(predictor.procs)) == (0, 10, 2)
        for images in batches:
            predictor.put(images)
        assert len(predictor) == 5
        for features in expected:
            torch.testing.assert_close(predictor.get(), features, rtol=1e-4, atol=1e-4)
        with pytest.raises(IndexError, match="put\\(\\) one first"):
            predictor.get()
        torch.testing.assert_close(predictor(batches[1]), expected[1], rtol=1e-4, atol=1e-4)
        # an error in a worker reaches the caller, and the worker goes on
        with pytest.raises(RuntimeError, match=r"failed over batch 6:\nTraceback[\s\S]*must match the size of tensor"):
            predictor(torch.rand(1, 4, 64, 32))
        torch.testing.assert_close(predictor(batches[0]), expected[0], rtol=1e-4, atol=1e-4)
        with pytest.raises(TypeError, match="takes a tensor of images"):
            predictor.put("image.png")
        workers = list(predictor.procs)
        workers[0].kill()
        workers[1].kill()
        with pytest.raises(RuntimeError, match="died with exit code -9"):
            predictor(batches[0])
    assert not any(process.is_alive() for process in workers)
    with pytest.raises(RuntimeError, match="was shut down"):
        predictor.put(batches[0])


def test_async_predictor_says_why_it_cannot_start(setup):
    cfg = config(setup[0]).clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(setup[0] / "missing.pth")
    predictor = AsyncPredictor(cfg, num_gpus=0)
    predictor.put(torch.rand(1, 3, 64, 32))
    with pytest.raises(RuntimeError, match=r"could not start:\n[\s\S]*No checkpoint .*missing.pth"):
        predictor.get()
    assert predictor.procs == []
    with pytest.raises(ValueError, match="num_gpus must not be negative; got -1"):
        AsyncPredictor(cfg, num_gpus=-1)


def test_old_flags_of_the_training_script():
    from fastreid.engine import default_argument_parser

    arguments = "--config-file x.yml --resume --eval-only --num-gpus 2 --num-machines 3 --machine-rank 1"
    args = default_argument_parser().parse_args([*arguments.split(), "--dist-url", "tcp://a:1", "MODEL.DEVICE", "cpu"])
    assert vars(args) == {
        "config_file": "x.yml", "resume": True, "eval_only": True, "num_gpus": 2, "num_machines": 3, "machine_rank": 1,
        "dist_url": "tcp://a:1", "opts": ["MODEL.DEVICE", "cpu"],
    }  # fmt: skip


def test_the_checkpointer_of_a_model_alone_writes_nothing(setup, caplog):
    checkpointer = Checkpointer(setup[1])
    caplog.set_level(logging.INFO, "fastreid")
    checkpointer.save("anything")
    assert not checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == ""
