"""ORB local features of drawings, gathered into one vector per image."""

import logging
from collections.abc import Iterable

import numpy as np
import torch

from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.descriptor import FittedDescriptor
from fastreid.modeling.meta_arch.visual_words import inverse_document_frequency, learn_vocabulary, tf_idf, vlad
from fastreid.utils.errors import require_choice, require_whole

logger = logging.getLogger(__name__)

BITS = 256  # of an ORB descriptor


@META_ARCH_REGISTRY.register(node="MODEL.ORB")
class ORB(FittedDescriptor):
    """ORB keypoints (Rublee et al., ICCV 2011; OpenCV's) described by a vocabulary learnt from training images.

    Descriptors count as vectors of 256 zeros and ones, whose Euclidean distance orders like the Hamming distance. An
    image without keypoints has a vector of zeros; such images are counted in the log.

    Args:
        encoding: "vlad" (``words`` * 256 values) or "tf-idf" (``words`` values). One file of weights serves both.
        words: size of the vocabulary.
        keypoints: the strongest that are kept of an image.
        patch: side of what a descriptor sees of the image at full resolution, pixels; also the border without
            keypoints.
        fit_images: training images, drawn by ``SEED``, that the vocabulary is learnt from; 0: all.
    """

    def __init__(
        self, encoding: str = "vlad", words: int = 64, keypoints: int = 500, patch: int = 31, fit_images: int = 1000
    ):
        super().__init__()
        require_choice("MODEL.ORB.ENCODING", encoding, ("vlad", "tf-idf"))
        self.encoding = encoding
        self.keypoints = require_whole("MODEL.ORB.KEYPOINTS", keypoints, 1)
        self.patch = require_whole("MODEL.ORB.PATCH", patch, 2)
        self.fit_images = require_whole("MODEL.ORB.FIT_IMAGES", fit_images, 0)
        words = require_whole("MODEL.ORB.WORDS", words, 1)
        self.register_buffer("vocabulary", torch.full((words, BITS), torch.nan))
        self.register_buffer("idf", torch.full((words,), torch.nan))
        self.without_keypoints = 0
        _opencv()  # missing: say so before anything is read

    def fit(self, batches: Iterable[torch.Tensor], seed: int) -> None:
        """Learn vocabulary and word weights; ``ValueError`` where the images have too few keypoints for it."""
        images = [bits for batch in batches for bits in self._local_features(batch)]
        vocabulary = learn_vocabulary(_as_float(np.concatenate(images)), len(self.vocabulary), seed)
        self.vocabulary.copy_(vocabulary)
        self.idf.copy_(inverse_document_frequency([_as_float(bits) for bits in images], vocabulary))
        found = sum(map(len, images))
        logger.info("%d words learnt from %d keypoints of %d images", len(vocabulary), found, len(images))

    def describe(self, grey: torch.Tensor) -> torch.Tensor:
        """Return (B, words * 256) or (B, words).

        Raises:
            ValueError: there is no vocabulary yet.
        """
        if self.vocabulary.isnan().any():
            raise ValueError(
                "ORB has no vocabulary yet: `tools/train_net.py --config-file F` (without --eval-only) learns it from "
                "the training images and writes model_final.pth into OUTPUT_DIR; or name such a file in MODEL.WEIGHTS"
            )
        local = self._local_features(grey)
        blank = sum(len(bits) == 0 for bits in local)
        self.without_keypoints += blank
        if blank:
            logger.warning("%d images without ORB keypoints so far; their features are zeros", self.without_keypoints)
        return torch.stack([self._encode(_as_float(bits).to(self.idf)) for bits in local])

    def _encode(self, descriptors: torch.Tensor) -> torch.Tensor:
        if self.encoding == "vlad":
            return vlad(descriptors, self.vocabulary)
        return tf_idf(descriptors, self.vocabulary, self.idf)

    def _local_features(self, grey: torch.Tensor) -> list[np.ndarray]:
        """Return the descriptors of each image, uint8 (N, 32), eight bits to a number."""
        # made anew for each batch: OpenCV's objects cannot be copied with a model
        detector = _opencv().ORB_create(nfeatures=self.keypoints, edgeThreshold=self.patch, patchSize=self.patch)
        images = grey.round().clamp(0, 255).to("cpu", torch.uint8).numpy()
        found = [detector.detectAndCompute(np.ascontiguousarray(image), None)[1] for image in images]
        return [np.empty((0, BITS // 8), np.uint8) if bits is None else bits for bits in found]


def _as_float(bits: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(bits, axis=1)).float()


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise ImportError("ORB needs OpenCV: pip install '.[local]' from the checkout", name="cv2") from error
    return cv2
