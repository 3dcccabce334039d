"""fast-reid's configs: each file merges to fast-reid's values, here as a table of what differs from the defaults."""

import json

import pytest

from fastreid.config import get_cfg
from fastreid.config.config import flatten

BAGTRICKS = {
    "MODEL.BACKBONE.PRETRAIN": True,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.LOSSES.NAME": ["CrossEntropyLoss", "TripletLoss"],
    "MODEL.LOSSES.CE.EPSILON": 0.1,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "INPUT.FLIP.ENABLED": True,
    "INPUT.PADDING.ENABLED": True,
    "INPUT.REA.ENABLED": True,
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.BASE_LR": 3.5e-4,
    "SOLVER.STEPS": [40, 90],
    "SOLVER.WARMUP_ITERS": 2000,
    "SOLVER.CHECKPOINT_PERIOD": 30,
    "TEST.EVAL_PERIOD": 30,
    "TEST.IMS_PER_BATCH": 128,
    "CUDNN_BENCHMARK": True,
}
AGW = {
    **BAGTRICKS,
    "MODEL.BACKBONE.WITH_NL": True,
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling",
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "MODEL.LOSSES.TRI.HARD_MINING": False,
}
SBS = {
    **BAGTRICKS,
    "MODEL.FREEZE_LAYERS": ["backbone"],
    "MODEL.BACKBONE.WITH_NL": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPoolingP",
    "MODEL.HEADS.CLS_LAYER": "CircleSoftmax",
    "MODEL.HEADS.MARGIN": 0.35,
    "MODEL.HEADS.SCALE": 64,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "INPUT.SIZE_TRAIN": [384, 128],
    "INPUT.SIZE_TEST": [384, 128],
    "INPUT.AUTOAUG.ENABLED": True,
    "INPUT.AUTOAUG.PROB": 0.1,
    "DATALOADER.NUM_INSTANCE": 16,
    "SOLVER.MAX_EPOCH": 60,
    "SOLVER.SCHED": "CosineAnnealingLR",
    "SOLVER.DELAY_EPOCHS": 30,
    "SOLVER.ETA_MIN_LR": 7e-7,
    "SOLVER.FREEZE_ITERS": 1000,
    "SOLVER.CHECKPOINT_PERIOD": 20,
    "TEST.EVAL_PERIOD": 10,
}
MGN = {
    **SBS,
    "MODEL.META_ARCHITECTURE": "MGN",
    "MODEL.FREEZE_LAYERS": ["backbone", "b1", "b2", "b3"],
    "MODEL.BACKBONE.WITH_NL": False,
    "MODEL.HEADS.EMBEDDING_DIM": 256,
}
NETWORKS = {
    "R50": {},
    "R50-ibn": {"MODEL.BACKBONE.WITH_IBN": True},
    "R101-ibn": {"MODEL.BACKBONE.WITH_IBN": True, "MODEL.BACKBONE.DEPTH": "101x"},
    "S50": {"MODEL.BACKBONE.NAME": "build_resnest_backbone"},
}
SQUARE = {
    "MODEL.BACKBONE.WITH_IBN": True,
    "INPUT.SIZE_TRAIN": [256, 256],
    "INPUT.SIZE_TEST": [256, 256],
}
# bag of tricks on the large vehicle sets, with AGW's pooling and triplets
VEHICLES = {
    **AGW,
    **SQUARE,
    "MODEL.BACKBONE.WITH_NL": False,
    "SOLVER.IMS_PER_BATCH": 512,
    "SOLVER.CHECKPOINT_PERIOD": 20,
}


def three_sizes(name):
    return {"DATASETS.NAMES": [name], "DATASETS.TESTS": [size + name for size in ("Small", "Medium", "Large")]}


OTHERS = {
    "Base-bagtricks.yml": BAGTRICKS,
    "Base-AGW.yml": AGW,
    "Base-SBS.yml": SBS,
    "Base-MGN.yml": MGN,
    "Market1501/bagtricks_vit.yml": {
        **BAGTRICKS,
        "MODEL.PIXEL_MEAN": [127.5, 127.5, 127.5],
        "MODEL.PIXEL_STD": [127.5, 127.5, 127.5],
        "MODEL.BACKBONE.NAME": "build_vit_backbone",
        "MODEL.BACKBONE.DEPTH": "base",
        "MODEL.BACKBONE.FEAT_DIM": 768,
        "MODEL.HEADS.POOL_LAYER": "Identity",
        "MODEL.LOSSES.CE.EPSILON": 0.0,
        "MODEL.LOSSES.TRI.MARGIN": 0.0,
        "SOLVER.AMP.ENABLED": False,
        "SOLVER.OPT": "SGD",
        "SOLVER.BASE_LR": 0.008,
        "SOLVER.WEIGHT_DECAY": 1e-4,
        "SOLVER.SCHED": "CosineAnnealingLR",
        "SOLVER.STEPS": [30, 55],
        "SOLVER.ETA_MIN_LR": 1.6e-5,
        "SOLVER.WARMUP_FACTOR": 0.01,
        "SOLVER.WARMUP_ITERS": 1000,
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "TEST.EVAL_PERIOD": 5,
        "OUTPUT_DIR": "logs/market1501/sbs_vit_base",
    },
    "VeRi/sbs_R50-ibn.yml": {
        **SBS,
        **SQUARE,
        "DATASETS.NAMES": ["VeRi"],
        "DATASETS.TESTS": ["VeRi"],
        "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
        "SOLVER.OPT": "SGD",
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.ETA_MIN_LR": 7.7e-5,
        "SOLVER.WARMUP_ITERS": 3000,
        "SOLVER.FREEZE_ITERS": 3000,
        "SOLVER.CHECKPOINT_PERIOD": 10,
        "TEST.IMS_PER_BATCH": 256,
        "OUTPUT_DIR": "logs/veri/sbs_R50-ibn",
    },
    "VehicleID/bagtricks_R50-ibn.yml": {
        **VEHICLES,
        **three_sizes("VehicleID"),
        "SOLVER.MAX_EPOCH": 60,
        "SOLVER.STEPS": [30, 50],
        "TEST.EVAL_PERIOD": 20,
        "OUTPUT_DIR": "logs/vehicleid/bagtricks_R50-ibn_4gpu",
    },
    "VERIWild/bagtricks_R50-ibn.yml": {
        **VEHICLES,
        **three_sizes("VeRiWild"),
        "SOLVER.STEPS": [30, 70, 90],
        "SOLVER.WARMUP_ITERS": 5000,
        "TEST.EVAL_PERIOD": 10,
        "OUTPUT_DIR": "logs/veriwild/bagtricks_R50-ibn_4gpu",
    },
}


def expected():
    """Yield (file, what differs from the defaults) of all 47 files."""
    yield from OTHERS.items()
    for dataset in ("Market1501", "DukeMTMC", "MSMT17"):
        for method, base in {"bagtricks": BAGTRICKS, "AGW": AGW, "sbs": SBS, "mgn": MGN}.items():
            for network, backbone in NETWORKS.items() if base is not MGN else [("R50-ibn", NETWORKS["R50-ibn"])]:
                yield (
                    f"{dataset}/{method}_{network}.yml",
                    {
                        **base,
                        **backbone,
                        "DATASETS.NAMES": [dataset],
                        "DATASETS.TESTS": [dataset],
                        "OUTPUT_DIR": f"logs/{dataset.lower()}/{method.lower()}_{network}",
                    },
                )


EXPECTED = dict(expected())
DEFAULTS = flatten(get_cfg())


def plain(values):
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def differing(values):
    defaults = plain(DEFAULTS)
    return {key: value for key, value in plain(values).items() if value != defaults[key]}


def merged(repo, name):
    cfg = get_cfg()
    cfg.merge_from_file(repo / "configs" / name)
    return differing(flatten(cfg))


@pytest.mark.parametrize("name", EXPECTED)
def test_file_has_the_values_of_fast_reid(repo, name):
    assert merged(repo, name) == differing(EXPECTED[name])


def test_no_file_is_missing_or_untested(repo):
    files = {str(path.relative_to(repo / "configs")) for path in (repo / "configs").rglob("*.yml")}
    ours = ("ablation/", "baselines/", "demo/", "made/", "patent/", "real/")
    assert {name for name in files if not name.startswith(ours)} == set(EXPECTED)
    assert len(EXPECTED) == 47


def test_values_are_the_recorded_ones(repo):
    recorded = repo.parent / "shared" / "reference" / "config_files.json"
    if not recorded.is_file():
        pytest.skip(f"no recorded values at {recorded}")
    files = json.loads(recorded.read_text())
    # a path on its author's machine
    del files["Market1501/bagtricks_vit.yml"]["MODEL.BACKBONE.PRETRAIN_PATH"]
    assert {name: merged(repo, name) for name in files} == files
