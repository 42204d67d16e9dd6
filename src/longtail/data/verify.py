"""Checks of a data set's files, checksums and counts, each with what was found."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from longtail.counts import class_counts
from longtail.data import arrays, cifar, digits, folders, profiles
from longtail.data.catalogue import load
from longtail.data.dataset import Data
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.errors import InputError


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        what: was looked at.
        ok: as it should be.
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
    notify: folders.Notify | None = None,
) -> list[Finding]:
    """Check a data set: its files and their checksums first, then what is loaded from them.

    Args:
        name: as in ``longtail.data.load``.
        root: likewise.
        imbalance: likewise.
        image_size: likewise.
        notify: likewise.

    Returns:
        The findings in the order of the checks; what is damaged has ``ok`` False.

    Raises:
        InputError: nothing there to check: an unknown name, no root, no such file or folder.

    Example:
        >>> all(finding.ok for finding in verify("digits-lt"))
        True
    """
    findings = _files(name, root)
    if not all(finding.ok for finding in findings):
        return findings
    try:
        data = load(name, imbalance=imbalance, root=root, image_size=image_size, notify=notify)
    except InputError:
        # Loading stops at the first damaged picture; here all are wanted.
        broken = _broken_pictures(name)
        if not broken:
            raise
        return [*findings, *broken]
    return [*findings, *_contents(data)]


def _files(name: str, root: str | pathlib.Path | None) -> list[Finding]:
    """The files; none where there are none, which loading then says."""
    kind, _, path = name.partition(":")
    place = pathlib.Path(path).expanduser()
    if kind == "digits-lt":
        whole = digits.original()
        same = fingerprint(whole, None, whole) == digits.FINGERPRINT
        return [Finding("digits", same, "as scikit-learn ships them" if same else "not those that scikit-learn ships")]
    if kind == "folder" and place.is_dir():
        return [_reads(place.name, lambda: folders.find(place))]
    if kind == "npz" and place.is_file():
        return [_reads(place.name, lambda: arrays.read(place))]
    if kind in cifar.ORIGINALS and root is not None:
        original = cifar.ORIGINALS[kind]
        folder = pathlib.Path(root).expanduser() / original.folder
        if folder.is_dir():
            checked = [(file, cifar.damage(folder / file, md5)) for file, md5 in original.files]
            return [
                Finding(f"{original.folder}/{file}", not wrong, wrong or "MD5 as published") for file, wrong in checked
            ]
    return []


def _broken_pictures(name: str) -> list[Finding]:
    kind, _, path = name.partition(":")
    place = pathlib.Path(path).expanduser()
    if kind != "folder" or not place.is_dir():
        return []
    return [Finding("picture", False, problem) for problem in folders.undecodable(folders.find(place).files)]


def _reads(what: str, read: Callable[[], object]) -> Finding:
    try:
        read()
    except InputError as error:
        return Finding(what, False, str(error))
    return Finding(what, True, "complete and well formed")


def _contents(data: Data) -> list[Finding]:
    """Counts, index lists and labels of what was loaded."""
    sizes = data.counts.tolist()
    told = f"{len(data.train):,} training images, {max(sizes)}..{min(sizes)} per class"
    if data.profile is None:
        counts = Finding("counts", True, told)
    else:
        wanted = profiles.by_name(data.profile)(data.num_classes, max(sizes), data.imbalance).tolist()
        counts = Finding(
            "counts",
            sizes == wanted,
            f"{told}, as the {data.profile} profile asks"
            if sizes == wanted
            else f"{sizes}, but {wanted} are asked for",
        )
    tested = class_counts(data.test.target, data.num_classes)
    untested = [data.class_names[c] for c in torch.nonzero(tested == 0).flatten().tolist()]
    return [
        counts,
        Finding(
            "test",
            not untested,
            f"{len(data.test):,} images of {data.num_classes - len(untested)} classes"
            + (f"; none of {', '.join(untested[:5])}{' and more' if len(untested) > 5 else ''}" if untested else ""),
        ),
        _once("training index list", data.train),
        _once("test index list", data.test),
        _leak(data),
        Finding("fingerprint", True, data.fingerprint),
    ]


def _once(what: str, split: Split) -> Finding:
    twice = len(split) - len(torch.unique(split.index))
    return Finding(what, twice == 0, f"{len(split):,} images, " + (f"{twice} of them twice" if twice else "each once"))


def _leak(data: Data) -> Finding:
    """Test images with the very pixels of a training image. CIFAR itself has a few, so it is told and not judged."""
    seen = {image.tobytes() for image in data.train.images.numpy()}
    shared = sum(image.tobytes() in seen for image in data.test.images.numpy())
    return Finding("overlap", True, f"{shared:,} test images equal a training image, pixel for pixel")
