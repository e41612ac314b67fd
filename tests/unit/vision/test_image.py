"""Untrusted pictures: what opens, what is refused, and in which words."""

import re
import resource
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from demo.errors import ImageError
from demo.vision import image as image_module
from demo.vision.image import MAX_BYTES, MAX_OPENED_SIDE, Picture, open_picture, save_thumbnail

DAMAGED = (
    "The picture is cut off or damaged, so it cannot be read. "
    "Please save or download it again, or use another one."
)
USE = "Please use a JPEG, PNG, WebP or GIF picture."


def gradient(width: int, height: int) -> Image.Image:
    """An RGB image in which no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height))
    return Image.fromarray(np.stack(planes, 2).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow will not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + extra + body + chunk(b"IEND", b"")


def refusal(source: bytes | Path) -> str:
    with pytest.raises(ImageError) as caught:
        open_picture(source)
    message = str(caught.value)
    assert not re.search(r"0x|/|\\|<|Error|PIL|Pillow", message), message
    return message


def assert_close(found: np.ndarray, expected: Image.Image | np.ndarray, most: int) -> None:
    reference = np.asarray(expected).astype(int)
    assert found.shape == reference.shape
    difference = np.abs(found.astype(int) - reference)
    assert difference.max() <= most


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"garbage" * 50, "not a picture that we know"),
        (b"PK\3\4" + bytes(60), "not a picture that we know"),
        (b"<html><body>hello</body></html>", "not a picture that we know"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture that we know"),
        (b"%PDF-1.7\n1 0 obj", "a PDF document, not a picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing, which we do not open"),
        (b'<?xml version="1.0"?>\n<svg/>', "an SVG drawing, which we do not open"),
        (encoded(gradient(8, 8), "TIFF"), "a TIFF picture, which we do not open"),
        (encoded(gradient(8, 8), "BMP"), "a BMP picture, which we do not open"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC or AVIF photo, which we do not open"),
        (b"\0\0\0\x18ftypmp42" + bytes(20), "a video, not a picture"),
    ],
)
@pytest.mark.matrix("B7")
def test_other_files_are_refused_by_content(data: bytes, what: str, tmp_path: Path) -> None:
    renamed = tmp_path / "holiday.png"
    renamed.write_bytes(data)
    assert refusal(data) == refusal(renamed) == f"This file is {what}. {USE}"


def test_empty_and_missing_files(tmp_path: Path) -> None:
    assert refusal(b"") == f"The picture file is empty. {USE}"
    unreadable = "The picture cannot be read. Please choose it again."
    assert refusal(tmp_path / "none.png") == refusal(tmp_path) == unreadable


def test_ten_megabytes_is_the_most(tmp_path: Path) -> None:
    fitting = encoded(gradient(4, 4)).ljust(MAX_BYTES, b"\0")
    assert open_picture(fitting).rgb.shape == (4, 4, 3)
    large = tmp_path / "large.png"
    large.write_bytes(fitting + b"\0")
    assert (
        refusal(large)
        == refusal(fitting + b"\0")
        == (
            "The picture file is larger than 10 MB, the most we open. "
            "Please scale it down or compress it more."
        )
    )


@pytest.mark.matrix("B1")
def test_bomb_is_refused_from_its_header() -> None:
    bomb = png(13_000, 13_000, 1, 0, bytes(13_000 * 1_626))
    assert len(bomb) < 25_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(bomb) == (
        "The picture has 169 megapixels (13,000 × 13,000), and we open at most 25 megapixels. "
        "Please scale it down."
    )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000  # kilobytes; decoding it takes 800,000


def test_forty_megapixel_photo_is_refused_with_both_numbers() -> None:
    photo = encoded(Image.new("L", (8_000, 5_000)), "JPEG", quality=20)
    assert refusal(photo) == (
        "The picture has 40 megapixels (8,000 × 5,000), and we open at most 25 megapixels. "
        "Please scale it down."
    )


@pytest.mark.matrix("B1")
def test_bombs_of_other_formats() -> None:
    gif = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(3)
    beyond = (  # the frame, not the screen, is what is large
        b"GIF89a" + struct.pack("<HH", 8, 8) + bytes(3)
        + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02L\x01\0;"
    )  # fmt: skip
    side = (16_383).to_bytes(3, "little")
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + side + side
    assert "megapixels" in refusal(beyond)
    assert "megapixels" in refusal(webp)
    assert refusal(gif)


@pytest.mark.matrix("B2")
def test_long_and_thin_pictures() -> None:
    assert refusal(encoded(Image.new("L", (300, 1)))) == (
        "The picture is 300 × 1 pixels, and one side may be at most 100 times the other. "
        "Please cut a part out."
    )
    assert refusal(encoded(Image.new("L", (12_001, 200)))) == (
        "The picture is 12,001 × 200 pixels, and a side may have at most 12,000. "
        "Please scale it down or cut a part out."
    )
    assert open_picture(encoded(Image.new("L", (100, 1)))).rgb.shape == (1, 100, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.matrix("B2")
def test_one_pixel(kind: str) -> None:
    assert open_picture(encoded(Image.new("RGB", (1, 1), "white"), kind)).rgb.shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.matrix("B3")
def test_cut_files_are_refused_or_whole(kind: str) -> None:
    data = encoded(gradient(60, 40), kind)
    whole = open_picture(data)
    refused = 0
    for percent in range(5, 100, 5):
        part = data[: len(data) * percent // 100]
        try:
            assert open_picture(part) == whole
        except ImageError as error:
            assert str(error) == DAMAGED or percent == 5
            refused += 1
    assert refused >= 17


@pytest.mark.matrix("B8")
def test_damaged_in_the_middle() -> None:
    data = bytearray(encoded(gradient(60, 40)))
    data[len(data) // 2] ^= 255
    assert refusal(bytes(data)) == DAMAGED


@pytest.mark.matrix("B6")
def test_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert_close(open_picture(data).rgb, frames[0], 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "most"), [("PNG", 0), ("JPEG", 3)])
@pytest.mark.matrix("B4")
def test_orientation_is_applied(orientation: int, kind: str, most: int) -> None:
    upright = gradient(64, 32)
    # What a camera stores: the inverse of the turn that the tag asks the viewer to make.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turned = upright if orientation == 1 else upright.transpose(stored[orientation])
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    found = open_picture(encoded(turned, kind, exif=tags, **options)).rgb
    with Image.open(BytesIO(encoded(upright, kind, **options))) as expected:
        assert_close(found, expected, most)


def test_broken_orientation_is_ignored() -> None:
    data = encoded(gradient(16, 8), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_picture(data).rgb.shape == (8, 16, 3)


@pytest.mark.matrix("B6")
def test_cmyk() -> None:
    ink = gradient(64, 32).convert("CMYK")
    found = open_picture(encoded(ink, "JPEG", quality=100)).rgb
    assert_close(found, ink.convert("RGB"), 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.matrix("B6")
def test_transparent_parts_are_white(mode: str) -> None:
    image = gradient(16, 16).convert(mode)
    alpha = Image.linear_gradient("L").resize((16, 16))
    image.putalpha(alpha)
    colour, share = np.asarray(image.convert("RGBA"), float)[..., :3], np.asarray(alpha) / 255
    expected = np.round(colour * share[..., None] + 255 * (1 - share[..., None]))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert_close(open_picture(encoded(image, kind, **options)).rgb, expected, 1)


@pytest.mark.matrix("B6")
def test_palette_with_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    found = open_picture(encoded(image, transparency=0)).rgb
    assert found.tolist() == [[[255, 255, 255], [0, 0, 200]]]


@pytest.mark.matrix("B6")
def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32_768, 65_535]], np.uint16)
    rows = b"\0" + values.astype(">u2").tobytes()
    assert open_picture(png(4, 1, 16, 0, rows)).rgb[0, :, 0].tolist() == [0, 1, 128, 255]
    clear = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 257)
    clear += struct.pack(">I", zlib.crc32(clear[4:]))
    found = open_picture(png(4, 1, 16, 0, rows, clear)).rgb
    assert found[0, :, 0].tolist() == [0, 255, 128, 255]


def test_sixteen_bit_colour() -> None:
    rows = b"\0" + np.array([0, 32_896, 65_535], ">u2").tobytes()
    assert open_picture(png(1, 1, 16, 2, rows)).rgb.tolist() == [[[0, 128, 255]]]


@pytest.mark.matrix("B6")
def test_one_bit() -> None:
    image = Image.fromarray(np.array([[True, False, True]]))
    assert open_picture(encoded(image)).rgb[0, :, 0].tolist() == [255, 0, 255]


@pytest.mark.matrix("B5")
def test_metadata_is_dropped(tmp_path: Path) -> None:
    tags, text = Image.Exif(), PngImagePlugin.PngInfo()
    tags[0x010E] = "SECRET place"
    text.add_text("Comment", "SECRET words")
    for kind, options in (
        ("PNG", {"exif": tags, "pnginfo": text}),
        ("JPEG", {"exif": tags, "comment": b"SECRET"}),
        ("WEBP", {"exif": tags, "xmp": b"<x>SECRET</x>"}),
    ):
        data = encoded(gradient(64, 64), kind, **options)
        assert b"SECRET" in data
        picture = open_picture(data)
        assert "SECRET" not in repr(vars(picture))
        for suffix in (".jpg", ".png", ".webp"):
            save_thumbnail(picture, tmp_path / f"small{suffix}", 32)
            written = (tmp_path / f"small{suffix}").read_bytes()
            assert b"SECRET" not in written
            assert b"Exif" not in written


@pytest.mark.matrix("B9")
def test_equal_bytes_of_another_size_differ() -> None:
    pixels = np.arange(36, dtype=np.uint8)
    pictures = [Picture(pixels.reshape(shape)) for shape in ((3, 4, 3), (4, 3, 3), (2, 6, 3))]
    assert len({picture.digest for picture in pictures}) == 3
    grey = Image.fromarray(pixels.reshape(6, 6))
    colours = grey.copy()
    colours.putpalette([255 - i // 3 for i in range(768)])  # same indices, other palette
    assert open_picture(encoded(grey)) != open_picture(encoded(colours))


def test_same_pixels_have_one_digest_in_any_format() -> None:
    image = gradient(30, 20)
    assert open_picture(encoded(image)) == open_picture(encoded(image, "WEBP", lossless=True))


def test_pixels_cannot_be_changed() -> None:
    mine = np.zeros((2, 2, 3), np.uint8)
    picture = Picture(mine)
    mine[:] = 9
    assert picture.rgb.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        picture.rgb[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        open_picture(encoded(gradient(4, 4))).rgb[0] = 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_photo_is_kept_small(kind: str) -> None:
    photo = gradient(4_000, 3_000)
    found = open_picture(encoded(photo, kind, **({"compress_level": 1} if kind == "PNG" else {})))
    assert max(found.rgb.shape) <= MAX_OPENED_SIDE
    assert_close(found.rgb, photo.reduce(2), 6)


def test_thumbnail_is_small_and_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "small.jpg"
    save_thumbnail(Picture(np.asarray(gradient(400, 200))), target, 100)
    with Image.open(target) as image:
        assert (image.format, image.size) == ("JPEG", (100, 50))
    assert [path.name for path in target.parent.iterdir()] == ["small.jpg"]
    with pytest.raises(ValueError, match="thumbnails are"):
        save_thumbnail(Picture(np.zeros((1, 1, 3), np.uint8)), tmp_path / "small.tiff", 100)


@pytest.mark.matrix("H2")
def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = encoded(Image.new("L", (2_000, 2_000)), "JPEG", progressive=True)
    last = plain.rfind(b"\xff\xda")
    monkeypatch.delattr("PIL.ImageFile.ImageFile.load")
    for extra in (100, 5_000):
        bomb = plain[:-2] + plain[last:-2] * extra + plain[-2:]
        with pytest.raises(ImageError, match="far too many passes"):
            open_picture(bomb)


def test_a_jpegs_metadata_holds_no_scans() -> None:
    comment = b"\xff\xda\0\x02" * 1_000
    data = encoded(gradient(16, 8), "JPEG", progressive=True, comment=comment)
    assert open_picture(data).rgb.shape == (8, 16, 3)


def test_large_pictures_may_have_fewer_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    monkeypatch.setattr(image_module, "MAX_SCANNED", scans * 64 * 64)
    open_picture(data)
    monkeypatch.setattr(image_module, "MAX_SCANNED", scans * 64 * 64 - 1)
    with pytest.raises(ImageError, match="far too many passes"):
        open_picture(data)
