"""The data sets by name, and the one function that loads them."""

from __future__ import annotations

import dataclasses
import pathlib

from longtail.data import arrays, cifar, digits, folders, hygiene, selection
from longtail.data.dataset import Data, Source, draw, leave_out_small
from longtail.data.folders import Notify
from longtail.data.pictures import printable
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
    ("list:PATH", "the images that longtail data select chose from a data set", "the list, and that data set"),
    ("npz:PATH", "your arrays: train_images, train_target, test_images, test_target, class_names", "the file"),
)


def names() -> tuple[str, ...]:
    """The names that ``load`` takes; PATH stands for a path.

    Returns:
        The names as they are typed, such as ``digits-lt`` or ``folder:PATH``.

    Example:
        >>> names()[:3]
        ('digits-lt', 'cifar10-lt', 'cifar100-lt')
    """
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
    leave_out_classes_below: int | None = None,
    drop_duplicates: str | pathlib.Path | None = None,
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
        validation: share of each training class to hold out, in [0, 1); never taken from test. A folder with a
            validation folder of its own takes none.
        download: fetch the original files of CIFAR to ``root`` if they are missing or damaged.
        image_size: side in pixels of the squares to which the pictures of a folder are brought.
        leave_out_classes_below: classes with fewer images to train on than this are left out; None keeps all.
        drop_duplicates: an index list (a text file) of copies to leave out; made if it is not there. Of equal images of
            one class one stays, in the test split if it is there; of a picture under two classes none does.
        notify: called while a folder is read, with how many pictures are decoded and how many there are.

    Returns:
        The data set to train on: splits of images (N, C, H, W) with their classes, (K,) counts, and a fingerprint.

    Raises:
        InputError: an unknown name, values out of range, files that are missing or damaged, a class without images.

    Example:
        >>> data = load("digits-lt", imbalance=50)
        >>> data.counts.tolist()
        [100, 64, 41, 27, 17, 11, 7, 4, 3, 2]
        >>> len(data.test), data.train.images.shape[1:]
        (740, torch.Size([1, 8, 8]))
    """
    kind, _, path = name.partition(":")
    if kind == "list" and path:
        base, options = selection.options_of(path_of(path))
        if base.startswith("list:"):
            raise InputError(f"{name} is a selection of a selection; select from the whole data set")
        if imbalance is not None:
            raise InputError(f"{name} is a selection of {base}, which says its own imbalance")
        return selection.kept_only(load(base, **{"root": root, "download": download, **options}), path_of(path))
    wanted = 100 if imbalance is None else imbalance
    standard = profile == "exponential" and split_seed == 0 and wanted in cifar.SUBSETS
    source = read(
        name,
        root=root,
        download=download,
        image_size=image_size,
        subset=int(wanted) if standard else None,
        leave_out_classes_below=leave_out_classes_below,
        notify=notify,
    )
    return drawn(
        source,
        imbalance=imbalance,
        profile=profile,
        split_seed=split_seed,
        validation=validation,
        drop_duplicates=drop_duplicates,
    )


def drawn(
    source: Source,
    *,
    imbalance: float | int | None,
    profile: str = "exponential",
    split_seed: int = 0,
    validation: float | int = 0.0,
    drop_duplicates: str | pathlib.Path | None = None,
) -> Data:
    """The data set of what was read, without the copies that an index list names; the arguments are those of ``load``.

    Raises:
        InputError: as ``load``.
    """
    if drop_duplicates is not None:
        kept, note = hygiene.without_copies(source, path_of(str(drop_duplicates)))
        source = dataclasses.replace(
            source,
            train=kept["train"],
            validation=kept.get("validation"),
            test=kept["test"],
            notes=(*source.notes, note),
        )
    return draw(source, imbalance=imbalance, profile=profile, split_seed=split_seed, validation=validation)


def resizes(name: str) -> bool:
    """Return whether the pictures of a data set are brought to a size when it is read.

    Example:
        >>> resizes("folder:birds"), resizes("cifar100-lt")
        (True, False)
    """
    return name.partition(":")[0] == "folder"


def read(
    name: str,
    *,
    root: str | pathlib.Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    subset: int | None = None,
    leave_out_classes_below: int | None = None,
    notify: Notify | None = None,
) -> Source:
    """Read all of a data set, before anything is drawn from it.

    Args:
        name: one of ``names()``.
        root: as in ``load``.
        download: as in ``load``.
        image_size: as in ``load``.
        subset: see ``cifar.read``.
        leave_out_classes_below: as in ``load``.
        notify: as in ``load``.

    Raises:
        InputError: as ``load``.
    """
    kind, _, path = name.partition(":")
    if image_size is not None and not resizes(name):
        raise InputError(f"{name} has images of one size; --image-size is for folder:PATH")
    if kind == "folder" and path:
        return folders.read(
            path_of(path), image_size=image_size, leave_out_classes_below=leave_out_classes_below, notify=notify
        )
    source = _read(name, root=root, download=download, subset=subset)
    return source if leave_out_classes_below is None else leave_out_small(source, leave_out_classes_below)


def _read(name: str, *, root: str | pathlib.Path | None, download: bool, subset: int | None) -> Source:
    kind, _, path = name.partition(":")
    match kind:
        case "folder" | "npz" if not path:
            raise InputError(f"{name!r}: give a path, as in {kind}:PATH")
        case "npz":
            return arrays.read(path_of(path))
        case "digits-lt":
            return digits.read()
        case "cifar10-lt" | "cifar100-lt":
            return cifar.read(kind, root=None if root is None else path_of(str(root)), download=download, subset=subset)
    raise unknown("data set", name, names())


def path_of(text: str) -> pathlib.Path:
    """A path as the user wrote it, with ``~`` and ``~name`` for home folders.

    Raises:
        InputError: what no system call takes as a path (a name that is too long, a link to itself).
    """
    shown = printable(text[:100])
    try:
        path = pathlib.Path(text).expanduser()
        path.stat()
    except RuntimeError:
        raise InputError(
            f"{shown}: there is no home folder of this name; write ./{shown} for a folder called so"
        ) from None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whoever opens it says what it should be
    except (OSError, ValueError) as error:
        raise InputError(f"{shown}: there is no such file or folder ({getattr(error, 'strerror', error)})") from None
    return path
