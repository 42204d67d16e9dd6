from __future__ import annotations

import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from longtail.data import load, memory, pictures
from longtail.errors import InputError


def ink(colour: tuple[int, int, int], *, size: int = 16, alpha: int = 255) -> Image.Image:
    """A vertical bar of one colour on nothing."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[2:-2, size // 2 - 1 : size // 2 + 2] = (*colour, alpha)
    return Image.fromarray(pixels, "RGBA")


def decoded(image: Image.Image, path: pathlib.Path, **options) -> tuple[np.ndarray, str]:
    image.save(path, **options)
    found = pictures.decode(path, None)
    return np.asarray(found.image), found.background


# Transparency


@pytest.mark.parametrize(
    ("colour", "background", "level"),
    [
        ((0, 0, 0), "white", 255),
        ((200, 30, 30), "white", 255),
        ((255, 255, 255), "black", 0),
        ((250, 255, 249), "black", 0),
    ],
)
def test_a_drawing_in_the_alpha_channel_is_seen(tmp_path, colour, background, level):
    values, on = decoded(ink(colour), tmp_path / "a.png")
    assert on == background
    assert (values[0, 0] == level).all()
    assert (values[8, 8] == colour).all()


def test_without_a_background_the_drawing_is_lost(tmp_path):
    """The mutant that the test above rejects: dropping the channel."""
    ink((0, 0, 0)).save(tmp_path / "a.png")
    dropped = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert dropped.max() == dropped.min()


def test_composing_is_the_weighted_mean(tmp_path):
    """c a + 255 (1 - a), rounded: what the standard operator over gives on white."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(16, 16, 4), dtype=np.uint8)
    values, _ = decoded(Image.fromarray(pixels, "RGBA"), tmp_path / "a.png")
    share = pixels[..., 3:].astype(float) / 255
    assert np.abs(values - (pixels[..., :3] * share + 255 * (1 - share))).max() <= 1


def test_grey_with_transparency_stays_grey(tmp_path):
    values, on = decoded(ink((9, 9, 9)).convert("LA"), tmp_path / "a.png")
    assert (values.ndim, values[0, 0], values[8, 8], on) == (2, 255, 9, "white")


@pytest.mark.parametrize("kind", ["palette", "key", "grey key"])
def test_transparency_by_a_palette_or_a_key_colour(tmp_path, kind):
    pixels = np.full((16, 16, 3), 7, np.uint8)
    pixels[4:12, 4:12] = 90
    image = Image.fromarray(pixels)
    if kind == "palette":
        image = image.quantize(4)
        options = {"transparency": image.getpixel((0, 0))}
    elif kind == "key":
        options = {"transparency": (7, 7, 7)}
    else:
        image, options = image.convert("L"), {"transparency": 7}
    values, on = decoded(image, tmp_path / "a.png", **options)
    assert on == "white"
    assert values[0, 0].min() == 255
    assert values[8, 8].max() == 90


def test_an_alpha_channel_that_hides_nothing_is_not_told(tmp_path):
    opaque = Image.fromarray(np.random.default_rng(0).integers(256, size=(9, 9, 3), dtype=np.uint8))
    values, on = decoded(opaque.convert("RGBA"), tmp_path / "a.png")
    assert on == ""
    assert np.array_equal(values, np.asarray(opaque))


def test_what_was_composed_is_said(tmp_path):
    for name in "ab":
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for i in range(3):
            ink((255, 255, 255) if i == 2 else (9 * i, 0, ord(name)), size=16).save(
                tmp_path / "zoo" / name / f"{i}.png"
            )
    notes = load(f"folder:{tmp_path / 'zoo'}").notes
    assert (
        "transparency of 6 pictures composed on white, of 2 on black, since they would be flat on white: "
        "a/2.png, b/2.png" in notes
    )


# Frames, single pixels


def test_of_several_frames_the_first_is_read_and_it_is_said(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), 40 * i, np.uint8)) for i in range(3)]
    for name in ("a/0", "a/1", "b/0", "b/1"):
        where = tmp_path / "zoo" / f"{name}.png"
        where.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(list(name.encode())).integers(256, size=(8, 8), dtype=np.uint8)).save(
            where
        )
    frames[0].save(tmp_path / "zoo" / "a" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (1, 1), 7).save(tmp_path / "zoo" / "b" / "dot.png")
    notes = load(f"folder:{tmp_path / 'zoo'}").notes
    assert "1 picture has several frames, of which the first is read: a/moving.gif" in notes
    assert "1 picture has 1 pixel: b/dot.png" in notes
    assert any("2 sizes, 1 x 1 to 8 x 8" in note for note in notes)


# Sixteen bits a channel


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG file of the specification's colour type with 16 bits a channel, every value below 256."""
    rows = b"".join(b"\0" + struct.pack(">H", 7 * y) * (8 * channels) for y in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff() -> bytes:
    """A TIFF file of 8 x 8 RGB pixels with 16 bits a channel."""
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, 384)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits_and_pixels = struct.pack("<3H", 16, 16, 16) + bytes(384)
    return b"II*\0" + struct.pack("<I", 398) + bits_and_pixels + struct.pack("<H", len(entries)) + table + bytes(4)


def deep_jpeg_2000(path: pathlib.Path) -> bytes:
    """A file of eight bits whose header says sixteen."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    stored = bytearray(path.read_bytes())
    place = stored.index(b"\xff\x4f\xff\x51") + 42
    stored[place : place + 9 : 3] = bytes([15]) * 3
    return bytes(stored)


DEEP = {
    "grey.png": lambda path: deep_png(0, 1),
    "grey with transparency.png": lambda path: deep_png(4, 2),
    "colour.png": lambda path: deep_png(2, 3),
    "colour with transparency.png": lambda path: deep_png(6, 4),
    "colour.tif": lambda path: deep_tiff(),
    "colour.ppm": lambda path: b"P6 8 8 65535\n" + bytes(384),
    "words.ppm": lambda path: b"P3 1 1 1000\n1 2 3\n",
    "colour.jp2": deep_jpeg_2000,
}


@pytest.mark.parametrize("name", DEEP)
def test_sixteen_bits_are_refused_however_pillow_opens_them(tmp_path, name):
    """Pillow keeps the upper byte of each: small values become black."""
    content = DEEP[name](tmp_path / name)
    (tmp_path / name).write_bytes(content)
    for read in (pictures.header, pictures.whole):
        with pytest.raises(InputError, match="more than 8 bits a channel"):
            read(tmp_path / name)


@pytest.mark.parametrize("ending", ["bmp", "gif", "jp2", "jpg", "png", "ppm", "tga", "tif", "webp"])
def test_eight_bits_are_read(tmp_path, ending):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / f"a.{ending}")
    assert pictures.header(tmp_path / f"a.{ending}").size == pictures.whole(tmp_path / f"a.{ending}").size == (8, 8)


def test_a_bitmap_of_sixteen_bits_a_pixel_has_fewer_a_channel(tmp_path):
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    head = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0)
    start = 14 + len(head) + len(masks)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", start + 128, 0, 0, start) + head + masks + bytes(128))
    assert pictures.whole(tmp_path / "a.bmp").size == (8, 8)


# Sizes


def test_a_picture_that_does_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("L", (5000, 4000)).save(tmp_path / "large.png")
    monkeypatch.setattr(memory, "free", lambda: 10**8)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(
        InputError, match=r"large.png has 5,000 x 4,000 pixels: 0.2 GB of memory are needed, 0.1 GB are"
    ):
        pictures.decode(tmp_path / "large.png", None)


def test_a_hundred_megapixels_are_read_without_a_warning(tmp_path):
    """Pillow warns from 89 megapixels on; a warning is an error in these tests."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    found = pictures.decode(tmp_path / "large.png", 16)
    assert (found.image.size, found.size) == ((16, 16), (10_000, 10_000))


def test_more_pixels_than_pillow_takes_are_refused(tmp_path):
    Image.new("1", (15_000, 15_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png has more than 178 million pixels"):
        pictures.decode(tmp_path / "huge.png", None)


# What can be shown


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("bird", "bird"),
        ("über ö", "über ö"),
        ("a\nb", r"a\nb"),
        ("b\udcff", r"b\xff"),
        ("\ud800", r"\ud800"),
        ("\x1b[31m", r"\x1b[31m"),
    ],
)
def test_what_is_printed_is_one_line_of_utf8(text, right):
    assert pictures.printable(text) == right
    pictures.printable(text).encode()


# Memory


def test_data_that_do_not_fit_are_refused_before_a_picture_is_opened(tmp_path, monkeypatch):
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / "zoo" / name[0]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(list(name.encode())).integers(256, size=(8, 8), dtype=np.uint8)).save(
            tmp_path / "zoo" / f"{name}.png"
        )
    # 4 pictures of 100 x 100, three colours, and the copy that is split off: 240 kB.
    monkeypatch.setattr(memory, "free", lambda: 239_999)
    with pytest.raises(InputError, match=r"4 pictures of up to 100 x 100 pixels: 0.2 MB of memory are needed, 0.2 MB"):
        load(f"folder:{tmp_path / 'zoo'}", image_size=100)
    monkeypatch.setattr(memory, "free", lambda: 240_000)
    assert load(f"folder:{tmp_path / 'zoo'}", image_size=100).train.images.shape == (2, 1, 100, 100)
    # By the headers they are 8 x 8, so that far less than 64 x 64 each is enough.
    monkeypatch.setattr(memory, "free", lambda: 4 * 8 * 8 * 3 * 2)
    assert len(load(f"folder:{tmp_path / 'zoo'}").train) == 2
    monkeypatch.setattr(memory, "free", lambda: 4 * 8 * 8 * 3 * 2 - 1)
    with pytest.raises(InputError, match="of memory are needed"):
        load(f"folder:{tmp_path / 'zoo'}")


def test_the_free_memory_is_the_smaller_of_machine_and_container(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free() == 500 * 1024
    for limit, right in (("max", 500 * 1024), ("400000", 400_000 - 250_000 + 50_000), ("100", 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("250000\n")
        (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
        if limit == "100":
            (tmp_path / "memory.stat").write_text("anon 1\n")
        assert memory.free() == right
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "none")
    assert memory.free() is None
    memory.check(10**30, "anything", "nothing")


def test_here_some_memory_is_free():
    there = memory.free()
    assert there is None or there > 10**6
