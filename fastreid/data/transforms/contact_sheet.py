"""Look at what ``INPUT.INK_CROP`` does to drawings: ``python -m fastreid.data.transforms.contact_sheet OUT IMAGE ...``.

Each drawing is shown three times: whole, with the box that is cut (blue) and the one without figure labels (red); as it
is cut; and as it is cut without labels. ``docs/ink_crop.png`` is made of real sheets (78 patents, dated folders) by

    python -m fastreid.data.transforms.contact_sheet docs/ink_crop.png PATENTS/*-*/*.png
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastreid.data.images import read_image
from fastreid.data.transforms.drawing import InkCrop
from fastreid.data.transforms.functional import min_filter
from fastreid.utils.command import entry_point

PANEL, GAP, COLUMNS = 132, 3, 4  # pixels, pixels, drawings in a row
COLOURS = 32  # of the file


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the picture."""
    parser = argparse.ArgumentParser(description="Show what the ink crop does to drawings.")
    parser.add_argument("output", type=Path, help="PNG file to write")
    parser.add_argument("images", type=Path, nargs="+", help="image files; of more than --number one per folder")
    parser.add_argument("--number", type=int, default=28, help="drawings (default 28)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default 0)")
    args = parser.parse_args(argv)
    chosen = choose(args.images, args.number, args.seed)
    contact_sheet(chosen).save(args.output, optimize=True)
    per_folder = " (one per folder)" if len(chosen) < len(args.images) else ""
    print(f"{args.output}: {len(chosen)} of {len(args.images)} drawings{per_folder}")


def choose(images: Sequence[Path], number: int, seed: int) -> list[Path]:
    """Return all images where they are at most ``number``; else up to ``number`` of them, each of another folder."""
    if len(images) <= number:
        return sorted(images)
    draw = random.Random(seed)
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(images):
        by_folder.setdefault(path.parent, []).append(path)
    folders = draw.sample(sorted(by_folder), min(number, len(by_folder)))
    return [draw.choice(by_folder[name]) for name in folders]


def contact_sheet(paths: Sequence[Path]) -> Image.Image:
    """Return a palette image with three panels per drawing."""
    width, rows = 3 * (PANEL + GAP) + 2 * GAP, -(-len(paths) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * (PANEL + GAP)), "gray")
    for number, path in enumerate(paths):
        left, top = number % COLUMNS * width, number // COLUMNS * (PANEL + GAP)
        for column, panel in enumerate(panels(read_image(path, channels=1))):
            sheet.paste(panel, (left + column * (PANEL + GAP), top))
    return sheet.quantize(COLOURS, dither=Image.Dither.NONE)


def panels(image: Image.Image) -> list[Image.Image]:
    """The drawing (mode L) with both boxes, and cut in both ways."""
    crops = [InkCrop(), InkCrop(labels=False)]
    whole, factor = _panel(image)
    pen = ImageDraw.Draw(whole)
    for crop, colour in zip(crops, ("blue", "red"), strict=True):
        box = crop.find(image)[1]
        if box:
            pen.rectangle([factor * side for side in box], outline=colour)
    return [whole, *(_panel(crop(image))[0] for crop in crops)]


def _panel(image: Image.Image) -> tuple[Image.Image, float]:
    """Reduce to the panel's size, lines widened so that they can be seen; return the factor too."""
    factor = (PANEL - 1) / max(image.size)
    size = [max(1, round(factor * side)) for side in image.size]
    wide = int(1 / factor / 4) * 2 + 1
    seen = Image.fromarray(min_filter(np.asarray(image), wide)) if wide > 1 else image
    return seen.resize(size, Image.Resampling.BOX).convert("RGB"), factor


if __name__ == "__main__":
    sys.exit(main())
