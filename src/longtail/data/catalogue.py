"""The data sets by name, and the one function that loads them."""

from __future__ import annotations

import pathlib

from longtail.data import arrays, cifar, digits, folders
from longtail.data.dataset import Data, Source, draw
from longtail.data.folders import Notify
from longtail.errors import InputError, unknown

ENTRIES = (
    ("digits-lt", "handwritten digits, 8 x 8 grey, 10 classes, at most 100 training images each", "nothing"),
    ("cifar10-lt", "CIFAR-10, 32 x 32 colour, 10 classes of 5000 training images", "--root, or --root and --download"),
    (
        "cifar100-lt",
        "CIFAR-100, 32 x 32 colour, 100 classes of 500 training images",
        "--root, or --root and --download",
    ),
    ("folder:PATH", "your pictures, one folder per class, with or without train/ and test/", "the folder"),
    ("npz:PATH", "your arrays: train_images, train_target, test_images, test_target, class_names", "the file"),
)


def names() -> tuple[str, ...]:
    """The names that ``load`` takes; PATH stands for a path."""
    return tuple(name for name, _, _ in ENTRIES)


def entries() -> list[dict[str, str]]:
    """Name, description and needs of each data set, for ``longtail data list``."""
    return [{"name": name, "description": description, "needs": needs} for name, description, needs in ENTRIES]


def load(
    name: str,
    *,
    imbalance: float | int | None = None,
    root: str | pathlib.Path | None = None,
    split_seed: int = 0,
    profile: str = "exponential",
    validation: float | int = 0.0,
    download: bool = False,
    image_size: int | None = None,
    notify: Notify | None = None,
) -> Data:
    """Load a data set into memory: the same images in the same order on every machine.

    Args:
        name: one of ``names()``.
        imbalance: largest over smallest class, from 1. None: 100 for the ``-lt`` names; the others keep all their
            images as they are.
        root: folder that holds, or is to hold, the original files of CIFAR.
        split_seed: which images a drawn subset has; 0 is the subset that everyone uses.
        profile: how sizes fall in a drawn subset: ``exponential``, ``step`` or ``pareto``.
        validation: share of each training class to hold out, in [0, 1); never taken from test.
        download: fetch the original files of CIFAR to ``root`` if they are missing or damaged.
        image_size: side in pixels of the squares to which the pictures of a folder are brought.
        notify: called while a folder is read, with how many pictures are decoded and how many there are.

    Raises:
        InputError: an unknown name, values out of range, files that are missing or damaged, a class without images.

    Example:
        >>> data = load("digits-lt", imbalance=50)
        >>> data.counts.tolist()
        [100, 64, 41, 27, 17, 11, 7, 4, 3, 2]
        >>> len(data.test), data.train.images.shape[1:]
        (740, torch.Size([1, 8, 8]))
    """
    wanted = 100 if imbalance is None else imbalance
    standard = profile == "exponential" and split_seed == 0 and wanted in cifar.SUBSETS
    source = read(
        name,
        root=root,
        download=download,
        image_size=image_size,
        subset=int(wanted) if standard else None,
        notify=notify,
    )
    return draw(source, imbalance=imbalance, profile=profile, split_seed=split_seed, validation=validation)


def read(
    name: str,
    *,
    root: str | pathlib.Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    subset: int | None = None,
    notify: Notify | None = None,
) -> Source:
    """Read all of a data set, before anything is drawn from it.

    Args:
        name: one of ``names()``.
        root: as in ``load``.
        download: as in ``load``.
        image_size: as in ``load``.
        subset: see ``cifar.read``.
        notify: as in ``load``.

    Raises:
        InputError: as ``load``.
    """
    kind, _, path = name.partition(":")
    if image_size is not None and kind != "folder":
        raise InputError(f"{name} has images of one size; --image-size is for folder:PATH")
    match kind:
        case "folder" | "npz" if not path:
            raise InputError(f"{name!r}: give a path, as in {kind}:PATH")
        case "folder":
            return folders.read(pathlib.Path(path).expanduser(), image_size=image_size, notify=notify)
        case "npz":
            return arrays.read(pathlib.Path(path).expanduser())
        case "digits-lt":
            return digits.read()
        case "cifar10-lt" | "cifar100-lt":
            folder = None if root is None else pathlib.Path(root).expanduser()
            return cifar.read(kind, root=folder, download=download, subset=subset)
    raise unknown("data set", name, names())
