"""How much processor time an image costs before it reaches the model: first epoch, later epochs, and a usual loader.

    python tools/benchmarks/images.py [--images 24] [--rounds 5] [--output FILE]

The peer is the stack of fast-reid and of most toolkits, written here: Pillow opens the file, makes it RGB, resizes it
(bicubic), flips, pads and crops it, and it becomes a float tensor of three channels; a batch is stacked from those.
Ours is `build_reid_train_loader` with the same settings, grey: from the files; with an image cache that is filled on
the way (the first epoch), also with images reduced while they are decoded; and from the cache. All run in one process
with one thread, in turn in each round; figures are CPU time, medians of the rounds, ratios those of the same round.
"""

import argparse
import functools
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.machine import describe
from benchmarks.report import table
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write

BATCH = 8
SIZE = 256
CACHED_IMAGES = 2048  # read from the cache in each round
PAGES = {"png": (1500, 2000), "tiff": (2500, 3300)}  # width and height, pixels


def drawing(seed: int, width: int, height: int) -> Image.Image:
    """A page of 1 bit: outlines and hatching, as dense as a busy figure."""
    rng = np.random.default_rng(seed)
    page = Image.new("1", (width, height), 1)
    pen = ImageDraw.Draw(page)
    for _ in range(40):
        corner, side = rng.uniform(0.08, 0.6, 2) * (width, height), rng.uniform(0.05, 0.3, 2) * (width, height)
        box = [*corner, *(corner + side)]
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(box, outline=0, width=5)
        if rng.random() < 0.5:
            for step in np.arange(0, side[0], 24):
                pen.line(
                    [corner[0] + step, corner[1], corner[0] + side[0] - step, corner[1] + side[1]], fill=0, width=3
                )
    return page


def write_images(folder: Path, kind: str, count: int) -> list[Path]:
    """Draw ``count`` files: "png" grey with soft edges, as scanned; "tiff" 1 bit, Group 4."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.{kind}" for number in range(count)]
    for number, path in enumerate(paths):
        if kind == "tiff":
            drawing(number, *PAGES[kind]).save(path, compression="group4")
        else:
            page = np.asarray(drawing(number, *PAGES[kind]).convert("L").filter(ImageFilter.GaussianBlur(1.2)))
            noise = np.random.default_rng(number).normal(0, 3, page.shape) * (page < 250)
            Image.fromarray((page + noise).clip(0, 255).astype(np.uint8)).save(path)
    return paths


class UsualLoader:
    """Batches as fast-reid's training makes them."""

    def __init__(self):
        from torchvision import transforms as T

        self.transform = T.Compose([
            T.Resize((SIZE, SIZE), T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip(0.5), T.Pad(10),
            T.RandomCrop((SIZE, SIZE)),
        ])  # fmt: skip

    def __call__(self, paths: Sequence[Path], images: int) -> None:
        for start in range(0, images, BATCH):
            torch.stack([self._read(path) for path in paths[start : start + BATCH]])

    def _read(self, path: Path) -> torch.Tensor:
        image = np.array(self.transform(Image.open(path).convert("RGB")))
        return torch.from_numpy(image).permute(2, 0, 1).contiguous().float()


def config(folder: Path, cache: Path | None = None, filter: str = "bicubic"):
    """Our settings for the images of a folder; its list is written."""
    from fastreid.config import get_cfg

    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".txt")
    (folder / "train.txt").write_text("".join(f"{name} {number // 2}\n" for number, name in enumerate(names)))
    cfg = get_cfg()
    cfg.merge_from_list([
        "DATASETS.NAMES", "('FileList',)", "DATASETS.FILELIST.ROOT", str(folder),
        "DATASETS.FILELIST.TRAIN", "('train.txt',)", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", BATCH,
        "INPUT.SIZE_TRAIN", [SIZE, SIZE], "INPUT.GRAYSCALE", True, "INPUT.FLIP.ENABLED", True,
        "INPUT.PADDING.ENABLED", True, "DATALOADER.CACHE.DIR", str(cache or ""), "SEED", 1,
        "INPUT.RESIZE.FILTER", filter,
    ])  # fmt: skip
    return cfg


def read(cfg, images: int) -> None:
    """Build the training loader and take ``images`` from it."""
    from fastreid.data import build_reid_train_loader

    for _ in itertools.islice(build_reid_train_loader(cfg), images // BATCH):
        pass


def cpu_per_image(work: Callable[[], None], images: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / images


def measure(folder: Path, paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds per image of each contestant, by round; the first round warms up and does not count."""
    usual, found, count = UsualLoader(), {}, len(paths)
    for number in range(rounds + 1):
        plain = config(folder)
        bicubic, area = (
            config(folder, folder.parent / f"cache-{folder.name}-{number}", f) for f in ("bicubic", "area")
        )
        contestants = {
            "usual loader": (usual, paths, count),
            "ours, from the files": (read, plain, count),
            "ours, first epoch: fills the cache": (read, bicubic, count),
            "the same, `INPUT.RESIZE.FILTER area`": (read, area, count),
            "ours, later epochs": (read, area, CACHED_IMAGES),
        }
        for name, (work, given, images) in contestants.items():
            seconds = cpu_per_image(functools.partial(work, given, images), images)
            if number:
                found.setdefault(name, []).append(seconds)
    return found


def rows_of(found: dict[str, list[float]]) -> list[list[str]]:
    base, rows = found["usual loader"], []
    for name, seconds in found.items():
        middle = float(np.median(seconds))
        ratio = float(np.median([peer / own for peer, own in zip(base, seconds, strict=True)]))
        rows.append([name, f"{middle * 1000:.3g}", f"{1 / middle:,.0f}", f"{ratio:.3g}x"])
    return rows


def pixels_per_image(root: Path) -> float:
    """KiB that the pixels of an image take in the newest cache below ``root``."""
    from fastreid.data.image_store import ImageStore

    store = ImageStore(next(next(root.glob("cache-*")).iterdir()))
    return store.size_in_bytes / len(store) / 1024


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Processor time per image of loaders.")
    parser.add_argument("--images", type=at_least_one, default=24, help="files of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=at_least_one, default=5, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="Markdown file; default: the terminal")
    args = parser.parse_args(argv)
    if args.images % BATCH:
        raise ValueError(f"--images must be a multiple of {BATCH}, the batch; got {args.images}")
    torch.set_num_threads(1)
    parts = [table(("machine", ""), describe("cpu"))]
    kinds = {"png": "PNG, grey", "tiff": "TIFF, 1 bit Group 4,"}
    with tempfile.TemporaryDirectory() as work:
        for kind, title in kinds.items():
            width, height = PAGES[kind]
            paths = write_images(Path(work, kind), kind, args.images)
            size = sum(path.stat().st_size for path in paths) / len(paths) / 1024
            found = measure(Path(work, kind), paths, args.rounds)
            kept = pixels_per_image(Path(work))
            parts.append(f"### {title} {width} x {height}: {size:.0f} KiB a file, {kept:.0f} KiB in the cache")
            parts.append(
                table(("", "CPU ms per image", "images/s per core", "against the usual loader"), rows_of(found))
            )
    text = "\n\n".join(parts) + "\n"
    if not args.output:
        print(text)
        return
    with atomic_write(args.output, "w") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
