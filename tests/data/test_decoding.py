"""Both decoders give the same pixels, and each kind of file that needs a rule goes to the one that knows the rules."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from longtail.data import decoding, pictures
from longtail.errors import InputError

pytest.importorskip("torchvision")


def photo(mode: str = "RGB", size: tuple[int, int] = (37, 22)) -> Image.Image:
    """Blurred noise, so that JPEG has something to round."""
    noise = np.random.default_rng(7).integers(256, size=(6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def lying(file: pathlib.Path, **options: object) -> None:
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    photo().save(file, exif=exif, **options)


def transparent(file: pathlib.Path) -> None:
    layered = photo("RGBA")
    layered.putalpha(photo("L"))
    layered.save(file)


def palette(file: pathlib.Path, **options: object) -> None:
    photo().quantize(16).save(file, **options)


def several(file: pathlib.Path) -> None:
    first = photo()
    first.save(file, save_all=True, append_images=[Image.eval(first, lambda level: 255 - level)])


def profiled(file: pathlib.Path) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Raw profile type exif", "0")
    photo().save(file, pnginfo=told)


KINDS: dict[str, tuple[str, Callable[[pathlib.Path], object], bool]] = {
    "jpeg": ("jpg", lambda file: photo().save(file, quality=90), True),
    "jpeg of halved colours": ("jpg", lambda file: photo().save(file, subsampling=2), True),
    "progressive jpeg": ("jpg", lambda file: photo().save(file, progressive=True), True),
    "grey jpeg": ("jpg", lambda file: photo("L").save(file), True),
    "jpeg of odd sides": ("jpeg", lambda file: photo(size=(17, 31)).save(file), True),
    "upright jpeg with camera data": ("jpg", lambda file: photo().save(file, exif=Image.Exif()), True),
    "lying jpeg": ("jpg", lying, False),
    "cmyk jpeg": ("jpg", lambda file: photo("CMYK").save(file), False),
    "png": ("png", lambda file: photo().save(file), False),
    "grey png": ("png", lambda file: photo("L").save(file), False),
    "black and white png": ("png", lambda file: photo("1").save(file), False),
    "lying png": ("png", lying, False),
    "png with a profile": ("png", profiled, False),
    "transparent png": ("png", transparent, False),
    "grey transparent png": ("png", lambda file: photo("LA").save(file), False),
    "png with a transparent colour": ("png", lambda file: photo().save(file, transparency=(0, 0, 0)), False),
    "palette png": ("png", palette, False),
    "palette png with transparency": ("png", lambda file: palette(file, transparency=3), False),
    "animated png": ("png", several, False),
    "gif": ("gif", several, False),
    "webp": ("webp", lambda file: photo().save(file), False),
    "tiff": ("tif", lambda file: photo().save(file), False),
    "bmp": ("bmp", lambda file: photo().save(file), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_decoders_give_the_same_pixels(kind: str, tmp_path: pathlib.Path) -> None:
    ending, write, plain = KINDS[kind]
    file = tmp_path / f"a.{ending}"
    write(file)
    assert decoding.is_plain(file.read_bytes()) == plain
    expected = decoding.array_of(pictures.whole(file).image)
    assert torch.equal(decoding.pixels_of(file), expected)
    if plain:  # so that the fast decoder was in use
        decoder = decoding._torchvision()
        assert decoder is not None
        assert torch.equal(decoder(torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)), expected)


@pytest.mark.parametrize("kind", ["lying jpeg", "cmyk jpeg", "transparent png"])
def test_the_fast_decoder_alone_would_be_wrong(kind: str, tmp_path: pathlib.Path) -> None:
    """The mutant: no rule at all."""
    ending, write, _ = KINDS[kind]
    write(tmp_path / f"a.{ending}")
    raw = torch.frombuffer(bytearray((tmp_path / f"a.{ending}").read_bytes()), dtype=torch.uint8)
    decoder = decoding._torchvision()
    assert decoder is not None
    found = decoder(raw)
    expected = decoding.pixels_of(tmp_path / f"a.{ending}")
    assert found.shape != expected.shape or not torch.equal(found, expected)


def test_more_than_eight_bits_are_refused(tmp_path: pathlib.Path) -> None:
    deep = np.random.default_rng(0).integers(65536, size=(8, 8)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: more than 8 bits a channel"):
        decoding.pixels_of(tmp_path / "a.png")


def outcome(decode: Callable[[], torch.Tensor]) -> str | bytes:
    """The pixels, or the message."""
    try:
        return decode().numpy().tobytes()
    except InputError as error:
        return str(error)


def test_what_is_damaged_is_refused_by_whoever_decodes(tmp_path: pathlib.Path) -> None:
    for ending, options in (("jpg", {"quality": 90}), ("png", {})):
        held = io.BytesIO()
        photo(size=(64, 64)).save(held, "JPEG" if ending == "jpg" else "PNG", **options)
        stored, generator = held.getvalue(), np.random.default_rng(3)
        (tmp_path / f"half.{ending}").write_bytes(stored[: len(stored) // 2])
        with pytest.raises(InputError, match="is no readable picture"):
            decoding.pixels_of(tmp_path / f"half.{ending}")
        refused = 0
        for trial in range(40):
            changed = bytearray(stored)
            changed[int(generator.integers(len(changed)))] ^= 1 << int(generator.integers(8))
            file = tmp_path / f"{trial}.{ending}"
            file.write_bytes(bytes(changed))
            expected = outcome(lambda file=file: decoding.array_of(pictures.whole(file).image))
            assert outcome(lambda file=file: decoding.pixels_of(file)) == expected
            refused += isinstance(expected, str)
        assert 0 < refused < 40
    with pytest.raises(InputError, match="No such file"):
        decoding.pixels_of(tmp_path / "gone.jpg")


def test_a_picture_is_squared_as_it_is_in_memory(tmp_path: pathlib.Path) -> None:
    for size in ((37, 22), (20, 20), (8, 40)):
        photo(size=size).save(tmp_path / "a.png")
        there = decoding.array_of(pictures.decode(tmp_path / "a.png", 20).image)
        assert torch.equal(decoding.squared(decoding.pixels_of(tmp_path / "a.png"), 20), there)


def test_a_part_around_the_centre_is_what_a_crop_keeps(tmp_path: pathlib.Path) -> None:
    """Half of the shorter side: the middle 10 x 10 of 20 x 40, doubled; not the whole height, which is the mutant."""
    values = np.zeros((20, 40), np.uint8)
    values[5:15, 15:25] = 255
    found = decoding.squared(torch.from_numpy(values)[None], 20, interpolation="nearest", crop=0.5)
    assert bool((found == 255).all())
    assert not bool((decoding.squared(torch.from_numpy(values)[None], 20, interpolation="nearest") == 255).all())
