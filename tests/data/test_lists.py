"""The official lists and their counts, lists of one's own, and tables."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil

import pytest
import torch

from longtail.counts import class_counts
from longtail.data import lists, load
from longtail.data.listing import Listed
from longtail.data.names import Names
from longtail.data.selection import write_selection
from longtail.data.verify import verify
from longtail.errors import InputError
from trees import tree

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def official() -> pathlib.Path:
    """The folder with the real lists; skips where it is absent."""
    folder = os.environ.get("LONGTAIL_LISTS")
    if folder is None or not (pathlib.Path(folder) / "Places_LT_train.txt.gz").is_file():
        pytest.skip("set LONGTAIL_LISTS to a folder with the lists of Places-LT, ImageNet-LT and iNaturalist 2018")
    return pathlib.Path(folder)


def lines(split: str, counts: dict[str, int], *, labels_from: int = 0) -> list[str]:
    """``PATH LABEL`` of pictures in a folder for each class."""
    return [
        f"{split}/{name}/{split}_{i:04}.jpg {c + labels_from}"
        for c, (name, number) in enumerate(counts.items())
        for i in range(number)
    ]


def write(root: pathlib.Path, file: str, rows: list[str], *, packed: bool = False) -> pathlib.Path:
    """A list, and the pictures that it names."""
    tree(root, [row.rpartition(" ")[0] for row in rows])
    text = "".join(f"{row}\n" for row in rows)
    path = root / (f"{file}.gz" if packed else file)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.fixture
def zoo(tmp_path: pathlib.Path) -> pathlib.Path:
    """A train, a validation and a test list beside their pictures."""
    root = tmp_path / "zoo"
    write(root, "zoo_train.txt", lines("train", dict(zip(CLASSES, (5, 3, 2), strict=True))))
    write(root, "zoo_val.txt", lines("val", dict.fromkeys(CLASSES, 1)), packed=True)
    write(root, "zoo_test.txt", lines("test", dict.fromkeys(CLASSES, 2)))
    return root


# ------------------------------------------------------------------------------------------------- the published sets


def test_the_lists_of_places_lt_have_the_published_counts(official: pathlib.Path) -> None:
    known = lists.PUBLISHED["places-lt"]
    found = {split: lists.read_list(official / f"{file}.gz", classes=365) for split, file in known.lists.items()}
    counts = class_counts(found["train"].target, 365)
    assert (int(counts.sum()), int(counts.max()), int(counts.min())) == (62_500, 4_980, 5)
    assert {split: len(listed.names) for split, listed in found.items()} == known.sizes
    assert class_counts(found["validation"].target, 365).unique().tolist() == [20]
    assert class_counts(found["test"].target, 365).unique().tolist() == [100]
    assert lists.departures("places-lt", found) == ()
    names = lists.class_names(found)
    assert (len(names), names[0], names[-1]) == (365, "airfield", "zen_garden")
    # Another label for one picture is seen, although the sizes of the lists are as published.
    target = found["train"].target.clone()
    target[0] = 1
    other = {**found, "train": Listed(found["train"].names, target)}
    assert lists.departures("places-lt", other) == ("not the published train list: the classes have other sizes",)


def test_imagenet_lt_has_its_class_counts(official: pathlib.Path) -> None:
    known = lists.PUBLISHED["imagenet-lt"]
    counts = json.loads((official / "ImageNet_LT_train_class_counts.json").read_text())
    assert (len(counts), sum(counts), max(counts), min(counts)) == (1000, known.sizes["train"], 1280, 5)
    found = {
        split: lists.read_list(official / f"{known.lists[split]}.gz", classes=1000) for split in ("validation", "test")
    }
    target = torch.repeat_interleave(torch.tensor(counts))
    found["train"] = Listed(Names([""] * len(target)), target)
    assert lists.departures("imagenet-lt", found) == ()
    counts[0], counts[1] = counts[1], counts[0]
    swapped = torch.repeat_interleave(torch.tensor(counts))
    assert lists.departures("imagenet-lt", {"train": Listed(Names([""] * len(swapped)), swapped)}) != ()


def test_inaturalist_has_three_validation_pictures_of_each_species(official: pathlib.Path) -> None:
    listed = lists.read_list(official / "iNaturalist18_val.txt.gz", classes=8142)
    assert class_counts(listed.target, 8142).tolist() == [3] * 8142
    assert listed.names[0] == "train_val2018/Plantae/7291/9f8ecb39e5f767e39e9b28e34488f179.jpg"
    assert lists.departures("inaturalist2018", {"test": listed}) == ()


def test_a_published_set_is_read_from_its_layout(tmp_path: pathlib.Path) -> None:
    """Places-LT in small: pictures below --root, lists elsewhere, test pictures in val/ as the real ones."""
    root, folder = tmp_path / "places", tmp_path / "official"
    parts = {"train": ("train", 3), "val": ("train", 1), "test": ("val", 1)}
    for split, (place, number) in parts.items():
        rows = [row.replace(f"/{place}_", f"/{split}_") for row in lines(place, dict.fromkeys(CLASSES, number))]
        path = write(root, f"Places_LT_{split}.txt", rows, packed=split == "train")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    data = load("places-lt", root=root, lists_folder=folder)
    assert (len(data.train), len(data.validation or ()), len(data.test)) == (9, 3, 3)
    assert data.class_names == CLASSES
    assert tuple(data.train.images.shape) == (9, 3, 224, 224)
    assert "not the published train list: 9 pictures, 62,500 are published" in data.notes
    with pytest.raises(InputError, match="places-lt needs --root"):
        load("places-lt")
    with pytest.raises(InputError, match=r"lacks Places_LT_train.txt, Places_LT_val.txt, Places_LT_test.txt \(or"):
        load("places-lt", root=root)
    findings = verify("places-lt", root=root, lists_folder=folder)
    assert [finding.what for finding in findings if not finding.ok] == ["published counts"] * 3
    assert any(finding.detail == "15 pictures hashed anew and decoded" for finding in findings)


# ------------------------------------------------------------------------------------------------- lists of one's own


def test_a_list_brings_its_other_lists(zoo: pathlib.Path) -> None:
    data = load(f"list:{zoo / 'zoo_train.txt'}")
    assert (data.counts.tolist(), len(data.validation or ()), len(data.test)) == ([5, 3, 2], 3, 6)
    assert (data.name, data.class_names) == ("list:zoo_train", CLASSES)
    assert {"the validation list is zoo_val.txt.gz", "the test list is zoo_test.txt"} <= set(data.notes)
    assert data.train.name(5) == "train/bee/train_0000.jpg"


def test_a_list_and_a_folder_of_the_same_pictures_are_one_data_set(zoo: pathlib.Path) -> None:
    listed = load(f"list:{zoo / 'zoo_train.txt'}")
    folder = load(f"folder:{zoo}")
    assert listed.fingerprint == folder.fingerprint
    large = [load(name, image_size=104) for name in (f"list:{zoo / 'zoo_train.txt'}", f"folder:{zoo}")]
    assert large[0].fingerprint == large[1].fingerprint != listed.fingerprint


def test_without_a_test_list_a_fifth_is_held_out(zoo: pathlib.Path) -> None:
    (zoo / "zoo_test.txt").unlink()
    data = load(f"list:{zoo / 'zoo_train.txt'}")
    assert (data.counts.tolist(), len(data.test)) == ([4, 2, 1], 3)
    assert "no test list: a fifth of each class was held out for testing, from a fixed seed" in data.notes


def test_labels_may_count_from_one(tmp_path: pathlib.Path) -> None:
    counts = dict(zip(CLASSES, (4, 3, 2), strict=True))
    zero = write(tmp_path / "a", "train.txt", lines("train", counts))
    one = write(tmp_path / "b", "train.txt", lines("train", counts, labels_from=1))
    assert load(f"list:{one}", labels_from=1).fingerprint == load(f"list:{zero}").fingerprint
    with pytest.raises(InputError, match="4 labels are out of range: 0; they must be 1 and above"):
        load(f"list:{zero}", labels_from=1)
    with pytest.raises(InputError, match="no picture has the label 0; --labels-from 1 says"):
        load(f"list:{one}")
    with pytest.raises(InputError, match="--labels-from is for list:PATH"):
        load("digits-lt", labels_from=1)


def test_the_two_kinds_of_lists_are_told_apart_by_what_they_hold(tmp_path: pathlib.Path, zoo: pathlib.Path) -> None:
    whole = load("digits-lt")
    write_selection(
        tmp_path / "chosen.txt",
        [int(torch.nonzero(whole.train.target == c)[0]) for c in range(10)],
        whole.train.target,
        about={"data": "digits-lt", "options": "{}", "of": whole.fingerprint},
    )
    assert load(f"list:{tmp_path / 'chosen.txt'}").counts.tolist() == [1] * 10
    assert load(f"list:{zoo / 'zoo_train.txt'}").counts.tolist() == [5, 3, 2]


def test_only_a_line_with_a_space_behind_its_mark_is_a_comment(zoo: pathlib.Path) -> None:
    """Pictures whose names begin with # were left out without a word."""
    for name in ("#1.jpg", "#2.jpg"):
        shutil.copy(zoo / "train/ant/train_0000.jpg", zoo / name)
    before = load(f"list:{zoo / 'zoo_train.txt'}")
    text = (zoo / "zoo_train.txt").read_text()
    (zoo / "zoo_train.txt").write_text(f"# pictures of ants, bees and cats\n#\n{text}#1.jpg 0\n#2.jpg 1\n")
    data = load(f"list:{zoo / 'zoo_train.txt'}")
    assert data.counts.tolist() == [6, 4, 2]
    assert set(data.notes) - set(before.notes) == {"passed over 2 lines of the train list that begin with '# '"}


def test_absolute_paths_need_no_root(tmp_path: pathlib.Path) -> None:
    rows = lines("train", dict(zip(CLASSES, (4, 3, 2), strict=True)))
    write(tmp_path / "pictures", "unused.txt", rows)
    (tmp_path / "train.txt").write_text("".join(f"{tmp_path}/pictures/{row}\n" for row in rows))
    assert load(f"list:{tmp_path / 'train.txt'}").class_names == CLASSES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n", r"train.txt, line 1: 'a.jpg' does not read PATH LABEL"),
        ("a.jpg 0\nb.jpg one\n", r"line 2: 'b.jpg one' does not read PATH LABEL"),
        ("a.jpg 0\nb.jpg -1\nc.jpg -2\n", "2 labels are out of range: -2, -1; they must be 0 and above"),
        ("", "holds no line PATH LABEL"),
        ("a.jpg 0\nb.jpg 1\n", r"names 2 files that are not below .*: a.jpg, b.jpg \(--root says where"),
    ],
)
def test_a_bad_list_is_one_line(tmp_path: pathlib.Path, text: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load(f"list:{tmp_path / 'train.txt'}")
    assert "\n" not in str(caught.value)


def test_ten_missing_files_are_named_and_the_others_counted(zoo: pathlib.Path) -> None:
    rows = [f"gone/{i:02}.jpg 0\n" for i in range(12)]
    with (zoo / "zoo_train.txt").open("a") as file:
        file.writelines(rows)
    for size in (None, 104):
        with pytest.raises(InputError, match=r"names 12 files .*: gone/00.jpg, .*gone/09.jpg and 2 more") as caught:
            load(f"list:{zoo / 'zoo_train.txt'}", image_size=size)
        assert "gone/10" not in str(caught.value)
    found = [finding.detail for finding in verify(f"list:{zoo / 'zoo_train.txt'}") if not finding.ok]
    assert found[0] == "12 of 31 are missing"
    assert found[1:] == [row.split()[0] for row in rows]


def test_a_test_label_that_nobody_trains_on_is_out_of_range(zoo: pathlib.Path) -> None:
    (zoo / "zoo_test.txt").write_text("test/ant/test_0000.jpg 3\n")
    with pytest.raises(InputError, match=r"zoo_test.txt: 1 labels are out of range: 3; they must be 0 to 2"):
        load(f"list:{zoo / 'zoo_train.txt'}")


def test_a_damaged_gz_is_one_line(tmp_path: pathlib.Path) -> None:
    whole = gzip.compress(b"a.jpg 0\n" * 100)
    (tmp_path / "train.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"train.txt.gz cannot be read"):
        load(f"list:{tmp_path / 'train.txt.gz'}")
    with pytest.raises(InputError, match=r"none.txt: there is no such file"):
        load(f"list:{tmp_path / 'none.txt'}")


def test_classes_are_called_by_their_folders_if_each_has_its_own() -> None:
    def named(*paths: str) -> tuple[str, ...]:
        return lists.class_names({"train": Listed(Names(paths), torch.arange(len(paths)))})

    assert named("train_val2018/Aves/7/a.jpg", "train_val2018/Plantae/8/b.jpg") == ("Aves/7", "Plantae/8")
    assert named("train/cat/a.jpg", "train/cat/b.jpg") == ("0", "1")
    assert named("a.jpg", "b.jpg") == ("0", "1")
    split = Listed(Names(["train/cat/a.jpg", "train/dog/b.jpg", "train/cow/c.jpg"]), torch.tensor([0, 0, 1]))
    assert lists.class_names({"train": split}) == ("0", "1")


# -------------------------------------------------------------------------------------------------------- class sizes


@pytest.mark.parametrize("text", ["4\n3\n1\n", "[4, 3, 1]", "ant 4\nbee 3\ncat 1\n", "cat\t1\nant\t4\nbee\t3\n"])
def test_class_sizes_stand_for_a_profile(zoo: pathlib.Path, tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "sizes.txt").write_text(text)
    data = load(f"list:{zoo / 'zoo_train.txt'}", class_sizes=tmp_path / "sizes.txt")
    assert (data.counts.tolist(), data.profile, data.imbalance) == ([4, 3, 1], "class sizes", 4.0)
    other = load(f"list:{zoo / 'zoo_train.txt'}", class_sizes=[4, 3, 1], split_seed=1)
    assert other.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4\n3\n", "has 2 sizes; 3 classes need one each"),
        ("4\nthree\n1\n", "'three' is no whole number"),
        ("4\n3\n0\n", "a class would be left without images"),
        ("9\n3\n1\n", "class 'ant' has 5 images, 9 are wanted"),
        ("ant 4\nbee 3\nemu 1\n", "no size for cat"),
    ],
)
def test_bad_class_sizes_are_one_line(zoo: pathlib.Path, tmp_path: pathlib.Path, text: str, message: str) -> None:
    (tmp_path / "sizes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        load(f"list:{zoo / 'zoo_train.txt'}", class_sizes=tmp_path / "sizes.txt")


def test_class_sizes_and_an_imbalance_contradict_each_other(zoo: pathlib.Path) -> None:
    with pytest.raises(InputError, match="leave imbalance and profile out"):
        load(f"list:{zoo / 'zoo_train.txt'}", class_sizes=[4, 3, 1], imbalance=2)


# ------------------------------------------------------------------------------------------------------------- tables


def table(zoo: pathlib.Path, text: str) -> str:
    (zoo / "zoo.csv").write_text(text)
    return f"csv:{zoo / 'zoo.csv'}"


def test_a_table_names_paths_labels_and_splits(zoo: pathlib.Path) -> None:
    rows = [
        f"{name}{mark}{name.split('/')[1]}{mark}{split}\n"
        for mark in ";"
        for split in ("train", "test")
        for name in [row.split()[0] for row in lines(split, dict.fromkeys(CLASSES, 2))]
    ]
    data = load(table(zoo, "Path;label;split\n" + "".join(rows)))
    assert (data.class_names, data.counts.tolist(), len(data.test)) == (CLASSES, [2, 2, 2], 6)
    assert data.name == "csv:zoo"


def test_labels_that_are_numbers_count_as_numbers(zoo: pathlib.Path) -> None:
    rows = [row.split()[0] for row in lines("train", dict.fromkeys(CLASSES, 2))]
    text = "path,label\n" + "".join(
        f"{row},{label}\n" for row, label in zip(rows, ["10", "10", "9", "9", "2", "2"], strict=True)
    )
    assert load(table(zoo, text)).class_names == ("2", "9", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "its first line names no column 'path'"),
        ("path,label\n", "has no row to train on"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "line 3: the split is ''; it must be train, val or test"),
        ("path,label,split\na.png,x,train\nb.png,y\n", "line 3: the split is ''; it must be train, val or test"),
        ("path,label\nant, red.png,x\n", "line 2: it has 3 cells, the first line 2"),
        ("path,label\na.png,\n", "zoo.csv, line 2: the label is missing"),
        ("path,label,split\na.png,x,later\n", "line 2: the split is 'later'; it must be train, val or test"),
        ("path,label\na.png,x\n", "has one class only, 'x'"),
        ("path,label,split\na,x,train\nb,y,train\nc,z,test\n", "no training picture has the label z"),
        ("path,label\na.png,x\nb.png,y\n", "names 2 files that are not below"),
    ],
)
def test_a_bad_table_is_one_line(zoo: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(table(zoo, text))
    assert "\n" not in str(caught.value)
