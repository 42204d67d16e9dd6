"""Lists ``PATH LABEL``: those of ImageNet-LT, Places-LT and iNaturalist 2018, and ``list:PATH`` of one's own.

A list is a text file, plain or .gz, with a picture and its class number on every line. Its validation and test list lie
beside the training list under the same name with ``val`` or ``test`` in the place of ``train``.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import os
import pathlib
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.counts import class_counts
from longtail.data.layout import first
from longtail.data.listing import Listed, Listing
from longtail.data.names import Names
from longtail.data.pictures import is_utf8, printable, shown
from longtail.errors import InputError
from longtail.wording import counted

SPLITS = ("train", "validation", "test")
IMAGE_SIZE = 224
"""Side in pixels of the pictures of the published sets, if no other is asked for."""
WORDS = {"validation": ("val", "valid", "validation"), "test": ("test",)}
"""What stands in the place of ``train`` in the names of the other lists."""


@dataclasses.dataclass(frozen=True)
class Published:
    """What is published of a data set.

    Args:
        lists: file name of the list of each split, without ``.gz``.
        sizes: pictures in each split.
        classes: K.
        largest: training pictures of the largest class.
        smallest: of the smallest.
        digests: SHA-256 of the class counts of a split, as ``digest_of`` writes them, where all of them are known.
        notes: what a reader of the numbers should know.
    """

    lists: dict[str, str]
    sizes: dict[str, int]
    classes: int
    largest: int
    smallest: int
    digests: dict[str, str]
    notes: tuple[str, ...] = ()


PUBLISHED = {
    "imagenet-lt": Published(
        lists={"train": "ImageNet_LT_train.txt", "validation": "ImageNet_LT_val.txt", "test": "ImageNet_LT_test.txt"},
        sizes={"train": 115_846, "validation": 20_000, "test": 50_000},
        classes=1000,
        largest=1280,
        smallest=5,
        digests={
            "train": "93782c2e7eda453ae409fed503a27bc8d430ecb583c7d4b3c3adc93c2887236e",
            "validation": "165fb5b9b2e26d2ac891fcaf77fd53b7e3953b755ea97cf1cff6727dfde7ab8f",
            "test": "75e7e6d3e00229b25c536c92ad23b518fa598e8b503f805b5b1b25891112ec50",
        },
    ),
    "places-lt": Published(
        lists={"train": "Places_LT_train.txt", "validation": "Places_LT_val.txt", "test": "Places_LT_test.txt"},
        sizes={"train": 62_500, "validation": 7_300, "test": 36_500},
        classes=365,
        largest=4980,
        smallest=5,
        digests={
            "train": "50c3529becbfdca5cdc4048a8354c1312370d86de7f11ac75d99e7987aba9cea",
            "validation": "92ad553f476dafeaffea694a6f56dabb235e43df6fd2d384a781cef9eeda560b",
            "test": "2455ae5ed002554b25f80b5c66481d5d953c27afcce8fc7d262aecacbcf9f4f0",
        },
    ),
    "inaturalist2018": Published(
        lists={"train": "iNaturalist18_train.txt", "test": "iNaturalist18_val.txt"},
        sizes={"train": 437_513, "test": 24_426},
        classes=8142,
        largest=1000,
        smallest=2,
        digests={"test": "205a2b634c7c242a3322821558830c5f2211e5b875787eee4c2fb633f2fbb74e"},
        notes=("tested on the validation list, as everyone does: the labels of the test pictures are not published",),
    ),
}
"""Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019; Van Horn et al., The iNaturalist Species
Classification and Detection Dataset, CVPR 2018."""


def published(name: str, *, root: pathlib.Path | None, lists: pathlib.Path | None) -> Listing:
    """List the pictures of a published data set.

    Args:
        name: one of ``PUBLISHED``.
        root: folder of the pictures.
        lists: folder of the official lists; ``root`` if None.

    Raises:
        InputError: no root, a list that is missing or damaged, or a label outside 0 to K - 1.
    """
    known = PUBLISHED[name]
    if root is None:
        raise InputError(f"{name} needs --root, the folder of its pictures, and the lists there or in --lists FOLDER")
    folder = root if lists is None else lists
    files = {split: _there(folder / file) for split, file in known.lists.items()}
    missing = [known.lists[split] for split, file in files.items() if file is None]
    if missing:
        raise InputError(
            f"{name}: {shown(folder)} lacks {', '.join(missing)} (or .gz); --lists says where the official lists are"
        )
    found = {split: read_list(file, classes=known.classes) for split, file in files.items() if file is not None}
    notes = (*known.notes, *departures(name, found), *_of_comments(found))
    return Listing(name, name, root, class_names(found), found, notes)


def own(path: pathlib.Path, *, root: pathlib.Path | None, labels_from: int = 0) -> Listing:
    """List the pictures of ``list:PATH``.

    Args:
        path: of the training list.
        root: folder of the pictures; that of the list if None.
        labels_from: number of the first class, 0 or 1.

    Raises:
        InputError: no such list, a line that is none, or a label below ``labels_from``.
    """
    found, notes = {"train": read_list(path, labels_from=labels_from)}, []
    if int(found["train"].target.min()) == 1 and labels_from == 0:
        raise InputError(f"{shown(path)}: no picture has the label 0; --labels-from 1 says that the first class is 1")
    num_classes = int(found["train"].target.max()) + 1
    for split, words in WORDS.items():
        beside = [_there(path.with_name(_instead(path.name, word))) for word in words if _instead(path.name, word)]
        files = [file for file in beside if file is not None]
        if len(files) > 1:
            raise InputError(f"{shown(path.parent)} has {len(files)} {split} lists, {files[0].name}, {files[1].name}")
        if files:
            found[split] = read_list(files[0], labels_from=labels_from, classes=num_classes)
            notes.append(f"the {split} list is {printable(files[0].name)}")
    notes += _of_comments(found)
    name = f"list:{printable(path.name.removesuffix('.gz').rpartition('.')[0] or path.name)}"
    base, found = below(path, path.parent if root is None else root, found)
    return Listing(name, shown(path), base, class_names(found), found, tuple(notes))


def read_list(path: pathlib.Path, *, labels_from: int = 0, classes: int | None = None) -> Listed:
    """Read a list, plain or .gz.

    Args:
        path: of the list.
        labels_from: number of the first class.
        classes: K, if it is known.

    Returns:
        Paths and (N,) int64 class numbers from 0.

    Raises:
        InputError: no such file, a damaged one, a line that does not read ``PATH LABEL``, or a label out of range.
    """
    names, labels = [], []
    comments, where = 0, shown(path)
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        if line.startswith("# ") or line == "#":
            comments += 1
            continue
        name, _, label = line.rstrip().replace("\t", " ").rpartition(" ")
        if not name or not (label.isascii() and label.removeprefix("-").isdigit() and len(label) < 18):
            raise InputError(f"{where}, line {number}: {printable(line[:80])!r} does not read PATH LABEL")
        names.append(name.strip())
        labels.append(int(label) - labels_from)
    if not names:
        raise InputError(f"{where} holds no line PATH LABEL")
    target = torch.tensor(labels, dtype=torch.int64)
    _check_range(target, labels_from, classes, where)
    return Listed(Names(names), target, comments)


def _of_comments(found: dict[str, Listed]) -> list[str]:
    """What is said of the comments of lists."""
    return [
        f"passed over {counted(listed.comments, 'line')} of the {split} list that begin with '# '"
        for split, listed in found.items()
        if listed.comments
    ]


def _check_range(target: Tensor, labels_from: int, classes: int | None, where: str) -> None:
    high = None if classes is None else classes - 1
    wrong = (target < 0) if high is None else (target < 0) | (target > high)
    number = int(wrong.sum())
    if number:
        found = sorted({int(label) + labels_from for label in target[wrong].tolist()})
        low, last = labels_from, None if high is None else high + labels_from
        should = f"{low} and above" if last is None else f"{low} to {last}"
        shifted = labels_from == 0 and classes is not None and found == [classes] and not bool((target == 0).any())
        hint = "; --labels-from 1 says that the first class is 1" if shifted else ""
        raise InputError(
            f"{where}: {number:,} labels are out of range: {first([str(label) for label in found])}; they must be "
            f"{should}{hint}"
        )


def class_names(found: dict[str, Listed]) -> tuple[str, ...]:
    """Return the names of the classes: the folders of the training pictures if each class has its own, else numbers.

    Args:
        found: the splits, ``train`` among them.

    Example:
        >>> train = Listed(Names(["train/cat/1.jpg", "train/dog/2.jpg"]), torch.tensor([0, 1]))
        >>> class_names({"train": train})
        ('cat', 'dog')
    """
    listed = found["train"]
    number = int(listed.target.max()) + 1
    folder: dict[int, str] = {}
    for name, label in zip(listed.names, listed.target.tolist(), strict=True):
        if folder.setdefault(label, os.path.dirname(name)) != os.path.dirname(name):
            return tuple(map(str, range(number)))
    parts = {label: held.split("/") for label, held in folder.items()}
    levels = zip(*parts.values(), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels)) if len(parts) > 1 else 0
    told = {label: "/".join(held[shared:]) for label, held in parts.items()}
    if len(set(told.values())) < len(told) or not all(name and is_utf8(name) for name in told.values()):
        return tuple(map(str, range(number)))
    names = tuple(told.get(label, str(label)) for label in range(number))
    return names if len(set(names)) == number else tuple(map(str, range(number)))


def digest_of(counts: Sequence[int]) -> str:
    """Return the SHA-256 of class counts, written as whole numbers with commas between them."""
    return hashlib.sha256(",".join(map(str, counts)).encode()).hexdigest()


def departures(name: str, found: dict[str, Listed]) -> tuple[str, ...]:
    """Say in what the lists are not the published ones; nothing if they have the published counts.

    Args:
        name: one of ``PUBLISHED``.
        found: the splits that were read.
    """
    known, told = PUBLISHED[name], []
    for split, listed in found.items():
        counts = class_counts(listed.target, known.classes).tolist()
        wanted, sizes = known.sizes[split], (known.largest, known.smallest)
        if len(listed.names) != wanted:
            told.append(f"not the published {split} list: {len(listed.names):,} pictures, {wanted:,} are published")
        elif digest_of(counts) != known.digests.get(split, digest_of(counts)):
            told.append(f"not the published {split} list: the classes have other sizes")
        elif split == "train" and (max(counts), min(counts)) != sizes:
            told.append(f"not the published train list: {max(counts)}..{min(counts)} pictures in a class, not 1000..2")
    return tuple(told)


def sizes_in(path: pathlib.Path, names: Sequence[str]) -> Tensor:
    """Read ``--class-sizes``: how many training images to keep of each class.

    Args:
        path: of a text file with a whole number for each class in their order, or with lines ``NAME NUMBER``; brackets
            and commas, as JSON has them, do no harm.
        names: of the classes.

    Returns:
        (K,) int64.

    Raises:
        InputError: no such file, a class without a number, or a number that is none.
    """
    where, text = shown(path), text_of(path)
    lines = [line for line in text.splitlines() if line.strip()]
    pairs = [line.strip().replace("\t", " ").rpartition(" ") for line in lines]
    if pairs and all(name and not name.rstrip(",").isdigit() and size.isdigit() for name, _, size in pairs):
        known = {name.strip().rstrip(",:"): int(size) for name, _, size in pairs}
        lacking = [printable(name) for name in names if name not in known]
        strange = [printable(name) for name in known if name not in names]
        if lacking or strange:
            what = f"no size for {first(lacking)}" if lacking else f"no class is called {first(strange)}"
            raise InputError(f"{where}: {what}; a line reads NAME NUMBER, one for each of {len(names)} classes")
        words = [str(known[name]) for name in names]
    else:
        words = text.replace("[", " ").replace("]", " ").replace(",", " ").split()
    wrong = [printable(word[:40]) for word in words if not (word.isascii() and word.isdigit() and len(word) < 18)]
    if wrong:
        raise InputError(f"{where}: {wrong[0]!r} is no whole number from 0: the images to keep of a class")
    if any(int(word) == 0 for word in words):
        raise InputError(f"{where}: a class would be left without images; each keeps 1 at least")
    if len(words) != len(names):
        raise InputError(f"{where} has {len(words):,} sizes; {len(names):,} classes need one each")
    return torch.tensor([int(word) for word in words], dtype=torch.int64)


def below(path: pathlib.Path, root: pathlib.Path, found: dict[str, Listed]) -> tuple[pathlib.Path, dict[str, Listed]]:
    """Return the folder that all paths are below, and the paths from there.

    Args:
        path: of the list, for messages.
        root: folder of paths that do not begin at the root of the disc.
        found: the splits.

    Raises:
        InputError: only some of the paths begin at the root of the disc.
    """
    absolute = [os.path.isabs(name) for listed in found.values() for name in listed.names]
    if not any(absolute):
        return root, found
    if not all(absolute):
        raise InputError(f"{shown(path)} names some pictures from the root of the disc and others not: choose one way")
    base = os.path.commonpath([os.path.dirname(name) for listed in found.values() for name in listed.names])
    relative = {
        split: Listed(Names(os.path.relpath(name, base) for name in listed.names), listed.target)
        for split, listed in found.items()
    }
    return pathlib.Path(base), relative


def _instead(name: str, word: str) -> str:
    """The name of a training list with another word in the place of the last ``train``; empty if it has none."""
    before, found, after = name.rpartition("train")
    return before + word + after if found else ""


def _there(path: pathlib.Path) -> pathlib.Path | None:
    """The list at a path, or the other of plain and .gz; None if there is neither."""
    other = path.with_name(path.name.removesuffix(".gz") if path.name.endswith(".gz") else f"{path.name}.gz")
    return next((file for file in (path, other) if file.is_file()), None)


def text_of(path: pathlib.Path) -> str:
    """Return the text in a file, plain or .gz.

    Raises:
        InputError: no such file, a damaged one, or no text.
    """
    where = shown(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"{where} is no ordinary file")
        stored = path.read_bytes()
        if stored[:2] == b"\x1f\x8b":
            stored = gzip.decompress(stored)
        return stored.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{where}: there is no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{where} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{where} is no text: a list has a picture and its class number on every line") from None
