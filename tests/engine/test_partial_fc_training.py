"""Two processes train, resume and evaluate with class weights that are spread over them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.engine import DefaultTrainer, commands, default_argument_parser, hooks, launch
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.checkpoint import load_weights, read_checkpoint

CLASSES = 5  # 3 in the first process, 2 in the second; half of them are 2 and 1
SETTINGS = {
    "MODEL.HEADS.NUM_CLASSES": CLASSES, "MODEL.HEADS.CLS_LAYER": "CosSoftmax", "MODEL.HEADS.SCALE": 8,
    "MODEL.HEADS.MARGIN": 0.2, "SOLVER.OPT": "SGD", "SOLVER.BASE_LR": 0.02, "SOLVER.MAX_EPOCH": 2,
    "SOLVER.CHECKPOINT_ITERS": 4, "SOLVER.CHECKPOINT_PERIOD": 100,
}  # fmt: skip
PLAIN, FULL, HALF = ([f"MODEL.HEADS.PFC.{key}", str(value)] for key, value in
                     (("ENABLED", False), ("SAMPLE_RATE", 1.0), ("SAMPLE_RATE", 0.5)))  # fmt: skip
REFUSED = {
    "SOLVER.FSDP: MODEL.HEADS.PFC.ENABLED must be False": ["SOLVER.FSDP", "True", "TEST.EVAL_PERIOD", "0"],
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'norm' needs": [
        "SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"],
    "SOLVER.OPT Lamb reads all class weights": ["SOLVER.OPT", "Lamb", *FULL],
    "MODEL.HEADS.PFC.ENABLED spreads the classes over the processes: 1 classes are fewer than 2": [
        "MODEL.HEADS.NUM_CLASSES", "1"],
    "SWA keeps the average of whole models: MODEL.HEADS.PFC.ENABLED spreads": [],  # a hook, no setting
}  # fmt: skip


class Stopped(DefaultTrainer):
    """Ends with an error before its sixth iteration, within the second epoch."""

    def run_step(self):
        if self.iter == 5:
            raise InterruptedError
        super().run_step()


def parsed(*words: str):
    return default_argument_parser().parse_args(list(words))


def run(*words: str) -> None:
    commands.run_training(parsed(*words))


def is_refused(options: list[str], folder: str) -> str:
    """Return the message with which a training that averages its weights does not begin."""
    try:
        trainer = DefaultTrainer(commands.setup(parsed(*options, "OUTPUT_DIR", f"{folder}/refused")))
        trainer.register_hooks([hooks.SWA(0, 1, 1.0)])
        trainer.train()
    except ValueError as error:
        return str(error)
    return "nothing is refused"


def everything(options: list[str], folder: str) -> None:
    """What both processes do."""
    for name, more in (("plain", PLAIN), ("full", FULL), ("half", HALF)):
        run(*options, *more, "OUTPUT_DIR", f"{folder}/{name}")
    resumed = [*options, *HALF, "OUTPUT_DIR", f"{folder}/resumed"]
    with pytest.raises(InterruptedError):
        Stopped(commands.setup(parsed(*resumed))).train()
    comm.synchronize()
    run("--resume", *resumed)
    run("--eval-only", *options, "MODEL.WEIGHTS", f"{folder}/half/model_final.pth", "OUTPUT_DIR", f"{folder}/by two")
    refusals = {message: is_refused([*options, *more], folder) for message, more in REFUSED.items()}
    Path(folder, f"refusals{comm.get_rank()}").write_text(json.dumps(refusals))


@pytest.fixture(scope="module")
def options(tiny_settings) -> list[str]:
    settings = {**tiny_settings, "MODEL.HEADS.PFC.ENABLED": True, **SETTINGS}
    return [str(item) for pair in settings.items() for item in pair]


@pytest.fixture(scope="module")
def folder(quick_launch, options, tmp_path_factory) -> Path:
    """What the two processes left."""
    path = tmp_path_factory.mktemp("partial_fc")
    launch(everything, 2, args=(options, str(path)))
    return path


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def losses(folder: Path) -> list[list[float]]:
    rows = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [[row[name] for name in ("total_loss", "loss_cls", "loss_triplet")] for row in rows]


def final(folder: Path, name: str) -> dict:
    return read_checkpoint(folder / name / "model_final.pth")


def test_with_all_classes_the_training_is_that_of_the_plain_head(folder):
    assert len(losses(folder / "plain")) == 6
    np.testing.assert_allclose(losses(folder / "full"), losses(folder / "plain"), rtol=1e-3)
    full, plain, half = (final(folder, name) for name in ("full", "plain", "half"))
    for name, value in plain["model"].items():
        torch.testing.assert_close(full["model"][name], value, rtol=1e-3, atol=1e-5, msg=name)
    classes, others = full["model"]["heads.weight"], half["model"]["heads.weight"]
    assert classes.shape == (CLASSES, 16)
    assert (classes - others).abs().max() > 1e-3, "what was not drawn does not matter"
    shapes = [{n: {k: v.shape for k, v in entries.items()} for n, entries in state["optimizer"]["state"].items()}
              for state in (full, plain)]  # fmt: skip
    assert shapes[0] == shapes[1]


def test_with_half_of_them_it_goes_on_exactly_after_a_stop(folder):
    whole, resumed = final(folder, "half"), final(folder, "resumed")
    assert losses(folder / "resumed") == losses(folder / "half") != losses(folder / "full")
    for part in ("model", "optimizer", "lr_sched", "warmup_sched"):
        flat = [torch.utils._pytree.tree_flatten_with_path(state[part])[0] for state in (whole, resumed)]
        assert [path for path, _ in flat[0]] == [path for path, _ in flat[1]]
        for (path, value), (_, found) in zip(*flat, strict=True):
            assert torch.equal(value, found) if isinstance(value, torch.Tensor) else value == found, (part, path)


def features(folder: Path) -> FeatureFile:
    return FeatureFile.load(folder / "features" / "FileList.npz")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["FileList"]["stages"][0]["metrics"]


def test_two_processes_one_and_the_plain_head_find_the_same(folder, options):
    evaluate = ["--eval-only", *options, "MODEL.WEIGHTS", str(folder / "half" / "model_final.pth")]
    run(*evaluate, "OUTPUT_DIR", str(folder / "by one"))
    run(*evaluate, *PLAIN, "OUTPUT_DIR", str(folder / "by the plain head"))
    by_two, by_one, by_plain = (folder / f"by {name}" for name in ("two", "one", "the plain head"))
    np.testing.assert_allclose(features(by_two).features, features(by_one).features, rtol=1e-4, atol=1e-6)
    assert np.array_equal(features(by_plain).features, features(by_one).features)
    assert metrics(by_two) == metrics(by_one) == metrics(by_plain)
    assert features(by_two).fingerprint == features(by_one).fingerprint
    written = (by_two / "features" / "FileList.npz").stat().st_mtime_ns
    run(*evaluate, "OUTPUT_DIR", str(by_two))
    assert (by_two / "features" / "FileList.npz").stat().st_mtime_ns == written, "the features are not read again"


def test_the_plain_head_takes_the_checkpoint(folder, options):
    cfg = get_cfg()
    cfg.merge_from_list([*options, *PLAIN])
    model, saved = build_model(cfg), final(folder, "half")["model"]
    load_weights(model, saved, optional=())
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("message", REFUSED)
def test_what_needs_all_class_weights_is_refused_in_each_process(folder, message):
    for rank in (0, 1):
        assert json.loads((folder / f"refusals{rank}").read_text())[message].startswith(message)
