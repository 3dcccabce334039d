"""Features of a folder of images: the work of ``tools/demo.py``."""

import argparse
import glob
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastreid.utils.command import entry_point
from fastreid.utils.errors import nearest

logger = logging.getLogger(__name__)

FEATURES_FILE = "features.npz"
EXAMPLES = """
examples:
  a folder:   %(prog)s --config-file FILE --input figures --output features --opts MODEL.WEIGHTS FILE.pth
  a pattern:  %(prog)s --config-file FILE --input 'figures/**/*.png' --opts MODEL.WEIGHTS FILE.pth
  read them:  FeatureFile.load("features/features.npz").features   (or numpy.load(...)["features"])
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line (fast-reid's flags), extract the features and write them."""
    from fastreid.engine.tool_config import tool_parser

    parser = tool_parser("Extract the features of images.", EXAMPLES)
    parser.add_argument("--parallel", action="store_true", help="run the model in processes of its own, one per GPU")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, folders, quoted patterns")
    parser.add_argument("--output", default="demo_output", metavar="DIR", help="folder (default: %(default)s)")
    parser.add_argument(
        "--per-image", action=argparse.BooleanOptionalAction, default=True,
        help="beside features.npz, write one .npy (1, D) of unit length per image, as fast-reid",
    )  # fmt: skip
    run(parser.parse_args(argv))


def run(args: argparse.Namespace):
    """Extract as the parsed command line says, and return the feature file."""
    from fastreid.engine.tool_config import read_config
    from fastreid.utils.files import require_writable

    paths = image_paths(args.input)
    require_writable(args.output, "--output")
    if args.per_image:
        npy_files(paths, args.output)  # names that collide are said before the work
    cfg = read_config(args, "DATALOADER.ON_BAD_IMAGE", "skip")
    features = extract(cfg, paths, args.parallel)
    features.save(Path(args.output, FEATURES_FILE))
    logger.info("Wrote %s: %d features of width %d", Path(args.output, FEATURES_FILE), *features.features.shape)
    if args.per_image:
        from fastreid.retrieval.distance import normalize

        save_per_image(normalize(features.features), features.paths, args.output)
    return features


def image_paths(inputs: Iterable[str]) -> list[str]:
    """Return the image files that ``inputs`` name: files as they are, all images below folders, matches of patterns.

    Folders and patterns give sorted paths; a file that is named twice counts once.

    Raises:
        FileNotFoundError: a path or a pattern leads to no image.
    """
    paths: dict[str, None] = {}
    for given in map(os.path.expanduser, inputs):
        found = _images_at(given)
        if not found:
            raise FileNotFoundError(f"No image at '{given}' (--input){_why_not(given)}")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _images_at(given: str) -> list[str]:
    from fastreid.data.images import IMAGE_SUFFIXES

    if os.path.isfile(given):
        return [given]
    if os.path.isdir(given):
        return sorted(str(p) for p in Path(given).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(filter(os.path.isfile, glob.glob(given, recursive=True)))


def _why_not(given: str) -> str:
    from fastreid.data.images import IMAGE_SUFFIXES

    if os.path.isdir(given):
        return f": no file below that folder ends in {', '.join(IMAGE_SUFFIXES)}"
    folder, name = os.path.split(given)
    there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    return "." + nearest(name, there)


def extract(cfg, paths: Sequence[str], parallel: bool = False):
    """Return a ``FeatureFile`` without queries: a row for each readable image; the others are counted and logged.

    Args:
        cfg: with ``DATALOADER.ON_BAD_IMAGE`` "error" the first unreadable image ends it.
        parallel: let ``AsyncPredictor`` run the model.

    Raises:
        ValueError: not one image can be read, or a feature is NaN.
    """
    import numpy as np

    from fastreid.data.build import build_file_loader
    from fastreid.data.feature_file import FeatureFile, fingerprint_of

    predictor, loader, flip = _predictor(cfg, parallel), build_file_loader(cfg, paths), cfg.TEST.FLIP.ENABLED
    features = np.concatenate([block.float().numpy() for block in _predicted(predictor, loader, flip)])
    bad = unreadable(paths, loader.bad_images)
    rows = [row for row, path in enumerate(paths) if path not in bad]
    if not rows:
        raise ValueError(f"none of the {len(paths)} images can be read; the first: {next(iter(loader.bad_images))}")
    if bad:
        logger.warning("%d of %d images cannot be read and have no feature", len(bad), len(paths))
    nothing = np.zeros(len(rows), dtype=np.int64)
    model, records = getattr(predictor, "model", None), [loader.dataset.records[row] for row in rows]
    made_of = fingerprint_of(cfg, model, records, 0, flip=flip) if model is not None else {}
    columns = {"pids": nothing, "camids": nothing}
    return FeatureFile(features[rows], 0, columns, [paths[row] for row in rows], made_of, relevance_known=False)


def _predictor(cfg, parallel: bool):
    if not parallel:
        from fastreid.engine import DefaultPredictor

        return DefaultPredictor(cfg)
    import torch

    from fastreid.engine import AsyncPredictor

    return AsyncPredictor(cfg, torch.cuda.device_count())


def _predicted(predictor, loader: Iterable[dict[str, Any]], flip: bool) -> Iterator[Any]:
    """Yield the features (B, D) of each batch, averaged with those of the mirrored images when ``flip``.

    A predictor with ``put`` and ``get`` has some batches in work while the next ones are read.
    """
    views = (lambda images: (images, images.flip(3))) if flip else (lambda images: (images,))
    if not hasattr(predictor, "put"):
        for batch in loader:
            yield _mean([predictor(images) for images in views(batch["images"])])
        return
    waiting: deque[int] = deque()
    for batch in loader:
        shown = views(batch["images"])
        for images in shown:
            predictor.put(images)
        waiting.append(len(shown))
        if len(waiting) > predictor.default_buffer_size:
            yield _mean([predictor.get() for _ in range(waiting.popleft())])
    for count in waiting:
        yield _mean([predictor.get() for _ in range(count)])


def _mean(blocks: list) -> Any:
    return sum(blocks) / len(blocks)


def unreadable(paths: Iterable[str], messages: Iterable[str]) -> set[str]:
    """Return the paths that the messages of ``BadImage`` name."""
    text = "\n".join(messages)
    return {path for path in paths if f"Cannot read image {path}: " in text} if text else set()


def npy_files(paths: Sequence[str], output: str | os.PathLike) -> list[Path]:
    """Return the ``.npy`` file of each image, below ``output`` in the sub-folders of the images.

    Raises:
        ValueError: two images have the same name but for its ending.
    """
    # the path of a single image has no folder to be told from
    top = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    targets = [Path(output, os.path.relpath(os.path.abspath(path), top)).with_suffix(".npy") for path in paths]
    seen: dict[Path, str] = {}
    for path, target in zip(paths, targets, strict=True):
        if target in seen:
            raise ValueError(
                f"{seen[target]} and {path} would both be written to {target} (--no-per-image leaves such files out)"
            )
        seen[target] = path
    return targets


def save_per_image(features, paths: Sequence[str], output: str | os.PathLike) -> list[Path]:
    """Write each row as float32 (1, D) into the files that :func:`npy_files` names, and return these."""
    import numpy as np

    from fastreid.utils.files import atomic_write

    targets = npy_files(paths, output)
    for row, target in zip(features, targets, strict=True):
        with atomic_write(target) as file:
            np.save(file, np.asarray(row)[None])
    logger.info("Wrote %d files to %s", len(targets), output)
    return targets
