"""A sample of the faults that benchmarks/faults_data.py plants at full size: all must be named, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from longtail.data import load
from longtail.data.verify import verify
from longtail.errors import InputError
from oracles import planted


def spoken(findings) -> list[tuple[bool, str]]:
    return [(finding.ok, finding.detail) for finding in findings]


@pytest.fixture
def root(tmp_path):
    planted.folder(tmp_path / "zoo", [60, 40, 25, 15], 6, np.random.default_rng(1))
    return tmp_path / "zoo"


def test_a_folder_without_faults_is_in_order(root):
    assert all(finding.ok for finding in verify(f"folder:{root}"))
    assert load(f"folder:{root}").notes == ()


@pytest.mark.parametrize("seed", range(3))
def test_every_planted_fault_is_named(root, seed):
    pytest.importorskip("imagehash")
    faults = planted.plant(root, 3 * len(planted.FAULTS), np.random.default_rng(seed))
    findings = spoken(verify(f"folder:{root}"))
    assert planted.missed(faults, findings) == []
    # Nothing is said of the pictures to which nothing was done.
    touched = {name for _, names in faults for name in names}
    wrong = " ".join(detail for ok, detail in findings if not ok)
    for picture in root.rglob("*.png"):
        name = picture.relative_to(root).as_posix()
        assert name in touched or name not in wrong


@pytest.mark.parametrize("kind", planted.FAULTS)
def test_each_fault_alone_is_refused_in_one_line_or_loads(root, kind):
    generator = np.random.default_rng(0)
    picture = root / "train" / "c01" / "00007.png"
    names = planted.FAULTS[kind][0](planted.Place(root, picture, "c02", 0, generator))
    findings = spoken(verify(f"folder:{root}"))
    if kind != "the same, stored as JPEG":
        assert planted.missed([(kind, names)], findings) == []
    assert all(ok for ok, _ in findings) != planted.FAULTS[kind][1] or kind == "the same, stored as JPEG"
    try:
        data = load(f"folder:{root}")
    except InputError as error:
        message = str(error)
    else:
        message = " ".join(data.notes)
        left_out = sum(data.counts.tolist()) + len(data.test) - 164
        added = kind in ("a training picture in the test folder", "the same, stored as JPEG") or "twice" in kind
        added = added or "two classes" in kind
        assert left_out == added or any(name in message for name in names)
    assert "\n" not in message


def test_a_fault_that_is_not_named_is_missed():
    """The check itself: a name that is not said, said in order only, or said in part is a miss."""
    leak, again = (
        ("a training picture in the test folder", ["test/a/1.png", "train/a/1.png"]),
        (
            "a picture twice in its class",
            ["train/a/2.png"],
        ),
    )
    said = [(False, "test/a/1.png (test), train/a/1.png (train)"), (True, "train/a/2.png (train)")]
    assert planted.missed([leak, again], said) == []
    assert planted.missed([leak], [(True, said[0][1])]) == [leak]
    assert planted.missed([leak], [(False, "test/a/1.png (test), train/a/11.png (train)")]) == [leak]
    assert planted.missed([again], []) == [again]
    assert planted.missed([again], [(False, "/tmp/zoo/train/a/2.png is no readable picture")]) == []
