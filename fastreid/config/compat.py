"""Keys and values of fast-reid before 1.3 and of forks, and what became of them (docs/from-fastreid.md lists them)."""

from typing import Any

RENAMED_KEYS = {
    "INPUT.AUGMIX_PROB": "INPUT.AUGMIX.PROB",
    "INPUT.AUTOAUG_PROB": "INPUT.AUTOAUG.PROB",
    "INPUT.DO_AFFINE": "INPUT.AFFINE.ENABLED",
    "INPUT.DO_AUGMIX": "INPUT.AUGMIX.ENABLED",
    "INPUT.DO_AUTOAUG": "INPUT.AUTOAUG.ENABLED",
    "INPUT.DO_FLIP": "INPUT.FLIP.ENABLED",
    "INPUT.DO_PAD": "INPUT.PADDING.ENABLED",
    "INPUT.FLIP_PROB": "INPUT.FLIP.PROB",
    "INPUT.PADDING": "INPUT.PADDING.SIZE",
    "INPUT.PADDING_MODE": "INPUT.PADDING.MODE",
    "INPUT.REA.MEAN": "INPUT.REA.VALUE",
    "MODEL.HEADS.IN_FEAT": "MODEL.BACKBONE.FEAT_DIM",
    "MODEL.LOSSES.CIRCLE.ALPHA": "MODEL.LOSSES.CIRCLE.GAMMA",
    "SOLVER.AMP_ENABLED": "SOLVER.AMP.ENABLED",
    "SOLVER.FP16_ENABLED": "SOLVER.AMP.ENABLED",
    "TEST.FLIP_ENABLED": "TEST.FLIP.ENABLED",
    "TEST.ROC_ENABLED": "TEST.ROC.ENABLED",
}

REMOVED_KEYS = {
    "DATALOADER.NAIVE_WAY": "Set DATALOADER.SAMPLER_TRAIN to NaiveIdentitySampler or BalancedIdentitySampler.",
    "DATALOADER.PK_SAMPLER": "Name the sampler in DATALOADER.SAMPLER_TRAIN.",
    "MODEL.BACKBONE.NORM_SPLIT": "GhostBN has one number of splits.",
    "MODEL.HEADS.NORM_SPLIT": "GhostBN has one number of splits.",
    "MODEL.HEADS.REDUCTION_DIM": "Set MODEL.HEADS.EMBEDDING_DIM (0: no reduction).",
    "MODEL.LOSSES.TRI.USE_COSINE_DIST": "Set MODEL.LOSSES.TRI.NORM_FEAT.",
    "SOLVER.DELAY_ITERS": "Set SOLVER.DELAY_EPOCHS (epochs).",
    "SOLVER.MAX_ITER": "Set SOLVER.MAX_EPOCH (epochs).",
    "SOLVER.SWA.ENABLED": "Stochastic weight averaging is the hook fastreid.engine.hooks.SWA; add it in build_hooks.",
    "TEST.EVALUATOR": "Override DefaultTrainer.build_evaluator.",
}

# names under which the same component was selected before
RENAMED_VALUES = {
    "MODEL.BACKBONE.NAME": {"build_resnet_backbone_distill": "build_resnet_backbone"},
    "MODEL.HEADS.CLS_LAYER": {
        "arcSoftmax": "ArcSoftmax",
        "circleSoftmax": "CircleSoftmax",
        "cosSoftmax": "CosSoftmax",
        "linear": "Linear",
    },
    "MODEL.HEADS.POOL_LAYER": {
        "avgmaxpool": "AdaptiveAvgMaxPool",
        "avgpool": "GlobalAvgPool",
        "clipavgpool": "ClipGlobalAvgPool",
        "fastavgpool": "FastGlobalAvgPool",
        "flatten": "Flatten",
        "gempool": "GeneralizedMeanPooling",
        "gempoolP": "GeneralizedMeanPoolingP",
        "identity": "Identity",
        "maxpool": "GlobalMaxPool",
    },
    "SOLVER.SCHED": {
        "WarmupCosineAnnealingLR": "CosineAnnealingLR",
        "WarmupMultiStepLR": "MultiStepLR",
    },
}


def current_value(key: str, value: Any) -> Any:
    """Return what ``value`` of ``key`` is called today."""
    return RENAMED_VALUES.get(key, {}).get(value, value) if isinstance(value, str) else value
