"""Reducing an image so that each pixel is the mean of its part of the image: ``INPUT.RESIZE.FILTER`` "area".

Pages of 1 bit in TIFF (Group 4) and grey PNG are reduced while they are decoded: the former from the run lengths of
their code, without a bitmap, the latter while each row is still in the processor's cache. The results are those of
decoding first, bit for bit.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from fastreid.data.group4 import tables
from fastreid.data.images import READ_ERRORS

try:
    from fastreid.data._area import Reduction
except ImportError:  # installed without a compiler
    Reduction = None

# chunks that do not change what the pixels are; those with text may hold an orientation
PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"bKGD", b"tIME", b"sBIT"}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# tags of TIFF, and the values that the decoder here knows
COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, ORIENTATION, ROWS, SIZES, TILES, XMP = (
    259, 262, 266, 273, 274, 278, 279, 322, 700,
)  # fmt: skip
GROUP4 = 4
TargetOf = Callable[[int, int], tuple[int, int]]


def area_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Reduce an image of mode L or RGB; ``ValueError`` where a side would become larger."""
    if not reduces(image.size, (width, height)):
        raise ValueError(f"the mean of areas cannot enlarge {image.size} to {(width, height)}")
    planes = [_reduced(np.asarray(band), height, width) for band in image.split()]
    return Image.merge(image.mode, [Image.fromarray(plane) for plane in planes])


def reduces(size: tuple[int, int], target: tuple[int, int]) -> bool:
    return all(new <= old for old, new in zip(size, target, strict=True))


def _reduced(values: np.ndarray, height: int, width: int) -> np.ndarray:
    if Reduction is None:
        return reduced_plainly(values, height, width)
    reduction = Reduction(*values.shape, height, width)
    reduction.feed(values)
    return reduction.result


def reduced_plainly(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return uint8 (height, width): means over areas of uint8 (H, W), rounded half up. Sums are whole, so exact."""
    sums = _overlaps(values.shape[0], height) @ values.astype(np.float64) @ _overlaps(values.shape[1], width).T
    return ((2 * sums.astype(np.int64) + values.size) // (2 * values.size)).astype(np.uint8)


def _overlaps(old: int, new: int) -> np.ndarray:
    """Return (new, old) float64: how much of each old pixel lies in each new one, in 1 / (old * new) of the side."""
    begin, first = np.arange(new)[:, None] * old, np.arange(old)[None] * new
    return np.clip(np.minimum(begin + old, first + new) - np.maximum(begin, first), 0, None).astype(np.float64)


def decode_reduced(content: bytes, target_of: TargetOf) -> Image.Image | None:
    """Decode a file and reduce it to ``target_of(width, height)``; ``None`` for one that must be read the usual way.

    That is any kind of file but upright PNG of 8 grey bits and TIFF of 1 bit in Group 4, any that is damaged, and an
    image that would not become smaller.
    """
    if Reduction is None:
        return None
    try:
        if content.startswith(SIGNATURE):
            return _from_png(content, target_of)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _from_tiff(content, target_of)
    except (*READ_ERRORS, KeyError):
        return None  # the usual way says what is wrong
    return None


def _reduction(width: int, height: int, target_of: TargetOf, inverted: bool = False):
    target = target_of(width, height)
    if not reduces((width, height), target):
        return None
    return Reduction(height, width, target[1], target[0], inverted)


def _from_png(content: bytes, target_of: TargetOf) -> Image.Image | None:
    data, place, header = [], len(SIGNATURE), None
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 8 : place + 8 + size]
        if kind not in PLAIN_CHUNKS or len(body) != size:
            return None
        if kind == b"IDAT":
            data.append(body)
        elif kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        place += size + 12
        if kind == b"IEND":
            break
    width, height, *kind = header
    # bits, grey, the only compression and set of filters, not interlaced
    if kind != [8, 0, 0, 0, 0] or width * height > (Image.MAX_IMAGE_PIXELS or width * height):
        return None
    reduction = _reduction(width, height, target_of)
    if reduction is None:
        return None
    inflate, size = zlib.decompressobj(), height * (width + 1)
    rows = np.frombuffer(bytearray(inflate.decompress(b"".join(data), size + 1)), np.uint8)
    if not inflate.eof or not reduction.feed_png(rows.reshape(height, width + 1)):
        return None
    return Image.fromarray(reduction.result)


def _from_tiff(content: bytes, target_of: TargetOf) -> Image.Image | None:
    with Image.open(io.BytesIO(content)) as file:
        tags, (width, height) = file.tag_v2, file.size
        known = file.mode == "1" and tags[COMPRESSION] == GROUP4 and TILES not in tags and XMP not in tags
        if (
            not known
            or tags.get(FILL_ORDER, 1) != 1
            or tags.get(ORIENTATION, 1) != 1
            or tags[PHOTOMETRIC] not in (0, 1)
        ):
            return None
    reduction = _reduction(width, height, target_of, inverted=tags[PHOTOMETRIC] == 1)
    if reduction is None:
        return None
    begins, sizes, rows = _several(tags[STRIPS]), _several(tags[SIZES]), tags.get(ROWS, height)
    done, data = 0, np.frombuffer(content, np.uint8)
    for begin, size in zip(begins, sizes, strict=True):
        own = min(rows, height - done)
        if (
            own < 1
            or begin + size > len(content)
            or not reduction.feed_group4(data[begin : begin + size], own, tables())
        ):
            return None
        done += own
    return Image.fromarray(reduction.result) if done == height else None


def _several(value) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
