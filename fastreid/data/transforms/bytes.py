"""The pipeline on prepared images of an image cache: uint8 from end to end, where its steps allow."""

import numpy as np
import torch
from PIL import Image

from fastreid.data.transforms.build import Compose
from fastreid.data.transforms.geometry import Letterbox, Resize, ResizeCrop
from fastreid.data.transforms.transforms import ToTensor


class ByteTransforms:
    """From uint8 array (H, W) or (H, W, 3) to what ``transforms`` gives, as uint8 tensor where its steps allow.

    Random draws are those of ``transforms``. The tensor has ``planes`` planes, of which a model makes its channels (see
    ``TrainableModel.preprocess_image``); where a step behind ``ToTensor`` writes fractions, or transforms of plug-ins
    take part, it is the float32 tensor of ``transforms`` itself.

    Args:
        transforms: of ``build_transforms``.
        planes: 1 for grey images, 3 for images of which some are coloured.
    """

    def __init__(self, transforms: Compose, planes: int):
        steps, self.planes = transforms.transforms, planes
        cut = next(number for number, step in enumerate(steps) if isinstance(step, ToTensor))
        self._images, self._tensors = steps[:cut], steps[cut:]
        erasing = steps[cut + 2 :]  # what comes behind ToTensor and Channels
        self.gives_bytes = all(map(_is_known, steps)) and all(getattr(step, "keeps_bytes", False) for step in erasing)
        if self.gives_bytes:
            self._tensors = [self._planes, *erasing]

    def __call__(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        for step in self._images:
            if isinstance(image, np.ndarray):
                if _leaves(step, image):
                    continue
                if not getattr(step, "takes_arrays", False):
                    image = Image.fromarray(image)
            image = step(image)
        for step in self._tensors:
            image = step(image)
        return image

    def _planes(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        pixels = np.array(image)
        pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        tensor = torch.from_numpy(pixels)
        return tensor if len(tensor) == self.planes else tensor.repeat(self.planes, 1, 1)


def _is_known(step: object) -> bool:
    return type(step).__module__.partition(".")[0] in ("fastreid", "torchvision")


def _leaves(step: object, image: np.ndarray) -> bool:
    """Whether a step of resizing would return ``image`` as it is, without a random draw."""
    if not isinstance(step, (Resize, Letterbox, ResizeCrop)) or getattr(step, "random", False):
        return False
    return tuple(step.size) == image.shape[:2]
