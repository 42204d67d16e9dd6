"""A folder of pictures without a fault, and faults to plant in it: each says the names by which it must be told."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import re
import shutil
from collections.abc import Callable

import numpy as np
from PIL import Image

SIDE = 32


def smooth(generator: np.random.Generator) -> np.ndarray:
    """A picture as smooth as a photograph, like no other: 32 x 32, colour."""
    coarse = Image.fromarray(generator.integers(256, size=(6, 6, 3), dtype=np.uint8))
    fine = generator.integers(-6, 7, size=(SIDE, SIDE, 3))
    return np.clip(np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) + fine, 0, 255).astype(np.uint8)


def folder(root: pathlib.Path, sizes: list[int], tested: int, generator: np.random.Generator) -> None:
    """``root/train/cNN`` with pictures of the given sizes, and ``root/test/cNN`` with ``tested`` each."""
    for c, number in enumerate(sizes):
        for split, many in (("train", number), ("test", tested)):
            where = root / split / f"c{c:02d}"
            where.mkdir(parents=True)
            for i in range(many):
                Image.fromarray(smooth(generator)).save(where / f"{i:05d}.png", compress_level=1)


@dataclasses.dataclass
class Place:
    """Where one fault is planted.

    Args:
        root: the folder.
        picture: a picture of the training split that nothing else was done to.
        other: the name of another class.
        number: of the fault, for new names.
        generator: for what is random.
    """

    root: pathlib.Path
    picture: pathlib.Path
    other: str
    number: int
    generator: np.random.Generator

    @property
    def new(self) -> str:
        return f"new{self.number:05d}"

    def below(self, path: pathlib.Path) -> str:
        return path.relative_to(self.root).as_posix()

    def stored(self, **options) -> bytes:
        held = io.BytesIO()
        Image.open(self.picture).save(held, **options)
        return held.getvalue()


def leak(at: Place) -> list[str]:
    """A training picture in the test folder."""
    copy = at.root / "test" / at.picture.parent.name / f"{at.new}.png"
    shutil.copy(at.picture, copy)
    return [at.below(copy), at.below(at.picture)]


def nearly_a_leak(at: Place) -> list[str]:
    """The same, stored as JPEG."""
    copy = at.root / "test" / at.picture.parent.name / f"{at.new}.jpg"
    copy.write_bytes(at.stored(format="JPEG", quality=90))
    return [at.below(copy), at.below(at.picture)]


def two_classes(at: Place) -> list[str]:
    """A training picture under another class as well."""
    copy = at.root / "train" / at.other / f"{at.new}.png"
    shutil.copy(at.picture, copy)
    return [at.below(copy), at.below(at.picture)]


def two_classes_and_splits(at: Place) -> list[str]:
    """A training picture under another class of the test folder, stored without loss in another format."""
    copy = at.root / "test" / at.other / f"{at.new}.bmp"
    copy.write_bytes(at.stored(format="BMP"))
    return [at.below(copy), at.below(at.picture)]


def again(at: Place) -> list[str]:
    """A picture twice in its class."""
    copy = at.picture.with_name(f"{at.new}.tiff")
    copy.write_bytes(at.stored(format="TIFF"))
    return [at.below(copy), at.below(at.picture)]


def stray(at: Place) -> list[str]:
    """A picture beside the folders of the classes."""
    where = at.root / ("train" if at.number % 2 else ".") / f"{at.new}.png"
    Image.fromarray(smooth(at.generator)).save(where)
    return [at.below(where)]


def cut_off(at: Place) -> list[str]:
    """A picture whose last part is missing."""
    content = at.picture.read_bytes()
    at.picture.write_bytes(content[: len(content) // 2])
    return [at.below(at.picture)]


def flipped(at: Place) -> list[str]:
    """A picture with a changed byte in its pixels."""
    content = bytearray(at.picture.read_bytes())
    content[len(content) // 2] ^= 0x40
    at.picture.write_bytes(content)
    return [at.below(at.picture)]


def text(at: Place) -> list[str]:
    """A text with the name of a picture, as a download that was refused leaves."""
    at.picture.write_text("<html>404 not found</html>")
    return [at.below(at.picture)]


def empty(at: Place) -> list[str]:
    """A file of no bytes."""
    at.picture.write_bytes(b"")
    return [at.below(at.picture)]


def deep(at: Place) -> list[str]:
    """Sixteen bits a pixel."""
    Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)).save(at.picture)
    return [at.below(at.picture)]


def nowhere(at: Place) -> list[str]:
    """A link to a file that is gone."""
    at.picture.unlink()
    at.picture.symlink_to("gone.png")
    return [at.below(at.picture)]


def circle(at: Place) -> list[str]:
    """A link to the folder above."""
    link = at.picture.parent / at.new
    link.symlink_to("..")
    return [at.below(link)]


def fifo(at: Place) -> list[str]:
    """A pipe with the name of a picture: who opens it waits for ever."""
    at.picture.unlink()
    os.mkfifo(at.picture)
    return [at.below(at.picture)]


def drawing(at: Place) -> list[str]:
    """A kind of picture that is not read."""
    where = at.picture.with_suffix(".svg")
    where.write_text("<svg/>")
    return [at.below(where)]


def one_colour(at: Place) -> list[str]:
    """A picture of one colour."""
    colour = at.generator.integers(256, size=3, dtype=np.uint8)
    Image.fromarray(np.broadcast_to(colour, (SIDE, SIDE, 3)).copy()).save(at.picture)
    return [at.below(at.picture)]


def hidden(at: Place) -> list[str]:
    """A picture whose name begins with a dot."""
    where = at.picture.with_name(f".{at.new}.png")
    at.picture.rename(where)
    return [at.below(where)]


FAULTS: dict[str, tuple[Callable[[Place], list[str]], bool]] = {
    "a training picture in the test folder": (leak, True),
    "the same, stored as JPEG": (nearly_a_leak, True),
    "a picture under two classes": (two_classes, True),
    "a picture under two classes and splits": (two_classes_and_splits, True),
    "a picture twice in its class": (again, False),
    "a picture beside the class folders": (stray, True),
    "half a file": (cut_off, True),
    "a changed byte": (flipped, True),
    "a text": (text, True),
    "an empty file": (empty, True),
    "sixteen bits": (deep, True),
    "a link to nowhere": (nowhere, True),
    "a link to a folder above": (circle, True),
    "a pipe": (fifo, True),
    "a kind that is not read": (drawing, True),
    "one colour": (one_colour, False),
    "a hidden picture": (hidden, False),
}
"""What is planted, how, and whether it must be found not in order, or only be named."""


def plant(root: pathlib.Path, number: int, generator: np.random.Generator) -> list[tuple[str, list[str]]]:
    """Plant so many faults, of each kind in turn, each in a picture of its own; the kind and the names of each."""
    pictures = sorted((root / "train").rglob("*.png"))
    classes = sorted(path.name for path in (root / "train").iterdir())
    chosen = generator.choice(len(pictures), number, replace=False)
    kinds, planted = list(FAULTS), []
    for i, which in enumerate(chosen.tolist()):
        picture, kind = pictures[which], kinds[i % len(kinds)]
        other = classes[(classes.index(picture.parent.name) + 1 + i % (len(classes) - 1)) % len(classes)]
        planted.append((kind, FAULTS[kind][0](Place(root, picture, other, i, generator))))
    return planted


def missed(planted: list[tuple[str, list[str]]], findings: list[tuple[bool, str]]) -> list[tuple[str, list[str]]]:
    """The faults that no finding names in full, or that only findings in order name although they must not be."""
    told = {
        ok: {word for good, detail in findings if ok or not good for word in re.split(r"[\s,:]+", detail)}
        for ok in (True, False)
    }
    # An error names the whole path, a finding the path below the folder.
    ends = {ok: {word[at + 1 :] for word in told[ok] for at in _slashes(word)} | told[ok] for ok in told}
    return [(kind, names) for kind, names in planted if not ends[not FAULTS[kind][1]].issuperset(names)]


def _slashes(word: str) -> list[int]:
    return [at for at, letter in enumerate(word) if letter == "/"]
