"""Images that a searcher brings: opened with distrust, then cropped, rotated and mirrored."""

import io
import os
from collections.abc import Sequence
from math import isqrt

from PIL import Image

from fastreid.data.images import as_page
from fastreid.utils.errors import require_choice, require_whole

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WebP")
MAX_PIXELS = 64_000_000  # an A4 sheet at 600 dpi has 35 million
LONGEST = 2  # times the square root of the pixels allowed: an ink crop fills up to a square of the longer side
ROTATIONS = (0, 90, 180, 270)
TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of TIFF
PDF, PDF_WITHIN = b"%PDF-", 1024  # bytes from the start in which it may stand
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


class NoImage(ValueError):
    """No image of an allowed type, or a damaged one."""


class TooManyPixels(ValueError):
    """An image that is larger, once decoded, than is allowed."""


def open_query_image(source: bytes | str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image whose origin is not known, as :func:`fastreid.data.images.read_image` would.

    What it is, is decided by its content; of several frames or pages the first is read. The size is taken from the
    header and judged before anything is decoded.

    Args:
        source: the content of a file, or its path.
        max_pixels: width times height; neither side may be longer than ``LONGEST`` times its square root.

    Returns:
        mode L for grey images, RGB for coloured ones; upright, opaque, 8 bits deep.

    Raises:
        TooManyPixels: by its header it is larger than that.
        NoImage: of none of ``FORMATS``, or damaged.
        OSError: a path that cannot be read.
    """
    require_whole("max_pixels", max_pixels, 1)
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read()
    try:
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            _check_size(image, max_pixels)
            return as_page(image, channels=None)
    except TooManyPixels:
        raise
    except BOMBS as error:  # Pillow's own limit, which knows only how many there are
        limit = min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels)
        raise TooManyPixels(f"the image has more pixels than the {limit:,} that are allowed") from error
    except Image.UnidentifiedImageError as error:
        if PDF in source[:PDF_WITHIN]:
            raise NoImage(
                "this is a PDF; save its pages as PNG and use those that are wanted, for example with: pdftoppm -r 200 "
                "-png file.pdf page"
            ) from error
        raise NoImage(f"this is no image of an allowed type ({', '.join(FORMATS)})") from error
    except Exception as error:  # a decoder may raise anything over bytes that somebody bent
        raise NoImage(f"the image is damaged: {error or type(error).__name__}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Raise :class:`TooManyPixels` for an image, opened and not yet decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed")
    longest = LONGEST * isqrt(max_pixels)
    if max(width, height) > longest:
        raise TooManyPixels(f"the image has {width} x {height} pixels; no side may have more than {longest:,}")
    tags = getattr(image, "tag_v2", {})  # a tile is decoded whole, however small the image is
    tile = [value for value in (tags.get(TILE_WIDTH), tags.get(TILE_LENGTH)) if isinstance(value, int)]
    if len(tile) == 2 and tile[0] * tile[1] > max_pixels:
        raise TooManyPixels(f"the image has tiles of {tile[0]} x {tile[1]} pixels; at most {max_pixels:,} are allowed")


def prepare(image: Image.Image, box: Sequence[int] | None = None, rotate: int = 0, mirror: bool = False) -> Image.Image:
    """Cut a box out, then rotate it, then mirror it left to right.

    Args:
        box: (left, top, right, bottom) in pixels of the image; ``None``: all of it.
        rotate: degrees clockwise, 0, 90, 180 or 270.

    Raises:
        ValueError: a box that is empty or not within the image, or another angle.
        TypeError: a box of something else than whole numbers.
    """
    require_choice("rotate of a query figure", rotate, ROTATIONS)
    if box is not None:
        image = image.crop(_checked(box, image.size))
    if rotate:
        image = image.transpose(_TURNS[rotate])
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image


def _checked(box: Sequence[int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    if isinstance(box, str) or len(box) != 4:
        raise ValueError(f"box of a query figure must be (left, top, right, bottom); got {box!r}")
    left, top, right, bottom = (require_whole("box of a query figure", value, 0) for value in box)
    if not (left < right <= size[0] and top < bottom <= size[1]):
        raise ValueError(
            f"box of a query figure must be (left, top, right, bottom), not empty and within the image of {size[0]} x "
            f"{size[1]} pixels; got {list(box)}"
        )
    return left, top, right, bottom


def variants(image: Image.Image, rotations: bool = False, mirror: bool = False) -> list[tuple[str, Image.Image]]:
    """Return an image with its variants, by name: "as given" is the first, then "rotated 90", ..., "mirrored", ...

    With both there are eight: a mirrored one is rotated after it was mirrored.
    """
    found = []
    for flipped in (False, True)[: 1 + mirror]:
        start = prepare(image, mirror=flipped)
        for angle in ROTATIONS if rotations else ROTATIONS[:1]:
            words = [word for word in ("mirrored" * flipped, f"rotated {angle}" * bool(angle)) if word]
            found.append((", ".join(words) or "as given", prepare(start, rotate=angle)))
    return found
