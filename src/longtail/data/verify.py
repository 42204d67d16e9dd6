"""Checks of a data set's files, checksums and counts, each with what was found."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from longtail.counts import class_counts
from longtail.data import (
    arrays,
    catalogue,
    cifar,
    digests,
    digits,
    features,
    folders,
    hygiene,
    layout,
    listing,
    lists,
    profiles,
)
from longtail.data.dataset import Data, Source, leave_out_small
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.data.names import Names
from longtail.data.pictures import printable
from longtail.data.streams import Pictures
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
    asked = _Asked(imbalance, image_size, leave_out_classes_below, drop_duplicates, notify)
    where: dict[str, Any] = {"root": root, "lists_folder": lists_folder, "labels_from": labels_from}
    if catalogue.is_selection(name):
        return _selected(name, asked, where)
    catalogue.check_options(name, image_size, labels_from, lists_folder)
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return _folder(catalogue.path_of(path), asked)
    if kind in lists.PUBLISHED or (kind in ("csv", "list") and path):
        return _listed(name, asked, where)
    findings = _files(name, root)
    if not all(finding.ok for finding in findings):
        return findings
    data = catalogue.load(name, **vars(asked), root=root)
    return [*findings, *_found(data, judged=_is_judged(name))]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """How a data set is read and drawn; the fields are the arguments of ``verify``."""

    imbalance: float | int | None
    image_size: int | None
    leave_out_classes_below: int | None
    drop_duplicates: str | pathlib.Path | None
    notify: folders.Notify | None

    def drawn(self, source: Source) -> Data:
        return catalogue.drawn(source, imbalance=self.imbalance, drop_duplicates=self.drop_duplicates)


def _is_judged(name: str) -> bool:
    """Whether copies in a data set are faults; in the published sets, and in features of theirs, they are only told."""
    kind, _, path = name.partition(":")
    if kind == "features" and path.lower().endswith(".safetensors"):
        kind = features.facts_of(catalogue.path_of(path))[0].name.partition("-selection-")[0]
    return kind not in (*cifar.ORIGINALS, "digits-lt")


def _selected(name: str, asked: _Asked, where: dict[str, Any]) -> list[Finding]:
    """What a selection holds, and the test images beside it; pictures in files are hashed again and decoded once."""
    data = catalogue.load(name, **vars(asked), **where)
    findings = []
    for split in hygiene.splits_of(data).values():
        if isinstance(split.images, Pictures):
            findings += _of_files(split.images, asked.notify)
    base = catalogue.selected_from(name)[0]
    return [*findings, *_found(data, judged=_is_judged(base))]


def _of_files(images: Pictures, notify: folders.Notify | None) -> list[Finding]:
    root, names = pathlib.Path(images.root), Names(images.names[place] for place in images.places.tolist())
    problems, one_colour = listing.decoded_once(root, names, notify)
    again = digests.facts_of(root, names, fresh=True).digests
    changed = (again != images.digest()).any(axis=1) & again.any(axis=1)
    findings = [Finding("picture", False, problem) for problem in problems]
    findings += [Finding("changed picture", False, printable(names[i])) for i in np.flatnonzero(changed).tolist()]
    return [*findings, *(Finding("one colour", True, name) for name in one_colour)]


def _folder(place: pathlib.Path, asked: _Asked) -> list[Finding]:
    """All that is wrong with a folder, although loading would stop at the first fault; each picture is decoded once."""
    if not layout.is_folder(place):
        layout.find(place)  # says that there is none
    below = asked.leave_out_classes_below
    try:
        tree = layout.find(place, leave_out_classes_below=below)
    except InputError as error:
        return [Finding("folder", False, str(error))]
    findings = [Finding("folder", False, fault) for fault in tree.faults]
    findings += [Finding("classes", False, doubt) for doubt in tree.doubts]
    for left in tree.left:
        if left.serious:
            findings += [Finding("left out", False, f"{name} ({left.one})") for name in left.names]
        else:
            what = counted(len(left.names), left.one, left.many)
            findings.append(Finding("left out", True, f"{what}: {', '.join(left.names)}"))
    if not tree.files:
        return findings
    if listing.is_streamed(len(tree.files), asked.image_size):
        if tree.faults:
            return findings
        return [*findings, *_streamed(listing.of_tree(place, tree), asked)]

    def source(decoded: folders.Decoded) -> Source:
        return folders.source(place, tree, decoded, leave_out_classes_below=below)

    return _decoded(tree, findings, source, asked)


def _decoded(
    tree: layout.Tree, findings: list[Finding], source: Callable[[folders.Decoded], Source], asked: _Asked
) -> list[Finding]:
    """The findings so far, and all that is wrong with pictures that fit into memory."""
    decoded = folders.decode_all(tree, asked.image_size, asked.notify)
    findings = [*findings, *(Finding("picture", False, problem) for problem in decoded.problems)]
    if all(finding.ok for finding in findings):
        findings.append(Finding("files", True, counted(len(decoded.images), "picture decoded", "pictures decoded")))
    if not tree.faults and not decoded.problems:
        try:
            whole = source(decoded)
        except InputError as error:
            findings.append(Finding("classes", False, str(error)))
        else:
            return [*findings, *_found(asked.drawn(whole), judged=True)]
    return [*findings, *_copies(folders.pools(tree, decoded), judged=True)]


def _listed(name: str, asked: _Asked, where: dict[str, Any]) -> list[Finding]:
    """The lists of a published set, a list or a table, and then its pictures."""
    kind = name.partition(":")[0]
    listed = catalogue.listing_of(name, **where)
    findings = []
    if kind in lists.PUBLISHED:
        departures = lists.departures(kind, listed.splits)
        findings = [Finding("published counts", False, told) for told in departures]
        if not departures:
            told = "all class counts" if len(lists.PUBLISHED[kind].digests) == len(listed.splits) else "sizes"
            findings.append(Finding("published counts", True, f"{told} of {len(listed.splits)} lists as published"))
        asked = dataclasses.replace(asked, image_size=asked.image_size or lists.IMAGE_SIZE)
    every = listed.names
    gone = [place for place, file in enumerate(every) if not (listed.root / file).exists()]
    if gone:
        missing = [Finding("missing file", False, printable(every[place])) for place in gone]
        return [*findings, Finding("files", False, f"{len(gone):,} of {len(every):,} are missing"), *missing]
    if listing.is_streamed(len(listed), asked.image_size):
        return [*findings, *_streamed(listed, asked)]
    tree = listing.as_tree(listed)

    def source(decoded: folders.Decoded) -> Source:
        return _without_small(listing.of_decoded(listed, tree, decoded, asked.leave_out_classes_below), asked)

    return _decoded(tree, findings, source, asked)


def _without_small(source: Source, asked: _Asked) -> Source:
    below = asked.leave_out_classes_below
    return source if below is None else leave_out_small(source, below)


def _streamed(listed: listing.Listing, asked: _Asked) -> list[Finding]:
    """All that is wrong with pictures that are read while training: each is hashed again and decoded once."""
    problems, one_colour = listing.decoded_once(listed.root, listed.names, asked.notify)
    if problems:
        return [Finding("picture", False, problem) for problem in problems]
    source = listing.read(
        listed,
        image_size=asked.image_size,
        leave_out_classes_below=asked.leave_out_classes_below,
        fresh=True,
        notify=asked.notify,
    )
    data = asked.drawn(source if listed.kind == "folder" else _without_small(source, asked))
    findings = [Finding("files", True, f"{counted(len(listed), 'picture')} hashed anew and decoded")]
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
    notes = [Finding("note", True, note) for note in data.notes]
    if data.train.listing is not None:  # pictures that were brought to a size
        height, width = data.train.images.shape[-2:]
        notes.append(Finding("size", True, f"the fingerprint is of the pictures at {width} x {height} pixels"))
    return [*_contents(data), *copies, *notes, Finding("fingerprint", True, data.fingerprint)]


def _contents(data: Data) -> list[Finding]:
    """Counts, index lists and labels of what was loaded."""
    sizes = data.counts.tolist()
    told = f"{len(data.train):,} training images, {max(sizes)}..{min(sizes)} per class"
    if data.profile in (None, profiles.GIVEN) or data.validation_share:  # what is left follows no profile
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
