"""Pictures from files, prepared as the pictures were that a run was trained on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data import pictures
from longtail.errors import InputError

CHUNK = 256
"""Pictures that are decoded at once."""


def found(paths: Iterable[pathlib.Path]) -> tuple[list[pathlib.Path], int]:
    """Return the pictures among and below paths, and how many other files lie in the folders.

    A file that is named is taken whatever its ending; in folders the endings decide, and hidden files do not count.

    Args:
        paths: files and folders.

    Raises:
        InputError: no such file or folder, or not a single picture.
    """
    asked, files, others = list(paths), dict[pathlib.Path, None](), 0
    for path in asked:
        if not path.exists():
            raise InputError(f"{pictures.shown(path)}: there is no such file or folder")
        if not path.is_dir():
            files[path] = None
            continue
        for place, folders, names in os.walk(path, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in names if not name.startswith(".")):
                if pathlib.Path(name).suffix.lower() in pictures.endings():
                    files[pathlib.Path(place, name)] = None
                else:
                    others += 1
    if not files:
        raise InputError(f"{', '.join(map(pictures.shown, asked))}: no picture there; {others:,} other files")
    return list(files), others


def prepared(
    file: pathlib.Path, shape: tuple[int, int, int], *, interpolation: str = "bicubic", crop: float = 1.0
) -> Tensor:
    """Return a picture as a run takes it: upright, opaque, scaled and cropped around its centre, grey or RGB.

    Args:
        file: its path.
        shape: (C, H, W) of the run's images.
        interpolation: by which it is scaled, as Pillow calls it.
        crop: share of the shorter side that is kept, in (0, 1].

    Returns:
        (C, H, W) uint8.

    Raises:
        InputError: it cannot be decoded.
    """
    channels, height, width = shape
    if height != width:
        raise InputError(f"images of {width} x {height} pixels were not read from files, so no picture becomes one")
    image = pictures.square(pictures.whole(file).image, height, interpolation=interpolation, crop=crop)
    kind = "L" if channels == 1 else "RGB"
    values = np.asarray(image if image.mode == kind else image.convert(kind))
    return torch.from_numpy(values[None].copy() if channels == 1 else values.transpose(2, 0, 1).copy())


Chunk = tuple[list[pathlib.Path], Tensor, list[tuple[pathlib.Path, str]]]


def chunks(
    files: Sequence[pathlib.Path], shape: tuple[int, int, int], data: Mapping[str, Any] | None = None
) -> Iterator[Chunk]:
    """Prepare pictures, some at a time, so that any number of them fits into memory.

    Args:
        files: their paths.
        shape: (C, H, W) of the run's images.
        data: what the run's record says of its data, which may scale pictures in another than the usual way.

    Yields:
        The paths that could be read, their images (N, C, H, W) uint8, and the others with the reason.

    Raises:
        InputError: a way that there is not.
    """
    scaling = {name: held for name, held in (data or {}).items() if name in ("interpolation", "crop")}
    _check_scaling(**scaling)
    for start in range(0, len(files), CHUNK):
        fine, images, unread = [], [], []
        for file in files[start : start + CHUNK]:
            try:
                images.append(prepared(file, shape, **scaling))
                fine.append(file)
            except InputError as error:
                unread.append((file, str(error)))
        yield fine, torch.stack(images) if images else torch.zeros(0, *shape, dtype=torch.uint8), unread


def _check_scaling(interpolation: Any = "bicubic", crop: Any = 1.0) -> None:
    from PIL import Image

    if str(interpolation).upper() not in Image.Resampling.__members__:
        raise InputError(f"the record's data.interpolation is {interpolation!r:.40}, which Pillow does not have")
    if not isinstance(crop, (int, float)) or not 0 < crop <= 1:
        raise InputError(f"the record's data.crop is {crop!r:.40}; a share of the shorter side is in (0, 1]")
