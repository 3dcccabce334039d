"""From images to feature files, without doing it twice."""

import logging
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastreid.data.feature_file import FeatureFile, StaleFeatures, fingerprint_of
from fastreid.engine.acceleration import accelerated
from fastreid.engine.sharded_extraction import extract_in_shards
from fastreid.evaluation.collector import FeatureCollector, require_gallery
from fastreid.evaluation.evaluator import inference_on_dataset
from fastreid.evaluation.frequency import with_frequency
from fastreid.evaluation.results import features_path
from fastreid.utils import comm

logger = logging.getLogger(__name__)


def extract_features(
    model: nn.Module,
    loader,
    num_query: int,
    flip: bool = False,
    amp_dtype: torch.dtype | None = None,
    progress: bool = True,
    fingerprint: dict | None = None,
) -> FeatureFile | None:
    """Run ``model`` over a test loader (queries, then gallery) and return the features.

    Args:
        flip: average the features of an image and of its left-right mirror image.
        amp_dtype: run the model under autocast in this type.
        progress: show a bar on a terminal.
        fingerprint: stored in the file, see :func:`fastreid.data.feature_file.fingerprint_of`.

    Returns:
        the feature file in the main process, ``None`` in the others (each runs its shard of the images).

    Raises:
        ValueError: a feature is NaN or infinite (names the images), or the loader is out of order.
    """
    collector = FeatureCollector(num_query, fingerprint=fingerprint)
    features = inference_on_dataset(model, loader, collector, flip, amp_dtype, progress)
    return features if isinstance(features, FeatureFile) else None


def load_if_fresh(path: str | os.PathLike, fingerprint: dict, mapped: bool = False) -> FeatureFile | None:
    """Return the feature file at ``path`` when it has this fingerprint; otherwise say why not and return ``None``."""
    if not Path(path).exists():
        return None
    try:
        features = FeatureFile.load(path, mapped)
        features.check(fingerprint)
    except StaleFeatures as error:
        logger.info("%s is not used: %s", path, error)
        return None
    except ValueError as error:
        logger.warning("%s. It is made again", error)
        return None
    logger.info("Features of %d images are read from %s", len(features), path)
    return features


def load_features(path: str | os.PathLike, mapped: bool = False) -> FeatureFile:
    """Read a feature file as it is, and say whose features these are: without model and images nothing checks that.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no feature file, or one without queries or without gallery images.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"No such feature file: '{path}'")
    features = FeatureFile.load(path, mapped)
    if not 0 < features.num_query < len(features):
        missing, all_are = ("gallery images", "queries") if features.num_query else ("queries", "gallery images")
        raise ValueError(f"{path} has no {missing}: its {len(features)} rows are all {all_are}")
    logger.info("Features of %d images are taken from %s unchecked: %s", len(features), path, origin_of(features))
    return features


def origin_of(features: FeatureFile) -> str:
    """Say of what features were made, hashes by their first digits."""
    made = features.fingerprint
    parts = {"dataset": made.get("dataset"), **{name: str(made.get(name, ""))[:12] for name in ("weights", "images")}}
    said = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
    return f"made of {said}" if said else "the file does not say of what they were made"


def cached_features(
    cfg,
    model: nn.Module,
    loader,
    num_query: int,
    dataset_name: str,
    output_dir: str | os.PathLike,
    reuse: bool = True,
) -> FeatureFile | None:
    """As :func:`extract_features`, kept in ``output_dir/features`` and read from there while it is fresh.

    So a change of post-processing or metric needs no second pass over the images. ``None`` off the main process.
    With ``TEST.SHARD_SIZE`` the features are extracted in parts and mapped from the file.

    Args:
        reuse: False extracts anew although there is a fresh file; parts of an extraction that was stopped with the very
            same weights still count.
    """
    require_gallery(loader.dataset, num_query)
    path, flip = features_path(output_dir, dataset_name), cfg.TEST.FLIP.ENABLED
    features, fingerprint, in_parts = None, None, cfg.TEST.SHARD_SIZE > 0
    if comm.is_main_process():
        fingerprint = fingerprint_of(cfg, model, loader.dataset.records, num_query, dataset_name, flip)
        features = load_if_fresh(path, fingerprint, mapped=in_parts) if reuse else None
        if features is not None:
            features = _completed(cfg, features, path)
    if any(comm.all_gather(features is not None)):
        return features
    model = accelerated(model, cfg)
    if in_parts:
        fingerprint = comm.all_gather(fingerprint)[0]
        size, batch = cfg.TEST.SHARD_SIZE, cfg.TEST.IMS_PER_BATCH
        extract_in_shards(model, loader, path, num_query, fingerprint, size, batch, flip)
        return _completed(cfg, FeatureFile.load(path, mapped=True), path) if comm.is_main_process() else None
    features = extract_features(model, loader, num_query, flip, fingerprint=fingerprint)
    if features is not None:
        features = with_frequency(cfg, features)
        features.save(path)
        logger.info("Features of %d images are kept in %s", len(features), path)
    return features


def _completed(cfg, features: FeatureFile, path: Path) -> FeatureFile:
    """Features read from ``path`` with what follows from the training set of today, which is kept there too."""
    completed = with_frequency(cfg, features)
    if completed is not features and not np.array_equal(
        completed.columns["frequency"], features.columns.get("frequency", ())
    ):
        completed.save(path)
    return completed
