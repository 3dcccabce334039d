"""Reading drawings and photographs of every kind that patent offices and cameras write."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fastreid.data.tar_files import is_inside, read_member

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")  # of files in folders
_GRAY_MODES = ("1", "L")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
READ_ERRORS = (  # what Pillow raises for files that are no images, or damaged ones
    OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip


class BadImage(OSError):
    """An image is missing or cannot be decoded; the message names its path and, where known, the list line."""


def read_image(
    path: str | os.PathLike, grayscale: bool = False, channels: int | None = 3, source: str | None = None,
    content: bytes | None = None,
) -> Image.Image:  # fmt: skip
    """Read an image upright, 8 bits deep and opaque; also one in a tar archive, ``archive.tar!/name``.

    1-bit, grey, palette, 16-bit (scaled to 8), CMYK and float images are converted; transparent ones lie on white, as
    on paper. Of a TIFF with several pages the first is read. The EXIF orientation is applied.

    Args:
        grayscale: turn colours into grey (Rec. 601 luma); three channels are then three equal ones.
        channels: 3 gives mode RGB, 1 gives mode L, ``None`` gives L for grey images and RGB for coloured ones.
        source: list file and line that named the image, for the message.
        content: the bytes of the file, where they are at hand; it is not opened then.

    Raises:
        BadImage: the file is missing, truncated or no image.
    """
    try:
        if content is None and isinstance(path, (str, os.PathLike)) and is_inside(path):
            content = read_member(path)
        with Image.open(path if content is None else io.BytesIO(content)) as file:
            return as_page(file, grayscale, channels)
    except READ_ERRORS as error:
        listed = f" (listed in {source})" if source else ""
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        if content is not None and isinstance(error, UnidentifiedImageError):  # whose message names a buffer
            reason = "UnidentifiedImageError: it begins like no kind of image"
        raise BadImage(f"Cannot read image {path}{listed}: {reason}") from error


def as_page(image: Image.Image, grayscale: bool = False, channels: int | None = 3) -> Image.Image:
    """Return an opened image as `read_image` gives its file; one that it gave already stays as it is.

    Raises:
        one of ``READ_ERRORS``: its file is damaged.
    """
    image = _eight_bit(ImageOps.exif_transpose(image))
    if grayscale or channels == 1:
        image = image.convert("L")
    return image.convert("RGB") if channels == 3 else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert any mode to L or RGB. Bilevel becomes grey here: resizing mode 1 would drop lines."""
    if image.mode in _DEEP_MODES:
        # mode I holds the 16-bit values of files that Pillow has no smaller mode for
        values = np.clip(np.asarray(image).astype(np.int32), 0, 65535)
        gray = np.where(values == image.info.get("transparency"), 255, (values + 128) // 257)
        return Image.fromarray(gray.astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        return _on_white(image.convert("RGBA"))
    if image.mode in _GRAY_MODES:
        return image.convert("L")
    if image.mode == "F":
        return Image.fromarray(np.clip(np.nan_to_num(np.asarray(image)), 0, 255).round().astype(np.uint8))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    opaque = Image.alpha_composite(white, image).convert("RGB")
    red, green, blue = opaque.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else opaque
