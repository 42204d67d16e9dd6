from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
import torch

from longtail.data import load, memory
from longtail.errors import InputError

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(256, size=(7, 5, 4, 3), dtype=np.uint8)
GOOD = {
    "train_images": PIXELS,
    "train_target": np.array([0, 0, 0, 1, 1, 2, 0]),
    "test_images": PIXELS[:3],
    "test_target": np.array([2, 1, 0]),
    "class_names": np.array(["ant", "bee", "cow"]),
}


@pytest.fixture
def write(tmp_path):
    def save(**changes) -> str:
        held = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
        np.savez(tmp_path / "toy.npz", **held)
        return f"npz:{tmp_path / 'toy.npz'}"

    return save


def test_what_is_read_is_what_was_written(write):
    data = load(write())
    assert np.array_equal(data.train.images.numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert np.array_equal(data.test.images.numpy(), PIXELS[:3].transpose(0, 3, 1, 2))
    assert data.train.target.tolist() == GOOD["train_target"].tolist()
    assert data.test.target.tolist() == [2, 1, 0]
    assert data.train.index.tolist() == list(range(7))
    assert data.class_names == ("ant", "bee", "cow")
    assert data.counts.tolist() == [4, 2, 1]
    assert (data.name, data.imbalance, data.profile) == ("npz:toy", 4, None)
    assert data.train.images.is_contiguous()


@pytest.mark.parametrize("prefix", ["val", "validation"])
def test_validation_images_are_read_and_other_arrays_named(write, prefix):
    data = load(write(**{f"{prefix}_images": PIXELS[:2], f"{prefix}_target": np.array([1, 0]), "ids": np.arange(7)}))
    assert np.array_equal(data.validation.images.numpy(), PIXELS[:2].transpose(0, 3, 1, 2))
    assert data.validation.target.tolist() == [1, 0]
    assert data.notes == (
        "the validation images of the file are used as validation: 2",
        "1 array of the file not read: ids",
    )
    assert load(write()).notes == ()


def test_the_layouts_are_told_apart(write):
    last = load(write()).fingerprint
    first = PIXELS.transpose(0, 3, 1, 2)
    assert load(write(train_images=first, test_images=first[:3])).fingerprint == last
    grey = load(write(train_images=PIXELS[..., :1], test_images=PIXELS[:3, ..., :1])).fingerprint
    assert load(write(train_images=PIXELS[..., 0], test_images=PIXELS[:3, ..., 0])).fingerprint == grey
    assert grey != last


@pytest.mark.parametrize("names", [np.array([b"ant", b"bee", b"cow"]), np.array(["ant", "bee", "cow"], dtype="<U20")])
def test_strings_of_either_kind_are_names(write, names):
    assert load(write(class_names=names)).class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_any_integers_are_targets(write, kind):
    data = load(write(train_target=GOOD["train_target"].astype(kind)))
    assert data.train.target.dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_target": None}, r"lacks train_target; it holds .*test_target.*, and train_images, .* are needed"),
        ({"class_names": None}, "lacks class_names"),
        ({"val_images": PIXELS[:2]}, "lacks val_target; it holds"),
        ({"validation_target": np.array([0, 1])}, "lacks validation_images; it holds"),
        ({"validation_images": PIXELS[:2], "validation_target": np.array([0.0, 1])}, "validation_target must be a row"),
        (
            {"val_images": PIXELS[:1], "val_target": np.array([0]), "validation_images": PIXELS[:1]},
            "holds arrays of val_ and of validation_: keep those of one name",
        ),
        ({"train_images": PIXELS.astype(np.float32)}, r"train_images must be uint8 \(0..255\), not float32"),
        ({"train_images": PIXELS[..., :2]}, r"train_images must have 1 or 3 channels.*not \[7, 5, 4, 2\]"),
        ({"train_images": PIXELS.reshape(7, 60)}, r"\(N, H, W, C\), \(N, C, H, W\) or \(N, H, W\), not \[7, 60\]"),
        ({"train_images": PIXELS[:, :3]}, r"\[7, 3, 4, 3\] could be \(N, C, H, W\) or \(N, H, W, C\)"),
        ({"train_images": PIXELS[:, :0]}, "there is nothing in them"),
        ({"train_images": PIXELS[:6]}, "6 train_images and 7 train_target; as many are needed"),
        ({"test_images": PIXELS[:0], "test_target": np.zeros(0, int)}, "0 test_images and 0 test_target"),
        ({"test_images": PIXELS[:3, :4]}, r"train images are \[3, 5, 4\] .*, test images \[3, 4, 4\]"),
        ({"train_target": np.full(7, 0.5)}, "train_target must be a row of class numbers, not float64"),
        ({"train_target": np.zeros((7, 1), int)}, r"not int64 of shape \[7, 1\]"),
        ({"train_target": np.array([0, 1, 2, 3, 0, 0, 0])}, "train_target holds 3, but 3 class_names are for 0..2"),
        ({"test_target": np.array([0, -1, 2])}, "test_target holds -1"),
        ({"train_target": np.array([0, 0, 0, 0, 0, 2, 0])}, "class 'bee' has no training images"),
        ({"class_names": np.array([1, 2, 3])}, "class_names must be a row of strings, one for each class, not int64"),
        ({"class_names": np.array(["ant", "ant", "cow"])}, "class_names holds a name twice: ant"),
        ({"class_names": np.array([b"ant", b"b\xff", b"cow"])}, r"holds names that are no UTF-8: b\\xff"),
        ({"class_names": np.array(["ant", "\ud800", "cow"])}, r"holds names that are no UTF-8: \\ud800"),
        (
            {"class_names": np.array(["ant"]), "train_target": np.zeros(7, int), "test_target": np.zeros(3, int)},
            "has one class only, 'ant'",
        ),
        ({"class_names": np.array(["ant", "bee", "cow"], dtype=object)}, "pickled Python objects, which are not read"),
    ],
)
def test_what_is_wrong_is_said(write, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        load(write(**changes))
    assert "\n" not in str(caught.value)
    assert "toy" in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        load(f"npz:{tmp_path / 'none.npz'}")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load(f"npz:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"some text", b"\x93NUMPY nothing"])
def test_a_file_of_another_kind(tmp_path, content):
    (tmp_path / "toy.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"is no \.npz file, or a damaged one"):
        load(f"npz:{tmp_path / 'toy.npz'}")


def test_a_single_array_is_no_data_set(tmp_path):
    np.save(tmp_path / "one.npy", PIXELS)
    with pytest.raises(InputError, match=r"is no \.npz file"):
        load(f"npz:{tmp_path / 'one.npy'}")


def test_a_damaged_array_is_named(write, tmp_path):
    name = write()
    path = tmp_path / "toy.npz"
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("test_images.npy").header_offset
    content = bytearray(path.read_bytes())
    content[start + 200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"toy.npz: test_images is damaged"):
        load(name)


# What a header says is checked before anything is unpacked


def packed(path, members: dict[str, bytes], *, compress: bool = True) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return f"npz:{path}"


def member(array: np.ndarray, *, shape: tuple[int, ...] | None = None) -> bytes:
    stored = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stored, {"descr": array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    )
    return stored.getvalue() + array.tobytes()


WHOLE = {key: member(array) for key, array in GOOD.items()}


def test_a_header_that_asks_for_more_than_there_is(tmp_path, monkeypatch):
    """A header of 10^15 bytes in a file of a few hundred must not be believed."""
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("it was unpacked"))
    name = packed(tmp_path / "toy.npz", {**WHOLE, "train_images": member(PIXELS, shape=(10**9, 1000, 1000, 3))})
    with pytest.raises(InputError, match=r"train_images is damaged \(its header says 3,000,000,000,000,000 bytes"):
        load(name)


def test_arrays_that_do_not_fit_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    """Zeros shrink a thousandfold: a small file may hold more than the memory."""
    name = packed(tmp_path / "toy.npz", {**WHOLE, "train_images": member(np.zeros((7, 1000, 1000, 3), np.uint8))})
    assert (tmp_path / "toy.npz").stat().st_size < 100_000
    monkeypatch.setattr(memory, "free", lambda: 30_000_000)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match=r"holds 5 arrays: 42\.0 MB of memory are needed, 30\.0 MB are free"):
        load(name)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x09\x00\x00",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': 'O'}   ",
        b"\x93NUMPY\x01\x00\x08\x00((((((((",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        member(np.zeros(3), shape=(-3,)),
    ],
)
def test_a_hostile_header_is_one_line(tmp_path, header):
    with pytest.raises(InputError, match=r"toy.npz: train_target is damaged \(") as caught:
        load(packed(tmp_path / "toy.npz", {**WHOLE, "train_target": header}))
    assert "\n" not in str(caught.value)


def test_a_member_that_is_there_twice(tmp_path):
    name = packed(tmp_path / "toy.npz", WHOLE)
    with zipfile.ZipFile(tmp_path / "toy.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("train_images.npy", WHOLE["train_images"])
    with pytest.raises(InputError, match="holds train_images twice"):
        load(name)


@pytest.mark.parametrize("seed", range(60))
def test_a_changed_byte_is_noticed_or_harmless(tmp_path, seed):
    """Anything but the data that were written is an InputError."""
    generator = np.random.default_rng(seed)
    name = packed(tmp_path / "toy.npz", WHOLE, compress=bool(seed % 2))
    whole, path = load(name).fingerprint, tmp_path / "toy.npz"
    content = bytearray(path.read_bytes())
    content[generator.integers(len(content))] ^= int(generator.integers(1, 256))
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert load(name).fingerprint == whole
