"""The data sets by name, and the one function that loads them."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from longtail import stated
from longtail.data import arrays, cifar, digits, features, hygiene, listing, lists, selection, tables
from longtail.data.dataset import Data, Source, draw, leave_out_small
from longtail.data.folders import Notify
from longtail.data.pictures import printable
from longtail.errors import InputError, unknown
from longtail.wording import counted

ENTRIES = (
    ("digits-lt", "handwritten digits, 8 x 8 grey, 10 classes, at most 100 training images each", "nothing"),
    ("cifar10-lt", "CIFAR-10, 32 x 32 colour, 10 classes of 5000 training images", "--root, or --root and --download"),
    (
        "cifar100-lt",
        "CIFAR-100, 32 x 32 colour, 100 classes of 500 training images",
        "--root, or --root and --download",
    ),
    ("imagenet-lt", "ImageNet-LT, 1,000 classes, 1280..5 training images", "--root, and the official lists"),
    ("places-lt", "Places-LT, 365 classes, 4980..5 training images", "--root, and the official lists"),
    ("inaturalist2018", "iNaturalist 2018, 8,142 classes, 1000..2 training images", "--root, and the official lists"),
    ("folder:PATH", "your pictures, one folder per class, with or without train/ and test/", "the folder"),
    ("list:PATH", "your pictures by lines PATH LABEL, or what longtail data select chose", "the list; --root"),
    ("csv:PATH", "your pictures by a table with columns path, label and perhaps split", "the table; --root"),
    ("npz:PATH", "your arrays: train_images, train_target, test_images, ...; or a file of MedMNIST", "the file"),
    (
        "features:PATH",
        "features that longtail embed wrote, or a table of numbers (.npz, .csv with a column label)",
        "the file",
    ),
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
    lists_folder: str | pathlib.Path | None = None,
    labels_from: int = 0,
    class_sizes: str | pathlib.Path | Sequence[int] | None = None,
    no_flip: bool = False,
    skip_unreadable: bool = False,
    notify: Notify | None = None,
) -> Data:
    """Load a data set: the same images in the same order on every machine.

    Small images are decoded into memory. Pictures of more than 100 pixels a side, and more than 1 GiB of pixels, stay
    in their files, which are read while training; ``data.notes`` say so.

    Args:
        name: one of ``names()``.
        imbalance: largest over smallest class, from 1. None: 100 for the ``-lt`` names; the others keep all their
            images as they are.
        root: folder that holds, or is to hold, the original files of CIFAR; that of the pictures of a list or table.
        split_seed: which images a drawn subset has; 0 is the subset that everyone uses.
        profile: how sizes fall in a drawn subset: ``exponential``, ``step`` or ``pareto``.
        validation: share of each training class to hold out, in [0, 1); never taken from test. A folder with a
            validation folder of its own takes none.
        download: fetch the original files of CIFAR to ``root`` if they are missing or damaged.
        image_size: side in pixels of the squares to which the pictures of a folder, list or table are brought.
        leave_out_classes_below: classes with fewer images to train on than this are left out, before a subset is drawn;
            None keeps all.
        drop_duplicates: an index list (a text file) of copies to leave out; made if it is not there. Of equal images of
            one class one stays, in the test split if it is there; of a picture under two classes none does.
        lists_folder: folder of the official lists of a published set; ``root`` if not given.
        labels_from: number of the first class in a list of one's own, 0 or 1.
        class_sizes: training images to keep of each class, instead of an imbalance and a profile: K numbers, or a text
            file of them (``longtail.data.lists.sizes_in``).
        no_flip: mirrored images do not show the same: no recipe mirrors them.
        skip_unreadable: leave out training pictures that cannot be read, and name them, instead of ending the run. In
            evaluation they always end it.
        notify: called while pictures are read, with how many are done and how many there are.

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
    if labels_from not in (0, 1):
        raise InputError(f"labels from {labels_from}: the number of the first class in a list, 0 or 1")
    if is_selection(name):
        path = path_of(name.partition(":")[2])
        base, options = selected_from(name)
        stated.looked_at(options, load, where=str(path))
        drawing = {
            "imbalance": (imbalance, None),
            "split_seed": (split_seed, 0),
            "profile": (profile, "exponential"),
            "validation": (validation, 0),
            "image_size": (image_size, None),
            "leave_out_classes_below": (leave_out_classes_below, None),
            "drop_duplicates": (drop_duplicates, None),
            "labels_from": (labels_from, 0),
            "class_sizes": (class_sizes, None),
            "skip_unreadable": (skip_unreadable, False),
        }
        for option, (value, usual) in drawing.items():
            if value != usual and value != options.get(option, usual):
                raise InputError(f"{name} is a selection of {base}, which says its own {option.replace('_', ' ')}")
        given = {"root": root, "download": download, "lists_folder": lists_folder, **options}
        given["no_flip"] = no_flip or bool(options.get("no_flip"))
        return selection.kept_only(load(base, **given), path)
    wanted = 100 if imbalance is None else imbalance
    standard = profile == "exponential" and split_seed == 0 and wanted in cifar.SUBSETS
    source = read(
        name,
        root=root,
        download=download,
        image_size=image_size,
        subset=int(wanted) if standard and class_sizes is None else None,
        leave_out_classes_below=leave_out_classes_below,
        lists_folder=lists_folder,
        labels_from=labels_from,
        skip_unreadable=skip_unreadable,
        notify=notify,
    )
    found = drawn(
        source if not no_flip else dataclasses.replace(source, flips=False),
        imbalance=imbalance,
        profile=profile,
        split_seed=split_seed,
        validation=validation,
        drop_duplicates=drop_duplicates,
        class_sizes=class_sizes,
    )
    small = 0 if leave_out_classes_below is None else int((found.counts < leave_out_classes_below).sum())
    if not small:
        return found
    note = (
        f"{counted(small, 'class has', 'classes have')} fewer than {leave_out_classes_below} images in what was drawn; "
        "classes are left out by the images that they have before"
    )
    return dataclasses.replace(found, notes=(*found.notes, note))


def drawn(
    source: Source,
    *,
    imbalance: float | int | None,
    profile: str = "exponential",
    split_seed: int = 0,
    validation: float | int = 0.0,
    drop_duplicates: str | pathlib.Path | None = None,
    class_sizes: str | pathlib.Path | Sequence[int] | None = None,
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
    sizes = None
    if isinstance(class_sizes, (str, pathlib.Path)):
        sizes = lists.sizes_in(path_of(str(class_sizes)), source.class_names)
    elif class_sizes is not None:
        sizes = torch.tensor(list(class_sizes), dtype=torch.int64)
    return draw(
        source,
        imbalance=imbalance,
        profile=profile,
        split_seed=split_seed,
        validation=validation,
        class_sizes=sizes,
    )


def is_selection(name: str) -> bool:
    """Return whether a data set is a list that ``longtail data select`` wrote, which says of what and how drawn."""
    kind, _, path = name.partition(":")
    return kind == "list" and bool(path) and selection.is_selection(path_of(path))


def selected_from(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the data set that a selection was made of, and the options that it was loaded with.

    Args:
        name: of the selection, ``list:PATH``.

    Raises:
        InputError: no such list, or a selection of a selection, as one that names itself is.
    """
    base, options = selection.options_of(path_of(name.partition(":")[2]))
    if is_selection(base):
        raise InputError(f"{name} is a selection of a selection; select from the whole data set")
    return base, options


def resizes(name: str) -> bool:
    """Return whether the pictures of a data set are brought to a size when it is read.

    Example:
        >>> resizes("folder:birds"), resizes("cifar100-lt")
        (True, False)
    """
    if is_selection(name):
        return resizes(selected_from(name)[0])
    kind = name.partition(":")[0]
    return kind in ("folder", "list", "csv") or kind in lists.PUBLISHED


def read(
    name: str,
    *,
    root: str | pathlib.Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    subset: int | None = None,
    leave_out_classes_below: int | None = None,
    lists_folder: str | pathlib.Path | None = None,
    labels_from: int = 0,
    skip_unreadable: bool = False,
    fresh: bool = False,
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
        lists_folder: as in ``load``.
        labels_from: as in ``load``.
        skip_unreadable: as in ``load``.
        fresh: hash every file that is read while training, whatever is known of it.
        notify: as in ``load``.

    Raises:
        InputError: as ``load``.
    """
    kind, _, path = name.partition(":")
    pictures = resizes(name)
    check_options(name, image_size, labels_from, lists_folder, skip_unreadable)
    if kind in PATHS and not path:
        raise InputError(f"{name!r}: give a path, as in {kind}:PATH")
    folder = None if root is None else path_of(str(root))
    if kind == "folder":
        return listing.read_folder(
            path_of(path),
            image_size=image_size,
            leave_out_classes_below=leave_out_classes_below,
            skip_unreadable=skip_unreadable,
            fresh=fresh,
            notify=notify,
        )
    if pictures:
        source = listing.read(
            listing_of(name, root=folder, lists_folder=lists_folder, labels_from=labels_from),
            image_size=image_size or (lists.IMAGE_SIZE if kind in lists.PUBLISHED else None),
            leave_out_classes_below=leave_out_classes_below,
            skip_unreadable=skip_unreadable,
            fresh=fresh,
            notify=notify,
        )
    else:
        source = _read(name, root=root, download=download, subset=subset)
    return source if leave_out_classes_below is None else leave_out_small(source, leave_out_classes_below)


def check_options(
    name: str,
    image_size: int | None,
    labels_from: int,
    lists_folder: str | pathlib.Path | None,
    skip_unreadable: bool = False,
) -> None:
    """Refuse an unknown name, and an option that a kind of data set does not have; the arguments are as in ``load``."""
    kind, pictures = name.partition(":")[0], resizes(name)
    if name not in names() and kind not in PATHS:
        raise InputError(f"{unknown('data set', name, names())}{_there(name)}")
    if image_size is not None and not pictures:
        raise InputError(f"{name} has images of one size; --image-size is for folder:PATH, list:PATH, csv:PATH")
    if labels_from and kind != "list":
        raise InputError(f"{name} numbers its classes itself; --labels-from is for list:PATH")
    if lists_folder is not None and kind not in lists.PUBLISHED:
        raise InputError(f"{name} has no official lists; --lists is for {', '.join(lists.PUBLISHED)}")
    if skip_unreadable and not pictures:
        raise InputError(f"{name} has no picture files; --skip-unreadable is for folder:PATH, list:PATH, csv:PATH")


def listing_of(
    name: str,
    *,
    root: str | pathlib.Path | None = None,
    lists_folder: str | pathlib.Path | None = None,
    labels_from: int = 0,
) -> listing.Listing:
    """List the pictures of a published set, a list or a table, without opening one.

    Args:
        name: such as ``places-lt``, ``list:PATH`` or ``csv:PATH``.
        root: as in ``load``.
        lists_folder: as in ``load``.
        labels_from: as in ``load``.

    Raises:
        InputError: lists that are missing, or lines that are none.
    """
    kind, _, path = name.partition(":")
    folder = None if root is None else path_of(str(root))
    if kind == "csv":
        return tables.read_table(path_of(path), root=folder)
    if kind == "list":
        return lists.own(path_of(path), root=folder, labels_from=labels_from)
    return lists.published(kind, root=folder, lists=None if lists_folder is None else path_of(str(lists_folder)))


PATHS = ("folder", "list", "csv", "npz", "features")
"""Kinds of data sets whose name goes on with a path."""
FILES = {".csv": "csv", ".tsv": "csv", ".txt": "list", ".gz": "list", ".npz": "npz", ".safetensors": "features"}
"""Kind of data set that a file with an ending may be."""


def _there(name: str) -> str:
    """What a path is called as a data set, if there is one of this name."""
    with contextlib.suppress(InputError):
        path = path_of(name)
        if path.is_dir():
            return f"; there is a folder of that name: folder:{name}"
        if path.is_file() and path.suffix.lower() in FILES:
            return f"; there is a file of that name: {FILES[path.suffix.lower()]}:{name}"
    return ""


def _read(name: str, *, root: str | pathlib.Path | None, download: bool, subset: int | None) -> Source:
    kind, _, path = name.partition(":")
    match kind:
        case "npz":
            return arrays.read(path_of(path))
        case "features":
            return features.read(path_of(path))[0]
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
