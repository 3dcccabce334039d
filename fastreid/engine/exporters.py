"""Models in other formats: ONNX and TorchScript, which need no fastreid to run, and safetensors, which needs no pickle.

Each format is a pair: `write` makes the bytes of the file, `open` makes of these bytes a function from images to
features, so that the file itself can be compared with the model before it is kept.
"""

import copy
import importlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

INPUT, OUTPUT = "images", "features"  # names in the file
Runner = Callable[[torch.Tensor], torch.Tensor]  # RuntimeError: it cannot run such images


class FeatureModel(nn.Module):
    """Images (B, C, H, W) float32 in 0..255 -> features (B, D): one tensor in, one out.

    Args:
        model: in evaluation mode it takes a batch table; pixel mean and deviation are its own work.
        normalize: divide features by their L2 norm.
    """

    def __init__(self, model: nn.Module, normalize: bool = False):
        super().__init__()
        self.model, self.normalize = model, normalize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.model({"images": images}).float()
        return F.normalize(features) if self.normalize else features


@dataclass(frozen=True)
class Format:
    """How one kind of file is made and read back.

    Attributes:
        write: (model, example images, description as strings, whether any batch size must do) -> bytes.
        open: (bytes, model) -> function from images to features.
        modules: packages that it needs.
        weights_only: it holds no computation, so that batch size and normalisation mean nothing.
    """

    suffix: str
    write: Callable[[FeatureModel, torch.Tensor, dict[str, str], bool], bytes]
    open: Callable[[bytes, FeatureModel], Runner]
    modules: tuple[str, ...] = ()
    weights_only: bool = False

    def require_modules(self) -> None:
        """Raise ``ImportError`` saying what to install unless all packages are there."""
        for name in self.modules:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ImportError(
                    f"This needs the package {name}: pip install '.[export]' from the checkout"
                ) from error


def deployed(model: nn.Module) -> nn.Module:
    """Return a copy for inference; a backbone with ``deploy(bool)`` (RepVGG) has its branches merged."""
    model = copy.deepcopy(model).eval()
    deploy = getattr(getattr(model, "backbone", None), "deploy", None)
    if callable(deploy):
        deploy(True)
    return model


# ------------------------------------------------------------------------------------------------------------ ONNX


def _write_onnx(model: FeatureModel, example: torch.Tensor, about: dict[str, str], any_batch: bool) -> bytes:
    shapes = {INPUT: {0: torch.export.Dim("batch")}} if any_batch else None
    model = FeatureModel(deployed(model.model), model.normalize).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself; what matters is compared afterwards
        program = torch.onnx.export(
            model, (example,), dynamo=True, dynamic_shapes=shapes, input_names=[INPUT], output_names=[OUTPUT],
            verbose=False,
        )  # fmt: skip
    proto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del part.metadata_props[:]  # source lines and folders of the machine
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=value)
    return proto.SerializeToString()


def _open_onnx(content: bytes, model: FeatureModel) -> Runner:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    session = onnx_session(content)

    def run(images: torch.Tensor) -> torch.Tensor:
        try:
            return torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])
        except (Fail, InvalidArgument, RuntimeException) as error:  # they have no common base
            raise RuntimeError(str(error)) from error

    return run


def onnx_session(content: bytes | str):
    """Return an onnxruntime session on the CPU for a file's bytes or path."""
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


# ----------------------------------------------------------------------------------------------------- TorchScript


def _write_torchscript(model: FeatureModel, example: torch.Tensor, about: dict[str, str], any_batch: bool) -> bytes:
    model, buffer = FeatureModel(deployed(model.model), model.normalize).eval(), io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is old, and shapes that it may fix are compared afterwards
        traced = torch.jit.freeze(torch.jit.trace(model, (example,), check_trace=False))
        torch.jit.save(traced, buffer, _extra_files={"fastreid.json": json.dumps(about)})
    return buffer.getvalue()


def _open_torchscript(content: bytes, model: FeatureModel) -> Runner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(io.BytesIO(content), map_location="cpu")


# ----------------------------------------------------------------------------------------------------- safetensors


def _write_safetensors(model: FeatureModel, example: torch.Tensor, about: dict[str, str], any_batch: bool) -> bytes:
    from safetensors.torch import save

    # a copy each: the format refuses tensors that share memory
    return save({name: value.clone().contiguous() for name, value in model.model.state_dict().items()}, about)


def _open_safetensors(content: bytes, model: FeatureModel) -> Runner:
    from safetensors.torch import load

    fresh = copy.deepcopy(model)
    for value in fresh.model.state_dict().values():
        value.zero_()
    fresh.model.load_state_dict(load(content))
    return fresh


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _open_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": Format(".pt", _write_torchscript, _open_torchscript),
    "safetensors": Format(".safetensors", _write_safetensors, _open_safetensors, ("safetensors",), weights_only=True),
}


def largest_difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return ``max |found - expected| / max |expected|``; infinite for a NaN or another shape."""
    want, have = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if want.shape != have.shape:
        return float("inf")
    difference = np.abs(have - want).max() / max(np.abs(want).max(), np.finfo(np.float32).tiny)
    return float(difference) if np.isfinite(difference) else float("inf")
