"""The image cache: each image is decoded and prepared once, and read from a memory-mapped store ever after.

Kept is what is done to an image without chance: ``read_image``, the ink crop, the thickening and the resizing.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fastreid.data.area import decode_reduced
from fastreid.data.image_store import (
    DamagedImage,
    ImageStore,
    Lookup,
    as_digests,
    digest,
    remove_unfinished,
    write_part,
)
from fastreid.data.images import BadImage, read_image
from fastreid.data.sources import FileState, read_bytes, state_of
from fastreid.data.transforms.build import PREPARE, TRANSFORM_REGISTRY, build_preparation
from fastreid.data.transforms.geometry import Letterbox, Resize, ResizeCrop
from fastreid.utils.files import atomic_write, expand, hold_lock

logger = logging.getLogger(__name__)

FORMAT = 1
PART_IMAGES = 1024  # of a part at most; a kill loses as many in each process
PARTS_PER_WORKER = 4  # at least, so that all end about together
SECONDS_PER_REPORT = 30


@dataclass(frozen=True)
class Preparation:
    """What is kept of an image.

    Args:
        settings: all that decides the result, as plain JSON values; another one is another folder.
        transform: PIL image to PIL image.
        gray: images have one plane; otherwise grey ones have one and coloured ones three.
        grayscale: colours are turned into grey.
        reduce: the resizing, where nothing stands before it and it may be done while an image is decoded.
    """

    settings: dict[str, Any]
    transform: Callable[[Image.Image], Image.Image]
    gray: bool
    grayscale: bool
    reduce: Resize | Letterbox | ResizeCrop | None = None

    @classmethod
    def of(cls, cfg, is_train: bool = True) -> "Preparation":
        """Read the config. ``SCALE`` holds for training; evaluation sees what it would see without a cache."""
        scale = cfg.DATALOADER.CACHE.SCALE
        if not scale >= 1:
            raise ValueError(f"DATALOADER.CACHE.SCALE must be at least 1, the input size; got {scale}")
        size = [math.ceil(scale * side) for side in cfg.INPUT.SIZE_TRAIN] if is_train else list(cfg.INPUT.SIZE_TEST)
        whole = cfg.INPUT.RESIZE.MODE == "crop" and cfg.INPUT.RANDOM_CROP.ENABLED
        nodes = {name: TRANSFORM_REGISTRY.node(name) for name in PREPARE}
        gray = cfg.INPUT.CHANNELS == 1 or cfg.INPUT.GRAYSCALE
        settings = {
            "format": FORMAT, "size": size, "gray": gray, "resize": dict(cfg.INPUT.RESIZE), "whole": whole,
            **{node: dict(cfg.get_node(node)) for node in nodes.values() if cfg.get_node(node).ENABLED},
        }  # fmt: skip
        transform = build_preparation(cfg, size)
        resize = transform.transforms[-1]
        reduce = resize if resize.filter == "area" and len(transform.transforms) == 1 else None
        return cls(settings, transform, gray, cfg.INPUT.GRAYSCALE, reduce)

    @property
    def name(self) -> str:
        """Name of the folder: the size and a digest of all settings."""
        text = json.dumps(self.settings, sort_keys=True)
        size = "x".join(map(str, self.settings["size"]))
        return f"{'gray' if self.gray else 'colour'}-{size}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def __call__(self, path: str, source: str | None = None, content: bytes | None = None) -> Image.Image:
        """Read and prepare an image file; raises ``BadImage``."""
        if content is not None and self.reduce and (image := decode_reduced(content, self.reduce.target_of)):
            return self.transform(image)
        return self.transform(read_image(path, self.grayscale, 1 if self.gray else None, source, content))


class ImageCache:
    """Reads the prepared images of some files, out of the store where they are in it, else from the files themselves.

    Args:
        states: of the files; one that has changed since it was stored is not read from the store.
    """

    def __init__(self, store: ImageStore, prepare: Preparation, states: Sequence[FileState]):
        self.store, self.prepare = store, prepare
        rows = store.find_files(as_digests(state.key for state in states))
        stored = np.flatnonzero(rows >= 0)
        self._paths = Lookup(as_digests(_path_key(states[number].path) for number in stored))
        self._rows = rows[stored]
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        """The number of files whose images are in the store."""
        return len(self._rows)

    def __call__(self, path: str, source: str | None = None) -> np.ndarray:
        """Return the prepared image of a file, uint8 (H, W) or (H, W, 3), read-only.

        Raises:
            BadImage: it is not in the store, and cannot be read.
        """
        place = self._paths.find(_path_key(path))
        if place >= 0 and (row := int(self._rows[place])) not in self._damaged:
            try:
                return self.store.read(row)
            except DamagedImage as error:
                self._damaged.add(row)
                logger.warning("%s; %s is decoded again (fastreid cache-images --check mends it)", error, path)
        return np.asarray(self.prepare(path, source))


def open_image_cache(
    folder: str | os.PathLike, prepare: Preparation, paths: Sequence[str], workers: int = 0, on_bad_image: str = "error"
) -> ImageCache:
    """Open the cache below ``folder`` for these image files; what it lacks is decoded and stored first.

    Several processes may do so at once: one decodes, the others wait for it. A kill loses at most the parts that are
    being written.

    Args:
        workers: processes that decode; 0: this one.
        on_bad_image: "error", or else bad images are left out of the store.

    Raises:
        BadImage: an image cannot be read, and ``on_bad_image`` is "error".
        OSError: the disk is full, or the folder cannot be written.
    """
    folder = expand(os.fspath(folder)) / prepare.name
    paths = list(dict.fromkeys(paths))
    states = [state for state in map(state_of, paths) if state is not None]
    store = ImageStore(folder)
    if _missing(store, states):
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / "lock"):
            store = ImageStore(folder)  # another process may have filled it meanwhile
            if missing := _missing(store, states):
                _fill(store, prepare, missing, workers, on_bad_image)
                store = ImageStore(folder)
    cache = ImageCache(store, prepare, states)
    logger.info("Image cache %s: %d of %d images", folder, len(cache), len(paths))
    return cache


def remove_damaged(folder: str | os.PathLike, prepare: Preparation) -> list[str]:
    """Read every pixel of a cache, remove the parts that are damaged and return the names of their damaged images."""
    folder = expand(os.fspath(folder)) / prepare.name
    if not folder.exists():
        return []
    with hold_lock(folder / "lock"):
        damaged = list(ImageStore(folder).damaged())
        for part in {part for part, _ in damaged}:
            # the table first: pixels without a table are no part
            part.with_suffix(".npz").unlink()
            part.with_suffix(".pixels").unlink()
    return [name for _, name in damaged]


def _path_key(path: str) -> tuple[int, int]:
    return digest(os.fsencode(path))


def _missing(store: ImageStore, states: Sequence[FileState]) -> list[FileState]:
    rows = store.find_files(as_digests(state.key for state in states))
    return [states[number] for number in np.flatnonzero(rows < 0)]


def _fill(store: ImageStore, prepare: Preparation, missing: list[FileState], workers: int, on_bad_image: str) -> None:
    """Decode and store what is missing; the lock is held."""
    remove_unfinished(store.folder)
    with atomic_write(store.folder / "settings.json", "w") as file:
        json.dump(prepare.settings, file, indent=1)
    size = min(PART_IMAGES, math.ceil(len(missing) / (PARTS_PER_WORKER * max(1, workers))))
    parts = list(parts_of(missing, size))
    processes = min(workers, len(parts)) if len(parts) > 1 else 0
    logger.info("Image cache %s: %d images to decode, by %d processes", store.folder, len(missing), max(1, processes))
    # a generator of its own: what is random afterwards must not depend on whether the cache was full
    jobs = DataLoader(
        _Parts(store, prepare, parts, on_bad_image), None, num_workers=processes, generator=torch.Generator()
    )
    start = reported = time.monotonic()
    done, bad = 0, []
    for files, own_bad in jobs:
        done += files
        bad += own_bad
        if time.monotonic() - reported > SECONDS_PER_REPORT:
            reported = time.monotonic()
            logger.info("Image cache: %d of %d, %.0f per second", done, len(missing), done / (reported - start))
    if bad:
        logger.warning("The image cache leaves %d bad images out, the first: %s", len(bad), bad[0])


def parts_of(states: Sequence[FileState], size: int) -> Iterator[list[FileState]]:
    """Divide files into parts of about ``size`` so that equal files lie in the same part.

    Equal files have equal lengths, so a part ends where the length changes. Where more files than a part takes are of
    one length, they are read to be put in the order of their contents.
    """
    part: list[FileState] = []
    for _, group in itertools.groupby(sorted(states, key=lambda s: (s.size, s.path)), key=lambda s: s.size):
        group = list(group)
        if len(group) <= size:
            groups = [group]
        else:
            contents = {state.path: _content_of(state.path) for state in group}
            group.sort(key=lambda state: contents[state.path])
            groups = [list(equal) for _, equal in itertools.groupby(group, key=lambda s: contents[s.path])]
        for equal in groups:
            part += equal
            if len(part) >= size:
                yield part
                part = []
    if part:
        yield part


def _content_of(path: str) -> tuple[int, int]:
    try:
        return digest(read_bytes(path))
    except OSError:  # reported when it is to be decoded
        return 0, 0


class _Parts(Dataset):
    """Parts to store; reading item i stores part i and gives the number of its files and its bad images' messages."""

    def __init__(self, store: ImageStore, prepare: Preparation, parts: list[list[FileState]], on_bad_image: str):
        self.store, self.prepare, self.parts, self.on_bad_image = store, prepare, parts, on_bad_image

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> tuple[int, list[str]]:
        states, bad = self.parts[number], []
        name = hashlib.sha256(repr([state.key for state in states]).encode()).hexdigest()[:16]
        with write_part(self.store.folder, name) as part:
            for state in states:
                try:
                    self._store(part, state)
                except BadImage as error:
                    if self.on_bad_image == "error":
                        raise
                    bad.append(str(error))
        return len(states), bad

    def _store(self, part, state: FileState) -> None:
        try:
            data = read_bytes(state.path)
        except OSError as error:
            raise BadImage(f"Cannot read image {state.path}: {error}") from error
        content = digest(data)
        if not part.has(content) and self.store.find_content(content) < 0:
            part.add_image(content, np.asarray(self.prepare(state.path, content=data)), state.path)
        part.add_file(state.key, content)
