"""Query images and texts to the vectors that an index is searched with."""

import functools
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import yaml
from PIL import Image

from fastreid.config import CfgNode, get_cfg
from fastreid.data.feature_file import identity_of
from fastreid.data.images import as_page
from fastreid.data.transforms import build_transforms
from fastreid.engine.acceleration import accelerated
from fastreid.engine.commands import load_model
from fastreid.engine.feature_maps import FeatureMaps, enlarged
from fastreid.engine.text_side import TextSide
from fastreid.evaluation.evaluator import forward

if TYPE_CHECKING:
    from fastreid.index.base import IndexInfo

logger = logging.getLogger(__name__)

PICTURE = 480  # pixels
PLAIN = 16  # grey values that differ by less are one
BUILDERS = {"resnet": "ResNet", "resnext": "ResNeXt", "resnest": "ResNeSt", "osnet": "OSNet", "vit": "ViT"}


class QueryEncoder:
    """Vectors of images (and of texts) from the model that made those of an index.

    Images go through the model one at a time. So a vector depends on its image alone, to the last bit, whatever is
    encoded with it or beside it: it is that of ``DefaultPredictor.from_files(paths, batch_size=1)`` on this machine
    with this number of threads. An evaluation works in batches, whose sums some layers round in another order.

    It may be used by several threads; the model runs for one of them at a time.

    Args:
        cfg: the model, ``MODEL.WEIGHTS`` (or what a training left in ``OUTPUT_DIR``), ``INPUT``, ``TEST.FLIP`` and
            ``TEST.INFERENCE``.

    Attributes:
        identity: what made the vectors, see :func:`fastreid.data.feature_file.identity_of`.
        dim: length of a vector.
        name: of the model, for people: "Baseline, ResNet-50x".
        weights_path: absolute path of the file of the weights; "" for a model without.

    Raises:
        FileNotFoundError, ValueError: as :func:`fastreid.engine.commands.load_model`.
    """

    def __init__(self, cfg: CfgNode):
        from fastreid.engine.defaults import DefaultTrainer

        self.cfg = cfg.clone()
        self.cfg.freeze()
        model = load_model(self.cfg, DefaultTrainer).eval()
        self.model = accelerated(model, self.cfg)
        source = getattr(model, "weights_source", "")
        self.weights_path = str(Path(source).absolute()) if source and "://" not in source else source
        self._transforms = build_transforms(self.cfg, is_train=False)
        self._flip, self._lock = self.cfg.TEST.FLIP.ENABLED, threading.Lock()
        self.identity = identity_of(self.cfg, self.model, self._flip)
        self.name = name_of(self.cfg)
        self.dim = self._features(self._tensor(_lines())).shape[1]
        self._maps = FeatureMaps.of(model, self.cfg, self._page(_lines()))

    @classmethod
    def of_index(cls, info: "IndexInfo", opts: Sequence[str] = ()) -> "QueryEncoder":
        """Build the encoder that an index was made with: of its config and the place where the weights lay.

        Args:
            opts: KEY VALUE pairs over its config, such as ``("MODEL.WEIGHTS", "model.pth")`` or ``("MODEL.DEVICE",
                "cuda")``. Plug-ins of the config, which are code, are loaded only if they are named here too.

        Raises:
            ValueError: the index does not say which model made it, or its config is damaged.
            FileNotFoundError: there are no weights where they lay.
            OtherModel: another model, or other input settings, than those that made the vectors.
        """
        encoder = cls(config_of(info, opts))
        info.check_model(encoder.identity)
        return encoder

    def encode(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return the features of images, float32 (n, D), not normalised: those of an evaluation of their files.

        Args:
            images: as ``read_image`` or ``open_query_image`` give them; any other mode is brought there.

        Raises:
            ValueError: an image is blank, or has a feature that is zero, NaN or infinite; its number is named.
        """
        features = np.empty((len(images), self.dim), np.float32)
        for number, image in enumerate(images):
            page = self._page(image)
            low, high = page.convert("L").getextrema()
            if high - low < PLAIN:
                raise ValueError(f"query image {number + 1} is blank: there is nothing to search for")
            features[number] = self._features(self._transforms(page))[0]
            if not np.isfinite(features[number]).all():
                raise ValueError(f"query image {number + 1}: its feature is NaN or infinite")
            if not features[number].any():
                raise ValueError(f"query image {number + 1}: the model finds nothing in it, its feature is zero")
        return features

    @functools.cached_property
    def _text(self) -> TextSide:
        return TextSide(self.cfg, self.dim, self.weights_path)

    @property
    def has_text(self) -> bool:
        """Whether texts can be searched for: see :class:`fastreid.engine.text_side.TextSide`."""
        with self._lock:
            return self._text.encoder is not None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts in the space of the images, float32 (n, D), of unit length.

        Raises:
            TypeError: a single text.
            ValueError: an empty text, or the model has no text side; the message says why.
        """
        with self._lock:
            return self._text.encode(texts)

    @property
    def has_patches(self) -> bool:
        """Whether the model has a feature map with places, so that patches of two images can be compared."""
        return self._maps is not None

    def feature_map(self, image: Image.Image) -> tuple[Image.Image, np.ndarray]:
        """Return what the patches of an image are compared by.

        Returns:
            the image after all transforms, mode L or RGB, as the network sees it; and a vector for each patch of it,
            float32 (h, w, C).

        Raises:
            ValueError: the model has no such map.
        """
        if self._maps is None:
            raise ValueError(f"{self.name} has no feature map: it gives one vector for the whole image")
        tensor = self._maps.transforms(self._page(image))
        with self._lock, torch.inference_mode():
            found = self._maps(tensor[None])[0]
        return picture_of(tensor), np.ascontiguousarray(found.float().cpu().permute(1, 2, 0).numpy())

    def picture(self, image: Image.Image, side: int = PICTURE) -> Image.Image:
        """Return what the network sees of an image, for people: larger, and with lines that can be seen.

        Args:
            side: of the picture, at least, in pixels; about, where the images have no fixed size.
        """
        largest = max(self.cfg.INPUT.SIZE_TEST)
        cfg = enlarged(self.cfg, max(1.0, side / largest) if largest > 0 else 1)
        cfg.defrost()
        cfg.INPUT.THICKEN.ENABLED, cfg.INPUT.THICKEN.SIZE = True, 0
        return picture_of(build_transforms(cfg, is_train=False)(self._page(image)))

    def _page(self, image: Image.Image) -> Image.Image:
        return as_page(image, self.cfg.INPUT.GRAYSCALE, 1 if self.cfg.INPUT.CHANNELS == 1 else None)

    def _tensor(self, image: Image.Image) -> torch.Tensor:
        return self._transforms(self._page(image))

    def _features(self, tensor: torch.Tensor) -> np.ndarray:
        """The features, float32 (1, D), of a prepared image (C, H, W)."""
        batch = {"images": tensor[None], "camids": torch.zeros(1, dtype=torch.int64)}  # cameras: as build_file_loader
        with self._lock, torch.inference_mode():
            return forward(self.model, batch, self._flip).float().cpu().numpy()


def picture_of(tensor: torch.Tensor) -> Image.Image:
    """Return a prepared image (1 or 3, H, W) in 0..255 as mode L or RGB."""
    values = tensor.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def config_of(info: "IndexInfo", opts: Sequence[str] = ()) -> CfgNode:
    """Return the frozen config of the model of an index; see :meth:`QueryEncoder.of_index`."""
    if not info.config:
        raise ValueError("the index does not say which model made it: name its config with --config-file")
    try:
        values = yaml.safe_load(info.config)
    except yaml.YAMLError as error:
        raise ValueError(f"the config in the index is not valid YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"the config in the index must hold a mapping of keys; it holds a {type(values).__name__}")
    values, pairs = dict(values), list(zip(opts[::2], opts[1::2], strict=False))
    cfg = get_cfg()
    cfg.merge_from_list([item for pair in pairs if pair[0] == "PLUGINS" for item in pair])
    strange = [name for name in values.pop("PLUGINS", None) or () if name not in cfg.PLUGINS]
    if strange:
        raise ValueError(
            f"the model of the index needs the plug-in {strange[0]}, which is code: allow it with PLUGINS {strange[0]}"
        )
    cfg.merge_from_other_cfg(values)
    cfg.MODEL.WEIGHTS = info.weights_path or cfg.MODEL.WEIGHTS
    cfg.merge_from_list(
        [item for pair in pairs if pair[0] != "PLUGINS" for item in pair] + list(opts[2 * len(pairs) :])
    )
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not Path(weights).expanduser().is_file():
        raise FileNotFoundError(
            f"the weights of the index's model are not at {weights}: name the file, MODEL.WEIGHTS FILE"
        )
    cfg.freeze()
    return cfg


def name_of(cfg: CfgNode) -> str:
    """Return the name of a model for people: "HOG", "Baseline, ResNet-50x", "ImageText, efficientnet_b0"."""
    from fastreid.modeling.meta_arch import is_descriptor

    architecture, backbone = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE
    if is_descriptor(architecture):
        return architecture
    kind = backbone.NAME.removeprefix("build_").removesuffix("_backbone")
    if kind == "timm":
        return f"{architecture}, {backbone.DEPTH}"
    return f"{architecture}, {BUILDERS.get(kind, kind)}-{backbone.DEPTH}"


def _lines() -> Image.Image:
    """An image that any model gives a feature: the length of the vectors is not known otherwise."""
    values = np.full((64, 64), 255, np.uint8)
    values[12:52:10, 8:56] = values[8:56, 12:52:10] = 0
    return Image.fromarray(values)
