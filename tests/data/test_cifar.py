from __future__ import annotations

import hashlib
import pathlib
import pickle
import shutil
import sys
import types

import numpy as np
import pytest
import torch

from longtail.data import cifar, load
from longtail.errors import InputError
from oracles import cifar_files

NAMES = ["cifar10-lt", "cifar100-lt"]


@pytest.fixture(params=NAMES)
def made(request, tmp_path, monkeypatch):
    """A root with made-up original files of one of the two, whose checksums are the published ones for this test."""
    original = cifar_files.write(request.param, tmp_path)
    monkeypatch.setitem(cifar.ORIGINALS, request.param, original)
    return types.SimpleNamespace(name=request.param, root=tmp_path, original=original)


def entry(made, file):
    return pickle.loads((made.root / made.original.folder / file).read_bytes(), encoding="bytes")


def replaced(made, monkeypatch, file, content):
    """Write a file that passes its checksum, whatever it holds."""
    (made.root / made.original.folder / file).write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    changed = {**made.original.__dict__, "meta": (file, md5)}
    monkeypatch.setitem(cifar.ORIGINALS, made.name, cifar.Original(**changed))


def test_images_classes_and_names_are_those_of_the_files(made):
    data = load(made.name, root=made.root, imbalance=1)
    batches = [entry(made, file) for file, _ in made.original.train]
    pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    target = np.concatenate([batch[made.original.target_key] for batch in batches])
    assert np.array_equal(data.train.images.numpy(), pixels[data.train.index])
    assert np.array_equal(data.train.target.numpy(), target[data.train.index])
    test = entry(made, made.original.test[0][0])
    assert np.array_equal(data.test.images.numpy().reshape(-1, 3072), test[b"data"])
    assert data.test.target.tolist() == test[made.original.target_key]
    assert data.class_names[3] == "class-3"
    assert data.train.images.dtype == torch.uint8


def test_each_has_its_own_constants(made):
    data = load(made.name, root=str(made.root), imbalance=5)
    assert (data.mean, data.std) == (made.original.mean, made.original.std)
    assert cifar.ORIGINALS["cifar10-lt"].mean != cifar.ORIGINALS["cifar100-lt"].mean
    assert (data.many, data.few) == {"cifar10-lt": (500, 200), "cifar100-lt": (100, 20)}[made.name]


def test_a_damaged_file_is_named_with_both_checksums(made):
    for file, md5 in made.original.files:
        path = made.root / made.original.folder / file
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"!")
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        with pytest.raises(InputError) as caught:
            load(made.name, root=made.root, imbalance=5)
        for word in (str(path), found, md5, "--download"):
            assert word in str(caught.value)
        path.write_bytes(content)
    load(made.name, root=made.root, imbalance=5)


def test_a_damaged_file_is_not_unpickled(made, tmp_path):
    """The trap writes a file when it is read; its checksum is wrong, so it is never read."""
    trap = tmp_path / "sprung"
    file = made.original.meta[0]
    (made.root / made.original.folder / file).write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(InputError, match="MD5 is"):
        load(made.name, root=made.root)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # what a plain unpickler does with it
    assert trap.exists()


class Trap:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_even_a_file_with_the_right_checksum_can_only_build_arrays(made, tmp_path, monkeypatch):
    trap = tmp_path / "sprung"
    replaced(made, monkeypatch, made.original.meta[0], pickle.dumps(Trap(trap)))
    with pytest.raises(InputError, match="which no original does: it is not read"):
        load(made.name, root=made.root)
    assert not trap.exists()


def test_a_missing_file_is_named(made):
    path = made.root / made.original.folder / made.original.train[0][0]
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}: the file is missing; --download"):
        load(made.name, root=made.root)


@pytest.mark.parametrize("name", NAMES)
def test_no_root_says_what_to_do(name, tmp_path):
    folder = cifar.ORIGINALS[name].folder
    with pytest.raises(InputError, match=f"give --root FOLDER that holds {folder}/, and --download"):
        load(name)
    with pytest.raises(
        InputError, match=f"no folder {folder} in {tmp_path / 'nowhere'}; give the --root that holds it"
    ):
        load(name, root=tmp_path / "nowhere")


# Download


class Fetcher:
    """Stands for torchvision: copies a folder to where the data set should be."""

    def __init__(self, made, source):
        self.calls = []

        def fetch(root, download):
            self.calls.append((str(root), download))
            shutil.copytree(source, pathlib.Path(root) / made.original.folder, dirs_exist_ok=True)

        self.module = types.ModuleType("torchvision")
        self.module.datasets = types.SimpleNamespace(**{made.original.torchvision: fetch})


def test_download_fetches_what_is_missing_or_damaged_and_nothing_else(made, tmp_path, monkeypatch):
    source, root = tmp_path / "elsewhere", tmp_path / "root" / "below"
    shutil.copytree(made.root / made.original.folder, source)
    fetcher = Fetcher(made, source)
    monkeypatch.setitem(sys.modules, "torchvision", fetcher.module)
    first = load(made.name, root=root, imbalance=5, download=True)
    assert fetcher.calls == [(str(root), True)]
    load(made.name, root=root, imbalance=5, download=True)
    assert len(fetcher.calls) == 1
    (root / made.original.folder / made.original.meta[0]).write_bytes(b"damaged")
    again = load(made.name, root=root, imbalance=5, download=True)
    assert len(fetcher.calls) == 2
    assert again.fingerprint == first.fingerprint


def test_nothing_is_downloaded_unasked(made, monkeypatch, tmp_path):
    fetcher = Fetcher(made, made.root / made.original.folder)
    monkeypatch.setitem(sys.modules, "torchvision", fetcher.module)
    with pytest.raises(InputError):
        load(made.name, root=tmp_path / "empty")
    assert fetcher.calls == []


def test_download_without_torchvision_says_what_to_install(made, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"pip install 'longtail\[vision\]'"):
        load(made.name, root=tmp_path / "empty", download=True)


def test_a_download_that_fails_is_one_line(made, monkeypatch, tmp_path):
    def fetch(root, download):
        raise OSError("no route\nto host")

    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(**{made.original.torchvision: fetch})
    monkeypatch.setitem(sys.modules, "torchvision", module)
    with pytest.raises(InputError, match=r"could not be downloaded to .*: no route to host$"):
        load(made.name, root=tmp_path / "empty", download=True)


# The ready-made subsets of CIFAR-10


def subset_file(root, name="cifar10-lt-if100.npz", pixel=0):
    images = np.full((40, 32, 32, 3), pixel, np.uint8)
    target = np.repeat(np.arange(10), 4)
    names = np.array([f"class-{number}" for number in range(10)])
    np.savez(
        root / name, train_images=images, train_target=target, test_images=images, test_target=target, class_names=names
    )


def test_a_file_with_the_name_of_a_subset_must_be_that_subset(tmp_path):
    subset_file(tmp_path)
    with pytest.raises(InputError, match=r"is not the subset that its name says; npz:.* loads it under its own name"):
        load("cifar10-lt", root=tmp_path)


def test_a_subset_stands_in_for_the_originals(tmp_path, monkeypatch):
    subset_file(tmp_path)
    monkeypatch.setitem(cifar.SUBSETS, 100, load(f"npz:{tmp_path / 'cifar10-lt-if100.npz'}").fingerprint)
    data = load("cifar10-lt", root=tmp_path)
    assert (data.name, data.imbalance, data.profile, data.split_seed) == ("cifar10-lt", 100, "exponential", 0)
    assert (data.many, data.few, data.mean) == (500, 200, cifar.ORIGINALS["cifar10-lt"].mean)
    assert "cifar10-lt-if100.npz" in data.notes[0]


@pytest.mark.parametrize("changes", [{"split_seed": 1}, {"imbalance": 37}, {"profile": "step"}, {"imbalance": 50}])
def test_only_the_subset_itself_stands_in(tmp_path, changes):
    subset_file(tmp_path)
    with pytest.raises(InputError, match="no folder cifar-10-batches-py"):
        load("cifar10-lt", root=tmp_path, **changes)


# The real files


def test_cifar100_lt_is_as_published(real_data):
    data = load("cifar100-lt", root=real_data)
    assert (len(data.train), int(data.counts.max()), int(data.counts.min())) == (10_847, 500, 5)
    assert (len(data.test), data.num_classes, data.class_names[0]) == (10_000, 100, "apple")
    assert data.test.target.bincount().tolist() == [100] * 100


def test_the_constants_of_cifar100_are_those_of_its_pixels(real_data):
    from longtail.data import channel_statistics
    from longtail.data.catalogue import read

    source = read("cifar100-lt", root=real_data)
    for found, stored in zip(channel_statistics(source.train.images), (source.mean, source.std), strict=True):
        assert found == pytest.approx(stored, abs=6e-5)


@pytest.mark.parametrize(("imbalance", "images"), [(100, 12_406), (50, 13_996), (20, 17_023), (10, 20_431)])
def test_the_subsets_of_cifar10_are_the_de_facto_ones(real_data, imbalance, images):
    if not (real_data / f"cifar10-lt-if{imbalance}.npz").is_file():
        pytest.skip(f"cifar10-lt-if{imbalance}.npz is not in the folder with the real data")
    data = load("cifar10-lt", root=real_data, imbalance=imbalance)
    assert len(data.train) == images
    assert data.class_names[:2] == ("airplane", "automobile")
