"""Which settings of a config change nothing: keys of components that are not selected or not switched on."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from fastreid.config import CfgNode, get_cfg
from fastreid.config.config import flatten
from fastreid.evaluation.build import task_of
from fastreid.modeling import LOSS_REGISTRY, META_ARCH_REGISTRY, REID_HEADS_REGISTRY
from fastreid.utils.registry import Registry, key_of, option_names

# where a registry is, and the keys that select from it
SELECTORS = (
    ("fastreid.modeling.losses", "LOSS_REGISTRY", ("MODEL.LOSSES.NAME",)),
    ("fastreid.modeling.backbones", "BACKBONE_REGISTRY", ("MODEL.BACKBONE.NAME",)),
    ("fastreid.layers", "SOFTMAX_REGISTRY", ("MODEL.HEADS.CLS_LAYER",)),
    ("fastreid.solver", "OPTIMIZER_REGISTRY", ("SOLVER.OPT",)),
    ("fastreid.solver", "SCHEDULER_REGISTRY", ("SOLVER.SCHED",)),
    ("fastreid.data.samplers", "SAMPLER_REGISTRY", ("DATALOADER.SAMPLER_TRAIN",)),
    ("fastreid.data.datasets", "DATASET_REGISTRY", ("DATASETS.NAMES", "DATASETS.TESTS")),
    ("fastreid.modeling.text_encoders", "TEXT_ENCODER_REGISTRY", ("MODEL.TEXT_ENCODER.NAME",)),
    ("fastreid.enrich", "CAPTIONER_REGISTRY", ("ENRICH.CAPTIONER.NAME",)),
    ("fastreid.enrich", "REWRITER_REGISTRY", ("ENRICH.REWRITER.NAME",)),
)


def _read_by(*names: str, registry: Registry = META_ARCH_REGISTRY) -> tuple[str, Callable[[CfgNode], bool]]:
    """The condition of a key that these components of ``registry`` read; one from outside may read it too."""

    def holds(cfg: CfgNode) -> bool:
        name = cfg.get_node(registry.key)
        return name in names or not registry.get(name).__module__.startswith("fastreid.")

    return f"only for {registry.key} {' and '.join(names)}", holds


RETRIEVAL = (
    "TEST.METRIC", "TEST.RULE", "TEST.METRICS", "TEST.GROUP_BY", "TEST.GAINS", "TEST.ROC.ENABLED", "TEST.AQE.ENABLED",
    "TEST.QE.ENABLED", "TEST.DBA.ENABLED", "TEST.RERANK.ENABLED", "TEST.PROTOCOL", "TEST.RELEVANCE", "TEST.LEVELS",
    "TEST.FREQUENCY", "TEST.TEXT_BANK",
)  # fmt: skip


def _has_no_neck(cfg: CfgNode) -> bool:
    return cfg.MODEL.HEADS.NAME == "BNDropoutHead"


def _reads_texts(cfg: CfgNode) -> bool:
    losses = [LOSS_REGISTRY.get(name) for name in cfg.MODEL.LOSSES.NAME]
    return any("text_features" in getattr(loss, "needs", ("text_features",)) for loss in losses)


DISTILLERS = ("Distiller", "DistillerOverhaul")
# key -> what must hold for it to matter, in words and as a test of the config
CONDITIONS = {
    "MODEL.QUEUE_SIZE": _read_by("MoCo"),
    **{
        f"{META_ARCH_REGISTRY.node(name)}.{key_of(option)}": _read_by(name)
        for name, component in META_ARCH_REGISTRY
        for option in (option_names(component) if META_ARCH_REGISTRY.node(name) else ())
    },
    "KD.MODEL_CONFIG": _read_by(*DISTILLERS),
    "KD.MODEL_WEIGHTS": _read_by(*DISTILLERS),
    "KD.EMA.ENABLED": _read_by(*DISTILLERS),
    "KD.OVERHAUL.SCALE": _read_by("DistillerOverhaul"),
    "MODEL.FREEZE_LAYERS": ("SOLVER.FREEZE_ITERS is 0", lambda cfg: cfg.SOLVER.FREEZE_ITERS > 0),
    "SOLVER.FREEZE_ITERS": ("MODEL.FREEZE_LAYERS is empty", lambda cfg: len(cfg.MODEL.FREEZE_LAYERS) > 0),
    "SOLVER.WARMUP_FACTOR": ("SOLVER.WARMUP_ITERS is 0", lambda cfg: cfg.SOLVER.WARMUP_ITERS > 0),
    "SOLVER.WARMUP_METHOD": ("SOLVER.WARMUP_ITERS is 0", lambda cfg: cfg.SOLVER.WARMUP_ITERS > 0),
    "MODEL.BACKBONE.PRETRAIN_PATH": ("MODEL.BACKBONE.PRETRAIN is False", lambda cfg: cfg.MODEL.BACKBONE.PRETRAIN),
    # a number of parts is no setting, and with one part it is BN
    "MODEL.BACKBONE.NORM": ("GhostBN has one part here: BN", lambda cfg: cfg.MODEL.BACKBONE.NORM != "GhostBN"),
    "MODEL.BACKBONE.IBN_TYPE": ("MODEL.BACKBONE.WITH_IBN is False", lambda cfg: cfg.MODEL.BACKBONE.WITH_IBN),
    "MODEL.BACKBONE.NL_CHANNELS": ("MODEL.BACKBONE.WITH_NL is False", lambda cfg: cfg.MODEL.BACKBONE.WITH_NL),
    "MODEL.BACKBONE.NL_LAYERS": ("MODEL.BACKBONE.WITH_NL is False", lambda cfg: cfg.MODEL.BACKBONE.WITH_NL),
    "MODEL.BACKBONE.SIE_COE": ("MODEL.BACKBONE.NUM_CAMERAS is 0", lambda cfg: cfg.MODEL.BACKBONE.NUM_CAMERAS > 0),
    "MODEL.LOSSES.BCE.POSITIVE_SHARE": (
        "MODEL.LOSSES.BCE.WEIGHT_ENABLED is False",
        lambda cfg: cfg.MODEL.LOSSES.BCE.WEIGHT_ENABLED,
    ),
    "MODEL.LOSSES.HIERARCHICAL.NORMALIZATION": (
        "MODEL.LOSSES.HIERARCHICAL.SCORES weigh pairs of one patent alone",
        lambda cfg: any(cfg.MODEL.LOSSES.HIERARCHICAL.SCORES[1:]),
    ),
    **{
        f"MODEL.LOSSES.{name}.MEMORY_START": (
            f"MODEL.LOSSES.{name}.MEMORY is 0",
            lambda cfg, name=name: cfg.MODEL.LOSSES.get(name).MEMORY > 0,
        )
        for name in ("TRI", "CIRCLE", "COSFACE", "HIERARCHICAL")
    },
    "INPUT.RESIZE.FILL": ("INPUT.RESIZE.MODE is not 'letterbox'", lambda cfg: cfg.INPUT.RESIZE.MODE == "letterbox"),
    **{
        f"INPUT.INK_CROP.{key}": (
            "INPUT.INK_CROP.METHOD is 'notebook'",
            lambda cfg: cfg.INPUT.INK_CROP.METHOD != "notebook",
        )
        for key in ("SPECK", "FRAMES", "LABELS")
    },
    **{
        f"TEST.INFERENCE.{key}": ("OpenVINO sees to it by itself", lambda cfg: cfg.TEST.INFERENCE.BACKEND != "openvino")
        for key in ("CHANNELS_LAST", "FOLD_BN")
    },
    "TEST.TEXTS_PER_IMAGE": ("TEST.TEXT_BANK is empty", lambda cfg: bool(cfg.TEST.TEXT_BANK)),
    "TEST.THRES": ("the head gives no attributes", lambda cfg: task_of(cfg) == "attributes"),
    **{key: ("nothing is retrieved with this head", lambda cfg: task_of(cfg) == "retrieval") for key in RETRIEVAL},
    "MODEL.HEADS.NORM": (
        "MODEL.HEADS.WITH_BNNECK is False",
        lambda cfg: cfg.MODEL.HEADS.WITH_BNNECK or _has_no_neck(cfg),
    ),
    "MODEL.HEADS.DROPOUT": _read_by("BNDropoutHead", registry=REID_HEADS_REGISTRY),
    "MODEL.HEADS.WITH_BNNECK": ("BNDropoutHead has norms of its own", lambda cfg: not _has_no_neck(cfg)),
    "MODEL.HEADS.NECK_FEAT": ("BNDropoutHead has one feature", lambda cfg: not _has_no_neck(cfg)),
    "MODEL.HEADS.TEST_FEAT": (
        "only for EmbeddingHead with MODEL.HEADS.WITH_BNNECK",
        lambda cfg: cfg.MODEL.HEADS.WITH_BNNECK and task_of(cfg) == "retrieval" and not _has_no_neck(cfg),
    ),
    **{
        f"MODEL.HEADS.{key}": _read_by("ProjectionHead", registry=REID_HEADS_REGISTRY)
        for key in ("PROJECTOR", "TEMPERATURE", "LEARN_TEMPERATURE")
    },
    "MODEL.HEADS.PROJECTOR_DIM": (
        "only for ProjectionHead with MODEL.HEADS.PROJECTOR 'mlp'",
        lambda cfg: cfg.MODEL.HEADS.NAME == "ProjectionHead" and cfg.MODEL.HEADS.PROJECTOR == "mlp",
    ),
    "MODEL.HEADS.MIN_TEMPERATURE": (
        "only for ProjectionHead with MODEL.HEADS.LEARN_TEMPERATURE",
        lambda cfg: cfg.MODEL.HEADS.NAME == "ProjectionHead" and cfg.MODEL.HEADS.LEARN_TEMPERATURE,
    ),
    "SOLVER.WEIGHTING_LR_FACTOR": (
        "MODEL.LOSSES.WEIGHTING is 'fixed'",
        lambda cfg: cfg.MODEL.LOSSES.WEIGHTING != "fixed",
    ),
    "DATASETS.TEXT_BANK": ("no loss of MODEL.LOSSES.NAME reads text_features", _reads_texts),
    "DATALOADER.CACHE.SCALE": ("DATALOADER.CACHE.DIR is empty", lambda cfg: bool(cfg.DATALOADER.CACHE.DIR)),
    "MODEL.HEADS.PFC.SAMPLE_RATE": ("MODEL.HEADS.PFC.ENABLED is False", lambda cfg: cfg.MODEL.HEADS.PFC.ENABLED),
    "MODEL.HEADS.MARGIN": ("MODEL.HEADS.CLS_LAYER is 'Linear'", lambda cfg: cfg.MODEL.HEADS.CLS_LAYER != "Linear"),
}
# keys that a head does not read, other than most heads, and why
UNREAD_BY_HEAD = {
    "ProjectionHead": (
        "ProjectionHead has neither neck nor classifier",
        {
            *(f"MODEL.HEADS.{key}" for key in ("NORM", "NUM_CLASSES", "WITH_BNNECK", "NECK_FEAT", "TEST_FEAT")),
            *(f"MODEL.HEADS.{key}" for key in ("CLS_LAYER", "MARGIN", "SCALE", "PFC.ENABLED", "PFC.SAMPLE_RATE")),
            "SOLVER.CLASSIFIER_LR_FACTOR",
        },
    ),
}
# keys of fast-reid that nothing reads yet: vision transformers
UNREAD = ()


# nodes that one command alone reads; DATASETS.TEXT_BANK names what encode-text made
READ_BY_COMMAND = {"MODEL.TEXT_ENCODER": "encode-text", "ENRICH": "enrich-text"}


def settings_without_effect(cfg: CfgNode, command: str = "train") -> list[str]:
    """Return a line ``KEY = value (why)`` for each key that differs from its default and changes nothing."""
    defaults = flatten(get_cfg())
    changed = {k: v for k, v in flatten(cfg).items() if k in defaults and _plain(v) != _plain(defaults[k])}
    reasons = dict.fromkeys(UNREAD, "nothing reads it yet")
    for module, name, selectors in SELECTORS:
        registry = getattr(importlib.import_module(module), name)
        reasons.update(_unselected(registry, selectors, cfg))
    for key in changed:
        node = _switched_off(cfg, key)
        if node:
            reasons[key] = f"{node}.ENABLED is False"
        if key in CONDITIONS and not CONDITIONS[key][1](cfg):
            reasons[key] = CONDITIONS[key][0]
        for node, reader in READ_BY_COMMAND.items():
            if key.startswith(f"{node}.") and command != reader:
                reasons[key] = f"only the command {reader} reads it"
        why, unread = UNREAD_BY_HEAD.get(cfg.MODEL.HEADS.NAME, ("", ()))
        if key in unread:
            reasons[key] = why
    return [f"{key} = {value!r} ({reasons[key]})" for key, value in changed.items() if key in reasons]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _unselected(registry: Registry, selectors: tuple[str, ...], cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Yield the keys that only unselected components of ``registry`` take, with the reason."""
    selected: list[str] = []
    for selector in selectors:
        value = cfg.get_node(selector)
        selected += [value] if isinstance(value, str) else list(value)
    if any(name in registry and registry.node(name) is None and takes_cfg(registry) for name in selected):
        return  # a component from outside that gets the whole config may read any key
    takers: dict[str, list[str]] = {}
    for name, component in registry:
        node = registry.node(name)
        for option in option_names(component) if node else ():
            takers.setdefault(f"{node}.{key_of(option)}", []).append(name)
    for key, names in takers.items():
        if not set(names) & set(selected):
            yield key, f"only for {', '.join(names)}; {selectors[0]} is {cfg.get_node(selectors[0])!r}"


def takes_cfg(registry: Registry) -> bool:
    """Data sets without a node get their root folder; every other component without one gets the config."""
    return registry.name != "DATASET"


def _switched_off(cfg: CfgNode, key: str) -> str:
    """Return the outermost node around ``key`` whose ENABLED is False, or an empty string."""
    parts = key.split(".")
    for end in range(1, len(parts)):
        node = ".".join(parts[:end])
        if cfg.get_node(node).get("ENABLED") is False and parts[end] != "ENABLED":
            return node
    return ""
