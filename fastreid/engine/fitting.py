"""Models that learn from training images in one pass without gradients: vocabularies of local features."""

import logging
import random
from collections.abc import Iterator

import torch

from fastreid.data.build import build_file_loader, train_records
from fastreid.evaluation import verify_results
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer

logger = logging.getLogger(__name__)


def fit_model(cfg, trainer_class) -> dict:
    """Fit a :class:`FittedDescriptor`, write ``model_final.pth`` to ``OUTPUT_DIR``, evaluate and return the results.

    The images are drawn from ``DATASETS.NAMES`` by ``SEED`` and prepared as in evaluation.

    Raises:
        ValueError: run in several processes, too few local features, or ``TEST.EXPECTED_RESULTS`` are not reached.
    """
    if comm.get_world_size() > 1:
        raise ValueError(f"{cfg.MODEL.META_ARCHITECTURE} is fitted in one process: leave out --num-gpus")
    if cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS is not read: %s is fitted anew", cfg.MODEL.META_ARCHITECTURE)
    model = trainer_class.build_model(cfg).eval()
    model.fit(_grey_images(cfg, model.fit_images), max(cfg.SEED, 0))
    Checkpointer(model, cfg.OUTPUT_DIR).save("model_final")
    results = trainer_class.test(cfg, model)
    verify_results(cfg, results)
    return results


def _grey_images(cfg, count: int) -> Iterator[torch.Tensor]:
    """Yield batches (B, H, W) of ``count`` training images, or of all where these are fewer or ``count`` is 0."""
    paths = [record.path for record in train_records(cfg)]
    if 0 < count < len(paths):
        chosen = sorted(random.Random(max(cfg.SEED, 0)).sample(range(len(paths)), count))
        paths = [paths[i] for i in chosen]
    for batch in build_file_loader(cfg, paths):
        yield batch["images"].float().mean(dim=1)
