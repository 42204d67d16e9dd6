"""Copies of one picture across splits or classes, pictures of one colour: counted, named, and left out by a list.

An accuracy on images that were trained on says nothing, and a picture under two classes limits every number. Images are
copies if they are equal as a model sees them, after decoding, scaling and cropping.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtail.data.copies import groups
from longtail.data.dataset import Data, Source
from longtail.data.fingerprint import combine, parts
from longtail.data.images import Split
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.shapes import Shaped
from longtail.wording import counted

HEADER = "# longtail: copies to leave out, one 'SPLIT NUMBER NAME' a line; fingerprint of the whole data "
"""How the first line of an index list begins."""


class Member(NamedTuple):
    """One image of a group of copies.

    Args:
        split: ``train``, ``validation`` or ``test``.
        position: in that split.
        target: its class number.
        name: its path below the folder, or its number.
    """

    split: str
    position: int
    target: int
    name: str


Group = tuple[Member, ...]


@dataclasses.dataclass(frozen=True)
class Summary:
    """How many copies a data set holds.

    Args:
        test: test images.
        test_in_train: test images that equal a training image.
        validation_in_train: validation images that equal a training image.
        test_in_validation: test images that equal a validation image.
        in_two_classes: different pictures that stand under two or more classes.
        repeated: images that equal an earlier one of their split and class.
        one_colour: images whose pixels are all equal; not looked for among files that are read while training.
    """

    test: int
    test_in_train: int
    validation_in_train: int
    test_in_validation: int
    in_two_classes: int
    repeated: int
    one_colour: int

    @property
    def clean(self) -> bool:
        """No image stands in two splits or under two classes."""
        return not (self.test_in_train or self.validation_in_train or self.test_in_validation or self.in_two_classes)

    def to_json(self) -> dict[str, int]:
        """A plain dictionary."""
        return dataclasses.asdict(self)

    def line(self) -> str:
        """What was found, in one line; empty if there are no copies and no picture of one colour."""
        of, two = f"of {self.test:,} test images", "under two or more classes"
        told = (
            (self.test_in_train, f"{of} is a training image too", f"{of} are training images too"),
            (
                self.validation_in_train,
                "validation image is a training image too",
                "validation images are training images too",
            ),
            (self.test_in_validation, "test image is a validation image too", "test images are validation images too"),
            (self.in_two_classes, f"picture stands {two}", f"pictures stand {two}"),
            (self.repeated, "image repeats one of its class and split", "images repeat one of their class and split"),
            (self.one_colour, "image is of one colour", "images are of one colour"),
        )
        return "; ".join(counted(number, one, many) for number, one, many in told if number)


def splits_of(data: Data | Source) -> dict[str, Split]:
    """The splits that are there, by name."""
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: split for name, split in named.items() if split is not None}


def copies(splits: Mapping[str, Split]) -> list[Group]:
    """The groups of two or more equal images, over all splits, in the order of their first images."""
    return [tuple(_member(splits, *place) for place in places) for places in _places(splits) if len(places) > 1]


def summary(data: Data | Source) -> Summary:
    """Count the copies in a data set; it takes some ten microseconds an image.

    Args:
        data: what ``longtail.data.load`` returns.

    Example:
        >>> from longtail.data import load
        >>> found = summary(load("digits-lt"))
        >>> found.clean, found.line()
        (True, '')
    """
    splits = splits_of(data)
    return count(splits, copies(splits))


def count(splits: Mapping[str, Split], found: list[Group]) -> Summary:
    """``summary`` of splits whose ``copies`` are known."""
    across = {("test", "train"): 0, ("validation", "train"): 0, ("test", "validation"): 0}
    for group in found:
        for part, other in across:
            if any(member.split == other for member in group):
                across[part, other] += sum(member.split == part for member in group)
    return Summary(
        test=len(splits["test"]) if "test" in splits else 0,
        test_in_train=across["test", "train"],
        validation_in_train=across["validation", "train"],
        test_in_validation=across["test", "validation"],
        in_two_classes=sum(len({member.target for member in group}) > 1 for group in found),
        repeated=sum(len(group) - len({(member.split, member.target) for member in group}) for group in found),
        one_colour=sum(len(one_colour(split.pixels)) for split in splits.values() if not split.streamed),
    )


def one_colour(images: Shaped[Tensor, " N *one"]) -> list[int]:
    """The positions of the images whose pixels are all equal; of features (N, D), none.

    Example:
        >>> one_colour(torch.tensor([[7, 7], [7, 8]], dtype=torch.uint8).view(2, 1, 1, 2))
        [0]
    """
    if images.ndim == 2:
        return []
    pixels = images.flatten(2)
    return torch.nonzero((pixels == pixels[..., :1]).all(2).all(1)).flatten().tolist()


def without_copies(source: Data | Source, path: pathlib.Path) -> tuple[dict[str, Split], str]:
    """Leave out the copies that an index list names; where there is no such file it is made first.

    Of equal images of one class one stays: the first of the test split, else of validation, else of train. Of a picture
    under two or more classes none stays, since nobody knows which class is right. Lines of the list may be deleted by
    hand, and others added.

    Args:
        source: what was read.
        path: file of the index list.

    Returns:
        The splits without what the list names, and a note that says how many those are.

    Raises:
        InputError: a list that cannot be read or written, that belongs to other data, or names what is not there.
    """
    splits = splits_of(source)
    identity = combine(parts(source.train, source.validation, source.test))
    if not path.exists():
        text = f"{HEADER}{identity}\n" + "".join(f"{line}\n" for line in _lines(splits))
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    out = _listed(path, identity)
    kept = {}
    for name, split in splits.items():
        gone = torch.tensor(sorted(out.pop(name, set())), dtype=torch.int64)
        unknown = gone[~torch.isin(gone, split.index)].tolist()
        if unknown:
            raise InputError(f"{path}: there is no {name} image of number {unknown[0]}")
        kept[name] = split.at(torch.nonzero(~torch.isin(split.index, gone)).flatten()) if len(gone) else split
        if not len(kept[name]):
            raise InputError(f"{path}: the {name} split would be left without images")
    if out:
        raise InputError(f"{path}: there is no split {min(out)!r}; {', '.join(splits)} are there")
    number = sum(len(split) - len(kept[name]) for name, split in splits.items())
    return kept, f"left out {counted(number, 'image')} that {path.name} lists as copies"


def near(splits: Mapping[str, Split]) -> list[tuple[Member, Member]] | str:
    """Pairs of images that are not equal but show the same: scaled, stored as JPEG anew, a little brighter.

    See ``longtail.data.near``. Of a group of copies the first image stands for all.

    Returns:
        The pairs, or why they were not looked for: the images are not in memory, are vectors of features, are too many,
        or imagehash is not installed.
    """
    from longtail.data.near import LIMIT, pairs

    if any(split.streamed for split in splits.values()):
        return "the images are read from their files, and all would be needed at once"
    if any(split.pixels.dim() != 4 for split in splits.values()):
        return "these are features, no pictures"
    number = sum(len(split) for split in splits.values())
    if number > LIMIT:
        return f"{number:,} images are too many to compare each with each ({LIMIT:,} at most)"
    firsts = [_member(splits, *places[0]) for places in _places(splits)]
    if not firsts:
        return []
    images = torch.cat([splits[member.split].pixels[member.position][None] for member in firsts])
    try:
        return [(firsts[a], firsts[b]) for a, b in pairs(images)]
    except ImportError:
        return "it needs the library imagehash, pip install 'longtail[hygiene]'"


def near_counted(splits: Mapping[str, Split]) -> tuple[str, list[tuple[Member, Member]]]:
    """Count near duplicates, or say why they were not looked for.

    Returns:
        What was found, in a few words, and the pairs that stand in two splits or under two classes.
    """
    found = near(splits)
    if isinstance(found, str):
        return f"not looked for: {found}", []
    apart = [(a, b) for a, b in found if a.split != b.split or a.target != b.target]
    told = f"{counted(len(apart), 'pair')} across splits or classes, {len(found) - len(apart):,} within"
    return told if found else "none", apart


def _places(splits: Mapping[str, Split]) -> list[list[tuple[str, int]]]:
    """Split and position of the images of each different picture, over all splits."""
    found: dict[int, list[tuple[str, int]]] = {}
    numbered = groups([split.images for split in splits.values()])
    for name, numbers in zip(splits, numbered, strict=True):
        for position, number in enumerate(numbers.tolist()):
            found.setdefault(number, []).append((name, position))
    return list(found.values())


def _member(splits: Mapping[str, Split], name: str, position: int) -> Member:
    split = splits[name]
    return Member(name, position, int(split.target[position]), split.name(position))


def _lines(splits: Mapping[str, Split]) -> list[str]:
    """The lines of the index list that leaves out all copies."""
    order, lines = ("test", "validation", "train"), []
    for group in copies(splits):
        ranked = sorted(group, key=lambda member: (order.index(member.split), member.position))
        one_class = len({member.target for member in group}) == 1
        for member in ranked[1:] if one_class else ranked:
            split = splits[member.split]
            lines.append(f"{member.split} {int(split.index[member.position])} {split.name(member.position)}")
    return lines


def _listed(path: pathlib.Path, identity: str) -> dict[str, set[int]]:
    """The numbers that a list leaves out of each split."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} is no ordinary file; name one that is not there and it is made")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list of copies cannot be read ({error})") from None
    first, *lines = text.splitlines() or [""]
    if not first.startswith(HEADER):
        raise InputError(f"{path} is no list of copies; name a file that is not there and it is made")
    if first.removeprefix(HEADER).strip() != identity:
        raise InputError(f"{path} was made for other data; name a file that is not there and it is made anew")
    out: dict[str, set[int]] = {}
    for number, line in enumerate(lines, start=2):
        if line.strip() and not line.startswith("#"):
            words: list[Any] = line.split(maxsplit=2)
            if len(words) < 2 or not (words[1].isascii() and words[1].isdigit()):
                raise InputError(f"{path}, line {number}: a line reads SPLIT NUMBER NAME")
            out.setdefault(words[0], set()).add(int(words[1]))
    return out
