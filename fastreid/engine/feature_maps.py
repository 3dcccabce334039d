"""Feature maps with places: a vector for each patch of an image, from the models that have such a thing."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from fastreid.modeling.backbones.vision_transformer import ReidTransformer
from fastreid.modeling.meta_arch import HOG, MGN, Baseline

LEAST = 8  # patches along a side; a coarser map is made of a larger image
LARGER = 4  # times the size of the images, at most


class FeatureMaps:
    """Prepared image (1, C, H, W) in 0..255 -> (1, D, h, w), one vector for each patch.

    Convolutional networks give the map of their backbone, transformers their last tokens, HOG its cells, each with the
    cells around it. Where the map of an image of ``INPUT.SIZE_TEST`` has fewer than ``LEAST`` patches along a side, the
    image goes in larger, by the least whole factor that suffices; ``transforms`` are made for it.

    Attributes:
        transforms: of the images, to their size here.
        factor: by which that is larger than ``INPUT.SIZE_TEST``.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode, factor: int):
        self._map, self.factor = _map_of(model), factor
        self.transforms = build_transforms(enlarged(cfg, factor), is_train=False)

    @classmethod
    def of(cls, model: nn.Module, cfg: CfgNode, probe) -> "FeatureMaps | None":
        """Return the maps of a model; ``None`` where it has none.

        Args:
            probe: an image, mode L or RGB as ``INPUT`` asks for.
        """
        if _map_of(model) is None:
            return None
        best = None
        for factor in range(1, LARGER + 1):
            maps = cls(model, cfg, factor)
            sides = maps.sides(probe)
            if min(sides, default=0) < 2:
                return best
            best = maps
            if min(sides) >= LEAST:
                break
        return best

    def sides(self, probe) -> tuple[int, ...]:
        """(h, w) of the map of an image; () where the network does not take one of this size."""
        try:
            with torch.inference_mode():
                return tuple(self(self.transforms(probe)[None]).shape[2:])
        except (RuntimeError, AssertionError, ValueError):  # a network for images of one size
            return ()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self._map(images)


def enlarged(cfg: CfgNode, factor: float) -> CfgNode:
    """Return a copy of the config, not frozen, whose images are larger by a factor, and otherwise the same."""
    cfg = cfg.clone()
    cfg.defrost()
    for node, key in ((cfg.INPUT, "SIZE_TEST"), (cfg.INPUT.CROP, "SIZE")):
        node[key] = type(node[key])(round(factor * side) for side in node[key])
    return cfg


def _map_of(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    if isinstance(model, HOG):
        return lambda images: _hog_map(model, images)
    if isinstance(model, MGN):
        return lambda images: model.maps(model.preprocess_image(images))["b1"]
    if not isinstance(model, Baseline):
        return None
    if isinstance(model.backbone, ReidTransformer):
        return lambda images: _token_map(model, images)
    return lambda images: model.extract({"images": images, "camids": torch.zeros(1, dtype=torch.int64)})


def _hog_map(model: HOG, images: torch.Tensor) -> torch.Tensor:
    cells = F.adaptive_avg_pool2d(model._gradients(images.float().mean(dim=1, keepdim=True) / 255), model.cells)
    around = F.unfold(cells, kernel_size=3, padding=1)
    return around.unflatten(2, cells.shape[2:])


def _token_map(model: Baseline, images: torch.Tensor) -> torch.Tensor:
    """The tokens of the patches behind the last norm; the backbone itself goes on with the class token alone."""
    seen: dict[str, torch.Tensor] = {}
    backbone = model.backbone
    hooks = [
        backbone.patch_embed.register_forward_hook(lambda _module, _args, out: seen.update(patches=out)),
        backbone.norm.register_forward_hook(lambda _module, _args, out: seen.update(tokens=out)),
    ]
    try:
        model.extract({"images": images, "camids": torch.zeros(1, dtype=torch.int64)})
    finally:
        for hook in hooks:
            hook.remove()
    return seen["tokens"][:, 1:].transpose(1, 2).unflatten(2, tuple(seen["patches"].shape[1:3]))
