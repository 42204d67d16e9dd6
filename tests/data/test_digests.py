from __future__ import annotations

import hashlib
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from longtail.data import digests
from longtail.data.names import Names
from trees import picture, tree


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of which a header is read."""
    seen: list[str] = []
    header = digests.header

    def noted(file: pathlib.Path) -> object:
        seen.append(file.name)
        return header(file)

    monkeypatch.setattr(digests, "header", noted)
    return seen


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: pathlib.Path, read: list[str]) -> None:
    names = Names(["a.png", "b.png", "c.png"])
    tree(tmp_path / "zoo", names)
    first = digests.facts_of(tmp_path / "zoo", names)
    assert sorted(read) == ["a.png", "b.png", "c.png"]
    for place, name in enumerate(names):
        expected = hashlib.sha256((tmp_path / "zoo" / name).read_bytes()).digest()
        assert first.digests[place].tobytes() == expected
    del read[:]
    again = digests.facts_of(tmp_path / "zoo", names)
    assert read == []
    assert np.array_equal(again.digests, first.digests)
    picture(tmp_path / "zoo" / "b.png", size=(30, 20))
    changed = digests.facts_of(tmp_path / "zoo", names)
    assert read == ["b.png"]
    assert changed.sizes.tolist() == [[12, 9], [30, 20], [12, 9]]
    assert not np.array_equal(changed.digests[1], first.digests[1])


def test_what_is_known_does_not_count_when_it_is_asked_for_anew(tmp_path: pathlib.Path) -> None:
    """A file that was changed without its size or time: nobody sees it but who reads it."""
    picture(tmp_path / "a.png")
    names, file = Names(["a.png"]), tmp_path / "a.png"
    before = digests.facts_of(tmp_path, names)
    status, stored = file.stat(), bytearray(file.read_bytes())
    stored[-20] ^= 1
    file.write_bytes(bytes(stored))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert np.array_equal(digests.facts_of(tmp_path, names).digests, before.digests)
    assert not np.array_equal(digests.facts_of(tmp_path, names, fresh=True).digests, before.digests)


def test_grey_and_upright_size_are_read_from_the_header(tmp_path: pathlib.Path) -> None:
    picture(tmp_path / "grey.png", grey=True)
    picture(tmp_path / "colour.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "lying.jpg", exif=exif)
    facts = digests.facts_of(tmp_path, Names(["grey.png", "colour.png", "lying.jpg"]))
    assert facts.grey.tolist() == [True, False, False]
    assert facts.sizes.tolist() == [[12, 9], [12, 9], [20, 30]]


def test_transparency_and_frames_are_read_from_the_header(tmp_path: pathlib.Path) -> None:
    Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    Image.new("L", (4, 4)).save(tmp_path / "key.png", transparency=0)
    frames = [Image.new("L", (4, 4), 90 * i) for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    picture(tmp_path / "plain.png")
    for _ in range(2):  # the second time it is known
        facts = digests.facts_of(tmp_path, Names(["clear.png", "key.png", "moving.gif", "plain.png"]))
        assert facts.transparent.tolist() == [True, True, False, False]
        assert facts.frames.tolist() == [False, False, True, False]


def test_missing_files_and_what_is_no_picture_are_told_apart(tmp_path: pathlib.Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    facts = digests.facts_of(tmp_path, Names(["gone.png", "a.png", "b.png"]))
    assert facts.missing == (0,)
    assert [place for place, _ in facts.problems] == [2]
    assert "b.png is no readable picture" in facts.problems[0][1]


def test_without_a_cache_everything_is_read(tmp_path: pathlib.Path, cache: pathlib.Path, read: list[str]) -> None:
    picture(tmp_path / "a.png")
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        assert digests.facts_of(tmp_path, Names(["a.png"])).digests.any()
    assert read == ["a.png", "a.png"]


def test_a_damaged_cache_is_no_cache(tmp_path: pathlib.Path) -> None:
    picture(tmp_path / "a.png")
    first = digests.facts_of(tmp_path, Names(["a.png"]))
    digests.place().write_bytes(b"no table" * 500)
    assert np.array_equal(digests.facts_of(tmp_path, Names(["a.png"])).digests, first.digests)
