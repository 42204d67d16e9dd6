from __future__ import annotations

import contextlib
import hashlib
import io
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from longtail.board.intake import canonical_predictions
from longtail.board.keys import Key, fingerprint, is_trusted, keys
from longtail.board.schema import Variant
from longtail.board.scorer import answers, score_predictions
from longtail.errors import InputError
from longtail.results.predictions import MAX_PREDICTIONS_BYTES, read_predictions
from oracles.board import digits


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def good(num: int = 6) -> dict[str, np.ndarray]:
    index = np.arange(num, dtype=np.int64)
    return {"index": index, "target": (index % 3).astype(np.int16), "prediction": ((index + 1) % 3).astype(np.int16)}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def members(**changes: bytes) -> dict[str, bytes]:
    return {f"{name}.npy": npy(array) for name, array in good().items()} | changes


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


class Bomb:
    """Runs when it is unpickled, as the test would notice."""

    ran = False

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (explode, ("now",))


def explode(_: str) -> None:
    Bomb.ran = True


def lying_zip() -> bytes:
    """A member that says it unpacks to few bytes and holds many."""
    real = b"\x00" * (32 << 20)
    content = zipped(members(**{"index.npy": real}))
    packed = zlib.crc32(real)
    assert struct.pack("<I", packed) in content
    return content.replace(struct.pack("<I", len(real)), struct.pack("<I", 4000))


SMALL = Variant(id="small", dataset="small", name="Small", num_classes=3, counts=(3, 2, 1))


def score(content: bytes) -> object:
    return score_predictions(content, 0, SMALL, None, "upload")


def test_the_order_in_the_file_does_not_matter() -> None:
    numbers, run = score_predictions(npz(**good()), 0, SMALL, None, "x")
    turned, again = score_predictions(npz(**{name: array[::-1] for name, array in good().items()}), 0, SMALL, None, "x")
    assert numbers | {"sha256": ""} == turned | {"sha256": ""}
    first, second = answers([run], [0]), answers([again], [0])
    assert torch.equal(first.correct, second.correct)
    assert torch.equal(first.target, second.target)
    other = score_predictions(npz(**{**good(), "index": np.arange(1, 7)}), 0, SMALL, None, "x")[1]
    with pytest.raises(InputError, match="not tested on the same images"):
        answers([run, other], [0, 1])


ATTACKS = {
    "a pickle": (lambda: npz(**{**good(), "target": np.array([Bomb()] * 6, dtype=object)}), "one vector of"),
    "a pickle for an array": (lambda: zipped(members(**{"index.npy": pickle.dumps(Bomb())})), "one vector of"),
    "floats": (lambda: npz(**{**good(), "prediction": np.ones(6)}), "one vector of"),
    "a record array": (lambda: npz(**{**good(), "index": np.zeros(6, dtype=[("a", "i4")])}), "one vector of"),
    "a matrix": (lambda: npz(**{**good(), "index": np.zeros((2, 3), dtype=np.int64)}), "one vector"),
    "unequal lengths": (lambda: npz(**{**good(), "index": np.arange(5)}), "one length"),
    "nothing": (lambda: npz(**good(0)), "one length"),
    "an id twice": (lambda: npz(**{**good(), "index": np.array([0, 1, 2, 3, 4, 4])}), "an index occurs more than once"),
    "a class too high": (
        lambda: npz(**{**good(), "prediction": np.full(6, 3)}),
        "prediction must hold classes",
    ),
    "a negative class": (lambda: npz(**{**good(), "target": np.full(6, -1)}), "target must hold classes"),
    "an array too many": (lambda: npz(**good(), more=np.arange(6)), "exactly the arrays"),
    "an array too few": (lambda: npz(index=np.arange(6)), "exactly the arrays"),
    "a path for a name": (lambda: zipped({**members(), "../../etc/cron.d/x": b"x"}), "exactly the arrays"),
    "no zip": (lambda: b"PK\x03\x04 and so on", "is damaged"),
    "an empty file": (lambda: b"", "is damaged"),
    "a zip bomb": (lambda: zipped(members(**{"index.npy": b"\x00" * (9 << 20)})), "declares more than"),
    "a zip that lies about its size": (lying_zip, "is damaged"),
    "a damaged member": (lambda: npz(**good(5000)).replace(b"\x93", b"\x92"), "is damaged|one vector of"),
    "a header with code": (
        lambda: zipped(members(**{"index.npy": header("__import__('os').system('true')")})),
        "one vector of",
    ),
    "a header that nests": (lambda: zipped(members(**{"index.npy": header("(" * 1000)})), "one vector of"),
    "a header of megabytes": (
        lambda: zipped(members(**{"index.npy": header("x" * 60_000)})),
        "one vector of",
    ),
    "a length that lies": (
        lambda: zipped(
            members(**{"index.npy": header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,)}")})
        ),
        "one vector of",
    ),
    "a number beyond 64 bits": (
        lambda: npz(**{**good(), "index": np.full(6, 2**64 - 1, dtype=np.uint64)}),
        "one vector of|64",
    ),
    "a name twice": (lambda: zipped(members()).replace(b"target.npy", b"index.npyx"), "exactly the arrays|is damaged"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_the_file_are_refused(name: str) -> None:
    make, message = ATTACKS[name]
    with pytest.raises(InputError, match=message) as refusal:
        score(make())
    assert "\n" not in str(refusal.value)
    assert not Bomb.ran


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_a_file_of_another_framework_are_refused_in_one_line(name: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "given.npz"
    file.write_bytes(ATTACKS[name][0]())
    # What is in another order, of another type or too long a number is read, and judged by what it says.
    if name in ("an id twice", "a class too high", "a negative class"):
        assert set(read_predictions(canonical_predictions(file), "kept")) == {"index", "prediction", "target"}
        return
    with pytest.raises(InputError) as refusal:
        read_predictions(canonical_predictions(file), str(file))
    assert "\n" not in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert not Bomb.ran


def test_a_cut_or_flipped_or_bare_file_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    whole, file = npz(**good(500)), tmp_path / "given.npz"
    for cut in range(0, len(whole), 37):
        file.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"is no whole \.npz; write it with numpy\.savez_compressed, or as \.csv"):
            canonical_predictions(file)
    for place in range(0, len(whole), 13):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(InputError):  # a byte of a date does no harm
            canonical_predictions(file)
    bare = tmp_path / "bare.npz"
    with open(bare, "wb") as out:
        np.save(out, np.arange(5))
    with pytest.raises(InputError, match=r"is no whole \.npz"):
        canonical_predictions(bare)


def test_too_large_a_file_is_refused_unread() -> None:
    with pytest.raises(InputError, match="larger than"):
        score(b"\x00" * (MAX_PREDICTIONS_BYTES + 1))


def test_the_known_test_sets() -> None:
    data = digits()
    assert fingerprint(data.test.index, data.test.target) == keys()["digits"].sha256
    assert keys()["cifar-100"].num_test == keys()["cifar-10"].num_test == 10_000


def test_the_keys_are_those_of_the_real_files(real_data: object) -> None:
    root = pathlib.Path(str(real_data))
    with open(root / "cifar-100-python" / "test", "rb") as file:
        content = file.read()
    assert hashlib.md5(content).hexdigest() == "f0ef6b0ae62326f3e7ffdfab6717acfc"
    labels = np.array(pickle.loads(content, encoding="latin1")["fine_labels"], dtype=np.int64)
    assert fingerprint(torch.arange(10_000), torch.from_numpy(labels)) == keys()["cifar-100"].sha256
    labels = np.load(root / "cifar10-lt-if100.npz")["test_target"].astype(np.int64)
    assert fingerprint(torch.arange(10_000), torch.from_numpy(labels)) == keys()["cifar-10"].sha256


def test_labels_are_believed_only_if_they_are_the_known_ones() -> None:
    index, target = torch.arange(6), torch.arange(6) % 3
    key = Key("k", fingerprint(index, target), 6, 3, "test")
    assert is_trusted(index, target, key, "x")
    assert not is_trusted(index, target, None, "x")
    for changed in ((index.clone(), target), (index, target.clone())):
        changed[0 if changed[0] is not index else 1][2] = 99
        with pytest.raises(InputError, match="not those of the test set"):
            is_trusted(*changed, key, "x")
    with pytest.raises(InputError, match="5 predictions; the test set 'k' has 6"):
        is_trusted(index[:5], target[:5], key, "x")


def test_every_byte_of_ids_and_labels_counts() -> None:
    index, target = torch.arange(6), torch.arange(6) % 3
    first = fingerprint(index, target)
    assert fingerprint(index.flip(0), target.flip(0)) == first
    assert fingerprint(index, target.flip(0)) != first
    assert fingerprint(index + 1, target) != first
