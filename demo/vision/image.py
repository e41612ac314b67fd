"""The one door for pictures from strangers: bytes in, upright RGB pixels out, or a clear refusal.

Size and kind are read from the header before anything is decoded. Pillow's own limits are left
alone: they are global to the process, and its warnings too.
"""

import hashlib
import re
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from demo.atomic_file import replace_file
from demo.errors import ImageError

MAX_BYTES = 10_000_000
MAX_PIXELS = 25_000_000
MAX_SIDE = 12_000
MAX_ASPECT = 100
MAX_SCANS = 100  # of a JPEG; a progressive one has about ten, and each costs a whole decoding
MAX_SCANNED = 600_000_000  # pixels of all its scans together: what is decoded in two seconds
MAX_OPENED_SIDE = 2_048  # no tower looks closer, and a conversation may hold many pictures

USE = "Please use a JPEG, PNG, WebP or GIF picture."
# A marker of a JPEG that has a length after it: not stuffing, padding, a restart, or a lone one.
MARKER = re.compile(rb"\xff+([\x02-\xcf\xda-\xfe])", re.DOTALL)
START_OF_SCAN = b"\xda"
ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
THUMBNAIL_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, the only form in which a picture goes through the program.

    `rgb` is (height, width, 3) uint8, upright, read-only. `digest` is the sha256 over size and
    pixels: pictures are equal when it is. Nothing of the file (EXIF, place, comments) is left.
    """

    rgb: np.ndarray = field(repr=False, compare=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ValueError(f"rgb is {self.rgb.shape} {self.rgb.dtype}, not (H, W, 3) uint8")
        if not self.rgb.size:
            raise ValueError("a picture needs at least one pixel")
        rgb = np.ascontiguousarray(self.rgb)
        if rgb.flags.writeable:  # a later change by the caller would make the digest a lie
            rgb = rgb.copy()
            rgb.setflags(write=False)
        object.__setattr__(self, "rgb", rgb)
        # Without the size, 2 x 3 and 3 x 2 pixels of the same bytes would share a cache entry.
        size = f"{rgb.shape[0]}x{rgb.shape[1]} RGB8\n".encode()
        object.__setattr__(self, "digest", hashlib.sha256(size + rgb.data).hexdigest())


def open_picture(source: bytes | Path, use: str = USE) -> Picture:
    """Open an untrusted JPEG, PNG, WebP or GIF (its first frame), whatever its name says.

    Orientation is applied, transparency laid on white, every colour mode turned into RGB8 and
    metadata dropped. Sides above `MAX_OPENED_SIDE` are shrunk by a whole factor. One pixel is fine.

    Args:
        source: the file's bytes, or where it is.
        use: what to use instead, said of files that are no pictures.

    Raises:
        ImageError: not such a picture, cut off or damaged, over 10 MB, over 25 megapixels, a side
            over 12,000 pixels, one side over 100 times the other, or a JPEG of too many scans.
    """
    data = _read(source, use)
    opener = _opener(data, use)
    try:
        if opener is WebPImageFile:
            _check_size(_webp_size(data))  # Pillow's decoder reserves the canvas when it opens
        with opener(BytesIO(data)) as image:
            _check_size(image.size)
            if opener is JpegImageFile:
                _check_scans(data, image.width * image.height)
            return Picture(_pixels(image))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large("The picture")) from error
    except Exception as error:
        # Decoders fail with a dozen types, from OSError to SyntaxError, whose texts may hold
        # addresses and paths. To the visitor all mean the same.
        raise ImageError(
            "The picture is cut off or damaged, so it cannot be read. "
            "Please save or download it again, or use another one."
        ) from error


def check_header(data: bytes) -> int:
    """Refuse what the first bytes show to be no picture that we open. Nothing is decoded.

    Returns:
        How many pixels it has.

    Raises:
        ImageError: another kind of file, or a picture that is too large.
    """
    opener = _opener(_read(data, USE), USE)
    try:
        with opener(BytesIO(data)) as image:
            width, height = _webp_size(data) if opener is WebPImageFile else image.size
        _check_size((width, height))
        return width * height
    except ImageError:
        raise
    except Exception as error:  # as in `open_picture`
        raise ImageError(
            "The picture is cut off or damaged, so it cannot be read. "
            "Please save or download it again, or use another one."
        ) from error


def thumbnail(picture: Picture, side: int) -> bytes:
    """Make a WebP of the picture, shrunk to at most `side` pixels either way; never enlarged."""
    image, written = Image.fromarray(picture.rgb), BytesIO()
    image.thumbnail((side, side))
    image.save(written, "WEBP", quality=85)
    return written.getvalue()


def shrunk(picture: Picture, side: int) -> Picture:
    """Shrink to at most `side` pixels either way; a smaller picture is given as it is."""
    if max(picture.rgb.shape[:2]) <= side:
        return picture
    image = Image.fromarray(picture.rgb)
    image.thumbnail((side, side))
    return Picture(np.asarray(image))


def save_thumbnail(picture: Picture, path: Path, side: int) -> None:
    """Write the picture, shrunk to at most `side` pixels either way, whole or not at all.

    The format follows the suffix: .jpg, .jpeg, .png or .webp. Small pictures are not enlarged.

    Raises:
        ValueError: another suffix, or a side below 1.
    """
    if path.suffix.lower() not in THUMBNAIL_FORMATS or side < 1:
        raise ValueError(f"thumbnails are {', '.join(THUMBNAIL_FORMATS)} and at least 1 pixel")
    image = Image.fromarray(picture.rgb)
    image.thumbnail((side, side))
    with replace_file(path) as unfinished:
        image.save(unfinished, THUMBNAIL_FORMATS[path.suffix.lower()], quality=85)


def _read(source: bytes | Path, use: str) -> bytes:
    """At most one byte more than the limit, so that a huge file costs nothing."""
    if isinstance(source, bytes):
        data = source
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageError("The picture cannot be read. Please choose it again.") from error
    if not data:
        raise ImageError(f"The picture file is empty. {use}")
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"The picture file is larger than {MAX_BYTES // 1_000_000} MB, the most we open. "
            "Please scale it down or compress it more."
        )
    return data


def _opener(data: bytes, use: str) -> type[ImageFile.ImageFile]:
    """Pillow's reader for these first bytes, without the size warnings of `Image.open`."""
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    raise ImageError(f"This file is {_what_it_is(data)}. {use}")


def _what_it_is(data: bytes) -> str:
    """Name what people try most often instead."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"<svg" in head:
        return "an SVG drawing, which we do not open"
    if data[4:8] == b"ftyp":
        still = data[8:12] in (b"heic", b"heix", b"mif1", b"avif")
        return "a HEIC or AVIF photo, which we do not open" if still else "a video, not a picture"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return "an AVI video, which we do not open"
    names = {
        b"\x1aE\xdf\xa3": "a Matroska video, which we do not open",
        b"%PDF": "a PDF document, not a picture",
        b"II*\0": "a TIFF picture, which we do not open",
        b"MM\0*": "a TIFF picture, which we do not open",
        b"BM": "a BMP picture, which we do not open",
    }
    found = (name for start, name in names.items() if data.startswith(start))
    return next(found, "not a picture that we know")


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    return width, height


def _check_size(size: tuple[int, int]) -> None:
    """Refuse by the header's numbers, before a pixel is decoded."""
    width, height = size
    shown = f"{width:,} × {height:,}"
    if width * height > MAX_PIXELS:
        millions = f"{width * height / 1e6:.1f}".removesuffix(".0")
        raise ImageError(_too_large(f"The picture has {millions} megapixels ({shown})"))
    if max(size) > MAX_SIDE:
        raise ImageError(
            f"The picture is {shown} pixels, and a side may have at most {MAX_SIDE:,}. "
            "Please scale it down or cut a part out."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"The picture is {shown} pixels, and one side may be at most {MAX_ASPECT} times the "
            "other. Please cut a part out."
        )


def _check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG that is decoded over and over, before it is: nothing could stop it then."""
    scans = 0
    found = MARKER.search(data, 2)
    while found and scans <= MAX_SCANS:
        scans += found[1] == START_OF_SCAN
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        found = MARKER.search(data, found.end() + length)
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED:
        raise ImageError(
            "The picture is a JPEG that is stored in far too many passes. Please save it again "
            "with another program."
        )


def _too_large(what: str) -> str:
    limit = f"{MAX_PIXELS // 1_000_000} megapixels"
    start = f"{what}, and" if "megapixels" in what else f"{what} is too large:"
    return f"{start} we open at most {limit}. Please scale it down."


def _pixels(image: ImageFile.ImageFile) -> np.ndarray:
    """Decode: (height, width, 3) uint8, upright, neither side above `MAX_OPENED_SIDE`."""
    if isinstance(image, JpegImageFile):
        # JPEG can be decoded at a half, a quarter or an eighth: a large photo at a fourth the cost.
        factor = _shrink(image.size)
        image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    plain = _on_white(image)
    factor = _shrink(plain.size)
    if factor > 1:
        plain = plain.reduce(factor)
    turn = UPRIGHT.get(_orientation(image))
    return np.asarray(plain.transpose(turn) if turn is not None else plain)


def _shrink(size: tuple[int, int]) -> int:
    """Find the smallest whole factor that brings the longer side to `MAX_OPENED_SIDE` or below."""
    return -(-max(size) // MAX_OPENED_SIDE)


def _on_white(image: Image.Image) -> Image.Image:
    """Any mode -> RGB8, see-through parts on white."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        deep = np.asarray(image)
        grey = np.round(deep / 257).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[deep == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 when there is none or the tag block is broken."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        # A broken tag block is no reason to refuse good pixels; its parser raises many types.
        return 1
