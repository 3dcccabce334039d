"""Features from an ONNX file, without the model's code: the work of ``tools/deploy/onnx_inference.py``."""

import json
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.data.build import build_file_loader
from fastreid.engine.exporters import FORMATS, onnx_session

logger = logging.getLogger(__name__)


class OnnxPredictor:
    """``DefaultPredictor`` from an ONNX file, on the CPU.

    A file of :func:`fastreid.engine.export.export` says itself how images are prepared (all of ``INPUT``). Those of
    other files are resized to the size in the file, or to ``height`` x ``width`` where it leaves them open.

    Attributes:
        cfg: the config of the images.
        normalized: whether the file gives features of unit length; ``None`` when it does not say.
        batch_size: the only one the file accepts; 0: any.

    Raises:
        ImportError: onnxruntime is missing.
        FileNotFoundError: no such file.
        ValueError: not an ONNX file; or an image size that it does not say and nobody gave, or that is not its own.
    """

    def __init__(self, path: str | os.PathLike, height: int = 0, width: int = 0):
        FORMATS["onnx"].require_modules()
        self.session = _open(os.fspath(path))
        shape = self.session.get_inputs()[0].shape
        self.batch_size, channels, *size = (side if isinstance(side, int) else 0 for side in shape)
        size = [own or given for own, given in zip(size, (height, width), strict=True)]
        if (height or size[0], width or size[1]) != tuple(size) or 0 in size:
            given = f"height {height}, width {width}"
            raise ValueError(f"{path} takes images (B, C, H, W) of shape {shape}; got {given}")
        about = self.session.get_modelmeta().custom_metadata_map
        self.normalized = json.loads(about["normalized"]) if "normalized" in about else None
        self.cfg = get_cfg()
        self.cfg.merge_from_list(["INPUT.CHANNELS", channels or 3, "DATALOADER.NUM_WORKERS", 0])
        # the images' part alone: a config from a file may name plug-ins, and these are code
        self.cfg.merge_from_other_cfg({"INPUT": json.loads(about.get("input_settings", "{}"))})
        if "input_settings" not in about:
            logger.info("%s does not say how images are prepared: they are resized to %s x %s", path, *size)
            self.cfg.INPUT.SIZE_TEST = size

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (B, D) of prepared images, float32 (B, C, H, W) in 0..255."""
        name, step = self.session.get_inputs()[0].name, self.batch_size or max(1, len(images))
        found = []
        for part in images.split(step):
            missing = step - len(part) if self.batch_size else 0
            part = F.pad(part, (0, 0, 0, 0, 0, 0, 0, missing))
            found.append(self.session.run(None, {name: part.numpy()})[0][: len(part) - missing])
        return torch.from_numpy(np.concatenate(found))

    def from_files(self, paths: Sequence[str | os.PathLike], batch_size: int | None = None) -> torch.Tensor:
        """Return the features (N, D) of image files, in their order; raises as ``DefaultPredictor.from_files``."""
        loader = build_file_loader(self.cfg, paths, batch_size or self.batch_size or None)
        return torch.cat([self(batch["images"]) for batch in loader])


def _open(path: str):
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

    if not os.path.isfile(path):
        raise FileNotFoundError(f"No such ONNX file: '{path}'")
    try:
        return onnx_session(path)
    except (Fail, InvalidGraph, InvalidProtobuf) as error:
        raise ValueError(f"{path} cannot be read as an ONNX file: {error}") from error
