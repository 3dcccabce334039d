"""Small images as data addresses, so that a page needs no other file."""

import base64
import functools
import io

import numpy as np
from PIL import Image

from fastreid.data.images import BadImage, read_image

SIZE = 176  # longer side in pixels; shown at about half of it, for sharp lines on dense screens
LEVELS = 16  # grey values kept: a drawing looks the same and takes half the space
WHITE_PAGE = 200  # mean grey value from which an image counts as a drawing on paper
MAX_GAIN = 4.0


@functools.lru_cache(maxsize=4096)
def thumbnail(path: str, size: int = SIZE) -> str | None:
    """Return a PNG (drawings) or JPEG (coloured photographs) data address, or ``None`` for an unreadable image."""
    try:
        image = read_image(path, channels=None)
    except BadImage:
        return None
    small = shrink(image, size)
    buffer = io.BytesIO()
    if small.mode == "L":
        small.quantize(LEVELS).save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def shrink(image: Image.Image, size: int) -> Image.Image:
    """Shrink to ``size`` pixels on the longer side; lines of a drawing are darkened as much as averaging fades them."""
    factor = max(image.size) / size
    if factor <= 1:
        return image
    width, height = (max(1, round(side / factor)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    if small.mode != "L" or np.asarray(small).mean() < WHITE_PAGE:
        return small
    gain = min(MAX_GAIN, 1.3 * factor)  # a little more than the reduction: pages show thumbnails at half their size
    return small.point([255 - min(255, round((255 - value) * gain)) for value in range(256)])
