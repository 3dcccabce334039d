"""Reducing by means of areas, also while an image is decoded, against decoding first and exact sums."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data import area
from fastreid.data.area import area_resize, decode_reduced, reduced_plainly
from fastreid.data.group4 import BLACK, MODES, WHITE, runs_of
from fastreid.data.image_cache import Preparation
from fastreid.data.images import read_image
from fastreid.data.transforms import Letterbox, Resize, ResizeCrop, build_transforms

pytestmark = pytest.mark.skipif(area.Reduction is None, reason="the compiled part is not installed")


def page(rng, kind, height, width):
    """Bilevel pages (H, W) bool: noise, long lines, boxes; 40 times as wide in the last kind."""
    if kind == "noise":
        return rng.random((height, width)) < rng.choice([0.02, 0.5, 0.98])
    if kind == "lines":
        return np.repeat(rng.random((height, 1)) < 0.5, width, 1) ^ (rng.random((height, width)) < 0.003)
    boxes = np.ones((height, width), bool)
    for _ in range(6):
        top, left, tall, wide = rng.integers((0, 0, 1, 1), (height, width, 40, 200))
        boxes[top : top + tall, left : left + wide] ^= True
    return np.repeat(boxes, 40, 1) if kind == "wide" else boxes


def encoded(values, kind, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def group4(bilevel, **tags):
    return encoded(bilevel, "TIFF", compression="group4", tiffinfo={int(key[1:]): tags[key] for key in tags})


def means(values, width, height):
    """The slow way: the image with each pixel repeated, so that areas are whole, and its mean by blocks."""
    big = values.repeat(height, 0).repeat(width, 1).astype(np.int64)
    sums = big.reshape(height, values.shape[0], width, values.shape[1]).sum((1, 3))
    return (2 * sums + values.size) // (2 * values.size)


def test_the_reference_is_the_mean_of_areas():
    rng = np.random.default_rng(0)
    for height, width, tall, wide in ((7, 9, 3, 4), (12, 8, 4, 8), (5, 11, 5, 1), (6, 6, 1, 5)):
        values = rng.integers(0, 256, (height, width), dtype=np.uint8)
        assert np.array_equal(reduced_plainly(values, tall, wide), means(values, wide, tall))


@pytest.mark.parametrize("kind", ["noise", "lines", "boxes", "wide"])
def test_pages_reduced_while_decoded_are_those_decoded_first(kind):
    rng = np.random.default_rng(1)
    for _ in range(4 if kind == "wide" else 25):
        bilevel = page(rng, kind, *rng.integers(1, 100 if kind == "wide" else 200, 2))
        gray = (rng.random(bilevel.shape) * 60 + 195 * bilevel).astype(np.uint8)
        height, width = bilevel.shape
        target = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
        for content in (group4(bilevel), encoded(gray, "PNG"), encoded(gray, "PNG", compress_level=0)):
            values = np.asarray(read_image("x", True, 1, content=content))
            expected = reduced_plainly(values, target[1], target[0])
            assert np.array_equal(reduced(content, target), expected)
            assert np.array_equal(np.asarray(area_resize(Image.fromarray(values), *target)), expected)


def test_strips_and_both_meanings_of_black_are_read():
    bilevel = page(np.random.default_rng(2), "boxes", 90, 120)
    contents = [group4(bilevel, t278=rows) for rows in (1, 7, 90)]
    assert len({len(content) for content in contents}) == 3
    for content in contents:
        assert np.array_equal(reduced(content), reduced_plainly(bilevel * np.uint8(255), 20, 20))
    with Image.open(io.BytesIO(contents[1])) as file:
        swapped = retagged(contents[1], 262, 1 - file.tag_v2[262])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(swapped))), ~bilevel)
    assert np.array_equal(reduced(swapped), reduced_plainly(~bilevel * np.uint8(255), 20, 20))


def reduced(content, target=(20, 20)):
    found = decode_reduced(content, lambda *size: target)
    return None if found is None else np.asarray(found)


def retagged(content, tag, value):
    """The file with another short value of a tag."""
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    for place in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, place)[0] == tag:
            return content[: place + 8] + struct.pack("<H", value) + content[place + 10 :]
    raise AssertionError(f"no tag {tag}")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_code_is_refused_or_read_as_libtiff_reads_it():
    rng = np.random.default_rng(3)
    whole = group4(page(rng, "boxes", 60, 80))
    with Image.open(io.BytesIO(whole)) as file:
        begin, size = file.tag_v2[273][0], file.tag_v2[279][0]
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[begin + rng.integers(size)] ^= 1 << rng.integers(8)
        found = reduced(bytes(content))
        refused += found is None
        if found is not None:
            values = np.asarray(read_image("x", True, 1, content=bytes(content)))
            assert np.array_equal(found, reduced_plainly(values, 20, 20))
    assert 50 < refused < 300
    cuts = [reduced(whole[:cut]) for cut in range(0, len(whole), 7)]
    assert sum(found is None for found in cuts) > 0.8 * len(cuts)
    assert all(found is None or np.array_equal(found, reduced(whole)) for found in cuts)  # cut behind all that matters


def test_damaged_png_is_refused():
    content = encoded(page(np.random.default_rng(4), "noise", 60, 80) * np.uint8(200), "PNG")
    assert reduced(content) is not None
    for place in range(60, len(content) - 20, 13):
        assert reduced(content[:place]) is None
    data = content.index(b"IDAT") + 4
    size = struct.unpack_from(">I", content, data - 8)[0]
    for rows in (59, 61):  # more or fewer than the header says; and a filter that does not exist
        assert reduced(with_data(content, data, size, zlib.compress(bytes(81 * rows)))) is None
    assert reduced(with_data(content, data, size, zlib.compress(b"\7" * 81 * 60))) is None


def with_data(content, place, size, data):
    head = content[: place - 8] + struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(data))
    return head + content[place + size + 4 :]


def others():
    gray = np.random.default_rng(5).integers(0, 256, (60, 80), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    yield "colour", encoded(np.stack([gray] * 3, 2), "PNG")
    yield "with alpha", encoded(np.stack([gray] * 2, 2), "PNG")
    yield "transparent", encoded(gray, "PNG", transparency=3)
    yield "16 bits", encoded(gray.astype(np.uint16) * 200, "PNG")
    yield "turned", encoded(gray, "PNG", exif=turned)
    yield "turned TIFF", group4(gray > 99, t274=6)
    yield "other compression", encoded(gray > 99, "TIFF", compression="group3")
    yield "grey TIFF", encoded(gray, "TIFF")
    yield "JPEG", encoded(gray, "JPEG")
    yield "small", encoded(gray[:19], "PNG")
    yield "no image", b"\x89PNG\r\n\x1a\n"
    yield "empty", b""


@pytest.mark.parametrize("content", dict(others()).values(), ids=dict(others()))
def test_other_files_are_left_to_the_usual_way(content):
    assert reduced(content) is None


def test_codes_are_complete_and_none_begins_another():
    for codes in (runs_of(WHITE), runs_of(BLACK)):
        assert sorted(codes.values()) == [*range(64), *range(64, 2561, 64)]
    for codes in (runs_of(WHITE), runs_of(BLACK), MODES):
        assert not any(b.startswith(a) for a, b in itertools.permutations(codes, 2))


@pytest.mark.parametrize(
    "step", [Resize([20, 24], "area"), Letterbox([20, 24], 9, "area"), ResizeCrop([20], filter="area")]
)
def test_resizing_takes_means_where_it_reduces(step):
    values = np.random.default_rng(6).integers(0, 256, (63, 41, 3), dtype=np.uint8)
    wide, tall = step.target_of(41, 63)
    inner = np.stack([reduced_plainly(values[..., plane], tall, wide) for plane in range(3)], 2)
    done = np.asarray(step(Image.fromarray(values)))
    top, left = (done.shape[0] - tall) // 2, (done.shape[1] - wide) // 2
    assert done.shape[:2] == tuple(step.size)
    if isinstance(step, ResizeCrop):
        assert np.array_equal(done, inner[round((tall - 20) / 2) :][:20])
    else:
        assert np.array_equal(done[top : top + tall, left : left + wide], inner)
    small = Image.fromarray(values[:10, :10])
    step.filter, by_area = "bicubic", step(small)
    assert step(small) == by_area


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
def test_the_cache_holds_what_the_pipeline_makes(mode):
    cfg = get_cfg()
    cfg.merge_from_list([
        "INPUT.RESIZE.FILTER", "area", "INPUT.RESIZE.MODE", mode, "INPUT.SIZE_TEST", [24, 20], "INPUT.GRAYSCALE", True,
        "INPUT.SIZE_TRAIN", [24, 20],
    ])  # fmt: skip
    content = group4(page(np.random.default_rng(7), "boxes", 90, 120))
    prepare = Preparation.of(cfg, is_train=False)
    assert decode_reduced(content, prepare.reduce.target_of) is not None
    kept = np.asarray(prepare("x", content=content))
    plain = build_transforms(cfg, is_train=False)(read_image("x", True, None, content=content))
    assert np.array_equal(kept, plain[0].numpy())
    cfg.INPUT.INK_CROP.ENABLED = True
    assert Preparation.of(cfg).reduce is None


def test_without_the_compiled_part_the_results_are_the_same(monkeypatch):
    image = Image.fromarray(np.random.default_rng(8).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    compiled = area_resize(image, 24, 20)
    monkeypatch.setattr(area, "Reduction", None)
    assert area_resize(image, 24, 20) == compiled
    assert reduced(group4(np.ones((60, 80), bool))) is None


def test_wrong_uses_are_refused():
    with pytest.raises(ValueError, match="cannot enlarge"):
        area_resize(Image.new("L", (10, 10)), 11, 5)
    with pytest.raises(ValueError, match="INPUT.RESIZE.FILTER.*'bicubic', 'area'"):
        Resize([20, 20], "box")
    reduction = area.Reduction(4, 6, 2, 2)
    with pytest.raises(ValueError, match="another width, or gaps"):
        reduction.feed(np.zeros((2, 5), np.uint8))
    with pytest.raises(ValueError, match="0 rows and 5 more are more than 4"):
        reduction.feed(np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match="cannot reduce 4 x 6 pixels to 5 x 2"):
        area.Reduction(4, 6, 5, 2)
