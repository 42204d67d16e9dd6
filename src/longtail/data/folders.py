"""``folder:PATH``: one folder of pictures per class, decoded into memory.

``layout`` finds the pictures and ``pictures`` reads one. Where there is no test folder, a part of each class is held
out, copies of a picture on one side.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from longtail.counts import class_counts
from longtail.data import memory
from longtail.data.copies import groups
from longtail.data.dataset import Source, without_classes
from longtail.data.images import Split
from longtail.data.layout import Tree, find, first
from longtail.data.pictures import DEFAULT_SIZE, KEPT_SIZE, Picture, decode, pixels, printable, shown, square
from longtail.data.splits import held_out_with_copies
from longtail.errors import InputError
from longtail.wording import counted

Notify = Callable[[int, int], None]

COLOURS = 3
TEST_SHARE = 5
"""One image in this many is held out of each class where there is no test folder."""


@dataclasses.dataclass(frozen=True)
class Decoded:
    """The pictures of a folder.

    Args:
        images: (M, C, H, W) uint8, of those that could be decoded.
        good: whether each picture of the folder could be read.
        problems: why each of the others could not.
        notes: what was done to the pictures.
    """

    images: Tensor
    good: tuple[bool, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def read(
    path: pathlib.Path,
    *,
    image_size: int | None,
    leave_out_classes_below: int | None = None,
    notify: Notify | None = None,
) -> Source:
    """Decode all pictures into memory.

    Grey stays one channel if all pictures are grey. Pictures are scaled and cropped around their centre to squares of
    ``image_size``; without it they are kept as they are if they are all of one size of at most 64 pixels a side, and
    brought to 32 pixels otherwise. Transparency is composed on white, or on black where nothing would be seen on white.
    Where there is no test folder, a fifth of each class (rounded down, at least one image) is held out from a fixed
    seed, copies of one picture on one side. The notes of the source say what was done and what was left out.

    Args:
        path: the folder.
        image_size: side in pixels.
        leave_out_classes_below: classes with fewer pictures to train on than this are left out.
        notify: called now and then with how many pictures are decoded and how many there are.

    Raises:
        InputError: no such folder, classes without pictures, pictures that cannot be decoded or have more than eight
            bits, an image size below 1, or more pictures than fit into memory.
    """
    tree = sound(path, leave_out_classes_below=leave_out_classes_below)
    decoded = decode_all(tree, image_size, notify)
    if decoded.problems:
        raise unreadable(decoded.problems, skippable=True)
    return source(path, tree, decoded, leave_out_classes_below=leave_out_classes_below)


def sound(path: pathlib.Path, *, leave_out_classes_below: int | None = None) -> Tree:
    """List the pictures below a folder that can be trained on; the arguments are those of ``read``.

    Raises:
        InputError: no such folder, or one with classes without pictures and the like.
    """
    tree = find(path, leave_out_classes_below=leave_out_classes_below)
    if tree.faults:
        more = f"; and {len(tree.faults) - 1:,} more faults (longtail data verify names them all)"
        raise InputError(tree.faults[0] + (more if len(tree.faults) > 1 else ""))
    return tree


def decode_all(tree: Tree, image_size: int | None, notify: Notify | None = None) -> Decoded:
    """Decode the pictures of a tree, and say what is wrong with each that cannot be.

    Raises:
        InputError: an image size below 1, or more pictures than fit into memory.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image size {image_size}: the side of the images in pixels, from 1")
    files = tree.files
    _check_size(tree, files, image_size)
    pictures: list[Picture | None] = []
    problems = []
    for done, file in enumerate(files, start=1):
        try:
            pictures.append(decode(file, image_size))
        except InputError as error:
            pictures.append(None)
            problems.append(str(error))
        if notify is not None and (done % 256 == 0 or done == len(files)):
            notify(done, len(files))
    good = tuple(picture is not None for picture in pictures)
    known = [picture for picture in pictures if picture is not None]
    del pictures
    if not known:
        return Decoded(torch.empty(0, 1, 1, 1, dtype=torch.uint8), good, tuple(problems), ())
    notes = _of_pictures(known, [tree.name(file) for file, fine in zip(files, good, strict=True) if fine])
    images, scaled = _stacked(known, image_size)
    return Decoded(images, good, tuple(problems), (*([scaled] if scaled else []), *notes))


def pools(tree: Tree, decoded: Decoded) -> dict[str, Split]:
    """The splits of the folder, of the pictures that could be decoded, before anything is held out."""
    found, start, taken = {}, 0, 0
    for name, listed in tree.splits.items():
        fine = decoded.good[start : start + len(listed)]
        number = sum(fine)
        kept = [item for item, is_good in zip(listed, fine, strict=True) if is_good]
        found[name] = Split(
            decoded.images[taken : taken + number],
            torch.tensor([label for _, label in kept], dtype=torch.int64),
            torch.arange(number),
            tuple(tree.name(file) for file, _ in kept),
        )
        start, taken = start + len(listed), taken + number
    return found


def source(path: pathlib.Path, tree: Tree, decoded: Decoded, *, leave_out_classes_below: int | None = None) -> Source:
    """The data set of a folder whose pictures are decoded.

    Raises:
        InputError: no image of a class can be held out although there is no test folder.
    """
    name = f"folder:{printable(path.resolve().name)}"
    notes = (*decoded.notes, *tree.notes, *tree.doubts, *(left.line() for left in tree.left))
    found = pools(tree, decoded)
    return finished(
        found, name, tree.class_names, notes, where=shown(path), leave_out_classes_below=leave_out_classes_below
    )


def finished(
    found: dict[str, Split],
    name: str,
    class_names: tuple[str, ...],
    notes: tuple[str, ...],
    *,
    where: str,
    kind: str = "folder",
    leave_out_classes_below: int | None = None,
) -> Source:
    """The data set of splits of pictures, a fifth of each class held out where there is no test split.

    Args:
        found: ``train``, and ``validation`` and ``test`` where they are there.
        name: of the data set.
        class_names: K names.
        notes: what a reader of the numbers should know so far.
        where: what messages call the data set.
        kind: of what a split is made by: a ``folder``, ``list`` or ``column``.
        leave_out_classes_below: as in ``read``.

    Raises:
        InputError: no image of a class can be held out although there is no test split.
    """
    whole = Source(
        name=name,
        train=found["train"],
        test=found.get("test", found["train"]),
        validation=found.get("validation"),
        class_names=class_names,
        notes=notes,
    )
    if "validation" in found:
        whole = _noted(
            whole, f"the validation {kind} is used as validation: {counted(len(found['validation']), 'picture')}"
        )
    if "test" not in found:
        return _with_test(where, kind, whole, leave_out_classes_below)
    single = _named(whole, class_counts(whole.train.target, len(whole.class_names)) == 1)
    if single:
        have = counted(len(single), "class has", "classes have")
        whole = _noted(whole, f"{have} a single training picture: {first(single)}")
    return whole


def _with_test(where: str, kind: str, whole: Source, leave_out_classes_below: int | None) -> Source:
    """The source with a test split that is held out of train."""
    (alike,) = groups([whole.train.images])
    pairs = torch.unique(torch.stack([whole.train.target, alike]), dim=1)
    # As many pictures as one can tell apart: of copies of one picture none can be held out without training on it.
    different = class_counts(pairs[0], len(whole.class_names))
    empty = _named(whole, different == 0)
    if empty and leave_out_classes_below is None:
        raise InputError(
            f"{where}: {counted(len(empty), 'class has', 'classes have')} no training images: {first(empty)}"
        )
    single = torch.nonzero(different < 2).flatten().tolist()
    if single and (leave_out_classes_below or 0) < 2:
        names = first([printable(whole.class_names[c]) for c in single])
        has = f"class {names!r} has" if len(single) == 1 else f"{len(single)} classes ({names}) have"
        raise InputError(
            f"{where}: {has} a single image, or copies of one, so none can be held out for testing: add images, "
            f"or a test {kind} beside a train {kind}, or leave such classes out with --leave-out-classes-below 2"
        )
    if single:
        names = first([printable(whole.class_names[c]) for c in single])
        if len(single) > len(whole.class_names) - 2:
            raise InputError(f"{where}: fewer than two classes have two different pictures")
        whole = without_classes(
            whole, single, f"left out {counted(len(single), 'class')} of copies of one picture: {names}"
        )
        (alike,) = groups([whole.train.images])
    counts = class_counts(whole.train.target, len(whole.class_names))
    sizes = (counts // TEST_SHARE).clamp(min=1)
    stay, out, rule = held_out_with_copies(whole.train.target, sizes, alike, seed=0)
    train, test = whole.train.at(stay), whole.train.at(out)
    held = _noted(
        dataclasses.replace(whole, train=train, test=test, rule=rule),
        f"no test {kind}: a fifth of each class was held out for testing, from a fixed seed",
    )
    extra = len(alike) - len(torch.unique(alike))
    if extra:
        copies = counted(extra, "picture is a copy", "pictures are copies")
        held = _noted(held, f"{copies} of another; copies were kept on one side of the test split")
    untested = _named(held, class_counts(test.target, len(held.class_names)) == 0)
    if untested:
        have = counted(len(untested), "class has", "classes have")
        held = _noted(held, f"{have} no test picture: {first(untested)}")
    return held


def _check_size(tree: Tree, files: list[pathlib.Path], image_size: int | None) -> None:
    """Refuse more pictures than fit into memory, before the first is decoded."""
    # Without a test folder, the two parts of the pool are copies of it.
    copies = 1 if tree.test is not None else 2
    side = image_size or KEPT_SIZE
    need, free = len(files) * side * side * COLOURS * copies, memory.free()
    if image_size is None and free is not None and need > free:
        # The headers alone say which pictures will be brought to a smaller size.
        need = sum(pixels(file) for file in files) * COLOURS * copies
    what = f"{shown(tree.root)}: {len(files):,} pictures of up to {side:,} x {side:,} pixels"
    memory.check(need, what, "give a smaller --image-size, or fewer pictures")


def _noted(whole: Source, note: str) -> Source:
    return dataclasses.replace(whole, notes=(*whole.notes, note))


def _named(whole: Source, which: Tensor) -> list[str]:
    return [printable(whole.class_names[c]) for c in torch.nonzero(which).flatten().tolist()]


def _stacked(pictures: list[Picture], image_size: int | None) -> tuple[Tensor, str]:
    """All pictures (M, C, H, W) uint8, and how they were scaled; empty if they are as they were."""
    sizes = {picture.size for picture in pictures}
    side = image_size
    if side is None and (len(sizes) > 1 or max(next(iter(sizes))) > KEPT_SIZE):
        side = DEFAULT_SIZE
    mode = "L" if all(picture.image.mode == "L" for picture in pictures) else "RGB"
    width, height = (side, side) if side is not None else next(iter(sizes))
    stack = np.empty((len(pictures), 1 if mode == "L" else 3, height, width), np.uint8)
    # From the last on, so that each picture is given up once it is in the stack.
    for row in stack[::-1]:
        final = square(pictures.pop().image, side)
        values = np.asarray(final if final.mode == mode else final.convert(mode))
        row[:] = values if mode == "L" else values.transpose(2, 0, 1)
    if sizes == {(width, height)}:
        return torch.from_numpy(stack), ""
    scaled = f"pictures scaled and cropped around their centre to {side} x {side} pixels"
    smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
    of = f"; {len(sizes):,} sizes, {_shown(smallest)} to {_shown(largest)}" if len(sizes) > 1 else ""
    return torch.from_numpy(stack), scaled + of


def _of_pictures(pictures: list[Picture], names: list[str]) -> list[str]:
    """What a reader of the numbers should know of the pictures' files."""
    backgrounds = Counter(picture.background for picture in pictures if picture.background)
    notes = []
    if backgrounds:
        notes.append(f"transparency of {counted(backgrounds.total(), 'picture')} composed on white")
    if backgrounds["black"]:
        on_black = [name for name, picture in zip(names, pictures, strict=True) if picture.background == "black"]
        notes[-1] += f", of {len(on_black):,} on black, since they would be flat on white: {first(on_black)}"
    several = [name for name, picture in zip(names, pictures, strict=True) if picture.frames]
    notes += of_frames(several)
    dots = [name for name, picture in zip(names, pictures, strict=True) if picture.size == (1, 1)]
    if dots:
        notes.append(f"{counted(len(dots), 'picture has', 'pictures have')} 1 pixel: {first(dots)}")
    return notes


def of_frames(names: Sequence[str]) -> list[str]:
    """What is said of pictures with several frames; nothing where there are none."""
    have = counted(len(names), "picture has", "pictures have")
    return [f"{have} several frames, of which the first is read: {first(names)}"] if names else []


def unreadable(problems: Sequence[str], *, skippable: bool) -> InputError:
    """The error for pictures that cannot be read: the first, how many more, and what can be done.

    Args:
        problems: what is wrong with each, at least one.
        skippable: whether ``--skip-unreadable`` would leave out all of them.

    Example:
        >>> str(unreadable(["a.jpg is no readable picture", "b.jpg is none"], skippable=False))
        'a.jpg is no readable picture; and 1 more picture; list all with longtail data verify'
    """
    more = f"; and {counted(len(problems) - 1, 'more picture')}" if len(problems) > 1 else ""
    skip = "; leave such pictures out with --skip-unreadable, list" if skippable else "; list"
    return InputError(f"{problems[0]}{more}{skip} all with longtail data verify")


def _area(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] * size[1], size[0]


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
