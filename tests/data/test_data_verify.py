from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data import cifar, digits, load
from longtail.data.selection import write_selection
from longtail.data.verify import verify
from longtail.errors import InputError
from longtail.recipes.text import read as read_part
from longtail.training.embedding import embedded
from oracles import cifar_files


def damages(findings) -> list[str]:
    return [f"{finding.what}: {finding.detail}" for finding in findings if not finding.ok]


def said(findings) -> str:
    return "\n".join(f"{finding.what}: {finding.detail}" for finding in findings)


def test_the_digits_are_sound():
    found = verify("digits-lt", imbalance=50)
    assert damages(found) == []
    assert "276 training images, 100..2 per class, as the exponential profile asks" in said(found)
    assert "copies: none" in said(found)
    assert all(set(finding.to_json()) == {"what", "ok", "detail"} for finding in found)


def test_other_digits_are_noticed(monkeypatch):
    whole = digits.original()
    changed = dataclasses.replace(whole, images=whole.images.clone())
    changed.images[500, 0, 3, 3] += 1
    monkeypatch.setattr(digits, "original", lambda: changed)
    assert damages(verify("digits-lt")) == ["digits: not those that scikit-learn ships"]


@pytest.fixture(params=["cifar10-lt", "cifar100-lt"])
def files(request, tmp_path, monkeypatch):
    original = cifar_files.write(request.param, tmp_path)
    monkeypatch.setitem(cifar.ORIGINALS, request.param, original)
    return request.param, tmp_path, original


def test_sound_files_are_found_sound(files):
    name, root, original = files
    found = verify(name, root=root, imbalance=5)
    assert damages(found) == []
    assert [finding.what for finding in found][: len(original.files)] == [
        f"{original.folder}/{file}" for file, _ in original.files
    ]


def test_every_damaged_or_missing_file_is_named(files):
    name, root, original = files
    (damaged, expected), (missing, _) = original.train[0], original.meta
    (root / original.folder / damaged).write_bytes(b"damaged")
    (root / original.folder / missing).unlink()
    found = damages(verify(name, root=root))
    assert len(found) == 2
    assert found[0].startswith(f"{original.folder}/{damaged}: MD5 is ")
    assert found[0].endswith(f"that of the original file is {expected}")
    assert found[1] == f"{original.folder}/{missing}: the file is missing"


def npz(path, **changes) -> str:
    pixels = np.random.default_rng(0).integers(256, size=(6, 5, 5, 3), dtype=np.uint8)
    target = np.array([0, 0, 0, 0, 1, 1])
    held = {
        "train_images": pixels,
        "train_target": target,
        "test_images": pixels[3:] ^ 255,
        "test_target": target[3:],
        "class_names": np.array(["a", "b"]),
    }
    np.savez(path / "toy.npz", **{**held, **changes})
    return f"npz:{path / 'toy.npz'}"


def test_a_sound_file_of_arrays(tmp_path):
    found = verify(npz(tmp_path))
    assert damages(found) == []
    assert "6 training images, 4..2 per class" in said(found)


def test_a_wrong_array_is_named(tmp_path):
    found = damages(verify(npz(tmp_path, test_target=np.array([0, 1, 7]))))
    assert len(found) == 1
    assert "test_target holds 7" in found[0]


def test_classes_that_are_never_tested_are_named(tmp_path):
    found = damages(verify(npz(tmp_path, test_target=np.array([0, 0, 0]))))
    assert found == ["test: 3 images of 1 class; none of b"]


def test_test_images_that_were_trained_on_are_counted(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(6, 5, 5, 3), dtype=np.uint8)
    found = verify(npz(tmp_path, train_images=pixels, test_images=pixels[[1, 1, 5]]))
    assert "copies: 3 of 3 test images are training images too" in damages(found)[0]
    assert damages(found)[1:] == [
        "one picture under two classes: image 1 (train), image 0 (test), image 1 (test)",
        "one picture in two splits: image 5 (train), image 2 (test)",
    ]


def leaking(path: pathlib.Path) -> str:
    """A table of features whose test rows are training rows."""
    rows = [f"{i},{i * i},{'ab'[i % 2]}" for i in range(12)]
    lines = [*(f"{row},train" for row in rows), *(f"{row},test" for row in rows[:4])]
    path.write_text("\n".join(["x,y,label,split", *lines]))
    return f"features:{path}"


def test_a_leaking_table_of_features_is_not_in_order(tmp_path):
    assert [line.split(":")[0] for line in damages(verify(leaking(tmp_path / "t.csv")))] == [
        "copies",
        *["one picture in two splits"] * 4,
    ]


def test_features_of_a_published_set_are_told_and_not_judged(tmp_path):
    whole = load("digits-lt")
    leaky = dataclasses.replace(whole, test=whole.train.at(torch.arange(200))).renewed()
    for name, judged in (("digits-lt", False), ("digits-lt-selection-0a1b2c3d", False), ("folder:birds", True)):
        path = tmp_path / f"{len(name)}.safetensors"
        embedded(dataclasses.replace(leaky, name=name), read_part("small", "model"), path)
        assert any(line.startswith("copies: ") for line in damages(verify(f"features:{path}"))) == judged


def test_features_with_a_validation_split_follow_no_profile(tmp_path):
    """Their counts were held against the profile that they were drawn by, before validation was held out."""
    path = tmp_path / "a.safetensors"
    embedded(load("digits-lt", imbalance=20, validation=0.1), read_part("small", "model"), path)
    assert damages(verify(f"features:{path}")) == []


def test_a_selection_of_a_leaking_folder_is_not_in_order(tmp_path):
    for split in ("train", "test"):
        pictures(tmp_path / "toy" / split)
    name = f"folder:{tmp_path / 'toy'}"
    data = load(name)
    about = {"data": name, "options": "{}", "of": data.fingerprint}
    write_selection(tmp_path / "s.txt", torch.arange(len(data.train)), data.train.target, about=about)
    for each in (name, f"list:{tmp_path / 's.txt'}"):
        found = damages(verify(each))
        assert found[0].startswith("copies: 15 of 15 test images are training images too")
        assert len(found) == 16


def test_every_damaged_picture_of_a_table_is_named(tmp_path):
    pictures(tmp_path / "toy")
    files = sorted((tmp_path / "toy").rglob("*.png"))
    rows = [f"{file.relative_to(tmp_path)} {'abc'.index(file.parent.name)}" for file in files]
    (tmp_path / "own.txt").write_text("\n".join(rows))
    (tmp_path / "own.csv").write_text("\n".join(["path,label", *(row.replace(" ", ",") for row in rows)]))
    names = [f"{kind}:{tmp_path / 'own'}.{ending}" for kind, ending in (("csv", "csv"), ("list", "txt"))]
    for name in names:
        assert damages(verify(name)) == []
    for name in ("a/0.png", "b/3.png"):
        (tmp_path / "toy" / name).write_bytes(b"damaged")
    (tmp_path / "toy" / "c" / "1.png").write_bytes((tmp_path / "toy" / "a" / "1.png").read_bytes())
    for name in names:
        found = damages(verify(name))
        assert [line.split(":")[0] for line in found] == ["picture"] * 2 + ["copies", "one picture under two classes"]
        assert "toy/a/0.png is no readable picture" in found[0]
        assert "toy/b/3.png" in found[1]


@pytest.mark.parametrize("split", ["train", "test", "."])
def test_damage_of_a_whole_split_is_named(tmp_path, split):
    """Pointers that a download left in the place of the pictures, as of all of a split."""
    for each in ("train", "test"):
        pictures(tmp_path / "toy" / each)
    gone = sorted((tmp_path / "toy" / split).rglob("*.png"))
    for file in gone:
        file.write_text("version https://git-lfs.github.com/spec/v1")
    found = [line for line in damages(verify(f"folder:{tmp_path / 'toy'}")) if line.startswith("picture: ")]
    assert len(found) == len(gone)


def test_a_class_that_cannot_be_tested_is_found_and_ends_nothing(tmp_path):
    pictures(tmp_path / "toy")
    (tmp_path / "toy" / "d").mkdir()
    (tmp_path / "toy" / "d" / "0.png").write_bytes((tmp_path / "toy" / "a" / "0.png").read_bytes())
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in sorted((tmp_path / "toy").rglob("*.png"))]
    (tmp_path / "own.csv").write_text("\n".join(["path,label", *rows]))
    found = damages(verify(f"csv:{tmp_path / 'own.csv'}"))
    assert "class 'd' has a single image" in found[0]
    assert found[1].startswith("copies: ")


def test_the_size_that_a_fingerprint_is_of_is_said(tmp_path):
    pictures(tmp_path / "toy")
    for size in (None, 12):
        *_, told, last = verify(f"folder:{tmp_path / 'toy'}", image_size=size)
        assert told.detail == f"the fingerprint is of the pictures at {size or 8} x {size or 8} pixels"
        assert last.what == "fingerprint"
        assert last.detail == load(f"folder:{tmp_path / 'toy'}", image_size=size).fingerprint
    assert "size" not in {finding.what for finding in verify("digits-lt")}


def pictures(root) -> None:
    for c in "abc":
        (root / c).mkdir(parents=True)
        for number in range(5):
            pixels = np.random.default_rng([number, ord(c)]).integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / c / f"{number}.png")


def test_a_sound_folder(tmp_path):
    pictures(tmp_path / "toy")
    found = verify(f"folder:{tmp_path / 'toy'}")
    assert damages(found) == []
    assert "12 training images, 4..4 per class" in said(found)
    assert "3 images of 3 classes" in said(found)


def test_every_damaged_picture_is_named(tmp_path):
    pictures(tmp_path / "toy")
    for name in ("a/1.png", "c/4.png"):
        (tmp_path / "toy" / name).write_bytes(b"damaged")
    found = damages(verify(f"folder:{tmp_path / 'toy'}"))
    assert len(found) == 2
    assert "a/1.png" in found[0]
    assert "c/4.png" in found[1]


def test_a_size_that_is_none_is_no_damage(tmp_path):
    pictures(tmp_path / "toy")
    with pytest.raises(InputError, match="from 1"):
        verify(f"folder:{tmp_path / 'toy'}", image_size=0)


def test_an_empty_class_is_named(tmp_path):
    pictures(tmp_path / "toy")
    (tmp_path / "toy" / "d").mkdir()
    assert "class 'd' has no pictures" in damages(verify(f"folder:{tmp_path / 'toy'}"))[0]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("digit-lt", {}),
        ("cifar100-lt", {}),
        ("cifar100-lt", {"root": "/none"}),
        ("folder:/none", {}),
        ("npz:/none", {}),
        ("digits-lt", {"imbalance": 0.5}),
    ],
)
def test_where_there_is_nothing_to_check(name, changes):
    with pytest.raises(InputError):
        verify(name, **changes)


def test_wrong_sizes_and_repeated_images_are_noticed(monkeypatch):
    """What no file can cause, a mistake in our own drawing can: with replacement, or by another profile."""
    from longtail.data import verify as module

    sound = module.catalogue.load("digits-lt")
    twice = torch.cat([torch.arange(241), torch.tensor([0])])
    broken = dataclasses.replace(sound, train=sound.train.at(twice), counts=sound.counts.clone())
    broken.counts[3] += 1
    monkeypatch.setattr(module.catalogue, "load", lambda *_, **__: broken)
    found = damages(verify("digits-lt"))
    assert [line.split(":")[0] for line in found] == ["counts", "training index list"]


def test_real_files(real_data):
    found = verify("cifar100-lt", root=real_data)
    assert damages(found) == []
    assert "10,847 training images, 500..5 per class, as the exponential profile asks" in said(found)
