"""Small trees of pictures in the layouts that people have, for tests of what reads them."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image


def picture(path: pathlib.Path, *, size: tuple[int, int] = (12, 9), grey: bool = False) -> None:
    """Write a picture of noise that depends on its path alone, width and height as ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
    values = np.random.default_rng(list(f"{path.parent.name}/{path.name}".encode())).integers(256, size=shape)
    Image.fromarray(values.astype(np.uint8)).save(path)


def tree(root: pathlib.Path, names: Iterable[str], **options: object) -> pathlib.Path:
    """Write pictures of these names below a folder."""
    for name in names:
        picture(root / name, **options)  # type: ignore[arg-type]
    return root


def folder(
    root: pathlib.Path, counts: dict[str, int], *, split: str = "train", ending: str = "png", **options: object
) -> pathlib.Path:
    """Write a folder of pictures for each class."""
    names = [f"{split}/{name}/{i:03}.{ending}" for name, number in counts.items() for i in range(number)]
    return tree(root, names, **options)
