"""Pictures by their paths, before any is decoded: what the readers of lists, tables and folders have in common."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.data import digests, folders
from longtail.data.dataset import Source
from longtail.data.decoding import pixels_of
from longtail.data.images import Split
from longtail.data.layout import Tree, first
from longtail.data.names import Names
from longtail.data.pictures import DEFAULT_SIZE, KEPT_SIZE, is_small, printable, shown
from longtail.data.streams import Pictures, too_large
from longtail.errors import InputError
from longtail.wording import counted

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training pictures, red, green and blue; grey pictures take the means of both."""

Notify = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Listed:
    """The pictures of one split.

    Args:
        names: paths below the root.
        target: (N,) int64 class numbers.
        comments: lines of its list that name no picture.
    """

    names: Names
    target: Tensor
    comments: int = 0


@dataclasses.dataclass(frozen=True)
class Listing:
    """The pictures of a data set by split.

    Args:
        name: of the data set.
        where: what messages call it, such as the path of the list.
        root: folder that the paths are below.
        class_names: K names.
        splits: ``train``, and ``validation`` and ``test`` where they are there, in this order.
        notes: what a reader of the numbers should know of how the pictures were listed.
        kind: of what a split is made by: a ``folder``, ``list`` or ``column``.
    """

    name: str
    where: str
    root: pathlib.Path
    class_names: tuple[str, ...]
    splits: dict[str, Listed]
    notes: tuple[str, ...] = ()
    kind: str = "list"

    def __len__(self) -> int:
        return sum(len(listed.names) for listed in self.splits.values())

    @property
    def names(self) -> Names:
        """The paths of all splits, one after the other."""
        every = Names(())
        for listed in self.splits.values():
            every = every + listed.names
        return every


def read_folder(
    path: pathlib.Path,
    *,
    image_size: int | None,
    leave_out_classes_below: int | None = None,
    skip_unreadable: bool = False,
    fresh: bool = False,
    notify: Notify | None = None,
) -> Source:
    """Return the data set of a folder with a folder of pictures for each class; the arguments are those of ``read``.

    Raises:
        InputError: as ``read``, and no such folder or one with classes without pictures.
    """
    tree = folders.sound(path, leave_out_classes_below=leave_out_classes_below)
    return read(
        of_tree(path, tree),
        image_size=image_size,
        leave_out_classes_below=leave_out_classes_below,
        skip_unreadable=skip_unreadable,
        fresh=fresh,
        notify=notify,
    )


def of_tree(path: pathlib.Path, tree: Tree) -> Listing:
    """Return the pictures that were found in a folder."""
    splits = {
        split: Listed(
            Names(os.fspath(file.relative_to(tree.root)) for file, _ in listed),
            torch.tensor([label for _, label in listed], dtype=torch.int64),
        )
        for split, listed in tree.splits.items()
    }
    notes = (*tree.notes, *tree.doubts, *(left.line() for left in tree.left))
    name = f"folder:{printable(path.resolve().name)}"
    return Listing(name, shown(path), tree.root, tree.class_names, splits, notes, "folder")


def is_streamed(number: int, image_size: int | None) -> bool:
    """Return whether so many pictures may be read while training; without a size their own decides, which are not read.

    Args:
        number: pictures in all splits.
        image_size: that was asked for.
    """
    return too_large(number, image_size or KEPT_SIZE)


def decoded_once(root: pathlib.Path, names: Sequence[str], notify: Notify | None = None) -> tuple[list[str], list[str]]:
    """Decode every picture, and give up each before the next.

    Args:
        root: folder of the pictures.
        names: their paths below it.
        notify: called now and then with how many are done and how many there are.

    Returns:
        Why pictures cannot be read, and the paths of those that are of one colour.
    """
    problems, one_colour = [], []
    for done, name in enumerate(names, start=1):
        found = _looked_at(root / name)
        if isinstance(found, str):
            problems.append(found)
        elif found:
            one_colour.append(printable(name))
        if notify is not None and (done % digests.CHUNK == 0 or done == len(names)):
            notify(done, len(names))
    return problems, one_colour


def _looked_at(file: pathlib.Path) -> bool | str:
    """Whether a picture is of one colour, or why it cannot be read."""
    try:
        pixels = pixels_of(file).flatten(1)
    except InputError as error:
        return str(error)
    return bool((pixels == pixels[:, :1]).all())


def read(
    listing: Listing,
    *,
    image_size: int | None,
    leave_out_classes_below: int | None = None,
    skip_unreadable: bool = False,
    fresh: bool = False,
    notify: Notify | None = None,
) -> Source:
    """Return the data set of a listing: small pictures decoded into memory, others as files to be read while training.

    Args:
        listing: of all splits.
        image_size: side of the squares to which pictures are brought; None: their own size if all have one of at most
            64 pixels a side, else 32.
        leave_out_classes_below: classes of fewer training pictures were left out, so single ones need not be refused.
        skip_unreadable: leave out training pictures that cannot be read.
        fresh: hash every file, whatever is known of it.
        notify: called now and then with how many files are read and how many there are.

    Raises:
        InputError: files that are missing or no pictures, an image size below 1, or no image of a class that could be
            held out for testing.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image size {image_size}: the side of the images in pixels, from 1")
    if not is_streamed(len(listing), image_size):
        return _in_memory(listing, image_size, leave_out_classes_below, skip_unreadable, notify)
    facts = digests.facts_of(listing.root, listing.names, fresh=fresh, notify=notify)
    _refuse_missing(listing, facts.missing)
    kept, good, notes = _without(listing, dict(facts.problems), skip_unreadable)
    sizes = {(int(width), int(height)) for width, height in facts.sizes[good]}
    side = image_size or DEFAULT_SIZE
    if image_size is None and len(sizes) == 1 and is_small(only := next(iter(sizes))) and only[0] == only[1]:
        side = only[0]
    if not too_large(len(kept), side):
        return _in_memory(listing, image_size, leave_out_classes_below, skip_unreadable, notify)
    grey = bool(facts.grey[good].all())
    every = Pictures(
        root=os.fspath(listing.root),
        names=kept.names,
        digests=facts.digests[good],
        places=torch.arange(len(kept)),
        channels=1 if grey else 3,
        side=side,
        skip_unreadable=skip_unreadable,
    )
    said = (
        f"{len(kept):,} pictures are read from their files while training, for evaluation scaled and cropped around "
        f"their centre to {side} x {side} pixels; copies are told by their files"
    )
    sized = len(sizes)
    said += f"; {sized:,} sizes" if sized > 1 else ""
    done = _of_headers(kept.names, facts.transparent[good], facts.frames[good])
    whole = folders.finished(
        _splits(kept, every),
        listing.name,
        listing.class_names,
        (said, *done, *notes, *listing.notes),
        where=listing.where,
        kind=listing.kind,
        leave_out_classes_below=leave_out_classes_below,
    )
    mean, std = ((sum(MEAN) / 3,), (sum(STD) / 3,)) if grey else (MEAN, STD)
    return dataclasses.replace(
        whole, mean=mean, std=std, notes=(*whole.notes, "pixels are normalised by ImageNet's mean and deviation")
    )


def _splits(listing: Listing, every: Pictures) -> dict[str, Split]:
    found, start = {}, 0
    for name, listed in listing.splits.items():
        number = len(listed.names)
        found[name] = Split(every[slice(start, start + number)], listed.target, torch.arange(number), listed.names)
        start += number
    return found


def _of_headers(names: Names, transparent: NDArray[np.bool_], frames: NDArray[np.bool_]) -> list[str]:
    """What is done to pictures that are read while training, as far as their headers tell it."""
    clear, several = ([printable(names[i]) for i in np.flatnonzero(which).tolist()] for which in (transparent, frames))
    told = folders.of_frames(several)
    if clear:
        have = counted(len(clear), "picture has", "pictures have")
        composed = "composed on white, or on black where nothing would be seen on white"
        told.insert(0, f"{have} an alpha channel or a transparent colour, {composed}: {first(clear)}")
    return told


def _in_memory(
    listing: Listing,
    image_size: int | None,
    leave_out_classes_below: int | None,
    skip_unreadable: bool,
    notify: Notify | None,
) -> Source:
    _refuse_missing(listing, [i for i, file in enumerate(listing.names) if not (listing.root / file).exists()])
    tree = as_tree(listing)
    decoded = folders.decode_all(tree, image_size, notify)
    return of_decoded(listing, tree, decoded, leave_out_classes_below, skip_unreadable)


def of_decoded(
    listing: Listing,
    tree: Tree,
    decoded: folders.Decoded,
    leave_out_classes_below: int | None,
    skip_unreadable: bool = False,
) -> Source:
    """Return the data set of a listing whose pictures are decoded; the arguments are those of ``read``.

    Raises:
        InputError: pictures that cannot be read, or no image of a class that could be held out for testing.
    """
    bad = [place for place, fine in enumerate(decoded.good) if not fine]
    _, _, notes = _without(listing, dict(zip(bad, decoded.problems, strict=True)), skip_unreadable)
    return folders.finished(
        folders.pools(tree, decoded),
        listing.name,
        listing.class_names,
        (*decoded.notes, *notes, *listing.notes),
        where=listing.where,
        kind=listing.kind,
        leave_out_classes_below=leave_out_classes_below,
    )


def as_tree(listing: Listing) -> Tree:
    """Return the pictures of a listing as those of a folder."""

    def paths(name: str) -> tuple[tuple[pathlib.Path, int], ...] | None:
        listed = listing.splits.get(name)
        if listed is None:
            return None
        return tuple(
            (listing.root / file, label) for file, label in zip(listed.names, listed.target.tolist(), strict=True)
        )

    train = paths("train")
    assert train is not None  # whoever makes a listing has pictures to train on
    return Tree(listing.root, listing.class_names, train, paths("validation"), paths("test"), (), (), (), ())


def _refuse_missing(listing: Listing, missing: tuple[int, ...] | list[int]) -> None:
    if missing:
        every = listing.names
        named = first([printable(every[place]) for place in missing])
        what = "file that is" if len(missing) == 1 else "files that are"
        raise InputError(
            f"{listing.where} names {len(missing):,} {what} not below {shown(listing.root)}: {named} (--root says "
            "where the pictures are)"
        )


def _without(
    listing: Listing, problems: dict[int, str], skip: bool
) -> tuple[Listing, list[int] | slice, tuple[str, ...]]:
    """The listing without the training pictures that cannot be read, the places of the others, and what to say."""
    if not problems:
        return listing, slice(None), ()
    number = len(listing.splits["train"].names)
    trained = max(problems) < number
    if not skip or not trained or len(problems) == number:
        # What cannot be left out comes first.
        told = [problems[place] for place in sorted(problems, key=lambda place: (place < number, place))]
        raise folders.unreadable(told, skippable=trained and not skip)
    train = listing.splits["train"]
    stay = [place for place in range(number) if place not in problems]
    kept = Listed(Names(train.names[place] for place in stay), train.target[torch.tensor(stay, dtype=torch.int64)])
    named = first([printable(train.names[place]) for place in problems])
    note = f"left out {counted(len(problems), 'training picture')} that cannot be read: {named}"
    rest = list(range(number, len(listing)))
    return dataclasses.replace(listing, splits={**listing.splits, "train": kept}), [*stay, *rest], (note,)
