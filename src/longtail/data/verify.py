"""Checks of a data set's files, checksums and counts, each with what was found."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from longtail.counts import class_counts
from longtail.data import (
    arrays,
    catalogue,
    cifar,
    digits,
    folders,
    hygiene,
    layout,
    listing,
    lists,
    profiles,
)
from longtail.data.dataset import Data
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.data.pictures import printable
from longtail.errors import InputError
from longtail.wording import counted


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        what: was looked at.
        ok: whether it is as it should be.
        detail: what was found.
    """

    what: str
    ok: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dataclasses.asdict(self)


def verify(
    name: str,
    *,
    root: str | pathlib.Path | None = None,
    imbalance: float | int | None = None,
    image_size: int | None = None,
    leave_out_classes_below: int | None = None,
    drop_duplicates: str | pathlib.Path | None = None,
    lists_folder: str | pathlib.Path | None = None,
    labels_from: int = 0,
    notify: folders.Notify | None = None,
) -> list[Finding]:
    """Check a data set: its files and their checksums first, then what is loaded from them.

    Every damaged picture of a folder, everything that is left out, every copy across splits or classes is a finding of
    its own, with paths below the folder. The copies in the published sets (CIFAR, the digits) are told and not judged.

    Args:
        name: name of the data set, as in ``longtail.data.load``.
        root: likewise.
        imbalance: likewise.
        image_size: likewise.
        leave_out_classes_below: likewise.
        drop_duplicates: likewise.
        lists_folder: likewise.
        labels_from: likewise.
        notify: likewise.

    Returns:
        The findings in the order of the checks; what is damaged or misleading has ``ok`` False.

    Raises:
        InputError: nothing there to check: an unknown name, no root, no such file or folder.

    Example:
        >>> all(finding.ok for finding in verify("digits-lt"))
        True
    """
    if not catalogue.is_selection(name):
        catalogue.check_options(name, image_size, labels_from, lists_folder)
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return _folder(catalogue.path_of(path), imbalance, image_size, leave_out_classes_below, drop_duplicates, notify)
    if kind in lists.PUBLISHED or (kind == "csv" and path) or (kind == "list" and path):
        return _listed(
            name,
            imbalance,
            image_size,
            leave_out_classes_below,
            drop_duplicates,
            notify,
            root=root,
            lists_folder=lists_folder,
            labels_from=labels_from,
        )
    findings = _files(name, root)
    if not all(finding.ok for finding in findings):
        return findings
    data = catalogue.load(
        name,
        imbalance=imbalance,
        root=root,
        image_size=image_size,
        leave_out_classes_below=leave_out_classes_below,
        drop_duplicates=drop_duplicates,
        notify=notify,
    )
    return [*findings, *_found(data, judged=kind == "npz")]


def _folder(
    place: pathlib.Path,
    imbalance: float | int | None,
    image_size: int | None,
    leave_out_classes_below: int | None,
    drop_duplicates: str | pathlib.Path | None,
    notify: folders.Notify | None,
) -> list[Finding]:
    """All that is wrong with a folder, although loading would stop at the first fault; each picture is decoded once."""
    if not layout.is_folder(place):
        layout.find(place)  # says that there is none
    try:
        tree = layout.find(place, leave_out_classes_below=leave_out_classes_below)
    except InputError as error:
        return [Finding("folder", False, str(error))]
    findings = [Finding("folder", False, fault) for fault in tree.faults]
    findings += [Finding("class names", False, doubt) for doubt in tree.doubts]
    for left in tree.left:
        if left.serious:
            findings += [Finding("left out", False, f"{name} ({left.one})") for name in left.names]
        else:
            what = counted(len(left.names), left.one, left.many)
            findings.append(Finding("left out", True, f"{what}: {', '.join(left.names)}"))
    if not tree.files:
        return findings
    if listing.is_streamed(len(tree.files), image_size):
        if not all(finding.ok for finding in findings):
            return findings
        return [
            *findings,
            *_streamed(
                listing.of_tree(place, tree), imbalance, image_size, leave_out_classes_below, drop_duplicates, notify
            ),
        ]
    decoded = folders.decode_all(tree, image_size, notify)
    findings += [Finding("picture", False, problem) for problem in decoded.problems]
    if not findings or all(finding.ok for finding in findings):
        findings.append(Finding("files", True, counted(len(decoded.images), "picture decoded", "pictures decoded")))
    data = None
    if not tree.faults and not decoded.problems:
        try:
            source = folders.source(place, tree, decoded, leave_out_classes_below=leave_out_classes_below)
        except InputError as error:
            findings.append(Finding("folder", False, str(error)))
        else:
            data = catalogue.drawn(source, imbalance=imbalance, drop_duplicates=drop_duplicates)
    if data is None:
        return [*findings, *_copies(folders.pools(tree, decoded), judged=True)]
    return [*findings, *_found(data, judged=True)]


def _listed(
    name: str,
    imbalance: float | int | None,
    image_size: int | None,
    leave_out_classes_below: int | None,
    drop_duplicates: str | pathlib.Path | None,
    notify: folders.Notify | None,
    **where: Any,
) -> list[Finding]:
    """The lists of a published set, a list or a table, and then its pictures."""
    kind = name.partition(":")[0]
    options: dict[str, Any] = {
        "imbalance": imbalance,
        "leave_out_classes_below": leave_out_classes_below,
        "drop_duplicates": drop_duplicates,
        "notify": notify,
        **where,
    }
    if catalogue.is_selection(name):
        data = catalogue.load(name, image_size=image_size, **options)
        return [*_contents(data), *_notes(data), Finding("fingerprint", True, data.fingerprint)]
    listed = catalogue.listing_of(name, **where)
    findings = []
    if kind in lists.PUBLISHED:
        departures = lists.departures(kind, listed.splits)
        findings = [Finding("published counts", False, told) for told in departures]
        if not departures:
            told = "all class counts" if len(lists.PUBLISHED[kind].digests) == len(listed.splits) else "sizes"
            findings.append(Finding("published counts", True, f"{told} of {len(listed.splits)} lists as published"))
    image_size = image_size or (lists.IMAGE_SIZE if kind in lists.PUBLISHED else None)
    every = listed.names
    gone = [place for place, file in enumerate(every) if not (listed.root / file).exists()]
    if gone:
        missing = [Finding("missing file", False, printable(every[place])) for place in gone]
        return [*findings, Finding("files", False, f"{len(gone):,} of {len(every):,} are missing"), *missing]
    if listing.is_streamed(len(listed), image_size):
        return [
            *findings,
            *_streamed(listed, imbalance, image_size, leave_out_classes_below, drop_duplicates, notify),
        ]
    data = catalogue.load(name, image_size=image_size, **options)
    return [*findings, *_found(data, judged=True)]


def _streamed(
    listed: listing.Listing,
    imbalance: float | int | None,
    image_size: int | None,
    leave_out_classes_below: int | None,
    drop_duplicates: str | pathlib.Path | None,
    notify: folders.Notify | None,
) -> list[Finding]:
    """All that is wrong with pictures that are read while training: each is hashed again and decoded once."""
    problems, one_colour = listing.decoded_once(listed, notify)
    findings = [Finding("picture", False, problem) for problem in problems]
    if problems:
        return findings
    source = listing.read(
        listed, image_size=image_size, leave_out_classes_below=leave_out_classes_below, fresh=True, notify=notify
    )
    data = catalogue.drawn(source, imbalance=imbalance, drop_duplicates=drop_duplicates)
    findings.append(Finding("files", True, f"{counted(len(listed), 'picture')} hashed anew and decoded"))
    findings += [Finding("one colour", True, name) for name in one_colour]
    return [*findings, *_found(data, judged=True)]


def _files(name: str, root: str | pathlib.Path | None) -> list[Finding]:
    """The files; none where there are none, which loading then says."""
    kind, _, path = name.partition(":")
    if kind == "digits-lt":
        whole = digits.original()
        same = fingerprint(whole, None, whole) == digits.FINGERPRINT
        return [Finding("digits", same, "as scikit-learn ships them" if same else "not those that scikit-learn ships")]
    if kind == "npz" and path and catalogue.path_of(path).is_file():
        place = catalogue.path_of(path)
        return [_reads(printable(place.name), lambda: arrays.read(place))]
    if kind in cifar.ORIGINALS and root is not None:
        original = cifar.ORIGINALS[kind]
        folder = catalogue.path_of(str(root)) / original.folder
        if folder.is_dir():
            checked = [(file, cifar.damage(folder / file, md5)) for file, md5 in original.files]
            return [
                Finding(f"{original.folder}/{file}", not wrong, wrong or "MD5 as published") for file, wrong in checked
            ]
    return []


def _reads(what: str, read: Callable[[], object]) -> Finding:
    try:
        read()
    except InputError as error:
        return Finding(what, False, str(error))
    return Finding(what, True, "all arrays are there, of the right kinds and shapes")


def _found(data: Data, *, judged: bool) -> list[Finding]:
    """All that is found in what was loaded, its fingerprint last."""
    copies = _copies(hygiene.splits_of(data), judged=judged)
    return [*_contents(data), *copies, *_notes(data), Finding("fingerprint", True, data.fingerprint)]


def _contents(data: Data) -> list[Finding]:
    """Counts, index lists and labels of what was loaded."""
    sizes = data.counts.tolist()
    told = f"{len(data.train):,} training images, {max(sizes)}..{min(sizes)} per class"
    if data.profile is None or data.profile == profiles.GIVEN:
        counts = Finding("counts", True, told)
    else:
        wanted = profiles.by_name(data.profile)(data.num_classes, max(sizes), data.imbalance).tolist()
        counts = Finding(
            "counts",
            sorted(sizes) == sorted(wanted),
            f"{told}, as the {data.profile} profile asks"
            if sorted(sizes) == sorted(wanted)
            else f"{sizes}, but {wanted} are asked for",
        )
    tested = class_counts(data.test.target, data.num_classes)
    untested = [data.class_names[c] for c in torch.nonzero(tested == 0).flatten().tolist()]
    return [
        counts,
        Finding(
            "test",
            not untested,
            f"{counted(len(data.test), 'image')} of {counted(data.num_classes - len(untested), 'class')}"
            + (f"; none of {', '.join(untested[:5])}{' and more' if len(untested) > 5 else ''}" if untested else ""),
        ),
        _once("training index list", data.train),
        _once("test index list", data.test),
    ]


def _notes(data: Data) -> list[Finding]:
    return [Finding("note", True, note) for note in data.notes]


def _once(what: str, split: Split) -> Finding:
    twice = len(split) - len(torch.unique(split.index))
    return Finding(
        what, twice == 0, f"{counted(len(split), 'image')}, " + (f"{twice} of them twice" if twice else "each once")
    )


def _copies(splits: dict[str, Split], *, judged: bool) -> list[Finding]:
    """Copies of one picture, first how many, then each group whose copies stand in two splits or under two classes."""
    groups = hygiene.copies(splits)
    number = hygiene.count(splits, groups)
    findings = [Finding("copies", number.clean or not judged, number.line() or "none")]
    for group in groups:
        two_classes = len({member.target for member in group}) > 1
        if two_classes or len({member.split for member in group}) > 1:
            what = "one picture under two classes" if two_classes else "one picture in two splits"
            findings.append(Finding(what, not judged, _named(group)))
        elif judged:
            findings.append(Finding("repeated picture", True, _named(group)))
    for name, split in splits.items() if judged else ():
        if split.streamed:
            continue
        findings += [
            Finding("one colour", True, f"{split.name(at)} ({name})") for at in hygiene.one_colour(split.pixels)
        ]
    return findings + _near(splits, judged=judged)


def _near(splits: dict[str, Split], *, judged: bool) -> list[Finding]:
    """Near duplicates; those within one split and class are only counted."""
    told, apart = hygiene.near_counted(splits)
    findings = [Finding("near copies", not (apart and judged), told)]
    if judged:
        findings += [Finding("nearly one picture", False, _named(pair)) for pair in apart]
    return findings


def _named(members: hygiene.Group) -> str:
    return ", ".join(f"{member.name} ({member.split})" for member in members)
