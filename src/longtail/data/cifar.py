"""``cifar10-lt`` and ``cifar100-lt`` from the original python files.

The originals are pickles, which can run code when they are read. So each file's MD5 is compared with the published one
first, and what is then read may build NumPy arrays and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import pickle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data import arrays
from longtail.data.dataset import Drawn, Source
from longtail.data.fingerprint import fingerprint
from longtail.data.images import Split
from longtail.errors import InputError


@dataclasses.dataclass(frozen=True)
class Original:
    """One of the two data sets as it is published.

    Args:
        folder: below the root.
        train: names of the training files and their MD5, in the order in which their images are counted.
        test: likewise.
        meta: the file with the class names, and its MD5.
        target_key: key of the class numbers.
        names_key: key of the class names in ``meta``.
        mean: mean of each channel over the 50,000 training images, in [0, 1].
        std: likewise.
        many: many-shot classes have more images than this.
        few: few-shot classes have fewer than this.
        torchvision: name of the class that downloads it.
    """

    folder: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    meta: tuple[str, str]
    target_key: bytes
    names_key: bytes
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    many: int
    few: int
    torchvision: str

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """All files and their MD5."""
        return (*self.train, *self.test, self.meta)


ORIGINALS = {
    "cifar10-lt": Original(
        folder="cifar-10-batches-py",
        train=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ),
        test=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
        meta=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        target_key=b"labels",
        names_key=b"label_names",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        many=500,
        few=200,
        torchvision="CIFAR10",
    ),
    "cifar100-lt": Original(
        folder="cifar-100-python",
        train=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
        test=(("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
        meta=("meta", "7973b15100ade9c7d40fb424638fde48"),
        target_key=b"fine_labels",
        names_key=b"fine_label_names",
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        many=100,
        few=20,
        torchvision="CIFAR100",
    ),
}

SUBSETS = {
    100: "24e6894f442fcf5d99679964134683ffd9a196b00e20361bc156671aa74d2b20",
    50: "e84e22e93885d9fa2c41c10c5a36daf4d1f6347abf17823c54ae279c0a957aba",
    20: "a60ff67ce502de5559ca0179b2607ed1c4013f0b8957d7fa572a4d7cd0aa778e",
    10: "cfe12fb8e4a8246a8327fc5f80bca9b8af07c7ea099e4a538eb4f8b0cd71030e",
}
"""Fingerprints of the files ``cifar10-lt-if{100,50,20,10}.npz``: the de-facto subsets with the whole test set."""


def read(name: str, *, root: pathlib.Path | None, download: bool, subset: int | None) -> Source:
    """One of the two data sets, whole.

    Args:
        name: a key of ``ORIGINALS``.
        root: the folder that holds, or is to hold, the folder with the original files.
        download: fetch the original files with torchvision if they are missing or damaged.
        subset: the imbalance of a de-facto subset that will do where the original files are missing: a file
            ``cifar10-lt-if{subset}.npz`` in ``root``. None if only the original files will do.

    Raises:
        InputError: no root, files that are missing or damaged, or a download that cannot be made.
    """
    original = ORIGINALS[name]
    if root is None:
        raise InputError(
            f"{name} needs its original files: give --root FOLDER that holds {original.folder}/, "
            "and --download to fetch them there"
        )
    folder = root / original.folder
    if download and any(damage(folder / file, md5) for file, md5 in original.files):
        _download(name, root)
    if not folder.is_dir():
        standard = root / f"cifar10-lt-if{subset}.npz"
        if name == "cifar10-lt" and subset is not None and standard.is_file():
            return _subset(standard, subset)
        raise InputError(
            f"{name}: no folder {original.folder} in {root}; give the --root that holds it, "
            "or --download to fetch the original files there"
        )
    contents = {file: _checked(folder / file, md5) for file, md5 in original.files}
    names = _unpickle(contents[original.meta[0]])[original.names_key]
    return Source(
        name=name,
        train=_split([_unpickle(contents[file]) for file, _ in original.train], original.target_key),
        test=_split([_unpickle(contents[file]) for file, _ in original.test], original.target_key),
        class_names=tuple(word.decode() for word in names),
        imbalance=100,
        many=original.many,
        few=original.few,
        mean=original.mean,
        std=original.std,
    )


def damage(path: pathlib.Path, md5: str) -> str | None:
    """What is wrong with an original file, or None."""
    return _inspected(path, md5)[1]


def _inspected(path: pathlib.Path, md5: str) -> tuple[bytes, str | None]:
    """The content of a file and what is wrong with it; read once, so that what is used is what was checked."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            return b"", "it is no ordinary file"
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", "the file is missing"
    except OSError as error:
        return b"", f"the file cannot be read ({error.strerror})"
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return content, None if found == md5 else f"MD5 is {found}, that of the original file is {md5}"


def _checked(path: pathlib.Path, md5: str) -> bytes:
    content, wrong = _inspected(path, md5)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}; --download fetches the original files again")
    return content


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays, strings, numbers, lists and dictionaries, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """The three names that a pickled array needs, under the module names of the NumPy of 2009."""
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise InputError(f"a CIFAR file asks for {module}.{name}, which no original does: it is not read")
        return allowed[module, name]


def _unpickle(content: bytes) -> dict[bytes, Any]:
    loaded: dict[bytes, Any] = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    return loaded


def _split(batches: list[dict[bytes, Any]], target_key: bytes) -> Split:
    pixels = [torch.from_numpy(batch[b"data"]).view(-1, 3, 32, 32) for batch in batches]
    target = torch.tensor([label for batch in batches for label in batch[target_key]])
    return Split(_joined(pixels), target, torch.arange(len(target)))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _subset(path: pathlib.Path, imbalance: int) -> Source:
    source = arrays.read(path)
    if fingerprint(source.train, None, source.test) != SUBSETS[imbalance]:
        raise InputError(f"{path} is not the subset that its name says; npz:{path} loads it under its own name")
    original = ORIGINALS["cifar10-lt"]
    return dataclasses.replace(
        source,
        name="cifar10-lt",
        imbalance=imbalance,
        drawn=Drawn(imbalance),
        many=original.many,
        few=original.few,
        mean=original.mean,
        std=original.std,
        notes=(f"read from {path.name}; its index list counts images of that file, not of the original ones",),
    )


def _download(name: str, root: pathlib.Path) -> None:
    try:
        from torchvision import datasets
    except ImportError:
        raise InputError("--download needs torchvision: pip install 'longtail[vision]'") from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        getattr(datasets, ORIGINALS[name].torchvision)(root, download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{name} could not be downloaded to {root}: {' '.join(str(error).split())}") from None
