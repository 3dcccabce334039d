"""Distillation of features before their last activation (Heo et al., "A Comprehensive Overhaul ...", ICCV 2019)."""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.layers import full_precision
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.distiller import Distiller

STAGES = ("layer1", "layer2", "layer3", "layer4")


@META_ARCH_REGISTRY.register()
class DistillerOverhaul(Distiller):
    """``Distiller`` with the further loss ``loss_overhaul`` between the stages of student and first trained teacher.

    Each stage of the student goes through a 1 x 1 convolution with batch norm to the width of the teacher's
    (``connectors``, in the state dict and trained; evaluation does not use them).

    Args:
        overhaul_scale: weight of the loss, ``KD.OVERHAUL.SCALE``; fast-reid's is 1e-4.
        others: those of ``Distiller``.

    Raises:
        ValueError: no trained teacher, or a backbone that is not of the ResNet family.
    """

    own_losses = (*Distiller.own_losses, "loss_overhaul")

    @configurable
    def __init__(self, *, overhaul_scale: float = 1e-4, **others):
        super().__init__(**others)
        self.overhaul_scale = overhaul_scale
        norms = [last_parts(self.feature_teacher.backbone, stage)[0] for stage in STAGES]
        widths = [last_parts(self.backbone, stage)[0].num_features for stage in STAGES]
        self.connectors = nn.ModuleList(map(make_connector, widths, [norm.num_features for norm in norms]))
        for number, norm in enumerate(norms, start=1):
            self.register_buffer(f"margin{number}", negative_mean(norm))

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "overhaul_scale": cfg.KD.OVERHAUL.SCALE}

    @property
    def feature_teacher(self) -> nn.Module:
        trained = self.model_ts if self.ema_momentum is None else self.model_ts[1:]
        if not trained:
            raise ValueError("DistillerOverhaul needs a trained teacher: set KD.MODEL_CONFIG and KD.MODEL_WEIGHTS")
        return trained[0]

    def forward(self, batched_inputs: dict | torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Args: batched_inputs: the batch table, or only its images (evaluation)."""
        if not self.training:
            return super().forward(batched_inputs)
        with record_stages(self.backbone) as own, record_stages(self.feature_teacher.backbone) as taught:
            values = super().forward(batched_inputs)
        students = [connector(own[stage]) for stage, connector in zip(STAGES, self.connectors, strict=True)]
        margins = [getattr(self, f"margin{number}") for number in range(1, len(STAGES) + 1)]
        loss = overhaul_loss(students, [taught[stage] for stage in STAGES], margins)
        return {**values, "loss_overhaul": self.overhaul_scale * loss}


@contextlib.contextmanager
def record_stages(backbone: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Let forwards of ``backbone`` inside the context fill a dict: stage -> its output before the last ReLU."""
    found: dict[str, torch.Tensor] = {}

    def keep(module: nn.Module, inputs: tuple, stage: str) -> torch.Tensor:
        # a block calls one ReLU several times: the last call stays. It may work in place, so it gets a copy
        found[stage] = inputs[0]
        return inputs[0].clone()

    hooks = [
        last_parts(backbone, stage)[1].register_forward_pre_hook(functools.partial(keep, stage=stage))
        for stage in STAGES
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def last_parts(backbone: nn.Module, stage: str) -> tuple[nn.Module, nn.Module]:
    """Return, of the last block of a stage, the norm before the residual sum and the ReLU after it.

    Raises:
        ValueError: the stage does not exist, or has no residual blocks as ours and timm's.
    """
    blocks = getattr(backbone, stage, None)
    parts = dict(blocks[-1].named_children()) if isinstance(blocks, nn.Sequential) and len(blocks) else {}
    norm = parts.get("bn3", parts.get("bn2"))
    relu = parts.get("relu", parts.get("act3", parts.get("act2")))
    if norm is None or relu is None:
        raise ValueError(
            "DistillerOverhaul needs backbones of the ResNet family for student and teacher, with residual blocks in "
            f"{', '.join(STAGES)}; {type(backbone).__name__} has none in {stage}"
        )
    return norm, relu


def make_connector(width: int, teacher_width: int) -> nn.Sequential:
    """Return the 1 x 1 convolution with batch norm from the student's width to the teacher's."""
    convolution = nn.Conv2d(width, teacher_width, 1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / teacher_width))
    return nn.Sequential(convolution, nn.BatchNorm2d(teacher_width))


@torch.no_grad()
def negative_mean(norm: nn.Module) -> torch.Tensor:
    """Return, for each channel, the mean of what ``norm`` gives below zero, (1, C, 1, 1): the margin of eq. 3.

    The output of a channel counts as normal, with mean ``bias`` and deviation ``|weight|``. Where not a thousandth of
    it lies below zero, minus three deviations is taken instead.
    """
    std, mean = norm.weight.abs().double().clamp(min=1e-12), norm.bias.double()
    share = torch.special.ndtr(-mean / std)
    density = torch.exp(-(mean / std).square() / 2) / math.sqrt(2 * math.pi)
    below = torch.where(share > 1e-3, mean - std * density / share, -3 * std)
    return below.to(norm.weight.dtype)[None, :, None, None]


@full_precision  # sums over whole maps do not fit 16 bits
def partial_l2(student: torch.Tensor, teacher: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """Return the sum of squared differences between ``student`` and ``max(teacher, margin)`` where they matter (eq. 4).

    Where the teacher is silent, at or below zero, a student that is lower still is left alone.

    Args:
        student, teacher: (B, C, h, w). margin: (1, C, 1, 1).
    """
    goal = torch.maximum(teacher, margin)
    return ((student - goal).square() * ((student > goal) | (goal > 0))).sum()


def overhaul_loss(
    students: Sequence[torch.Tensor], teachers: Sequence[torch.Tensor], margins: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return ``partial_l2`` per image, summed over the stages: the last counts 1, each earlier one half of the next.

    Raises:
        ValueError: maps of different sizes.
    """
    total = torch.zeros((), device=students[0].device)
    for index, (student, teacher, margin) in enumerate(zip(students, teachers, margins, strict=True)):
        if student.shape != teacher.shape:
            raise ValueError(
                f"DistillerOverhaul: the student gives maps of {tuple(student.shape[2:])} in {STAGES[index]}, the "
                f"teacher of {tuple(teacher.shape[2:])}; their MODEL.BACKBONE.LAST_STRIDE must agree"
            )
        total = total + partial_l2(student, teacher, margin) / 2 ** (len(students) - 1 - index)
    return total / len(students[0])
