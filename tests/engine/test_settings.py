import pytest

from fastreid.config import get_cfg
from fastreid.engine.settings import settings_without_effect


def lines(*pairs):
    cfg = get_cfg()
    cfg.merge_from_list(list(pairs))
    return settings_without_effect(cfg)


def test_defaults_have_no_idle_setting():
    assert lines() == []


@pytest.mark.parametrize(
    "pairs, expected",
    [
        (
            ["SOLVER.SCHED", "CosineAnnealingLR", "SOLVER.STEPS", "[40, 90]", "SOLVER.ETA_MIN_LR", "1e-6"],
            ["SOLVER.STEPS = [40, 90] (only for MultiStepLR; SOLVER.SCHED is 'CosineAnnealingLR')"],
        ),
        (
            ["SOLVER.NESTEROV", "True"],
            ["SOLVER.NESTEROV = True (only for SGD; SOLVER.OPT is 'Adam')"],
        ),
        (
            ["MODEL.LOSSES.TRI.MARGIN", "0.1"],
            ["MODEL.LOSSES.TRI.MARGIN = 0.1 (only for TripletLoss; MODEL.LOSSES.NAME is ('CrossEntropyLoss',))"],
        ),
        (["TEST.AQE.QE_K", "9"], ["TEST.AQE.QE_K = 9 (TEST.AQE.ENABLED is False)"]),
        (
            ["MODEL.TEXT_ENCODER.NAME", "OpenClip"],
            ["MODEL.TEXT_ENCODER.NAME = 'OpenClip' (only the command encode-text reads it)"],
        ),
        (["TEST.TEXTS_PER_IMAGE", "3"], ["TEST.TEXTS_PER_IMAGE = 3 (TEST.TEXT_BANK is empty)"]),
        (["TEST.TEXTS_PER_IMAGE", "3", "TEST.TEXT_BANK", "bank", "TEST.LEVELS", "('class',)"], []),
        (["INPUT.FLIP.PROB", "0.1"], ["INPUT.FLIP.PROB = 0.1 (INPUT.FLIP.ENABLED is False)"]),
        (
            ["KD.MODEL_WEIGHTS", "['t.pth']"],
            ["KD.MODEL_WEIGHTS = ['t.pth'] (only for MODEL.META_ARCHITECTURE Distiller and DistillerOverhaul)"],
        ),
        (["MODEL.QUEUE_SIZE", "64"], ["MODEL.QUEUE_SIZE = 64 (only for MODEL.META_ARCHITECTURE MoCo)"]),
        (["MODEL.QUEUE_SIZE", "64", "MODEL.META_ARCHITECTURE", "MoCo"], []),
        (["MODEL.BACKBONE.NORM", "GhostBN"], ["MODEL.BACKBONE.NORM = 'GhostBN' (GhostBN has one part here: BN)"]),
        (
            ["DATALOADER.SUBCLASS_SHARE", "0.3"],
            ["DATALOADER.SUBCLASS_SHARE = 0.3 (only for HierarchicalSampler; DATALOADER.SAMPLER_TRAIN is "
             "'TrainingSampler')"],
        ),
        (
            ["MODEL.LOSSES.NAME", "HierarchicalContrastiveLoss", "MODEL.LOSSES.HIERARCHICAL.NORMALIZATION", "level",
             "MODEL.LOSSES.HIERARCHICAL.SCORES", "[1.0, 0.0, 0.0]", "MODEL.LOSSES.HIERARCHICAL.MEMORY", "64"],
            ["MODEL.LOSSES.HIERARCHICAL.NORMALIZATION = 'level' (MODEL.LOSSES.HIERARCHICAL.SCORES weigh pairs of one "
             "patent alone)"],
        ),
        (
            ["MODEL.LOSSES.NAME", "HierarchicalContrastiveLoss", "MODEL.LOSSES.HIERARCHICAL.NORMALIZATION", "level",
             "DATALOADER.SAMPLER_TRAIN", "HierarchicalSampler", "DATALOADER.SUBCLASS_SHARE", "1.0"],
            [],
        ),
        (["MODEL.LOSSES.NAME", "TripletLoss", "MODEL.LOSSES.TRI.MEMORY_START", "9"],
         ["MODEL.LOSSES.TRI.MEMORY_START = 9 (MODEL.LOSSES.TRI.MEMORY is 0)"]),
        (["MODEL.LOSSES.NAME", "Cosface", "MODEL.LOSSES.COSFACE.MEMORY_START", "9",
          "MODEL.LOSSES.COSFACE.MEMORY", "64"], []),
        (["MODEL.HEADS.MARGIN", "0.3"], ["MODEL.HEADS.MARGIN = 0.3 (MODEL.HEADS.CLS_LAYER is 'Linear')"]),
        (["MODEL.HEADS.DROPOUT", "0.1"], ["MODEL.HEADS.DROPOUT = 0.1 (only for MODEL.HEADS.NAME BNDropoutHead)"]),
        (["MODEL.HEADS.TEST_FEAT", "before"], ["MODEL.HEADS.TEST_FEAT = 'before' (only for EmbeddingHead with "
         "MODEL.HEADS.WITH_BNNECK)"]),
        (["MODEL.HEADS.TEST_FEAT", "before", "MODEL.HEADS.WITH_BNNECK", "True"], []),
        (
            ["MODEL.HEADS.NAME", "BNDropoutHead", "MODEL.HEADS.WITH_BNNECK", "True", "MODEL.HEADS.DROPOUT", "0.1",
             "MODEL.HEADS.NORM", "syncBN", "MODEL.HEADS.NECK_FEAT", "after", "MODEL.HEADS.TEST_FEAT", "before"],
            ["MODEL.HEADS.WITH_BNNECK = True (BNDropoutHead has norms of its own)",
             "MODEL.HEADS.NECK_FEAT = 'after' (BNDropoutHead has one feature)",
             "MODEL.HEADS.TEST_FEAT = 'before' (only for EmbeddingHead with MODEL.HEADS.WITH_BNNECK)"],
        ),
        (["MODEL.FREEZE_LAYERS", "['backbone']"], ["MODEL.FREEZE_LAYERS = ['backbone'] (SOLVER.FREEZE_ITERS is 0)"]),
        (["DATASETS.DEEPPATENT.SPLIT", "test"], ["DATASETS.DEEPPATENT.SPLIT = 'test' (only for DeepPatent; "
         "DATASETS.NAMES is ('Market1501',))"]),
    ],
)  # fmt: skip
def test_idle_settings_are_named_with_their_reason(pairs, expected):
    assert lines(*pairs) == expected


def test_selected_components_are_not_reported():
    losses = ["MODEL.LOSSES.NAME", "('TripletLoss',)", "MODEL.LOSSES.TRI.MARGIN", "0.1"]
    solver = ["SOLVER.OPT", "SGD", "SOLVER.NESTEROV", "True", "SOLVER.STEPS", "[1, 2]"]
    assert lines(*losses, *solver, "TEST.AQE.ENABLED", "True", "TEST.AQE.QE_K", "9") == []


def test_the_dira_configs_report_what_their_code_ignored(repo):
    cfg = get_cfg()
    cfg.merge_from_file(repo / "configs" / "patent" / "sbs_R101-ibn_patent_256.yml")
    idle = settings_without_effect(cfg)
    assert any(line.startswith("SOLVER.STEPS") for line in idle), idle
