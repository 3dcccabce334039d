"""Keys of fast-reid before 1.3 and of forks, and what became of them."""

RENAMED_KEYS = {
    "INPUT.DO_AUTOAUG": "INPUT.AUTOAUG.ENABLED",
    "INPUT.AUTOAUG_PROB": "INPUT.AUTOAUG.PROB",
    "INPUT.DO_AUGMIX": "INPUT.AUGMIX.ENABLED",
    "INPUT.AUGMIX_PROB": "INPUT.AUGMIX.PROB",
    "INPUT.DO_AFFINE": "INPUT.AFFINE.ENABLED",
    "INPUT.DO_FLIP": "INPUT.FLIP.ENABLED",
    "INPUT.FLIP_PROB": "INPUT.FLIP.PROB",
    "INPUT.DO_PAD": "INPUT.PADDING.ENABLED",
    "INPUT.PADDING_MODE": "INPUT.PADDING.MODE",
    "INPUT.PADDING": "INPUT.PADDING.SIZE",
    "INPUT.REA.MEAN": "INPUT.REA.VALUE",
    "SOLVER.AMP_ENABLED": "SOLVER.AMP.ENABLED",
    "SOLVER.FP16_ENABLED": "SOLVER.AMP.ENABLED",
    "TEST.ROC_ENABLED": "TEST.ROC.ENABLED",
    "TEST.FLIP_ENABLED": "TEST.FLIP.ENABLED",
}

REMOVED_KEYS = {
    "DATALOADER.PK_SAMPLER": "Name the sampler in DATALOADER.SAMPLER_TRAIN.",
    "DATALOADER.NAIVE_WAY": "Set DATALOADER.SAMPLER_TRAIN to NaiveIdentitySampler or BalancedIdentitySampler.",
    "SOLVER.MAX_ITER": "Set SOLVER.MAX_EPOCH (epochs).",
    "SOLVER.DELAY_ITERS": "Set SOLVER.DELAY_EPOCHS (epochs).",
    "SOLVER.LOG_PERIOD": "The progress line adapts itself to the length of an epoch.",
    "SOLVER.SWA.ENABLED": "Stochastic weight averaging is a hook; register it from a plug-in.",
    "TEST.EVALUATOR": "Override DefaultTrainer.build_evaluator.",
}
