"""Loaders: what training and evaluation iterate over."""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fastreid.config import configurable
from fastreid.data.cameras import require_embeddings, with_cameras_of_training
from fastreid.data.common import CommDataset
from fastreid.data.datasets import build_dataset
from fastreid.data.image_cache import ImageCache, Preparation, open_image_cache
from fastreid.data.images import read_image
from fastreid.data.loader import ReidLoader, StreamBatches
from fastreid.data.records import Record, as_record
from fastreid.data.samplers import InferenceSampler, build_train_sampler
from fastreid.data.text_bank import open_text_bank
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.bytes import ByteTransforms
from fastreid.utils import comm
from fastreid.utils.errors import require_choice
from fastreid.utils.files import data_root

logger = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    if name == "_root":  # fast-reid's name for the data root; read when asked for, not at import
        return str(data_root())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _train_from_cfg(
    cfg, *, train_set: CommDataset | None = None, transforms: Callable | None = None, sampler: Iterable | None = None,
    **kwargs,
) -> dict[str, Any]:  # fmt: skip
    batch, seed = cfg.SOLVER.IMS_PER_BATCH, cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    if train_set is None:
        train_set = _dataset(cfg, *_training_data(cfg, **kwargs), transforms, is_train=True)
        require_embeddings(cfg.MODEL.BACKBONE.NUM_CAMERAS, train_set.cams)
    if sampler is None:
        sampler = build_train_sampler(cfg, _items_of(train_set), per_process(batch), seed)
        logger.info("Training sampler: %s", cfg.DATALOADER.SAMPLER_TRAIN)
    return {
        "train_set": train_set, "sampler": sampler, "total_batch_size": batch,
        "num_workers": cfg.DATALOADER.NUM_WORKERS, "seed": seed,
    }  # fmt: skip


def _items_of(train_set) -> Sequence:
    """What samplers choose from; a data set from outside without ``img_items`` has positions only."""
    return getattr(train_set, "img_items", range(len(train_set)))


@configurable(from_config=_train_from_cfg)
def build_reid_train_loader(
    train_set: CommDataset, *, sampler: Iterable, total_batch_size: int, num_workers: int = 0, seed: int = 0
) -> ReidLoader:
    """Build the training loader: ``build_reid_train_loader(cfg)``, or with the arguments below.

    Its batches are an endless stream that depends on the seed and the number of processes alone: not on the number of
    workers, and not on where it was entered with ``loader.skip(num_batches)``. Keyword arguments beside ``cfg`` go to
    the data sets (``combineall``...).

    Args:
        sampler: indices of this process.
        total_batch_size: images per batch over all processes.

    Raises:
        ValueError: the batch does not divide among the processes, or does not suit the sampler.
    """
    batches = StreamBatches(sampler, per_process(total_batch_size), seed, comm.get_rank())
    return ReidLoader(
        train_set,
        batch_sampler=batches,
        epoch_length=max(1, len(train_set) // total_batch_size),
        persistent_workers=num_workers > 0,
        **_loader_options(num_workers, seed),
    )


def _test_from_cfg(
    cfg, *, dataset_name: str | None = None, test_set: CommDataset | None = None, num_query: int = 0,
    transforms: Callable | None = None, **kwargs,
) -> dict[str, Any]:  # fmt: skip
    if test_set is None:
        if dataset_name is None:
            raise ValueError("build_reid_test_loader(cfg) needs dataset_name or test_set")
        data = build_dataset(cfg, dataset_name, **kwargs)
        query, gallery = list(data.query), list(data.gallery)
        _require_records(query, "query", dataset_name)
        if comm.is_main_process():
            data.show_test()
        names, num_query = getattr(data, "attributes", ()), len(query)
        records = query + gallery
        if cfg.MODEL.BACKBONE.NUM_CAMERAS > 0:
            own = dataset_name in cfg.DATASETS.NAMES
            records = with_cameras_of_training(records, train_records(cfg), (dataset_name, data.name), own)
        test_set = _dataset(cfg, records, names, transforms, is_train=False)
        test_set.name, test_set.relevance_known = dataset_name, getattr(data, "relevance_known", True)
    return {
        "test_set": test_set, "test_batch_size": cfg.TEST.IMS_PER_BATCH, "num_query": num_query,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }  # fmt: skip


@configurable(from_config=_test_from_cfg)
def build_reid_test_loader(
    test_set: CommDataset, test_batch_size: int, num_query: int, num_workers: int = 4
) -> tuple[ReidLoader, int]:
    """Build a test loader, queries first, and return it with the number of queries.

    ``build_reid_test_loader(cfg, dataset_name="Market1501")``, or with the arguments below. Every record is read once,
    in order; several processes have contiguous shares. With ``DATALOADER.ON_BAD_IMAGE: skip`` a bad image keeps its row
    as a white page, and is counted in ``loader.bad_images`` and reported after the last batch.

    Args:
        test_batch_size: images per batch over all processes.
    """
    loader = ReidLoader(
        test_set,
        batch_size=max(1, test_batch_size // comm.get_world_size()),
        sampler=InferenceSampler(len(test_set)),
        **_loader_options(num_workers, seed=0),
    )
    return loader, num_query


def build_file_loader(cfg, paths: Sequence[str | os.PathLike], batch_size: int | None = None) -> ReidLoader:
    """Build a loader of image files, read as a test loader reads them; this process gets all of them, in order.

    ``DATALOADER.CACHE`` is not asked: such files are mostly read once.

    Args:
        batch_size: images per batch; default ``TEST.IMS_PER_BATCH``.

    Raises:
        TypeError: ``paths`` is a single path.
        ValueError: ``paths`` is empty, or ``batch_size`` below 1.
    """
    if isinstance(paths, (str, os.PathLike)):
        raise TypeError(f"paths must be a list of paths; got the single path {os.fspath(paths)!r}")
    batch_size = cfg.TEST.IMS_PER_BATCH if batch_size is None else batch_size
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}")
    records = [Record(os.fspath(path), 0, 0) for path in paths]
    if not records:
        raise ValueError("paths is empty: at least one image file is needed")
    if cfg.MODEL.BACKBONE.NUM_CAMERAS > 0:
        logger.warning("MODEL.BACKBONE.NUM_CAMERAS: the cameras of these files are unknown; each counts as camera 0")
    files = _dataset(cfg, records, (), None, is_train=False, cached=False)
    workers = cfg.DATALOADER.NUM_WORKERS if len(records) > batch_size else 0  # one batch is read faster than they start
    return ReidLoader(files, batch_size=batch_size, **_loader_options(workers, seed=0))


def train_records(cfg, **kwargs) -> list[Record]:
    """Training records of all ``DATASETS.NAMES``; where several are joined, none shares an identity with another."""
    return _training_data(cfg, **kwargs)[0]


def _training_data(cfg, **kwargs) -> tuple[list[Record], tuple[str, ...]]:
    """Training records and the names of their attributes."""
    kwargs.setdefault("combineall", cfg.DATASETS.COMBINEALL)
    records: list[Record] = []
    attributes: dict[str, tuple[str, ...]] = {}
    for name in cfg.DATASETS.NAMES:
        data = build_dataset(cfg, name, **kwargs)
        items = [as_record(item) for item in data.train]
        _require_records(items, "training", name)
        if comm.is_main_process():
            data.show_train()
        records += [_own_labels(item, name) for item in items] if len(cfg.DATASETS.NAMES) > 1 else items
        attributes[name] = tuple(getattr(data, "attributes", ()))
    if len(set(attributes.values())) > 1:
        counts = ", ".join(f"{name} has {len(names)}" for name, names in attributes.items())
        raise ValueError(f"DATASETS.NAMES joins data sets whose attributes differ: {counts}")
    return records, next(iter(attributes.values()), ())


def _own_labels(record: Record, name: str) -> Record:
    """Integers of two data sets mean different identities; strings carry their data set already."""
    pid = record.pid if isinstance(record.pid, str) else f"{name}_{record.pid}"
    camid = record.camid if isinstance(record.camid, str) else f"{name}_{record.camid}"
    return replace(record, pid=pid, camid=camid)


def _require_records(records: list, part: str, name: str) -> None:
    if not records:
        hint = "" if part == "training" else ": where it serves for training only, take it out of DATASETS.TESTS"
        raise ValueError(f"The {part} part of data set '{name}' is empty{hint}")


def _dataset(
    cfg, records: list[Record], attributes: Sequence[str], transforms: Callable | None, is_train: bool,
    cached: bool = True,
) -> CommDataset:  # fmt: skip
    policy = cfg.DATALOADER.ON_BAD_IMAGE
    require_choice("DATALOADER.ON_BAD_IMAGE", policy, ("error", "skip"))
    bank = open_text_bank(cfg) if is_train else None
    replacing = "white" if policy == "skip" and not is_train else policy
    if cached and cfg.DATALOADER.CACHE.DIR and transforms is not None:
        logger.warning("DATALOADER.CACHE does nothing here: it does not know what the given transforms begin with")
    if cached and cfg.DATALOADER.CACHE.DIR and transforms is None:
        reader, transforms = _cached(cfg, [record.path for record in records], is_train)
    else:
        # grey images stay one plane until they are tensors, which is three times less work and the same result
        channels = 1 if cfg.INPUT.CHANNELS == 1 else None
        reader = functools.partial(read_image, grayscale=cfg.INPUT.GRAYSCALE, channels=channels)
        transforms = transforms or build_transforms(cfg, is_train)
    return CommDataset(records, transforms, is_train, reader, replacing, attributes, bank)


def _cached(cfg, paths: Sequence[str], is_train: bool) -> tuple[ImageCache, ByteTransforms]:
    """Return reader and transforms of images that are read from the image cache; it is filled first."""
    prepare = Preparation.of(cfg, is_train)
    workers = cfg.DATALOADER.NUM_WORKERS * comm.get_local_size()  # as many as the loaders of this machine will have
    cache = open_image_cache(cfg.DATALOADER.CACHE.DIR, prepare, paths, workers, cfg.DATALOADER.ON_BAD_IMAGE)
    return cache, ByteTransforms(build_transforms(cfg, is_train, prepared=True), 1 if prepare.gray else 3)


def per_process(total_batch_size: int) -> int:
    """Images per batch of one process; ``ValueError`` when the batch does not divide among the processes."""
    size, rest = divmod(total_batch_size, comm.get_world_size())
    if rest or size < 1:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH must be a multiple of the number of processes; got {total_batch_size} "
            f"and {comm.get_world_size()}"
        )
    return size


def _loader_options(num_workers: int, seed: int) -> dict[str, Any]:
    # a generator of its own: starting an iterator must not move the global one, which a resumed run restores
    return {
        "num_workers": num_workers,
        "collate_fn": fast_batch_collator,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": _seed_worker,
        "generator": torch.Generator().manual_seed(seed),
    }


def _seed_worker(worker_id: int) -> None:
    """Seed NumPy's generator too, so that workers differ for data sets read without a ``StreamItem``."""
    np.random.seed(torch.initial_seed() % 2**32)


def trivial_batch_collator(batch: list) -> list:
    """Return the items as they are."""
    return batch


def fast_batch_collator(batch: list[dict[str, Any]]) -> dict[str, Any]:
    """Join items to a batch: tensors are stacked, numbers become int64 or float64 tensors, anything else a list.

    Raises:
        ValueError: tensors that differ in shape.
    """
    bad = [message for item in batch for message in item.get("bad_images", ())] if isinstance(batch[0], dict) else []
    joined = _collate([{k: v for k, v in item.items() if k != "bad_images"} for item in batch] if bad else batch)
    return {**joined, "bad_images": bad} if bad else joined


def _collate(values: list) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        return _stack(values)
    if isinstance(first, dict):
        return {key: _collate([value[key] for value in values]) for key in first}
    if isinstance(first, (bool, int, np.integer, np.bool_)):
        return torch.as_tensor([int(value) for value in values], dtype=torch.int64)
    if isinstance(first, (float, np.floating)):
        return torch.as_tensor([float(value) for value in values], dtype=torch.float64)
    if isinstance(first, np.ndarray):
        return _stack([torch.as_tensor(value) for value in values])
    return values


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    if len(shapes) > 1:
        raise ValueError(
            f"A batch cannot hold images of several sizes, here {shapes[0]} and {shapes[-1]}: let INPUT.SIZE_TRAIN and "
            "SIZE_TEST have two numbers, or INPUT.RESIZE.MODE be 'letterbox' or 'crop', or take batches of one image"
        )
    return torch.stack(tensors)
