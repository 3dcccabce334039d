"""Images that a searcher brings."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fastreid.data.images import read_image
from fastreid.engine.query_image import FORMATS, NoImage, TooManyPixels, open_query_image, prepare, variants


@pytest.fixture
def page():
    """Grey values 0..255, 20 x 24 pixels."""
    return np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)


def stored(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width, height):
    """A PNG that says it has this size, and holds next to nothing."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif_of(width, height):
    """A GIF of a tiny screen whose first frame says it has this size."""
    data = bytearray(stored(Image.new("L", (4, 4)), "GIF"))
    place = data.index(b",")
    data[place + 5 : place + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff_of(**tags):
    """A TIFF of 16 x 16 grey pixels; ``tags`` by number after an underscore change or add entries."""
    entries = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 256}
    entries.update({int(name[1:]): value for name, value in tags.items()})
    entries = {tag: value for tag, value in entries.items() if value is not None}
    body = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        body += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<I", 8 + 256) + bytes(256) + body + struct.pack("<I", 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_as_a_file_is(tmp_path, page, kind):
    image = Image.fromarray(page) if kind != "WebP" else Image.fromarray(page).convert("RGB")
    data = stored(image, kind)
    (tmp_path / "x.bin").write_bytes(data)
    opened = open_query_image(data)
    read = read_image(tmp_path / "x.bin", channels=None)
    assert (opened.mode, opened.size, opened.tobytes()) == (read.mode, (24, 20), read.tobytes())
    assert open_query_image(tmp_path / "x.bin").tobytes() == opened.tobytes()
    assert open_query_image(str(tmp_path / "x.bin")).tobytes() == opened.tobytes()


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PCX", "TGA", "EPS"])
def test_other_formats_are_refused_whatever_the_name(tmp_path, kind):
    data = stored(Image.new("RGB", (16, 16), "white"), kind)
    (tmp_path / "x.png").write_bytes(data)
    for source in (data, tmp_path / "x.png"):
        with pytest.raises(NoImage, match=r"no image of an allowed type \(PNG, JPEG, GIF, TIFF, BMP, WebP\)"):
            open_query_image(source)


def test_the_name_does_not_count(tmp_path, page):
    (tmp_path / "x.jpg").write_bytes(stored(Image.fromarray(page)))
    np.testing.assert_array_equal(np.asarray(open_query_image(tmp_path / "x.jpg")), page)


@pytest.mark.parametrize("data", [b"", b"text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image(data):
    with pytest.raises(NoImage):
        open_query_image(data)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.png"):
        open_query_image(tmp_path / "x.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_damaged(page, kind):
    image = Image.fromarray(np.tile(page, (8, 8))).convert("RGB" if kind == "WebP" else "L")
    data = stored(image, kind)
    with pytest.raises(NoImage, match=r"damaged: .|no image"):
        open_query_image(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_never_raise_anything_else():
    rng = np.random.default_rng(0)
    for kind in FORMATS:
        data = stored(Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)), kind)
        for _ in range(60):
            bent = bytearray(data)
            for place in rng.integers(0, len(bent), 3):
                bent[place] = rng.integers(0, 256)
            try:
                image = open_query_image(bytes(bent), max_pixels=10**6)
            except (NoImage, TooManyPixels):
                continue
            assert image.width * image.height <= 10**6


@pytest.mark.parametrize("start", [b"", b"\r\n", b"x" * 1019])
def test_a_pdf_is_refused_with_a_way_to_go_on(start):
    with pytest.raises(NoImage, match="this is a PDF; save its pages as PNG .* pdftoppm -r 200 -png file.pdf page"):
        open_query_image(start + stored(Image.new("RGB", (16, 16), "white"), "PDF"))
    with pytest.raises(NoImage, match="no image of an allowed type"):
        open_query_image(b"x" * 1020 + b"%PDF-1.7\n")  # as text further on


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data, message",
    [
        (png_of(30_000, 30_000), "more pixels than the 64,000,000 that are allowed"),  # Pillow's own limit
        (png_of(12_000, 12_000), "12000 x 12000 pixels; at most 64,000,000 are allowed"),
        (png_of(60_000_000, 1), "60000000 x 1 pixels; no side may have more than 16,000"),
        (png_of(1, 16_001), "no side may have more than 16,000"),
        (gif_of(60_000, 60_000), "more pixels than the 64,000,000"),
        (gif_of(12_000, 12_000), "12000 x 12000"),
        (tiff_of(_256=12_000, _257=12_000), "12000 x 12000"),
        (tiff_of(_322=50_000, _323=50_000, _324=8, _325=256, _273=None, _278=None, _279=None), "50000 x 50000"),
    ],
    ids=["png", "png-warned", "line", "column", "gif", "gif-warned", "tiff", "tiff-tiles"],
)
def test_bombs_are_refused_before_they_are_decoded(data, message, monkeypatch):
    def load(self, *_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(TooManyPixels, match=message):
        open_query_image(data)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_warnings_are_errors():
    with pytest.raises(TooManyPixels, match="more pixels than the 64,000,000 that are allowed"):
        open_query_image(png_of(12_000, 12_000))


def test_the_limit_itself_is_allowed(page):
    data = stored(Image.fromarray(page))
    assert open_query_image(data, max_pixels=480).size == (24, 20)
    with pytest.raises(TooManyPixels, match="24 x 20 pixels; at most 479 are allowed"):
        open_query_image(data, max_pixels=479)
    long = stored(Image.new("L", (40, 10), 255))
    assert open_query_image(long, max_pixels=400).size == (40, 10)
    with pytest.raises(TooManyPixels, match="no side may have more than 40"):
        open_query_image(stored(Image.new("L", (41, 9), 255)), max_pixels=400)
    with pytest.raises(ValueError, match="max_pixels must be at least 1; got 0"):
        open_query_image(data, max_pixels=0)


def test_an_ordinary_tiff_is_read():
    assert open_query_image(tiff_of()).size == (16, 16)
    assert open_query_image(tiff_of(_278=2**32 - 1)).size == (16, 16)  # one strip, as many programs write it


def test_a_tag_of_another_type_than_pillow_expects():
    data = bytearray(tiff_of())
    place = data.index(struct.pack("<HHI", 273, 4, 1))
    data[place : place + 4] = struct.pack("<HH", 273, 11)  # the offset of the strip as a float
    with pytest.raises(NoImage, match="damaged"):
        open_query_image(bytes(data))


def test_a_tiff_shorter_than_it_says_is_damaged():
    with pytest.raises(NoImage, match="damaged"):
        open_query_image(tiff_of(_256=2000, _257=2000, _278=2000, _279=4_000_000))


def test_upright_opaque_and_eight_bits(page):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = open_query_image(stored(Image.fromarray(page), exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(page, -1))
    deep = open_query_image(stored(Image.fromarray(page.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(np.asarray(deep), page)
    clear = open_query_image(stored(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert np.asarray(clear).min() == 255
    palette = open_query_image(stored(Image.fromarray(page).convert("P")))
    assert palette.mode == "RGB"
    assert open_query_image(stored(Image.fromarray(page > 99))).mode == "L"


def test_the_first_frame_of_several(page):
    first = Image.fromarray(page)
    for kind in ("GIF", "TIFF", "PNG"):
        data = stored(first, kind, save_all=True, append_images=[Image.new("L", first.size, 7)])
        np.testing.assert_array_equal(np.asarray(open_query_image(data).convert("L")), page)


def test_crop_then_rotate_then_mirror(page):
    image = Image.fromarray(page)
    values = page[3:13, 5:20]
    for turns, angle in enumerate((0, 90, 180, 270)):
        for mirror in (False, True):
            expected = np.rot90(values, -turns)  # clockwise
            expected = expected[:, ::-1] if mirror else expected
            found = prepare(image, (5, 3, 20, 13), angle, mirror)
            np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.asarray(image), page)
    assert prepare(image, (0, 0, 24, 20)).tobytes() == image.tobytes()
    assert prepare(image, [0, 0, 1, 1]).size == (1, 1)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 5, 4, 6), (0, 0, 25, 20), (0, 0, 24, 21), (3, 9, 8, 9)])
def test_boxes_that_are_empty_or_lead_out(page, box):
    with pytest.raises(ValueError, match=r"not empty and within the image of 24 x 20 pixels; got \["):
        prepare(Image.fromarray(page), box)


def test_boxes_and_angles_that_are_none(page):
    image = Image.fromarray(page)
    with pytest.raises(ValueError, match=r"box .* must be at least 0; got -1"):
        prepare(image, (-1, 0, 5, 5))
    with pytest.raises(TypeError, match=r"box .* must be a whole number; got 1\.5"):
        prepare(image, (0, 0, 1.5, 5))
    for box in ((1, 2, 3), "0123"):
        with pytest.raises(ValueError, match=r"must be \(left, top, right, bottom\); got"):
            prepare(image, box)
    with pytest.raises(ValueError, match=r"rotate of a query figure must be one of 0, 90, 180, 270; got 45"):
        prepare(image, rotate=45)


def test_variants(page):
    image = Image.fromarray(page)
    assert [name for name, _ in variants(image)] == ["as given"]
    assert [name for name, _ in variants(image, mirror=True)] == ["as given", "mirrored"]
    turned = variants(image, rotations=True)
    assert [name for name, _ in turned] == ["as given", "rotated 90", "rotated 180", "rotated 270"]
    for turns, (_, found) in enumerate(turned):
        np.testing.assert_array_equal(np.asarray(found), np.rot90(page, -turns))
    both = variants(image, rotations=True, mirror=True)
    names = ["mirrored", "mirrored, rotated 90", "mirrored, rotated 180", "mirrored, rotated 270"]
    assert [name for name, _ in both[4:]] == names
    for turns, (_, found) in enumerate(both[4:]):
        np.testing.assert_array_equal(np.asarray(found), np.rot90(page[:, ::-1], -turns))
    assert len({found.tobytes() for _, found in both}) == 8
