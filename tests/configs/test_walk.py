"""Every config file builds, trains two steps and evaluates, with its own network on miniature data."""

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.metadata import read_metadata
from fastreid.data.synthetic.generate import generate
from fastreid.data.synthetic.plan import Settings
from fastreid.data.text_bank import FileTexts, TextBank
from fastreid.engine import DefaultTrainer
from fastreid.engine.fitting import fit_model
from fastreid.modeling.meta_arch import FittedDescriptor, is_descriptor
from fastreid.utils.events import EventStorage
from tests.conftest import ROOT
from tests.data.miniatures import write, write_metadata

CONFIGS = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yml"))
STEPS = 2
# what a config may keep: everything but pretrained weights, sizes and the machine
QUICK = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.BACKBONE.PRETRAIN": False,
    "DATASETS.MINIPATENT.NUM_TRAIN": 4,
    "DATASETS.MINIPATENT.NUM_VAL": 2,
    "DATASETS.MINIPATENT.NUM_TEST": 2,
    "DATASETS.MINIPATENT.SIZE": 64,
    "DATASETS.DEEPPATENT.ROOT": "train_data",  # MiniPatent has its lists
    "MODEL.ORB.WORDS": 4,
    "MODEL.ORB.PATCH": 7,  # fits into the small sizes
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.WARMUP_ITERS": 0,  # an epoch has few iterations here; the schedule needs one after warm-up and delay
    "SOLVER.DELAY_EPOCHS": 0,
    "TEST.IMS_PER_BATCH": 16,
    "TEST.REPORT.ENABLED": False,
}
# a small training size of the same proportions; MGN cuts its map of height / 16 into three parts
SIZES = {"vit": [64, 32], "mgn": [96, 32]}
# large networks whose mixed precision others try: a CPU without bfloat16 takes 20 times as long for it
IN_FLOAT32 = ("clip_vitb16", "resnet50", "Base-lo_language", "swinv2b", "vitb32")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """All data sets that the configs name, in one data root."""
    root = tmp_path_factory.mktemp("data")
    for name in ("Market1501", "DukeMTMC", "MSMT17", "VeRi", "VehicleID", "VeRiWild"):
        write(name, root)
    generate(root, Settings(num_train=4, num_val=2, num_test=2, size=64), workers=0)
    patents = root / "real" / "design_patents"
    write("Market1501", patents)
    for part, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        images = sorted((patents / "Market-1501-v15.09.15" / folder).glob("[0-9]*.jpg"))
        rows = [f"{image.relative_to(patents)} {image.name[:4]}\n" for image in images]
        (patents / f"{part}.txt").write_text("".join(rows))
    for other in ("list.txt", "distractors.txt", "val_gallery.txt"):
        shutil.copyfile(patents / "gallery.txt", patents / other)
    shutil.copyfile(patents / "query.txt", patents / "val_query.txt")
    write_metadata(patents, "train.txt", "query.txt", "gallery.txt")
    shutil.copytree(patents, root / "real" / "omniglot")
    for folder in (patents, root):  # MiniPatent's metadata are the latter's
        write_text_bank(folder)
    with open(root / "us_classes.jsonl", "w") as file:  # two classes
        for line in (patents / "distractors.txt").read_text().splitlines():
            path, identity = line.split()
            file.write(json.dumps({"taxonomy": f"D{1 + int(identity) % 2}", "figures": [{"file": path}]}) + "\n")
    return root


def write_text_bank(folder: Path) -> None:
    """Two texts for each figure of ``metadata.jsonl`` in this folder, with vectors of noise."""
    figures = [figure for patent in read_metadata(folder / "metadata.jsonl") for figure in patent["figures"]]
    texts = FileTexts.of({figure["file"]: (figure["view"], f"thing in {figure['file']}") for figure in figures})
    vectors = np.random.default_rng(0).normal(size=(len(texts.texts), 8))
    TextBank.write(folder / "text_bank", texts, vectors)


@pytest.fixture
def cfg(request, data, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(data))
    monkeypatch.setenv("FASTREID_TESTDATA", str(data))
    config = get_cfg()
    config.merge_from_file(ROOT / "configs" / request.param)
    if config.DATASETS.NAMES == ("FileList",):
        config.DATASETS.FILELIST.ROOT = str(data / "real" / "design_patents")
    if config.DATASETS.TEXT_BANK:
        folder = data if config.DATASETS.NAMES == ("MiniPatent",) else data / "real" / "design_patents"
        config.DATASETS.TEXT_BANK = str(folder / "text_bank")
    square = config.INPUT.SIZE_TRAIN[0] == config.INPUT.SIZE_TRAIN[1]
    size = next((SIZES[key] for key in SIZES if key in request.param.stem), [32, 32] if square else [64, 32])
    sizes = dict.fromkeys(("INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST", "INPUT.CROP.SIZE"), size)
    options = {**QUICK, **sizes, "OUTPUT_DIR": str(tmp_path)}
    if request.param.stem in IN_FLOAT32:
        options["SOLVER.AMP.ENABLED"] = False
    config.merge_from_list([item for pair in options.items() for item in pair])
    yield config
    gc.collect()  # trainer and hooks refer to each other; sixty models would add up


def test_there_are_configs():
    assert len(CONFIGS) > 50


@pytest.mark.parametrize("cfg", CONFIGS, ids=str, indirect=True)
def test_a_config_builds_trains_two_steps_and_evaluates(cfg):
    if is_descriptor(cfg.MODEL.META_ARCHITECTURE, FittedDescriptor):
        pytest.importorskip("cv2")
        results = fit_model(cfg, DefaultTrainer)
    elif is_descriptor(cfg.MODEL.META_ARCHITECTURE):  # nothing to train
        results = DefaultTrainer.test(cfg, DefaultTrainer.build_model(cfg).eval())
    else:
        results = DefaultTrainer.test(cfg, trained(cfg).eval())
    if cfg.DATASETS.TESTS == ("PatentTest",):  # a challenge: a ranking without labels
        assert results == {}
        return
    tables = [results] if len(cfg.DATASETS.TESTS) == 1 else list(results.values())
    assert len(tables) == len(cfg.DATASETS.TESTS)
    for table in tables:
        assert 0 < table["mAP"] <= 100


def trained(cfg) -> torch.nn.Module:
    """Train ``STEPS`` steps as the trainer does and return the model."""
    trainer = DefaultTrainer(cfg)
    model = trainer.model
    before = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    with EventStorage() as storage:
        for trainer.iter in range(STEPS):
            trainer._trainer.iter = trainer.iter
            trainer.run_step()
    loss = storage.history("total_loss").latest()
    assert torch.isfinite(torch.tensor(loss))
    changed = {name for name, value in model.named_parameters() if name in before and not value.equal(before[name])}
    assert any(name.startswith("heads") or "head" in name for name in changed), "the head is never updated"
    frozen = tuple(cfg.MODEL.FREEZE_LAYERS) if cfg.SOLVER.FREEZE_ITERS >= STEPS else ()
    assert frozen or any("backbone" in name for name in changed), "the backbone is never updated"
    return model
