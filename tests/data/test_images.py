"""Reading images of every kind."""

import numpy as np
import pytest
from PIL import Image

from fastreid.data.images import BadImage, read_image


@pytest.fixture
def page():
    """Gray values 0..255, 20 x 24 pixels."""
    return np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)


def stored(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_bilevel_becomes_gray(tmp_path, page):
    path = stored(tmp_path, Image.fromarray(page).convert("1", dither=Image.Dither.NONE))
    gray = read_image(path, channels=1)
    assert gray.mode == "L"
    assert np.array_equal(np.asarray(gray), np.where(page > 127, 255, 0))
    assert read_image(path).mode == "RGB"
    assert read_image(path, channels=None).mode == "L"


def test_tiff_group4(tmp_path, page):
    path = stored(tmp_path, Image.fromarray(page > 127), "x.tif", compression="group4")
    assert np.array_equal(np.asarray(read_image(path, channels=1)), np.where(page > 127, 255, 0))


def test_sixteen_bit_is_scaled(tmp_path, page):
    path = stored(tmp_path, Image.fromarray(page.astype(np.uint16) * 257))
    assert np.array_equal(np.asarray(read_image(path, channels=None)), page)
    wide = stored(tmp_path, Image.fromarray(page.astype(np.int32) * 257), "x.tif")
    assert np.array_equal(np.asarray(read_image(wide, channels=None)), page)


def test_sixteen_bit_with_a_transparent_value(tmp_path, page):
    path = stored(tmp_path, Image.fromarray(page.astype(np.uint16) * 257), transparency=0)
    assert np.array_equal(np.asarray(read_image(path, channels=None)), np.where(page == 0, 255, page))


def test_transparency_lies_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (0, 0, 0, 128)
    image = np.asarray(read_image(stored(tmp_path, Image.fromarray(rgba))))
    assert image[0, 0].tolist() == [255, 0, 0]
    assert image[1, 1].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [127, 127, 127]
    la = Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8))
    assert la.mode == "LA"
    gray = read_image(stored(tmp_path, la), channels=None)
    assert gray.mode == "L"
    assert np.asarray(gray).tolist() == [[0, 255]]


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert np.asarray(read_image(stored(tmp_path, image))).tolist() == [[[0, 0, 255], [10, 20, 30]]]
    path = stored(tmp_path, image, "t.png", transparency=0)
    assert np.asarray(read_image(path)).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_cmyk(tmp_path):
    path = stored(tmp_path, Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "x.tif")
    assert np.asarray(read_image(path)).max() == 0


def test_exif_orientation_is_applied(tmp_path, page):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    path = stored(tmp_path, Image.fromarray(page), exif=exif)
    assert np.array_equal(np.asarray(read_image(path, channels=1)), np.rot90(page, -1))


def test_grayscale_gives_equal_channels(tmp_path):
    path = stored(tmp_path, Image.new("RGB", (2, 2), (255, 0, 0)))
    assert np.asarray(read_image(path, grayscale=True))[0, 0].tolist() == [76, 76, 76]
    assert read_image(path, grayscale=True, channels=None).mode == "L"


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_broken_or_missing_names_path_and_list_line(tmp_path, content):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadImage, match=r"Cannot read image .*x\.png \(listed in train\.txt:17\): "):
        read_image(path, source="train.txt:17")


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_truncated_file_is_bad(tmp_path, page, name):
    path = stored(tmp_path, Image.fromarray(np.tile(page, (8, 8))), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImage):
        read_image(path)
