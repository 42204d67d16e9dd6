"""What a data set of files can do: an identity, copies, selections, and a check of every picture."""

from __future__ import annotations

import os
import pathlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.analysis.select import write as select
from longtail.data import load
from longtail.data.describe import describe
from longtail.data.fingerprint import parts
from longtail.data.names import Names
from longtail.data.streams import too_large
from longtail.data.verify import verify
from longtail.errors import InputError
from trees import folder, picture

SIDE = 104


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def zoo(tmp_path: pathlib.Path) -> pathlib.Path:
    return folder(tmp_path / "zoo", {"ant": 6, "bee": 5, "cat": 4})


def test_size_and_number_decide_and_nothing_else() -> None:
    assert not too_large(1_000_000, 18)
    assert not too_large(100, 100)
    assert too_large(1, 101)
    assert too_large(200_000, 64)


def test_names_are_kept_whatever_their_bytes() -> None:
    odd = ["a/b.png", "é.png", "b\udcff.png", ""]
    names = Names(odd)
    assert list(names) == odd
    assert list(names + Names(["z"])) == [*odd, "z"]
    assert list(names[1:3]) == odd[1:3]
    assert names[-1] == ""
    with pytest.raises(IndexError):
        names[4]


def test_the_identity_is_that_of_the_files(zoo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    data = load(f"folder:{zoo}", image_size=SIDE)
    assert sorted(parts(data.train, None, data.test)) == [
        f"{split}.{array}" for split in ("test", "train") for array in ("files", "index", "target")
    ]
    shutil.copytree(zoo, tmp_path / "elsewhere" / "zoo")
    again = load(f"folder:{tmp_path / 'elsewhere' / 'zoo'}", image_size=SIDE)
    assert again.fingerprint == data.fingerprint
    assert load(f"folder:{zoo}", image_size=SIDE + 1).fingerprint != data.fingerprint
    picture(zoo / "train" / "ant" / "001.png", size=(13, 9))
    assert load(f"folder:{zoo}", image_size=SIDE).fingerprint != data.fingerprint


def test_a_held_out_fifth_is_that_of_memory(zoo: pathlib.Path) -> None:
    """The choice changes no number that it need not change: the same pictures are held out, copies on one side."""
    shutil.copy(zoo / "train/ant/001.png", zoo / "train/ant/900.png")
    small, large = (load(f"folder:{zoo}", image_size=side) for side in (100, SIDE))
    assert torch.equal(small.train.index, large.train.index)
    assert torch.equal(small.test.index, large.test.index)
    assert small.counts.tolist() == large.counts.tolist()
    validation = [load(f"folder:{zoo}", image_size=side, validation=0.3).validation for side in (100, SIDE)]
    assert validation[0] is not None
    assert validation[1] is not None
    assert torch.equal(validation[0].index, validation[1].index)


def test_copies_are_counted_by_their_files(zoo: pathlib.Path) -> None:
    folder(zoo, {"ant": 2, "bee": 2, "cat": 2}, split="test")
    shutil.copy(zoo / "train/ant/001.png", zoo / "test/ant/000.png")
    found = describe(load(f"folder:{zoo}", image_size=SIDE))
    assert found.copies.test_in_train >= 1
    assert found.image_shape == (3, SIDE, SIDE)
    assert "read from their files while training" in found.text()


def test_grey_pictures_keep_one_channel(tmp_path: pathlib.Path) -> None:
    root = folder(tmp_path / "grey", {"ant": 4, "bee": 3}, grey=True)
    data = load(f"folder:{root}", image_size=SIDE)
    assert data.train.images.shape[1] == len(data.mean) == 1
    picture(root / "train/ant/000.png")
    data = load(f"folder:{root}", image_size=SIDE)
    assert data.train.images.shape[1] == len(data.mean) == 3
    grey = next(i for i in range(len(data.train)) if data.train.name(i) != "train/ant/000.png")
    read = data.train.images.read(grey)  # type: ignore[union-attr]
    assert torch.equal(read[0], read[2])


def test_verify_hashes_again_and_decodes_each_picture(zoo: pathlib.Path) -> None:
    picture(zoo / "train/bee/one.png")
    folder(zoo, {"ant": 2, "bee": 2, "cat": 2}, split="test", size=(14, 9))
    load(f"folder:{zoo}", image_size=SIDE)
    findings = verify(f"folder:{zoo}", image_size=SIDE)
    assert all(finding.ok for finding in findings), findings
    file = zoo / "train/bee/000.png"
    picture(file, size=(90, 90))
    file.write_bytes(file.read_bytes()[:9000])
    (wrong,) = [finding for finding in verify(f"folder:{zoo}", image_size=SIDE) if not finding.ok]
    assert "bee/000.png is no readable picture" in wrong.detail
    picture(zoo / "train/stray.png")  # what is left out does not end the check
    assert sum(not finding.ok for finding in verify(f"folder:{zoo}", image_size=SIDE)) == 2


def test_what_is_done_to_pictures_in_files_is_said(zoo: pathlib.Path) -> None:
    """As far as the headers tell it: what is composed on black is seen only when a picture is decoded."""
    for name in ("a", "b"):
        Image.new("RGBA", (9, 9), (255, 255, ord(name), 0)).save(zoo / "train" / "ant" / f"{name}.png")
    frames = [Image.new("L", (9, 9), 40 * i) for i in range(2)]
    frames[0].save(zoo / "train" / "bee" / "moving.gif", save_all=True, append_images=frames[1:])
    told = [
        "2 pictures have an alpha channel or a transparent colour, composed on white, or on black where nothing would "
        "be seen on white: train/ant/a.png, train/ant/b.png",
        "1 picture has several frames, of which the first is read: train/bee/moving.gif",
    ]
    assert set(told) <= set(load(f"folder:{zoo}", image_size=SIDE).notes)
    assert set(told) <= {finding.detail for finding in verify(f"folder:{zoo}", image_size=SIDE)}


def test_a_selection_of_files_is_hashed_and_decoded(zoo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    data = load(f"folder:{zoo}", image_size=SIDE)
    select(f"folder:{zoo}", {"image_size": SIDE}, data, "uniform", 2, 0, tmp_path / "chosen.txt")
    name = f"list:{tmp_path / 'chosen.txt'}"
    assert all(finding.ok for finding in verify(name))
    chosen = load(name)
    file = zoo / chosen.train.name(0)
    status, stored = file.stat(), bytearray(file.read_bytes())
    stored[-20] ^= 1
    file.write_bytes(bytes(stored))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # nobody sees it but who reads the file
    wrong = [(finding.what, finding.detail) for finding in verify(name) if not finding.ok]
    assert [what for what, _ in wrong] == ["picture", "changed picture"]
    assert "is no readable picture" in wrong[0][1]
    assert wrong[1][1] == chosen.train.name(0)


def test_a_list_of_pictures_in_files_leaves_small_classes_out_when_it_is_checked(zoo: pathlib.Path) -> None:
    """The check looked at all classes, and printed another fingerprint than training has."""
    lines = [f"{file.relative_to(zoo)} {'abc'.index(file.parent.name[0])}" for file in sorted(zoo.rglob("*.png"))]
    (zoo / "own.txt").write_text("".join(f"{line}\n" for line in lines))
    asked = {"image_size": SIDE, "leave_out_classes_below": 4}
    data = load(f"list:{zoo / 'own.txt'}", **asked)
    assert data.class_names == ("ant", "bee")
    assert verify(f"list:{zoo / 'own.txt'}", **asked)[-1].detail == data.fingerprint


@pytest.mark.parametrize("name", [b"x\xff.png", b"x\n1.png"])
def test_copies_are_left_out_whatever_their_names(zoo: pathlib.Path, tmp_path: pathlib.Path, name: bytes) -> None:
    try:
        shutil.copy(zoo / "train/ant/001.png", os.fsencode(zoo / "train/ant") + b"/" + name)
    except OSError:
        pytest.skip("such a name cannot be made here")
    for _ in range(2):  # the second time the list is read
        data = load(f"folder:{zoo}", image_size=SIDE, drop_duplicates=tmp_path / "copies.txt")
        assert "left out 1 image that copies.txt lists as copies" in data.notes
    for finding in verify(f"folder:{zoo}", image_size=SIDE):
        finding.detail.encode()


def test_a_selection_of_files_is_a_data_set(zoo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    options = {"image_size": SIDE}
    data = load(f"folder:{zoo}", image_size=SIDE)
    select(f"folder:{zoo}", options, data, "diverse", 2, 0, tmp_path / "chosen.txt")
    chosen = load(f"list:{tmp_path / 'chosen.txt'}")
    assert chosen.counts.tolist() == [2, 2, 2]
    assert chosen.train.streamed


# ------------------------------------------------------------------------------------------------------------ MedMNIST


def medmnist(path: pathlib.Path, *, labels: int = 1, colour: bool = True) -> pathlib.Path:
    generator = np.random.default_rng(0)
    shape = (28, 28, 3) if colour else (28, 28)
    arrays = {}
    for split, number in (("train", 12), ("val", 3), ("test", 6)):
        arrays[f"{split}_images"] = generator.integers(256, size=(number, *shape), dtype=np.uint8)
        held = np.tile(np.arange(number)[:, None] % 3, (1, labels))
        arrays[f"{split}_labels"] = held.astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("colour", [True, False])
def test_a_file_of_medmnist_is_read_as_it_is(tmp_path: pathlib.Path, colour: bool) -> None:
    data = load(f"npz:{medmnist(tmp_path / 'bloodmnist.npz', colour=colour)}")
    assert (data.name, data.class_names, data.counts.tolist()) == ("npz:bloodmnist", ("0", "1", "2"), [4, 4, 4])
    assert (len(data.validation or ()), len(data.test)) == (3, 6)
    assert tuple(data.train.images.shape) == (12, 3 if colour else 1, 28, 28)


def test_several_labels_an_image_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="train_labels has 14 labels for each image"):
        load(f"npz:{medmnist(tmp_path / 'chestmnist.npz', labels=14)}")


def test_a_file_of_medmnist_lacks_what_is_named(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "half.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=np.zeros((2, 1), np.uint8))
    with pytest.raises(InputError, match="lacks val_images, val_labels, test_images, test_labels; it holds train_im"):
        load(f"npz:{tmp_path / 'half.npz'}")
