"""One picture file: which endings are read, and how it becomes grey or RGB pixels of eight bits.

Transparency is composed on white. A picture that would be one flat colour on white although its drawing is not (white
ink on nothing) is composed on black instead. Both are counted, so that it can be said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import pathlib
import stat
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from longtail.data import memory
from longtail.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

PILLOW = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""Endings that are read, in any case."""
HEIF = (".heic", ".heif", ".hif")
"""Endings that are read where pillow-heif is installed."""
NOT_READ = (
    *(".ai", ".arw", ".cr2", ".cr3", ".cur", ".dcm", ".dds", ".dng", ".emf", ".eps", ".exr", ".fit", ".fits", ".hdr"),
    *(".icns", ".jxl", ".nef", ".orf", ".psd", ".raf", ".raw", ".rw2", ".sgi", ".svg", ".svgz", ".wmf", ".xbm", ".xcf"),
    ".xpm",
)
"""Endings of pictures of other kinds; they are named when they are left out, as other files are only counted."""

KEPT_SIZE = 64
"""Pictures that are all of one size are kept as they are up to this many pixels a side."""
DEFAULT_SIZE = 32
"""Other pictures are brought to squares of this side if no size is asked for."""
FLAT = 16
"""A picture whose values span less than this, of 256, counts as flat when a background is chosen for it."""
LARGE = 16_000_000
"""From this many pixels on, the memory that decoding needs is compared with what is free."""
ORIENTATION = 0x0112
"""The field of a photo's EXIF data that says how the camera was held."""
LYING = (5, 6, 7, 8)
"""The orientations in which width and height are exchanged."""
BYTES_PER_PIXEL = 12
"""That decoding holds at once, at most: the picture, one copy with transparency, and one without."""
DEEP = (";16B", ";16L", ";16N")
"""Endings of Pillow's names for what a file with 16 bits a channel holds."""
BITS_PER_SAMPLE = 258
"""The field of a TIFF file that says how many bits each channel has."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Args:
        image: grey (L) or RGB; one that cannot be kept in its own size comes in its final one.
        size: width and height before scaling, upright.
        background: on which transparency was composed, ``white`` or ``black``; empty if nothing is transparent.
        frames: more than one; only the first is read.
    """

    image: Image
    size: tuple[int, int]
    background: str
    frames: bool


class Header(NamedTuple):
    """What the beginning of a picture's file says.

    Args:
        kind: ``L`` for grey, else ``RGB``.
        size: width and height, upright.
        transparent: whether it has an alpha channel or a transparent colour, which may hide nothing.
        frames: more than one; only the first is read.
    """

    kind: str
    size: tuple[int, int]
    transparent: bool
    frames: bool


@functools.cache
def endings() -> frozenset[str]:
    """The endings that are read here, in small letters."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return frozenset(PILLOW)
    return frozenset((*PILLOW, *HEIF))


def decode(file: pathlib.Path, image_size: int | None) -> Picture:
    """Read a picture and bring it to its final size.

    Args:
        file: its path.
        image_size: side of the square to which it is scaled and cropped; None: it keeps its size if it is small.

    Raises:
        InputError: as ``whole``.
    """
    found = whole(file)
    # Photos are large and many: only pictures that may stay as they are wait for the others in full size.
    side = image_size or (None if is_small(found.size) else DEFAULT_SIZE)
    return dataclasses.replace(found, image=square(found.image, side))


def whole(file: pathlib.Path) -> Picture:
    """Read a picture in its own size, upright and without transparency.

    Args:
        file: its path.

    Raises:
        InputError: a file that cannot be decoded, is no ordinary file, has more than eight bits a channel, or needs
            more memory than there is.
    """
    from PIL import ImageOps

    with _opened(file) as opened:
        frames = _has_frames(opened)
        # A photo may be stored lying and marked as upright.
        ImageOps.exif_transpose(opened, in_place=True)
        picture, background = _opaque(opened)
    return Picture(picture, picture.size, background, frames)


def header(file: pathlib.Path) -> Header:
    """Read what a picture's file says of it, without decoding it.

    Args:
        file: its path.

    Raises:
        InputError: as ``whole``, for what the header says.
    """
    with _opened(file) as opened:
        # Pillow would decode a PNG file to its end in search of what hardly any has.
        told = opened.format != "PNG" or "exif" in opened.info
        across = told and opened.getexif().get(ORIENTATION, 1) in LYING
        size = (opened.height, opened.width) if across else (opened.width, opened.height)
        return Header(_kind(opened), size, opened.has_transparency_data, _has_frames(opened))


@contextlib.contextmanager
def _opened(file: pathlib.Path) -> Iterator[Image]:
    """A picture whose header was read and whose pixels may be; what goes wrong meanwhile is said in one line."""
    from PIL import Image

    where = shown(file)
    try:
        # Opening a fifo would wait for its other end for ever.
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise InputError(f"{where} is no ordinary file")
        with quiet(), Image.open(file) as opened:
            number = opened.width * opened.height
            if number >= LARGE:
                what = f"{where} has {opened.width:,} x {opened.height:,} pixels"
                memory.check(number * BYTES_PER_PIXEL, what, "scale it down, or leave it out")
            if opened.mode[0] in "IF" or _is_deep(opened, file):
                raise InputError(f"{where}: more than 8 bits a channel (kind {opened.mode}); convert it to 8 bits")
            yield opened
    except InputError:
        raise
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(f"{where} has more than {most // 1_000_000} million pixels, the most that are read") from None
    except MemoryError:
        raise InputError(f"{where}: there is not enough memory to decode it") from None
    except Exception as error:
        # Pillow's decoders raise whatever their format makes of a damaged file.
        reason = printable(" ".join(str(error).split()).replace(f" {str(file)!r}", ""))
        raise InputError(f"{where} is no readable picture ({reason or type(error).__name__})") from None


def pixels(file: pathlib.Path) -> int:
    """How many pixels of a picture are kept where no size is asked for, by its header; 0 of what is no picture."""
    from PIL import Image

    try:
        with quiet(), Image.open(file) as opened:
            return opened.width * opened.height if is_small(opened.size) else DEFAULT_SIZE * DEFAULT_SIZE
    except Exception:  # decoding says what is wrong with it
        return 0


def square(picture: Image, side: int | None, *, interpolation: str = "bicubic", crop: float = 1.0) -> Image:
    """The picture with its shorter side scaled to ``side`` and cropped around its centre; as it is if None.

    Args:
        picture: of any size.
        side: of the square, in pixels.
        interpolation: of Pillow, such as ``bicubic`` or ``bilinear``.
        crop: share of the shorter side that is kept, in (0, 1].
    """
    from PIL import Image, ImageOps

    if side is None or (picture.size == (side, side) and crop == 1.0):
        return picture
    method = Image.Resampling[interpolation.upper()]
    # fit removes a share of the border on each side before it scales.
    return ImageOps.fit(picture, (side, side), method=method, bleed=(1.0 - crop) / 2)


def is_small(size: tuple[int, int]) -> bool:
    """Whether a picture may be kept in its own size."""
    return max(size) <= KEPT_SIZE


def printable(text: str) -> str:
    r"""The text in one line that any terminal and any record can hold: what is no UTF-8, or no letter, is escaped.

    Example:
        >>> printable("b\udcff\n")
        'b\\xff\\n'
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown(path: pathlib.Path) -> str:
    """A path, printable."""
    return printable(str(path))


def is_utf8(name: str) -> bool:
    """Whether a name on the disc is text that a record can hold."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow: what matters of them is refused or counted here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _escaped(c: str) -> str:
    """A letter that cannot be shown; Python holds the bytes of a name that are no UTF-8 as U+DC80 to U+DCFF."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()


def _is_deep(opened: Image, file: pathlib.Path) -> bool:
    """Whether a file has more than eight bits a channel although Pillow opens it as one of eight, as it does colour."""
    if opened.format == "JPEG2000":
        return _bits_of_jpeg_2000(file) > 8
    if max(getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8:
        return True
    for _, _, _, how in getattr(opened, "tile", ()):
        raw, *more = (how,) if isinstance(how, str) else how or ("",)
        if str(raw).endswith(DEEP) or (opened.format == "PPM" and any(most > 255 for most in more)):
            return True
    return False


def _bits_of_jpeg_2000(file: pathlib.Path) -> int:
    """The most bits of a channel, by the size marker of the codestream, which lies behind the boxes of a .jp2 file."""
    with file.open("rb") as stored:
        _, found, after = stored.read(1 << 20).partition(b"\xff\x4f\xff\x51")
    channels = int.from_bytes(after[36:38])
    return max(((bits & 0x7F) + 1 for bits in after[38 : 38 + 3 * channels : 3]), default=8) if found else 8


def _has_frames(opened: Image) -> bool:
    return bool(getattr(opened, "is_animated", False))


def _kind(opened: Image) -> str:
    return "L" if opened.mode in ("1", "L", "LA") else "RGB"


def _opaque(opened: Image) -> tuple[Image, str]:
    """The picture without transparency, grey or RGB, and the background on which it was composed."""
    from PIL import Image

    kind = _kind(opened)
    if not opened.has_transparency_data:
        return opened.convert(kind), ""
    layered = opened.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered.convert(kind), ""
    found = {
        name: Image.alpha_composite(Image.new("RGBA", layered.size, (*level, 255)), layered).convert(kind)
        for name, level in (("white", (255, 255, 255)), ("black", (0, 0, 0)))
    }
    # Flat on both means that there is no drawing: then white does.
    flat_on_white = _span(found["white"]) < FLAT
    background = "black" if flat_on_white and _span(found["black"]) > _span(found["white"]) else "white"
    return found[background], background


def _span(picture: Image) -> int:
    """Largest less smallest value, of the channel in which they are furthest apart."""
    values = np.asarray(picture)
    return int(np.ptp(values.reshape(values.shape[0] * values.shape[1], -1), axis=0).max())
