from __future__ import annotations

import hashlib
import struct

import pytest
import torch

from longtail.data import Split, draw, load
from longtail.data.catalogue import read
from longtail.data.fingerprint import combine, differences, fingerprint, parts

IMAGES = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
TRAIN = Split(IMAGES, torch.tensor([1, 0]), torch.tensor([7, 3]))
TEST = Split(IMAGES[:1] + 100, torch.tensor([1]), torch.tensor([0]))


def by_hand(splits: dict[str, Split]) -> str:
    """The description in the module's docstring, followed word by word."""
    total = hashlib.sha256()
    for name, split in splits.items():
        for array, kind in (("index", "<i8"), ("target", "<i8"), ("images", "|u1")):
            values = getattr(split, array)
            shape = "x".join(map(str, values.shape))
            line = f"longtail-fingerprint-1 {name} {array} {kind} {shape}\n".encode()
            flat = values.flatten().tolist()
            content = struct.pack(f"<{len(flat)}{'B' if array == 'images' else 'q'}", *flat)
            total.update(f"{name}.{array} {hashlib.sha256(line + content).hexdigest()}\n".encode())
    return total.hexdigest()


def test_exactly_what_the_documentation_says_is_hashed():
    assert fingerprint(TRAIN, None, TEST) == by_hand({"train": TRAIN, "test": TEST})
    assert fingerprint(TRAIN, TEST, TEST) == by_hand({"train": TRAIN, "validation": TEST, "test": TEST})


def test_two_machines_agree():
    """Known values; the first was found alike by a script without this package under NumPy 1.19, 1.26 and 2.4."""
    assert load("digits-lt").fingerprint == "a48937f09f1a94ecf6f460c991aaeda64c596057aeed5b62819713f98635c1c1"
    held = load("digits-lt", imbalance=10, split_seed=3, validation=0.2).fingerprint
    assert held == "50fa652190753734c3c296207a86a45abba3f2d314d5b14cb4f6af28c037695a"


def test_the_real_subsets_have_their_known_fingerprints(real_data):
    known = {
        100: "6eb8a6f47d7e16fcef8ecf6f49ee2dca5aafc71000e7512aadecc0b3c06e73ba",
        50: "38cdce7de5e6ea08dd108719870d138bb24d84116dd4b31a29662bf3fd43c113",
        10: "3dc48270810985da6f53e70012fa526c97d6ea686ae55466b36d29bb29ff1d00",
    }
    source = read("cifar100-lt", root=real_data)
    for imbalance, value in known.items():
        data = draw(source, imbalance=imbalance, profile="exponential", split_seed=0, validation=0)
        assert data.fingerprint == value


def changed(name: str) -> Split:
    images, target, index = TRAIN.images.clone(), TRAIN.target.clone(), TRAIN.index.clone()
    {"images": images.view(-1), "target": target, "index": index}[name][-1] += 1
    return Split(images, target, index)


@pytest.mark.parametrize("name", ["images", "target", "index"])
def test_a_difference_says_where_it_is(name):
    ours, theirs = parts(TRAIN, None, TEST), parts(changed(name), None, TEST)
    assert differences(ours, theirs) == [f"train.{name}"]
    assert combine(ours) != combine(theirs)


def test_a_validation_split_is_part_of_it():
    ours, theirs = parts(TRAIN, None, TEST), parts(TRAIN, TEST, TEST)
    assert differences(ours, theirs) == ["validation.images", "validation.index", "validation.target"]


def test_layout_and_width_in_memory_are_no_part_of_it():
    strided = IMAGES.to(memory_format=torch.channels_last)
    assert not strided.is_contiguous()
    same = Split(strided, TRAIN.target.int(), TRAIN.index.to(torch.int16))
    assert fingerprint(same, None, TEST) == fingerprint(TRAIN, None, TEST)


def test_shape_order_and_split_are_part_of_it():
    """Mutants that hash the bytes alone, or in any order, would call these the same."""
    turned = Split(IMAGES.view(2, 3, 5, 4), TRAIN.target, TRAIN.index)
    swapped = TRAIN.at(torch.tensor([1, 0]))
    found = {
        fingerprint(TRAIN, None, TEST),
        fingerprint(turned, None, TEST),
        fingerprint(swapped, None, TEST),
        fingerprint(TEST, None, TRAIN),
    }
    assert len(found) == 4
