"""Data sets of features: tables and files of ``longtail embed``, and every way in which they are refused."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch

from longtail.data import Split, draw, features, hygiene, load
from longtail.data.dataset import Source
from longtail.data.fingerprint import fingerprint
from longtail.data.splits import TOGETHER, held_out, long_tailed_index
from longtail.errors import InputError
from longtail.recipes.text import read as read_part
from longtail.training.embedding import embedded

CSV = "\n".join(
    ["height,weight,label", *(f"{i},{i * i},{'ant' if i % 2 else 'bee'}" for i in range(20)), "3,4,ant", "5,6,bee"]
)


def table(folder: pathlib.Path, text: str = CSV) -> str:
    path = folder / "table.csv"
    path.write_text(text)
    return f"features:{path}"


def test_a_table_is_a_data_set(tmp_path: pathlib.Path) -> None:
    data = load(table(tmp_path))
    assert data.class_names == ("ant", "bee")
    assert data.train.images.shape == (18, 2)
    assert data.train.images.dtype == torch.float32
    assert len(data.test) == 4
    rows = data.train.images.double()
    assert data.mean == pytest.approx(rows.mean(dim=0).tolist())
    assert data.std == pytest.approx(rows.std(dim=0, correction=0).tolist())
    assert not set(data.train.index.tolist()) & set(data.test.index.tolist())
    assert load(table(tmp_path)).fingerprint == data.fingerprint
    other = load(table(tmp_path, CSV.replace("3,4,ant", "3,4.5,ant")))
    assert other.fingerprint != data.fingerprint


def test_a_table_with_splits_and_a_number_array_alike(tmp_path: pathlib.Path) -> None:
    lines = ["split,a,b,target", "train,1,2,0", "test,3,4,1", "train,5,6,1", "validation,7,8,0"]
    held = load(table(tmp_path, "\n".join(lines)))
    assert held.train.images.tolist() == [[1, 2], [5, 6]]
    assert held.validation is not None
    assert held.validation.images.tolist() == [[7, 8]]
    path = tmp_path / "same.npz"
    np.savez(
        path,
        train_features=np.array([[1, 2], [5, 6]]),
        train_target=[0, 1],
        test_features=np.array([[3.0, 4.0]]),
        test_target=[1],
    )
    same = load(f"features:{path}")
    assert torch.equal(same.train.images, held.train.images)
    assert torch.equal(same.test.images, held.test.images)
    assert (same.mean, same.std) == (held.mean, held.std)


def test_a_tail_is_drawn_from_a_table_as_from_images(tmp_path: pathlib.Path) -> None:
    rows = [f"{i},{c}" for c in range(3) for i in range(25)]
    path = table(tmp_path, "\n".join(["x,label", *rows]))
    data = load(path, imbalance=10)
    whole = load(path)
    assert data.counts.tolist() == [20, 6, 2]
    chosen = long_tailed_index(whole.train.target, data.counts, seed=0, class_names=data.class_names)
    assert torch.equal(data.train.index, whole.train.index[chosen])


def test_copies_of_a_row_are_kept_on_one_side(tmp_path: pathlib.Path) -> None:
    rows = [f"{i},{'ab'[i % 2]}" for i in range(20) for _ in range(2)]
    data = load(table(tmp_path, "\n".join(["x,label", *rows])))
    assert hygiene.summary(data).clean
    assert (data.counts.tolist(), len(data.test)) == ([16, 16], 8)
    assert data.rule == TOGETHER
    assert data.fingerprint == fingerprint(data.train, None, data.test, TOGETHER)
    assert "20 rows are copies of another; copies were kept on one side of the test split" in data.notes


def test_a_table_without_copies_is_divided_as_it_always_was(tmp_path: pathlib.Path) -> None:
    rows = [f"{i},{'ab'[i % 2]}" for i in range(40)]
    data = load(table(tmp_path, "\n".join(["x,label", *rows])))
    stay, out = held_out(torch.arange(40) % 2, torch.tensor([4, 4]), seed=0)
    assert (data.train.index.tolist(), data.test.index.tolist()) == (stay.tolist(), out.tolist())
    assert data.fingerprint == fingerprint(data.train, None, data.test)
    assert data.notes == ("1 row in 5 of each class held out for testing", "columns standardised by the training rows")


@pytest.mark.parametrize("prefix", ["val", "validation"])
def test_validation_rows_are_read_and_other_arrays_named(tmp_path: pathlib.Path, prefix: str) -> None:
    held = {"train_features": np.eye(2), "train_target": [0, 1], "test_features": np.eye(2), "test_target": [0, 1]}
    extra = {f"{prefix}_features": 2 * np.eye(2), f"{prefix}_target": [1, 0], "weights": np.ones(2), "ids": np.ones(2)}
    np.savez(tmp_path / "x.npz", **held, **extra)
    data = load(f"features:{tmp_path / 'x.npz'}")
    assert data.validation is not None
    assert data.validation.images.tolist() == [[2, 0], [0, 2]]
    assert data.validation.target.tolist() == [1, 0]
    assert "2 arrays of the file not read: weights, ids" in data.notes


@pytest.fixture
def drawn(tmp_path: pathlib.Path) -> str:
    """A file that holds the subset of another profile, seed and share than the usual ones."""
    path = tmp_path / "drawn.safetensors"
    pictures = load("digits-lt", imbalance=20, profile="step", split_seed=3, validation=0.2)
    embedded(pictures, read_part("small", "model"), path)
    return f"features:{path}"


@pytest.mark.parametrize("option", [{}, {"drop_duplicates": "copies.txt"}, {"leave_out_classes_below": 1}])
def test_a_file_of_a_subset_says_how_it_was_drawn(
    drawn: str, option: dict[str, object], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that change what was read went another way, on which the file was not asked."""
    monkeypatch.chdir(tmp_path)
    for again in ({}, {"imbalance": 20, "profile": "step", "split_seed": 3, "validation": 0.2}):
        data = load(drawn, **option, **again)  # type: ignore[arg-type]
        found = (data.imbalance, data.profile, data.split_seed, data.validation_share)
        assert found == (20, "step", 3, 0.2)
    for another in ({"imbalance": 10}, {"split_seed": 5}, {"profile": "pareto"}):
        with pytest.raises(InputError, match="drawn by the step profile and holds the subset of imbalance 20"):
            load(drawn, **option, **another)  # type: ignore[arg-type]


REFUSED = [
    ("a,b\n1,2\n", "has no column label, target or class; it has a, b"),
    ("a,label\n1,x\n2\n", "row 3 has 1 cells, the header 2"),
    ("a,label\nred,x\n1,y\n", "row 2, column 'a' is 'red', no number"),
    ("a,label\nnan,x\n1,y\n", "row 2, column 'a' is not finite"),
    ("a,label\n1,x\n2,y\n3,y\n", "class 'x' has one row"),
    ("a,label,split\n1,x,train\n2,y,dev\n", "split 'dev': one of train, validation, test"),
    ("a,label,split\n1,x,train\n2,y,train\n", "names no test row"),
    ("a,label\n1,x\n2,\n3,x\n", "row 3: the label is missing"),
    ("a,label\n1,x\n1,x\n2,y\n3,y\n", "class 'x' has one row, or copies of one"),
    ("label\nx\ny\n", "has no column of numbers beside label"),
    ("a,label\n", "a header and rows below it are needed"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(table(tmp_path, text))
    assert "\n" not in str(error.value)


def test_arrays_that_cannot_be_used_are_refused(tmp_path: pathlib.Path) -> None:
    good = {
        "train_features": np.eye(2),
        "train_target": np.array([0, 1]),
        "test_features": np.eye(2),
        "test_target": np.array([0, 1]),
    }
    for change, message in [
        ({"test_target": None}, "lacks test_target"),
        ({"train_features": np.array(1.0)}, r"train_features must be \(2, 1\) numbers, not float64 of shape \[\]"),
        ({"val_features": np.eye(2)}, "lacks val_target; it holds"),
        (
            {
                f"{name}_{kind}": good[f"test_{kind}"]
                for name in ("val", "validation")
                for kind in ("features", "target")
            },
            "holds arrays of val_ and of validation_: keep those of one name",
        ),
        ({"class_names": np.array("ab")}, "targets go to 1, and there are 1 class_names"),
        ({"class_names": np.array(["a", 1], dtype=object)}, "class_names holds pickled Python objects"),
        ({"train_features": np.eye(3)}, r"train_features must be \(2, 3\) numbers"),
        ({"test_features": np.eye(3)[:2]}, r"test_features must be \(2, 2\) numbers"),
        ({"train_target": np.array([-1, 0])}, "rows of class numbers from 0"),
        ({"train_features": np.array([[np.inf, 1], [0, 1]])}, "row 0 .* not finite"),
        ({"class_names": np.array(["a"])}, "targets go to 1, and there are 1 class_names"),
    ]:
        held = {name: value for name, value in {**good, **change}.items() if value is not None}
        np.savez(tmp_path / "x.npz", **held)
        with pytest.raises(InputError, match=message):
            load(f"features:{tmp_path / 'x.npz'}")
    with pytest.raises(InputError, match="there is no such file"):
        load("features:nowhere.csv")
    with pytest.raises(InputError, match="give a path"):
        load("features:")
    (tmp_path / "x.txt").write_text("1")
    with pytest.raises(InputError, match=r"a \.safetensors file of longtail embed, a \.npz or a \.csv"):
        load(f"features:{tmp_path / 'x.txt'}")


def test_features_have_a_fingerprint_of_their_bytes() -> None:
    split = Split(torch.tensor([[0.5, 1.0], [0.25, 2.0]]), torch.tensor([0, 1]), torch.arange(2))
    source = Source("mine", split, split, ("a", "b"), mean=(), std=())
    data = draw(source, imbalance=None, profile="exponential", split_seed=0, validation=0)
    changed = Split(split.images + torch.tensor([[0.0, 0.0], [0.0, 1e-6]]), split.target, split.index)
    other = draw(
        Source("mine", changed, split, ("a", "b"), mean=(), std=()),
        imbalance=None,
        profile="exponential",
        split_seed=0,
        validation=0,
    )
    assert data.fingerprint != other.fingerprint


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: pathlib.Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"train": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match="is no file of longtail embed"):
        features.facts_of(path)
    stored = features.header({}, features.Facts(*[""] * 8, {"seed": 1}, *[""] * 4, (), ""))  # type: ignore[arg-type]
    path.write_bytes(stored.replace(b'"class_names": ""', b'"class_names": []'))
    with pytest.raises(InputError, match="is no file of longtail embed"):
        features.facts_of(path)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="is no file of longtail embed"):
        load(f"features:{path}")
