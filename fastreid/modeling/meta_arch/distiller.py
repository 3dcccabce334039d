"""A baseline that also learns from teachers: trained models, a moving average of itself, or both."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from fastreid.config import CfgNode, configurable, get_cfg
from fastreid.layers import full_precision
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.utils.checkpoint import classifiers_of, load_weights, read_checkpoint


@META_ARCH_REGISTRY.register()
class Distiller(Baseline):
    """``Baseline`` with the further loss ``loss_jsdiv``: how far its class logits are from those of its teachers.

    Teachers have fixed weights and statistics. They are no sub-modules: neither trained nor in the state dict, but
    moved to the device of the model. Evaluation needs none: ``MODEL.META_ARCHITECTURE Baseline`` reads these weights.

    The moving average (Tarvainen and Valpola, 2017) covers weights and statistics. It starts as a copy of the student,
    also of weights loaded later, moves at each training step, and lies in a training's checkpoints beside the model
    (:meth:`checkpointables`). With several processes and no SyncBN, its statistics there are those of process 0.

    Args:
        teachers: trained models that tell the student's classes apart.
        ema_momentum: share of the moving average that stays at each step, 0..1; ``None``: no such teacher.
        others: those of ``Baseline``.

    Raises:
        ValueError: no teacher at all, a momentum that is none, or a head without class logits.
    """

    own_losses = ("loss_jsdiv",)

    @configurable
    def __init__(self, *, teachers: Sequence[Baseline] = (), ema_momentum: float | None = None, **others):
        super().__init__(**others)
        if ema_momentum is not None and not 0 <= ema_momentum <= 1:
            raise ValueError(f"KD.EMA.MOMENTUM must be in 0..1; got {ema_momentum}")
        self.ema_momentum = ema_momentum
        self.model_ts = [*teachers] if ema_momentum is None else [_copy_of(self, others), *teachers]
        if not self.model_ts:
            raise ValueError("Distiller has no teacher: set KD.MODEL_CONFIG and KD.MODEL_WEIGHTS, or KD.EMA.ENABLED")
        for model in (self, *self.model_ts):
            if "pred_class_logits" not in getattr(model.heads, "provides", ()):
                raise ValueError(f"Distiller compares class logits; {type(model.heads).__name__} gives none")
            if getattr(model.heads, "partial_fc", None) is not None:
                raise ValueError("Distiller compares the logits of all classes: MODEL.HEADS.PFC.ENABLED must be False")
        for teacher in self.model_ts:
            teacher.requires_grad_(False).eval()
            # the head itself alone: it then gives its logits, while all norms in it stay as in evaluation
            teacher.heads.training = True
        self.register_load_state_dict_post_hook(_restart_ema)

    @classmethod
    def from_config(cls, cfg) -> dict:
        ema = cfg.KD.EMA
        return {
            **super().from_config(cfg),
            "teachers": build_teachers(cfg),
            "ema_momentum": ema.MOMENTUM if ema.ENABLED else None,
        }

    def forward(self, batched_inputs: dict | torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Args: batched_inputs: the batch table, or only its images (evaluation)."""
        if not self.training:
            return super().forward(batched_inputs)
        targets = self.targets_of(batched_inputs)
        # a forward without gradients, which batch norms get their statistics from, is no training step
        if self.ema_momentum is not None and torch.is_grad_enabled():
            self._move_ema(self.ema_momentum)
        outputs = _outputs(self, batched_inputs, targets)
        with torch.no_grad():
            taught = [_outputs(teacher, batched_inputs, targets) for teacher in self.model_ts]
        return self.losses(outputs, taught, targets, batched_inputs)

    def losses(
        self, s_outputs: dict[str, torch.Tensor], t_outputs: Sequence[dict[str, torch.Tensor]],
        gt_labels: torch.Tensor, batched_inputs: dict | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the losses of ``Baseline`` and ``loss_jsdiv``, the mean over teachers, from the tables of heads."""
        values = super().losses(s_outputs, gt_labels, batched_inputs)
        logits = s_outputs["pred_class_logits"]
        divergences = [self.jsdiv_loss(logits, output["pred_class_logits"].detach()) for output in t_outputs]
        return {**values, "loss_jsdiv": sum(divergences) / len(divergences)}

    @staticmethod
    @full_precision
    def jsdiv_loss(y_s: torch.Tensor, y_t: torch.Tensor, t: float = 16) -> torch.Tensor:
        """Return ``t^2 / 2 (KL(s, t) + KL(t, s))`` of two logits (B, C) at temperature ``t``, mean over the batch.

        The factor ``t^2`` keeps the size of the gradients (Hinton et al., 2015).
        """
        log_s, log_t = F.log_softmax(y_s / t, dim=1), F.log_softmax(y_t / t, dim=1)
        both = (log_t.exp() - log_s.exp()) * (log_t - log_s)
        return t**2 / 2 * both.sum() / len(y_s)

    def checkpointables(self) -> dict[str, Any]:
        """Return what a training saves and restores beside the model: also ``ema_teacher``, if there is one."""
        ema = {} if self.ema_momentum is None else {"ema_teacher": self.model_ts[0]}
        return {**super().checkpointables(), **ema}

    @torch.no_grad()
    def _move_ema(self, momentum: float) -> None:
        """``teacher = momentum * teacher + (1 - momentum) * student``; whole numbers (counters) are copied."""
        own, kept = self.state_dict(), self.model_ts[0].state_dict()
        for name, tensor in kept.items():
            if tensor.is_floating_point():
                tensor.lerp_(own[name], 1 - momentum)
            else:
                tensor.copy_(own[name])

    def _apply(self, *args, **kwargs):
        for teacher in self.model_ts:
            teacher._apply(*args, **kwargs)
        return super()._apply(*args, **kwargs)


def _restart_ema(model: Distiller, incompatible_keys) -> None:
    if model.ema_momentum is not None:
        model.model_ts[0].load_state_dict(model.state_dict(), strict=False)


def _copy_of(student: Baseline, arguments: dict) -> Baseline:
    parts = {"backbone": copy.deepcopy(student.backbone), "heads": copy.deepcopy(student.heads), "losses": ()}
    return Baseline(**{**arguments, **parts})


def _outputs(model: Baseline, batched_inputs: dict, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    return model.heads(model.extract(batched_inputs), targets)


def build_teachers(cfg) -> list[Baseline]:
    """Build a model for each of ``KD.MODEL_CONFIG``, with its weights of ``KD.MODEL_WEIGHTS``.

    Raises:
        FileNotFoundError: no such config or weights.
        ValueError: not one file of weights per config, or a model that cannot teach this student.
    """
    configs, weights = cfg.KD.MODEL_CONFIG, cfg.KD.MODEL_WEIGHTS
    if len(configs) != len(weights):
        raise ValueError(
            f"KD.MODEL_CONFIG names {len(configs)} teachers and KD.MODEL_WEIGHTS {len(weights)} files: each teacher "
            "needs its config and its weights, in the same order"
        )
    return [_build_teacher(cfg, *files) for files in zip(configs, weights, strict=True)]


def _build_teacher(cfg, config_file: str, weights_file: str) -> Baseline:
    teacher_cfg = get_cfg()
    try:
        teacher_cfg.merge_from_file(config_file)
        weights = read_checkpoint(weights_file)["model"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Teacher of KD.MODEL_CONFIG, KD.MODEL_WEIGHTS: {error}") from error
    classes = max(classifiers_of(weights).values(), default=0)
    problem = _unfit(cfg, teacher_cfg, classes)
    if problem:
        raise ValueError(f"The teacher of {config_file} with {weights_file} does not fit: {problem}")
    teacher_cfg.MODEL.HEADS.NUM_CLASSES = classes
    teacher_cfg.MODEL.BACKBONE.PRETRAIN = False
    teacher = Baseline(teacher_cfg)
    load_weights(teacher, weights, weights_file, optional=())
    return teacher


def _unfit(cfg: CfgNode, teacher_cfg: CfgNode, classes: int) -> str:
    """Say why a teacher cannot teach the student of ``cfg``; empty where it can."""
    architecture = META_ARCH_REGISTRY.get(teacher_cfg.MODEL.META_ARCHITECTURE)
    if not (isinstance(architecture, type) and issubclass(architecture, Baseline)):
        return f"its MODEL.META_ARCHITECTURE {teacher_cfg.MODEL.META_ARCHITECTURE} is no Baseline, with one head"
    if teacher_cfg.INPUT.CHANNELS != cfg.INPUT.CHANNELS:
        return f"its INPUT.CHANNELS are {teacher_cfg.INPUT.CHANNELS}, those of the student {cfg.INPUT.CHANNELS}"
    if cfg.MODEL.HEADS.NUM_CLASSES not in (0, classes):
        return (
            f"it has {classes or 'no'} classes, the student {cfg.MODEL.HEADS.NUM_CLASSES}. Logits are compared class "
            "by class: both need the same training set"
        )
    return ""
