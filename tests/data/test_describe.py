from __future__ import annotations

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from longtail.data import load
from longtail.data.describe import describe, figure, save_figure
from longtail.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return describe(load("digits-lt", validation=0.1))


def with_counts(description, counts):
    return dataclasses.replace(description, counts=tuple(counts))


def test_the_numbers_are_those_of_the_data():
    data = load("digits-lt", imbalance=50)
    found = describe(data)
    assert found.counts == (100, 64, 41, 27, 17, 11, 7, 4, 3, 2)
    assert (found.num_train, found.num_validation, found.num_test) == (276, 0, 740)
    assert found.groups == {"many": 3, "medium": 4, "few": 3}
    assert found.imbalance == 50
    assert found.gini == pytest.approx(sum(abs(a - b) for a in found.counts for b in found.counts) / (20 * 276))
    assert found.image_shape == (1, 8, 8)


def test_the_text_says_what_matters(digits):
    text = digits.text()
    assert text.splitlines()[0] == (
        f"digits-lt: {digits.num_train} images in 10 classes to train on, {digits.num_validation} for validation, "
        "740 to test on"
    )
    assert "images       8 x 8 grey; drawn by the exponential profile, split seed 0" in text
    assert "grey; no long-tailed subset is drawn from them" in dataclasses.replace(digits, profile=None).text()
    assert f"{max(digits.counts)}..{min(digits.counts)}" in text
    groups = " / ".join(str(digits.groups[name]) for name in ("many", "medium", "few"))
    assert f"many / medium / few: {groups} classes (>30, 5..30, <5)" in text
    assert digits.fingerprint in text
    assert "note         cut" in dataclasses.replace(digits, notes=("cut",)).text()


def test_classes_are_named_the_largest_first(digits):
    assert "classes      0 (90), 1 (53), " in digits.text()
    many = dataclasses.replace(digits, class_names=tuple(f"c{c}" for c in range(121)), counts=tuple(range(1, 122)))
    text = many.text()
    words = " ".join(text[text.index("  classes") : text.index("  copies")].split())
    assert words.startswith("classes c120 (121), c119 (120), ")
    assert "c101 (102), ... 81 more (--json names all) ..., c19 (20), " in words
    assert words.endswith("c1 (2), c0 (1)")


def test_classes_with_few_test_images_are_warned_of(digits):
    assert "WARNING" not in digits.text()
    assert digits.to_json()["test_counts"] == [74] * 10
    tested = (5, 3, 0, *[9] * 7)
    last = dataclasses.replace(digits, test_counts=tested).text().splitlines()[-1]
    assert last == "  WARNING      2 classes have fewer than 5 test images: 2 (0), 1 (3)"
    last = dataclasses.replace(digits, test_counts=(4, *[9] * 9)).text().splitlines()[-1]
    assert last == "  WARNING      1 class has fewer than 5 test images: 0 (4)"


def test_copies_are_told(digits):
    assert "copies       none" in digits.text()
    leaky = dataclasses.replace(digits, copies=dataclasses.replace(digits.copies, test_in_train=3))
    assert "copies       3 of 740 test images are training images too" in leaky.text()
    assert leaky.to_json()["copies"]["test_in_train"] == 3


def test_cifar100_lt_is_described_as_published(real_data):
    text = describe(load("cifar100-lt", root=real_data)).text()
    for words in ("10,847 images in 100 classes", "500..5", "many / medium / few: 35 / 35 / 30 classes"):
        assert words in text


def test_json_comes_back_as_it_was(digits):
    found = json.loads(json.dumps(digits.to_json(), allow_nan=False))
    assert found["counts"] == list(digits.counts)
    assert found["groups"] == digits.groups


# The curve in the terminal


def heights(lines: list[str]) -> list[int]:
    """Of each column in eighths of a row."""
    rows = [line.split("│")[1] for line in lines if "│" in line]
    width = max(len(row) for row in rows)
    return [sum(" ▁▂▃▄▅▆▇█".index(row[column]) if column < len(row) else 0 for row in rows) for column in range(width)]


@pytest.mark.parametrize("size", [1, 2, 7, 60, 61, 100, 5000])
def test_the_curve_falls_and_no_class_looks_empty(digits, size):
    counts = [max(1, int(1000 / (c + 1))) for c in range(size)]
    lines = with_counts(digits, counts).curve()
    found = heights(lines)
    assert found == sorted(found, reverse=True)
    assert min(found) >= 1
    assert max(found) == 80
    assert 30 < len(found) <= 60
    assert max(len(line) for line in lines) < 80


def test_columns_are_as_high_as_their_logarithms(digits):
    counts = [1000, 100, 10, 1]
    found = heights(with_counts(digits, counts).curve())
    for n, height in zip(counts, found[::15], strict=True):
        assert height == pytest.approx(1 + 79 * math.log10(n) / 3, abs=0.5)


def test_equal_classes_are_full_columns(digits):
    assert set(heights(with_counts(digits, [7] * 10).curve())) == {80}


def test_the_groups_stand_below_their_columns(digits):
    lines = with_counts(digits, [100, 59, 35, 21, 12, 7, 4, 2, 1, 1]).curve()
    marks = lines[-2][5:]
    assert [marks.count("├"), marks.count("┤")] == [3, 3]
    assert [marks.index(name) // 18 for name in ("many", "medium")] == [0, 1]
    assert marks.index("few") >= 36


# The figure


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_description_draws_the_same_file(digits, tmp_path, ending):
    for name in ("a", "b"):
        save_figure(digits, tmp_path / f"{name}.{ending}")
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert content == (tmp_path / f"b.{ending}").read_bytes()
    save_figure(with_counts(digits, [9, 8, 7]), tmp_path / f"c.{ending}")
    assert content != (tmp_path / f"c.{ending}").read_bytes()


def test_the_figure_shows_each_group_in_its_colour(digits, tmp_path):
    save_figure(digits, tmp_path / "a.png")
    pixels = np.array(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(axis=1).mean() > 0.01


def test_bars_are_the_counts_in_falling_order(digits):
    drawn = [patch.get_data().values for patch in figure(digits).axes[0].patches]
    assert np.concatenate(drawn).tolist() == sorted(digits.counts, reverse=True)


def test_a_name_is_no_formula(digits, tmp_path):
    save_figure(dataclasses.replace(digits, name="folder:a$b_c$\\x"), tmp_path / "a.svg")
    assert "folder:a$b_c$\\x" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.jpeg"])
def test_only_two_kinds_of_figures(digits, tmp_path, name):
    with pytest.raises(InputError, match=r"a figure is drawn to a \.png or \.svg file"):
        save_figure(digits, tmp_path / name)


def test_a_figure_that_cannot_be_written(digits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"):
        save_figure(digits, tmp_path / "file" / "a.png")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_only_a_figure_of_ours_is_replaced(digits, tmp_path, ending):
    """Any figure of matplotlib counted as one."""
    path = tmp_path / f"a.{ending}"
    save_figure(digits, path)
    save_figure(with_counts(digits, [9, 8, 7]), path)
    figure(digits).savefig(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already and was not written by this command"):
        save_figure(digits, path)
    assert path.read_bytes() == before


def test_a_figure_is_written_whole_or_not_at_all(digits, tmp_path, monkeypatch):
    save_figure(digits, tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def killed(self, file, **_):
        pathlib.Path(file).write_bytes(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", killed)
    with pytest.raises(KeyboardInterrupt):
        save_figure(digits, tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before
