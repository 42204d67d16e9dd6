"""Small folders in the format of CIFAR's original python files, for tests without the real ones."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import pickle

import numpy as np

from longtail.data.cifar import ORIGINALS, Original

SIZES = {"cifar10-lt": (10, 50), "cifar100-lt": (100, 12)}


def pickled(value: object) -> bytes:
    """As NumPy of 2009 named its own parts."""
    return pickle.dumps(value, protocol=3).replace(b"cnumpy._core.", b"cnumpy.core.")


def write(name: str, root: pathlib.Path) -> Original:
    """Write made-up files for one of the two data sets; returns its description with their checksums."""
    original = ORIGINALS[name]
    num_classes, per_class = SIZES[name]
    folder = root / original.folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def save(file: str, value: object) -> tuple[str, str]:
        content = pickled(value)
        (folder / file).write_bytes(content)
        return file, hashlib.md5(content, usedforsecurity=False).hexdigest()

    def batch(file: str, images_per_class: int) -> tuple[str, str]:
        target = generator.permutation(np.repeat(np.arange(num_classes), images_per_class))
        pixels = generator.integers(256, size=(len(target), 3072), dtype=np.uint8)
        return save(file, {b"data": pixels, original.target_key: target.tolist(), b"filenames": [b"a.png"]})

    names = [f"class-{number}".encode() for number in range(num_classes)]
    return dataclasses.replace(
        original,
        train=tuple(batch(file, per_class // len(original.train)) for file, _ in original.train),
        test=tuple(batch(file, 1) for file, _ in original.test),
        meta=save(original.meta[0], {original.names_key: names}),
    )
