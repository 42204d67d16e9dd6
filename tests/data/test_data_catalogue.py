from __future__ import annotations

import pytest

from longtail.data import load, names
from longtail.data.catalogue import entries
from longtail.data.verify import verify
from longtail.errors import InputError


def test_the_default_needs_nothing_and_is_imbalanced_by_a_hundred():
    data = load("digits-lt")
    assert (data.name, data.imbalance, data.split_seed, data.profile) == ("digits-lt", 100, 0, "exponential")
    assert (len(data.train), len(data.test), data.num_classes) == (242, 740, 10)
    assert data.validation is None
    assert (data.many, data.few) == (30, 5)


def test_the_same_call_gives_the_same_data():
    first, again = (load("digits-lt", imbalance=20, validation=0.2, split_seed=3) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert (first.mean, first.std) == (again.mean, again.std)


def test_every_name_is_listed_with_what_it_needs():
    assert [entry["name"] for entry in entries()] == list(names())
    assert all(entry["description"] and entry["needs"] for entry in entries())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("digit-lt", {}, r"unknown data set 'digit-lt': did you mean 'digits-lt'\?"),
        ("cifar-100-lt", {}, r"did you mean 'cifar100-lt'\?"),
        ("zebra", {}, r"unknown data set 'zebra' \(known: .*cifar10-lt, "),
        ("folder:", {}, "'folder:': give a path, as in folder:PATH"),
        ("npz", {}, "'npz': give a path, as in npz:PATH"),
        ("digits-lt", {"image_size": 16}, "digits-lt has images of one size; --image-size is for folder:PATH"),
        ("digits-lt", {"imbalance": 0.5}, "imbalance 0.5"),
        ("digits-lt", {"imbalance": 200}, "class '8', '9' would be left without images"),
        ("digits-lt", {"imbalance": float("nan")}, "imbalance nan"),
        ("digits-lt", {"profile": "flat"}, "unknown profile 'flat'"),
    ],
)
def test_what_cannot_be_loaded(name, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        load(name, **changes)
    assert "\n" not in str(caught.value)


def test_a_path_without_its_kind_is_hinted_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "birds").mkdir()
    for name in ("birds.csv", "birds.npz", "birds.txt", "birds.safetensors", "birds.jpg"):
        (tmp_path / name).write_text("")
    hints = {
        "birds": "; there is a folder of that name: folder:birds",
        "birds.csv": "; there is a file of that name: csv:birds.csv",
        "birds.npz": "; there is a file of that name: npz:birds.npz",
        "birds.txt": "; there is a file of that name: list:birds.txt",
        "birds.safetensors": "; there is a file of that name: features:birds.safetensors",
        "birds.jpg": "",
        "fish": "",
    }
    for name, hint in hints.items():
        for call, options in ((load, {}), (load, {"image_size": 32}), (verify, {})):
            with pytest.raises(InputError, match=f"unknown data set '{name}'") as caught:
                call(name, **options)
            assert str(caught.value).endswith(f"){hint}")


def test_a_name_of_ours_takes_no_path():
    with pytest.raises(InputError, match="unknown data set 'digits-lt:0'"):
        load("digits-lt:0")


def test_a_home_folder_may_be_abbreviated(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"npz:{tmp_path}/none.npz: there is no such file"):
        load("npz:~/none.npz")
