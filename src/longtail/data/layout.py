"""What lies in a folder of pictures: splits, classes, pictures, and all that is not read, without opening a file.

Either ``PATH/CLASS/*`` or ``PATH/train/CLASS/*`` with, if they are there, ``PATH/test/CLASS/*`` and
``PATH/val/CLASS/*``. The names of splits are known in any case and under their usual synonyms. A folder that holds one
folder only, which holds the classes or splits, is a wrapper and is looked through. Classes and files count in the order
of their names (by code point, whatever the language of the machine); pictures may lie deeper below their class, and
links to files and folders are followed.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import unicodedata
from collections import Counter
from collections.abc import Sequence

from longtail.data.pictures import HEIF, NOT_READ, endings, is_utf8, printable, shown
from longtail.errors import InputError
from longtail.wording import counted

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a folder is, by its name in small letters."""
PACKED_BY_MACS = "__macosx"
"""The folder in a zip file of a Mac that holds no pictures but files of the same names."""
DEAD = "a link that leads nowhere; mend it, remove it, or leave it out with --leave-out-classes-below 1"
"""What is said of a link where the folders of splits and classes lie, which may have led to one of them."""
SUCH_AS = "files that end in .png, .jpg and the like"
NAMED = 10
"""So many names are told in one line; ``longtail data verify`` tells all."""

Listed = tuple[tuple[pathlib.Path, int], ...]


@dataclasses.dataclass(frozen=True)
class Left:
    """Things of one kind that are not read.

    Args:
        one: what one of them is.
        many: what several are.
        names: path of each picture below the folder.
        serious: whether a picture may be missing for it.
    """

    one: str
    many: str
    names: tuple[str, ...]
    serious: bool

    def line(self) -> str:
        """What, how many, and the first names."""
        return f"left out {counted(len(self.names), self.one, self.many)}: {first(self.names)}"


@dataclasses.dataclass(frozen=True)
class Tree:
    """The pictures of a folder in their order.

    Args:
        root: the folder in which the classes or splits lie.
        class_names: sorted.
        train: path and class number of each picture.
        validation: likewise; None where there is no validation folder.
        test: likewise; None where there is no test folder.
        left: what is not read.
        notes: what a reader of the numbers should know of how the folder was read.
        doubts: what is probably a mistake, although it can be read.
        faults: why it cannot be trained on.
    """

    root: pathlib.Path
    class_names: tuple[str, ...]
    train: Listed
    validation: Listed | None
    test: Listed | None
    left: tuple[Left, ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def splits(self) -> dict[str, Listed]:
        """The splits that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: listed for name, listed in named.items() if listed is not None}

    @property
    def files(self) -> list[pathlib.Path]:
        """All pictures: those to train on, to validate with, and to test on."""
        return [file for listed in self.splits.values() for file, _ in listed]

    def name(self, file: pathlib.Path) -> str:
        """A picture's path below the folder, printable."""
        return printable(file.relative_to(self.root).as_posix())


def first(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are.

    Example:
        >>> first(["ant", "bee"])
        'ant, bee'
    """
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def find(path: pathlib.Path, *, leave_out_classes_below: int | None = None) -> Tree:
    """List the pictures below a folder.

    Args:
        path: the folder.
        leave_out_classes_below: classes with fewer pictures to train on than this are left out.

    Raises:
        InputError: no such folder, or one whose splits and classes cannot be made out. What is wrong with single
            classes stands in the ``faults`` of the tree.
    """
    if not is_folder(path):
        raise InputError(f"folder:{shown(path)[:300]}: there is no such folder")
    try:
        return _Reading(path).tree(leave_out_classes_below)
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        raise InputError(f"{printable(where[:200])}: cannot be read ({error.strerror or error})") from None


def is_folder(path: pathlib.Path) -> bool:
    """Whether there is a folder of this name; a name that the system does not even take is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


class _Reading:
    """One walk through a folder, with what was seen on the way and is not read."""

    def __init__(self, path: pathlib.Path) -> None:
        self.root = path
        self.notes: list[str] = []
        self.strays: list[str] = []
        self.dead: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.closed: dict[str, str] = {}
        self.others: Counter[str] = Counter()

    def tree(self, leave_out_classes_below: int | None) -> Tree:
        self.root = self._unwrapped(self.root)
        splits = self._splits()
        if not splits:
            places = {"train": self.root}
        else:
            places = {name: self._unwrapped(self.root / folder) for name, folder in splits.items()}
            self._beside_splits(set(splits.values()))
        names = self._folders(places["train"])
        if not names:
            raise InputError(
                f"{shown(places['train'])} has no folders: one folder of pictures is needed for each class"
            )
        for name, place in places.items():
            self._strays(place)
            if name != "train" and not self._folders(place):
                self.notes.append(f"{place.name}/ has no class folders, so it is not used")
        places = {name: place for name, place in places.items() if self._folders(place)}
        foreign = self._foreign(places, names)
        if leave_out_classes_below is None:
            faults = [*foreign, *(f"{shown(pathlib.Path(path))}: {DEAD}" for path in self.dead)]
        else:
            faults = []
            self.notes += [f"left out: {told}" for told in foreign]
            for path in self.dead:
                self._keep("dangling", path)
        pictures = {
            split: {name: self._pictures(place / name) for name in names if (place / name).is_dir()}
            for split, place in places.items()
        }
        sizes = {name: len(pictures["train"].get(name, ())) for name in names}
        kept = self._large_enough(sizes, leave_out_classes_below)
        faults += self._of_classes(places["train"], kept, sizes)
        listed: dict[str, Listed] = {}
        for split, held in pictures.items():
            listed[split] = tuple((file, c) for c, name in enumerate(kept) for file in held.get(name, ()))
            if split != "train" and kept and not listed[split]:
                faults.append(f"{shown(places[split])} holds no pictures ({SUCH_AS})")
        doubts = (*_look_alikes(kept), *self._mixed(places["train"], kept, pictures["train"]))
        return Tree(
            root=self.root,
            class_names=tuple(kept),
            train=listed["train"],
            validation=listed.get("validation"),
            test=listed.get("test"),
            left=self._left(),
            notes=tuple(self.notes),
            doubts=doubts,
            faults=tuple(faults),
        )

    def _below(self, path: pathlib.Path | str) -> str:
        return printable(pathlib.Path(path).relative_to(self.root).as_posix())

    def _folders(self, place: pathlib.Path) -> list[str]:
        return sorted(
            entry.name
            for entry in place.iterdir()
            if not entry.name.startswith(".") and entry.name.lower() != PACKED_BY_MACS and entry.is_dir()
        )

    def _unwrapped(self, place: pathlib.Path) -> pathlib.Path:
        """The folder in which classes or splits lie, below folders that hold one folder and no picture."""
        while True:
            inside = self._folders(place)
            if len(inside) != 1 or _holds_pictures(place) or _holds_dead_folders(place):
                return place
            only = place / inside[0]
            if inside[0].lower() in SPLITS or not self._folders(only) or _holds_pictures(only):
                return place
            self.notes.append(f"read from {printable(only.name)}/, the only folder in {printable(place.name)}/")
            place = only

    def _splits(self) -> dict[str, str]:
        """The folder of each split; none where the folders are classes."""
        inside = self._folders(self.root)
        found: dict[str, list[str]] = {}
        for name in inside:
            if name.lower() in SPLITS:
                found.setdefault(SPLITS[name.lower()], []).append(name)
        where = shown(self.root)
        with_classes = {split for split, names in found.items() if any(self._folders(self.root / n) for n in names)}
        if "train" not in with_classes:
            named = [f"{name}/" for names in found.values() for name in names]
            if with_classes:
                there = " and ".join(f"a {split} folder" for split in sorted(with_classes))
                raise InputError(f"{where} has {there} but no train folder beside it")
            if len(found) > 1 and len(named) == len(inside):
                raise InputError(f"{where}: {', '.join(named)} hold no folders: one folder of pictures for each class")
            return {}
        for split, names in found.items():
            if len(names) > 1:
                raise InputError(f"{where} has {len(names)} {split} folders, {', '.join(names)}: keep one of them")
        return {split: names[0] for split, names in found.items()}

    def _beside_splits(self, used: set[str]) -> None:
        """Folders beside the splits, whose pictures nobody sees."""
        for name in self._folders(self.root):
            if name not in used:
                pictures = self._pictures(self.root / name)
                self.strays += [self._below(file) for file in pictures]
        self._strays(self.root)

    def _strays(self, place: pathlib.Path) -> None:
        """Files beside the folders of the classes."""
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                hidden = entry.name.startswith(".") or entry.name.lower() == PACKED_BY_MACS
                if _is_dead_folder(entry):
                    self.dead.append(entry.path)
                elif (hidden or not _is_folder(entry)) and self._sorted_out(entry):
                    self.strays.append(self._below(entry.path))

    def _sorted_out(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file is a picture that is read; what it is otherwise is kept in mind."""
        ending = pathlib.Path(entry.name).suffix.lower()
        if entry.name.startswith(".") or entry.name.lower() == PACKED_BY_MACS:
            self._keep("hidden", entry.path)
        elif _is_dead(entry):
            self._keep("dangling", entry.path)
        elif ending in endings():
            if _is_file(entry):
                return True
            self._keep("special", entry.path)
        elif ending in (*HEIF, *NOT_READ):
            self._keep("kind", entry.path)
        else:
            self.others[ending or "no ending"] += 1
        return False

    def _keep(self, kind: str, path: str) -> None:
        self.found.setdefault(kind, []).append(self._below(path))

    def _pictures(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """Pictures at any depth, in the order of their paths below ``folder``."""
        found: list[tuple[str, ...]] = []
        waiting: list[tuple[str, ...]] = [()]
        # Each folder is entered once, so that links can neither lead around in circles nor multiply the pictures.
        entered = {_identity(above) for above in folder.resolve().parents}
        while waiting:
            parts = waiting.pop()
            place = folder.joinpath(*parts)
            try:
                identity = _identity(place)
                with os.scandir(place) as scanned:
                    entries = sorted(scanned, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                self.closed[self._below(place)] = error.strerror or str(error)
                continue
            if identity in entered:
                self._keep("again", str(place))
                continue
            entered.add(identity)
            for entry in entries:
                if entry.name.startswith(".") or not _is_folder(entry):
                    if self._sorted_out(entry):
                        found.append((*parts, entry.name))
                else:
                    waiting.append((*parts, entry.name))
        return [folder.joinpath(*parts) for parts in sorted(found)]

    def _foreign(self, places: dict[str, pathlib.Path], names: list[str]) -> list[str]:
        """Class folders of the other splits that train does not have."""
        faults = []
        for split, place in places.items():
            foreign = sorted(set(self._folders(place)) - set(names)) if split != "train" else []
            if foreign:
                folded = {_folded(name): name for name in names}
                near = folded.get(_folded(foreign[0]))
                hint = (
                    f" ({printable(foreign[0])} and {printable(near)} differ by case or Unicode form)" if near else ""
                )
                more = f"; nor of {first([printable(name) for name in foreign[1:]])}" if foreign[1:] else ""
                faults.append(
                    f"{shown(place / foreign[0])}: there is no class of this name in {shown(places['train'])}"
                    f"{hint}{more}"
                )
        return faults

    def _mixed(self, place: pathlib.Path, kept: list[str], pictures: dict[str, list[pathlib.Path]]) -> list[str]:
        """Classes whose pictures lie in several folders of their own, told; doubted where other classes hold theirs."""
        inner = {name: _folders_within(place / name, pictures[name]) for name in kept}
        several = [f"{printable(name)} ({first(inside)})" for name, inside in inner.items() if len(inside) > 1]
        if not several:
            return []
        hold = counted(len(several), "class holds its pictures", "classes hold their pictures")
        told = f"{hold} in several folders, which count as one class: {first(several)}"
        if len(several) < len(kept):
            return [told]
        self.notes.append(told)
        return []

    def _of_classes(self, place: pathlib.Path, kept: list[str], sizes: dict[str, int]) -> list[str]:
        """What is wrong with the classes that are kept."""
        faults = []
        unnamed = [printable(name) for name in kept if not is_utf8(name)]
        if unnamed:
            faults.append(f"{shown(place)}: class names that are no UTF-8: {first(unnamed)}; rename the folders")
        empty = [name for name in kept if not sizes[name]]
        where = {name: self._below(place / name) for name in empty}
        closed = [f"{printable(name)} ({self.closed[at]})" for name, at in where.items() if at in self.closed]
        if closed:
            faults.append(f"{shown(place)}: class folders that cannot be read: {first(closed)}")
        empty = [printable(name) for name, at in where.items() if at not in self.closed]
        if empty:
            named = f"class {empty[0]!r} has" if len(empty) == 1 else f"{len(empty)} classes have"
            which = "" if len(empty) == 1 else f": {first(empty)};"
            faults.append(
                f"{shown(place / empty[0]) if len(empty) == 1 else shown(place)}: {named} no pictures{which} "
                f"({SUCH_AS}); add some, or leave classes out with --leave-out-classes-below 1"
            )
        if len(kept) < 2 <= len(sizes):
            first_two = " and ".join(map(str, sorted(sizes.values())[:-3:-1]))
            faults.append(
                f"{shown(place)}: fewer than two classes are as large as --leave-out-classes-below asks for; the two "
                f"largest have {first_two} pictures"
            )
        elif len(kept) < 2:
            there = f"one class only, {printable(kept[0])!r}" if kept else "no class"
            faults.append(
                f"{shown(place)} has {there}: at least two folders of pictures are needed, one for each class"
            )
        return faults

    def _large_enough(self, sizes: dict[str, int], below: int | None) -> list[str]:
        """The classes with as many pictures as are asked for."""
        if below is not None and below < 1:
            raise InputError(f"leaving out classes below {below}: the fewest pictures a class may have, from 1")
        small = {name: number for name, number in sizes.items() if number < (below or 0)}
        if small:
            named = [f"{printable(name)} ({number})" for name, number in small.items()]
            least = counted(below or 0, "picture")
            self.notes.append(f"left out {counted(len(small), 'class')} with fewer than {least}: {first(named)}")
        return [name for name in sizes if name not in small]

    def _left(self) -> tuple[Left, ...]:
        closed = [f"{name} ({why})" for name, why in self.closed.items()]
        beside, hint = "beside the folders of the classes", _heif_hint(self.found)
        found, named = self.found.get, "with the name of a picture"
        kinds = (
            (f"picture {beside}", f"pictures {beside}", self.strays),
            ("link that leads nowhere", "links that lead nowhere", found("dangling")),
            ("folder that cannot be read", "folders that cannot be read", closed),
            ("folder reached a second time, by a link", "folders reached a second time, by links", found("again")),
            (f"thing {named} that is no file", f"things {named} that are no files", found("special")),
            (f"picture of a kind that is not read{hint}", f"pictures of kinds that are not read{hint}", found("kind")),
        )
        left = [Left(one, many, tuple(sorted(names)), serious=True) for one, many, names in kinds if names]
        if hidden := found("hidden"):
            left.append(Left("hidden file or folder", "hidden files and folders", tuple(sorted(hidden)), serious=False))
        if self.others:
            told = tuple(f"{printable(ending)} ({number})" for ending, number in sorted(self.others.items()))
            files = f" of other files ({counted(self.others.total(), 'file')})"
            left.append(Left(f"kind{files}", f"kinds{files}", told, False))
        return tuple(left)


def _heif_hint(found: dict[str, list[str]]) -> str:
    missing = any(name.lower().endswith(HEIF) for name in found.get("kind", ()))
    return " (pip install pillow-heif reads .heic)" if missing else ""


def _holds_pictures(place: pathlib.Path) -> bool:
    with os.scandir(place) as entries:
        return any(
            pathlib.Path(entry.name).suffix.lower() in endings() and not entry.name.startswith(".") and _is_file(entry)
            for entry in entries
        )


def _is_dead(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads nowhere, or around in a circle of links."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def _is_dead_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads nowhere and has not the name of a picture or of a hidden file."""
    named = entry.name.startswith(".") or pathlib.Path(entry.name).suffix.lower() in (*endings(), *HEIF, *NOT_READ)
    return _is_dead(entry) and not named


def _holds_dead_folders(place: pathlib.Path) -> bool:
    with os.scandir(place) as entries:
        return any(_is_dead_folder(entry) for entry in entries)


def _folders_within(folder: pathlib.Path, pictures: list[pathlib.Path]) -> list[str]:
    """The folders below a class in which all its pictures lie, one beside the other; none if some lie above them."""
    if any(file.parent == folder for file in pictures):
        return []
    places = [file.relative_to(folder).parts[:-1] for file in pictures]
    while places and all(places):
        names = sorted({place[0] for place in places})
        if len(names) > 1:
            return [printable(name) for name in names]
        places = [place[1:] for place in places]
    return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(place: pathlib.Path) -> tuple[int, int]:
    status = place.stat()
    return status.st_dev, status.st_ino


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _look_alikes(names: list[str]) -> list[str]:
    """Groups of class names that differ by case or Unicode form only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [
        f"class names that differ by case or Unicode form only: {', '.join(ascii(name) for name in group)}"
        for group in groups.values()
        if len(group) > 1
    ]
