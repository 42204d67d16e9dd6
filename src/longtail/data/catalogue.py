"""The data sets by name, and the one function that loads them."""

from __future__ import annotations

import pathlib

from longtail.data import digits
from longtail.data.dataset import Data, Source, draw
from longtail.errors import unknown


def names() -> tuple[str, ...]:
    """The names that ``load`` takes."""
    return ("digits-lt",)


def load(
    name: str,
    *,
    imbalance: float | None = None,
    root: str | pathlib.Path | None = None,
    split_seed: int = 0,
    profile: str = "exponential",
    validation: float = 0.0,
    download: bool = False,
    image_size: int | None = None,
) -> Data:
    """Load a data set into memory.

    Example:
        >>> data = load("digits-lt")
        >>> data.counts.tolist()
        [100, 59, 35, 21, 12, 7, 4, 2, 1, 1]
    """
    source = read(name, root=root, download=download, image_size=image_size)
    return draw(source, imbalance=imbalance, profile=profile, split_seed=split_seed, validation=validation)


def read(
    name: str, *, root: str | pathlib.Path | None = None, download: bool = False, image_size: int | None = None
) -> Source:
    """Read all of a data set, before anything is drawn from it."""
    if name == "digits-lt":
        return digits.read()
    raise unknown("data set", name, names())
