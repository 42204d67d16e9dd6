"""``folder:PATH``: one folder of pictures per class, as torchvision's ImageFolder reads it, decoded into memory.

Either ``PATH/CLASS/*`` or ``PATH/train/CLASS/*`` with, if there is one, ``PATH/test/CLASS/*``. Classes and files count
in the order of their names (by code point, whatever the language of the machine). Names that begin with a dot are
skipped, and so are files that are no pictures by their ending. Pictures may lie deeper below their class.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longtail.counts import class_counts
from longtail.data.dataset import Source
from longtail.data.images import Split
from longtail.data.splits import held_out
from longtail.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Notify = Callable[[int, int], None]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
KEPT_SIZE = 64
"""Pictures that are all of one size are kept as they are up to this many pixels a side."""
DEFAULT_SIZE = 32
"""Other pictures are brought to squares of this side if no size is asked for."""
TEST_SHARE = 5
"""One image in this many is held out of each class where there is no test folder."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """The pictures of a folder in their order.

    Args:
        class_names: sorted.
        train: path and class number of each picture.
        test: likewise; None where there is no test folder.
    """

    class_names: tuple[str, ...]
    train: tuple[tuple[pathlib.Path, int], ...]
    test: tuple[tuple[pathlib.Path, int], ...] | None

    @property
    def files(self) -> list[pathlib.Path]:
        """All pictures: those to train on, then those to test on."""
        return [file for file, _ in (*self.train, *(self.test or ()))]


def read(path: pathlib.Path, *, image_size: int | None, notify: Notify | None = None) -> Source:
    """Decode all pictures into memory.

    Grey stays one channel if all pictures are grey. Pictures are scaled and cropped around their centre to squares of
    ``image_size``; without it they are kept as they are if they are all of one size of at most 64 pixels a side, and
    brought to 32 pixels otherwise. Where there is no test folder, a fifth of each class (rounded down, at least one
    image) is held out from a fixed seed. The notes of the source say what was done.

    Args:
        path: the folder.
        image_size: side in pixels.
        notify: called now and then with how many pictures are decoded and how many there are.

    Raises:
        InputError: no such folder, classes without pictures, pictures that cannot be decoded or have more than eight
            bits, an image size below 1.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image size {image_size}: the side of the images in pixels, from 1")
    tree = find(path)
    images, side = _decoded(tree.files, image_size, notify)
    notes = []
    if side is not None:
        notes.append(f"pictures scaled and cropped around their centre to {side} x {side} pixels")
    target = torch.tensor([label for _, label in (*tree.train, *(tree.test or ()))])
    if tree.test is not None:
        cut = len(tree.train)
        train, test = (_split(images[part], target[part]) for part in (slice(cut), slice(cut, None)))
    else:
        counts = class_counts(target, len(tree.class_names))
        single = torch.nonzero(counts < 2).flatten().tolist()
        if single:
            raise InputError(
                f"{path}: class {tree.class_names[single[0]]!r} has a single image, so none can be held out for "
                "testing: add images, or a test folder beside a train folder"
            )
        stay, out = held_out(target, (counts // TEST_SHARE).clamp(min=1), seed=0)
        whole = _split(images, target)
        train, test = whole.at(stay), whole.at(out)
        notes.append("no test folder: a fifth of each class was held out for testing, from a fixed seed")
    return Source(
        name=f"folder:{path.resolve().name}",
        train=train,
        test=test,
        class_names=tree.class_names,
        notes=tuple(notes),
    )


def find(path: pathlib.Path) -> Tree:
    """The pictures below a folder, without opening them.

    Raises:
        InputError: no such folder, no classes, a class without pictures, a test class that train does not have.
    """
    if not path.is_dir():
        raise InputError(f"folder:{path}: there is no such folder")
    splits = {name for name in ("train", "val", "test") if (path / name).is_dir() and _folders(path / name)}
    if "train" not in splits:
        if "test" in splits:
            raise InputError(f"{path} has a test folder but no train folder beside it")
        names = _classes(path)
        return Tree(names, _listed(path, names, complete=True), None)
    if "test" not in splits and "val" in splits:
        raise InputError(f"{path} has train/ and val/ but no test/: rename val/ to test/ if it is what to test on")
    names = _classes(path / "train")
    train = _listed(path / "train", names, complete=True)
    if "test" not in splits:
        return Tree(names, train, None)
    foreign = sorted(set(_folders(path / "test")) - set(names))
    if foreign:
        raise InputError(f"{path / 'test' / foreign[0]}: there is no class of this name in {path / 'train'}")
    return Tree(names, train, _listed(path / "test", names, complete=False))


def undecodable(files: list[pathlib.Path]) -> list[str]:
    """What is wrong with each picture that cannot be decoded."""
    found = []
    for file in files:
        try:
            _decode(file, None)
        except InputError as error:
            found.append(str(error))
    return found


def _folders(path: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _classes(path: pathlib.Path) -> tuple[str, ...]:
    names = tuple(_folders(path))
    if not names:
        raise InputError(f"{path} has no folders: one folder of pictures is needed for each class")
    return names


def _listed(folder: pathlib.Path, names: tuple[str, ...], *, complete: bool) -> tuple[tuple[pathlib.Path, int], ...]:
    """Pictures and class numbers; a class without pictures is an error if the list must be ``complete``."""
    listed: list[tuple[pathlib.Path, int]] = []
    for label, name in enumerate(names):
        pictures = _pictures(folder / name)
        if complete and not pictures:
            raise InputError(f"{folder / name}: class {name!r} has no pictures ({', '.join(ENDINGS)})")
        listed.extend((picture, label) for picture in pictures)
    if not listed:
        raise InputError(f"{folder} holds no pictures ({', '.join(ENDINGS)})")
    return tuple(listed)


def _pictures(folder: pathlib.Path) -> list[pathlib.Path]:
    """Pictures at any depth, in the order of their paths below ``folder``. Links to folders are not entered."""
    found: list[tuple[str, ...]] = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = pathlib.Path(where).relative_to(folder).parts
        found += [(*below, name) for name in files if name.lower().endswith(ENDINGS) and not name.startswith(".")]
    return [folder.joinpath(*parts) for parts in sorted(found)]


def _decoded(files: list[pathlib.Path], image_size: int | None, notify: Notify | None) -> tuple[Tensor, int | None]:
    """All pictures (N, C, H, W) uint8, and the side to which they were brought, None if they are as they were."""
    pictures: list[Image] = []
    sizes = set()
    for done, file in enumerate(files, start=1):
        picture, size = _decode(file, image_size)
        pictures.append(picture)
        sizes.add(size)
        if notify is not None and (done % 256 == 0 or done == len(files)):
            notify(done, len(files))
    side = image_size
    if side is None and (len(sizes) > 1 or not _is_small(next(iter(sizes)))):
        side = DEFAULT_SIZE
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    width, height = (side, side) if side is not None else next(iter(sizes))
    stack = np.empty((len(files), 1 if mode == "L" else 3, height, width), np.uint8)
    for row, picture in zip(stack, pictures, strict=True):
        final = _square(picture, side)
        pixels = np.asarray(final if final.mode == mode else final.convert(mode))
        row[:] = pixels if mode == "L" else pixels.transpose(2, 0, 1)
    return torch.from_numpy(stack), None if sizes == {(width, height)} else side


def _decode(file: pathlib.Path, image_size: int | None) -> tuple[Image, tuple[int, int]]:
    """A picture, grey or RGB, and its own size; one that cannot be kept as it is comes in its final size.

    Raises:
        InputError: a file that cannot be decoded, or with more than eight bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            if opened.mode[0] in "IF":
                raise InputError(f"{file}: more than 8 bits a channel (kind {opened.mode}); convert it to 8 bits")
            # A photo may be stored lying and marked as upright.
            ImageOps.exif_transpose(opened, in_place=True)
            # Pillow warns of transparent palettes that lose it in one step.
            colours = opened.convert("RGBA") if opened.mode in ("P", "PA") else opened
            picture = colours.convert("L" if colours.mode in ("1", "L", "LA") else "RGB")
    except InputError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever their format makes of a damaged file.
        reason = " ".join(str(error).split()).replace(f" {str(file)!r}", "")
        raise InputError(f"{file} is no readable picture ({reason})") from None
    # Photos are large and many: only pictures that may stay as they are wait for the others in full size.
    side = image_size or (None if _is_small(picture.size) else DEFAULT_SIZE)
    return _square(picture, side), picture.size


def _square(picture: Image, side: int | None) -> Image:
    """The picture with its shorter side scaled to ``side`` and cropped around its centre; as it is if None."""
    from PIL import Image, ImageOps

    if side is None or picture.size == (side, side):
        return picture
    return ImageOps.fit(picture, (side, side), method=Image.Resampling.BICUBIC)


def _is_small(size: tuple[int, int]) -> bool:
    return max(size) <= KEPT_SIZE


def _split(images: Tensor, target: Tensor) -> Split:
    return Split(images, target, torch.arange(len(target)))
