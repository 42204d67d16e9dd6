"""A selection is a data set: the images chosen, and nothing else changed."""

from __future__ import annotations

import pathlib

import pytest
import torch

from longtail.analysis.select import write as select
from longtail.data import load, selection
from longtail.data.catalogue import resizes
from longtail.data.selection import write_selection
from longtail.data.verify import verify
from longtail.errors import InputError
from trees import folder


def written(path: pathlib.Path, index: list[int], **about: str) -> str:
    data = load("digits-lt", imbalance=50)
    head = {"data": "digits-lt", "options": '{"imbalance": 50}', "of": data.fingerprint, "by": "uniform"} | about
    write_selection(path, index, data.train.target, about=head)
    return f"list:{path}"


def one_of_each() -> list[int]:
    target = load("digits-lt", imbalance=50).train.target
    return [int((target == c).nonzero()[-1]) for c in range(10)]


def test_a_selection_holds_the_images_chosen(tmp_path: pathlib.Path) -> None:
    whole, chosen = load("digits-lt", imbalance=50), one_of_each()
    data = load(written(tmp_path / "a.txt", chosen))
    assert torch.equal(data.train.images, whole.train.images[chosen])
    assert torch.equal(data.train.index, whole.train.index[chosen])
    assert torch.equal(data.test.images, whole.test.images)
    assert data.counts.tolist() == [1] * 10
    assert (data.mean, data.std) == (whole.mean, whole.std)
    assert data.fingerprint != whole.fingerprint
    assert "10 of" in data.notes[-1]


def test_another_selection_is_another_data_set(tmp_path: pathlib.Path) -> None:
    chosen = one_of_each()
    first, again = (load(written(tmp_path / f"{name}.txt", chosen)) for name in "ab")
    other = load(written(tmp_path / "c.txt", [0, *chosen]))
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("index", "about", "said"),
    [
        ([0, 1], {}, "no image of"),
        (None, {"of": "0" * 64}, "selected from other data"),
        (None, {"options": "{"}, "does not say of which data set"),
        (None, {"options": '{"imbalanec": 50}'}, "did you mean 'imbalance'"),
        (None, {"options": '{"imbalance": "fifty"}'}, "imbalance must be a whole number or a number"),
        (None, {"options": '{"no_flip": 1}'}, "no_flip must be true or false"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: pathlib.Path, index: list[int] | None, about: dict[str, str], said: str
) -> None:
    name = written(tmp_path / "a.txt", one_of_each() if index is None else index, **about)
    with pytest.raises(InputError, match=said):
        load(name)
    with pytest.raises(InputError, match="says its own imbalance"):
        load(written(tmp_path / "b.txt", one_of_each()), imbalance=10)


def test_a_selection_of_a_list_is_a_data_set(tmp_path: pathlib.Path) -> None:
    """It was written, and refused as a selection of a selection."""
    folder(tmp_path, {"ant": 6, "bee": 5})
    lines = [f"{file} {'ab'.index(file.parent.name[0])}\n" for file in sorted(tmp_path.rglob("*.png"))]
    (tmp_path / "train.txt").write_text("".join(lines))
    name = f"list:{tmp_path / 'train.txt'}"
    select(name, {"labels_from": 0}, load(name), "uniform", 2, 0, tmp_path / "chosen.txt")
    assert load(f"list:{tmp_path / 'chosen.txt'}").counts.tolist() == [2, 2]
    assert all(finding.ok for finding in verify(f"list:{tmp_path / 'chosen.txt'}"))


def test_a_selection_of_a_selection_is_refused(tmp_path: pathlib.Path) -> None:
    inner = written(tmp_path / "a.txt", one_of_each())
    for path, base in ((tmp_path / "b.txt", inner), (tmp_path / "c.txt", f"list:{tmp_path / 'c.txt'}")):
        name = written(path, one_of_each(), data=base)
        for call in (load, resizes, verify):
            with pytest.raises(InputError, match="selection of a selection"):
                call(name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("100000 3", "item 100000 of digits-lt"),
        ("two 3", "'two' must be"),
        ("2 three", "'2 three' must be"),
        ("-1 3", "must"),
    ],
)
def test_a_line_that_names_nothing_is_refused(tmp_path: pathlib.Path, line: str, said: str) -> None:
    path = tmp_path / "a.txt"
    name = written(path, one_of_each())
    lines = [*path.read_text().splitlines(), line]
    items = [text for text in lines if not text.startswith("#")]
    lines[1] = f"# fingerprint {selection._mark(items)}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=said):
        load(name)
