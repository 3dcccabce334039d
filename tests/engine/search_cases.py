"""A small index of drawings, and a model for it without weights."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastreid.data.images import read_image
from fastreid.index import Figures, Index, create_index

VIEWS = ("front", "rear", "top")
DESIGNS = 8
SIDE = 16


class PixelEncoder:
    """Images as their pixels at 16 x 16: drawings that look alike have a high cosine. Texts name a design: "D3"."""

    dim, name, has_text, has_patches = SIDE * SIDE, "Pixels", True, False
    identity = {"weights": "00ff", "settings": {"INPUT.SIZE": SIDE}}

    def __init__(self):
        self.calls = []

    def encode(self, images):
        self.calls.append(len(images))
        found = np.empty((len(images), self.dim), np.float32)
        for number, image in enumerate(images):
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
            found[number] = 255 - np.asarray(small, dtype=np.float32).ravel()
            if not found[number].any():
                raise ValueError(f"query image {number + 1} is blank: there is nothing to search for")
        return found

    def encode_texts(self, texts):
        return self.encode([draw(int(text[1:]), "front") for text in texts])


def draw(design: int, view: str) -> Image.Image:
    """A drawing of 96 x 64, the same each time, that looks different rotated or mirrored."""
    rng = np.random.default_rng([design, VIEWS.index(view)])
    image = Image.new("L", (96, 64), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        left, top = int(rng.integers(0, 70)), int(rng.integers(0, 40))
        pen.rectangle([left, top, left + int(rng.integers(8, 24)), top + int(rng.integers(8, 22))], outline=0, width=4)
    return image


def figures_of(designs=range(DESIGNS), views=VIEWS) -> Figures:
    """Columns of designs: D0 is the oldest, classes 06-01 and 14-04 take turns."""
    return Figures.of(
        {
            "figure_id": f"D{design}-{view}", "patent": f"D{design}", "figure": str(number), "view": view,
            "title": f"Thing number {design}", "locarno": ("06-01", "14-04")[design % 2], "office": "US",
            "date": 20100101 + 10000 * design, "path": f"D{design}-{view}.png",
        }
        for design in designs
        for number, view in enumerate(views, start=1)
    )  # fmt: skip


def make_index(folder: Path, encoder=None, **more) -> Index:
    """Draw all figures into ``folder``/images and index them by ``encoder`` in ``folder``/index, opened for writing."""
    encoder, images, figures = encoder or PixelEncoder(), folder / "images", figures_of()
    images.mkdir(parents=True)
    for design in range(DESIGNS):
        for view in VIEWS:
            draw(design, view).save(images / f"D{design}-{view}.png")
    vectors = encoder.encode([read_image(images / path, channels=None) for path in figures["path"]])
    index = create_index(str(folder / "index"), dim=encoder.dim, model=encoder.identity, image_root=str(images), **more)
    index.add(figures, vectors)
    return index
