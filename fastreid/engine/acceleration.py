"""The same features in less time: a copy of a model for inference, as ``TEST.INFERENCE`` asks for."""

import copy
import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.engine.exporters import FeatureModel, deployed
from fastreid.evaluation.evaluator import inference_context
from fastreid.layers.folding import fold_batch_norms
from fastreid.utils.inference import NODE, Inference

logger = logging.getLogger(__name__)

LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.99}  # to the features of the model as it is
CHECKED = 4  # images of the first batch


def accelerated(model: nn.Module, cfg) -> nn.Module:
    """Return the model that computes features as ``cfg.TEST.INFERENCE`` says; with its defaults ``model`` itself.

    Raises:
        ValueError: as :meth:`fastreid.utils.inference.Inference.of`; OpenVINO for a model that sees cameras.
        ImportError: OpenVINO is asked for and not installed.
    """
    plan = Inference.of(cfg)
    if not plan.settings or next(model.parameters(), None) is None:  # descriptors without a network
        return model
    return Accelerated(model, plan)


class Accelerated(nn.Module):
    """A copy of ``model`` for inference: images, or a batch table, to features float32 (B, D).

    The features of the first batch are compared with those of the model as it is, which stays untouched.

    Attributes:
        accelerates: that model; a fingerprint takes its weights.

    Raises:
        RuntimeError: (at the first batch) the features point elsewhere.
    """

    def __init__(self, model: nn.Module, plan: Inference):
        super().__init__()
        self.plan, self._checked = plan, False
        object.__setattr__(self, "accelerates", model)  # no part of this module
        if plan.backend == "openvino":
            self.model = OpenVINOModel(model, plan.dtype)
        else:
            self.model = _torch_copy(model, plan)
        self.eval()

    def train(self, mode: bool = True) -> "Accelerated":
        """Stay in evaluation mode: there is no way back from folded norms."""
        return super().train(False)

    def forward(self, batch: dict[str, Any] | torch.Tensor) -> torch.Tensor:
        features = self._features(batch)
        if not self._checked:
            self._check(batch, features)
            self._checked = True
        return features

    def _features(self, batch: dict[str, Any] | torch.Tensor) -> torch.Tensor:
        device = next(self.accelerates.parameters()).device.type
        half = self.plan.dtype == "bfloat16" and self.plan.backend == "torch"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            features = self.model(batch)
        if not isinstance(features, torch.Tensor):
            raise ValueError(f"{NODE} is for models that give one tensor; this one gives a {type(features).__name__}")
        return features.float()

    def _check(self, batch: dict[str, Any] | torch.Tensor, features: torch.Tensor) -> None:
        with torch.inference_mode(), inference_context(self.accelerates):
            expected = self.accelerates(_first(batch)).float().flatten(1)
        found, some = features[:CHECKED].flatten(1), expected.norm(dim=1) > 0
        cosine = float(F.cosine_similarity(found[some], expected[some]).min()) if some.any() else 1.0
        if not cosine >= LEAST_COSINE[self.plan.dtype]:
            raise RuntimeError(
                f"{_told(self.plan)} changes the features of this model: their cosine to those of plain float32 is "
                f"{cosine:.6f}, and must be at least {LEAST_COSINE[self.plan.dtype]}"
            )
        logger.info("%s: cosine to plain float32 %.6f", _told(self.plan), cosine)


class OpenVINOModel(nn.Module):
    """A model converted by OpenVINO: for each size of images at its first batch, for any number of images.

    Args:
        dtype: "float32" or "bfloat16".
    """

    def __init__(self, model: nn.Module, dtype: str):
        super().__init__()
        _import_openvino()
        if getattr(getattr(model, "backbone", None), "takes_camids", False):
            raise ValueError(f"{NODE}.BACKEND openvino sees images alone; this model sees their cameras as well")
        self._source = FeatureModel(deployed(model)).eval()
        self._precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self._compiled: dict[tuple[int, ...], Any] = {}

    def forward(self, batch: dict[str, Any] | torch.Tensor) -> torch.Tensor:
        images = (batch["images"] if isinstance(batch, dict) else batch).float().contiguous()
        size = tuple(images.shape[1:])
        if size not in self._compiled:
            self._compiled[size] = self._convert(images)
        return torch.from_numpy(self._compiled[size](images.numpy())[0].copy())  # its memory is used again

    def _convert(self, images: torch.Tensor) -> Any:
        openvino = _import_openvino()
        example = torch.zeros(2, *images.shape[1:])  # a batch of one would be taken for a constant
        with torch.inference_mode(False), torch.no_grad():
            program = torch.export.export(self._source, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
        }
        return openvino.Core().compile_model(openvino.convert_model(program), "CPU", options)


def _torch_copy(model: nn.Module, plan: Inference) -> nn.Module:
    model = deployed(model) if plan.fold_bn else copy.deepcopy(model).eval()
    if plan.fold_bn:
        logger.info("%s.FOLD_BN: %d batch norms are folded into the layers before them", NODE, fold_batch_norms(model))
    if plan.dtype == "bfloat16":  # once, not at each batch
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.to(torch.bfloat16)
    return model.to(memory_format=torch.channels_last) if plan.channels_last else model


def _first(batch: dict[str, Any] | torch.Tensor) -> Any:
    """The first images of a batch, with their columns."""
    if not isinstance(batch, dict):
        return batch[:CHECKED]
    return {name: values[:CHECKED] if hasattr(values, "__getitem__") else values for name, values in batch.items()}


def _told(plan: Inference) -> str:
    return ", ".join(f"{key} {value}" for key, value in plan.settings.items())


def _import_openvino():
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            f"{NODE}.BACKEND openvino needs the package openvino: pip install '.[openvino]' from the checkout"
        ) from error
    return openvino
