"""Folders as people have them: what is read, what is left out and named, what is refused."""

from __future__ import annotations

import os
import pathlib
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from longtail.data import layout, load
from longtail.data.verify import verify
from longtail.errors import InputError


def save(path: pathlib.Path, **options) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list("/".join(path.parts[-3:]).encode("utf-8", "surrogateescape"))
    pixels = np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def fill(root: pathlib.Path, sizes: dict[str, int]) -> pathlib.Path:
    for name, number in sizes.items():
        for i in range(number):
            save(root / name / f"{i}.png")
    return root


CLASSES = {"ant": 6, "bee": 5}


@pytest.fixture
def zoo(tmp_path):
    return fill(tmp_path / "zoo", CLASSES)


def faulty(findings) -> list[str]:
    return [f"{finding.what}: {finding.detail}" for finding in findings if not finding.ok]


# Splits


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize("test", ["test", "Test", "TESTING"])
@pytest.mark.parametrize("validation", [None, "val", "Valid", "validation"])
def test_splits_are_known_by_all_their_names(tmp_path, train, test, validation):
    for name in filter(None, (train, test, validation)):
        fill(tmp_path / "zoo" / name, CLASSES)
    found = layout.find(tmp_path / "zoo")
    assert found.class_names == ("ant", "bee")
    assert {name: len(listed) for name, listed in found.splits.items()} == {
        "train": 11,
        "test": 11,
        **({"validation": 11} if validation else {}),
    }
    assert (found.left, found.faults) == ((), ())


def test_a_validation_folder_is_used_as_validation(tmp_path):
    root = tmp_path / "zoo"
    for name in ("train", "valid", "test"):
        fill(root / name, CLASSES)
    data = load(f"folder:{root}")
    assert (len(data.train), len(data.validation), len(data.test)) == (11, 11, 11)
    assert data.validation.name(0) == "valid/ant/0.png"
    assert data.notes == ("the validation folder is used as validation: 11 pictures",)
    with pytest.raises(InputError, match="has validation images of its own"):
        load(f"folder:{root}", validation=0.1)


def test_without_a_test_folder_validation_stays_and_test_is_held_out(tmp_path):
    for name in ("train", "val"):
        fill(tmp_path / "zoo" / name, CLASSES)
    data = load(f"folder:{tmp_path / 'zoo'}")
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 11, 2)
    assert any("no test folder" in note for note in data.notes)


def test_a_class_may_be_called_train(tmp_path):
    found = layout.find(fill(tmp_path / "vehicles", {"bus": 2, "train": 3}))
    assert (found.class_names, len(found.train), found.test) == (("bus", "train"), 5, None)


def test_splits_without_class_folders_are_no_classes(tmp_path):
    with pytest.raises(InputError, match="Test/, Train/ hold no folders: one folder of pictures for each class"):
        layout.find(fill(tmp_path / "zoo", {"Train": 3, "Test": 2}))


def test_loose_pictures_in_the_test_folder_are_named(tmp_path):
    root = tmp_path / "zoo"
    fill(root / "train", CLASSES)
    fill(root, {"test": 4})
    data = load(f"folder:{root}")
    assert any("test/ has no class folders" in note for note in data.notes)
    assert any("left out 4 pictures beside the folders of the classes: test/0.png" in note for note in data.notes)


def test_folders_beside_the_splits_are_named(tmp_path):
    root = tmp_path / "zoo"
    fill(root / "train", CLASSES)
    fill(root / "test", CLASSES)
    fill(root, {"unlabelled": 12})
    (note,) = load(f"folder:{root}").notes
    assert note.startswith("left out 12 pictures beside the folders of the classes: unlabelled/0.png, ")
    assert note.endswith(" and 2 more")


def test_a_wrapper_folder_is_looked_through(tmp_path):
    shutil.copytree(fill(tmp_path / "plain", CLASSES), tmp_path / "download" / "zoo-v1" / "zoo")
    (tmp_path / "download" / "__MACOSX").mkdir()
    plain, wrapped = load(f"folder:{tmp_path / 'plain'}"), load(f"folder:{tmp_path / 'download'}")
    assert wrapped.fingerprint == plain.fingerprint
    assert wrapped.class_names == ("ant", "bee")
    assert "read from zoo-v1/, the only folder in download/" in wrapped.notes


def test_a_wrapper_within_a_split_is_looked_through(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / "zoo" / name / "images", CLASSES)
    assert layout.find(tmp_path / "zoo").class_names == ("ant", "bee")


# Names


def test_class_names_that_look_alike_are_doubted(tmp_path):
    fill(tmp_path / "zoo", {"Cat": 3, "cat": 3, "dog": 3})
    for form in ("NFC", "NFD"):
        fill(tmp_path / "zoo", {unicodedata.normalize(form, "kätzchen"): 3})
    found = faulty(verify(f"folder:{tmp_path / 'zoo'}"))
    assert "classes: class names that differ by case or Unicode form only: 'Cat', 'cat'" in found
    assert any("'ka\\u0308tzchen', 'k\\xe4tzchen'" in line for line in found)
    assert sum("class names" in note for note in load(f"folder:{tmp_path / 'zoo'}").notes) == 2


def test_a_test_class_that_differs_by_case_only_is_hinted_at(tmp_path):
    fill(tmp_path / "zoo" / "train", {"cat": 2, "dog": 2})
    fill(tmp_path / "zoo" / "test", {"Cat": 2, "dog": 2, "emu": 1})
    with pytest.raises(InputError, match=r"\(Cat and cat differ by case or Unicode form\); nor of emu"):
        load(f"folder:{tmp_path / 'zoo'}")


def test_names_that_are_no_utf8_are_refused_at_once(zoo):
    try:
        os.mkdir(os.fsencode(zoo) + b"/b\xff")
    except OSError:
        pytest.skip("such a name cannot be made here")
    save(zoo / os.fsdecode(b"b\xff") / "0.png")
    with pytest.raises(InputError, match=r"class names that are no UTF-8: b\\xff") as caught:
        load(f"folder:{zoo}")
    str(caught.value).encode()
    assert any(r"b\xff" in line for line in faulty(verify(f"folder:{zoo}")))


def test_a_picture_may_have_any_name(zoo):
    save(zoo / "ant" / os.fsdecode(b"p\xff\n.png"))
    shutil.copy(zoo / "ant" / "0.png", zoo / "bee" / os.fsdecode(b"q\xff.png"))
    found = "\n".join(faulty(verify(f"folder:{zoo}")))
    found.encode()
    assert r"ant/0.png" in found
    assert r"bee/q\xff.png" in found


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "~nosuchuser/zoo"])
@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_path_that_is_none(kind, path):
    for call in (load, verify):
        with pytest.raises(InputError) as caught:
            call(f"{kind}:{path}")
        assert "\n" not in str(caught.value)


# Classes


def test_all_empty_classes_are_named(zoo):
    for name in ("cow", "dog", "emu"):
        (zoo / name).mkdir()
    with pytest.raises(InputError, match="3 classes have no pictures: cow, dog, emu"):
        load(f"folder:{zoo}")
    data = load(f"folder:{zoo}", leave_out_classes_below=1)
    assert data.class_names == ("ant", "bee")
    assert "left out 3 classes with fewer than 1 picture: cow (0), dog (0), emu (0)" in data.notes


def test_all_single_picture_classes_are_named_and_can_be_left_out(zoo):
    fill(zoo, {"eel": 1, "fox": 1})
    save(zoo / "gnu" / "0.png")
    shutil.copy(zoo / "gnu" / "0.png", zoo / "gnu" / "1.png")
    with pytest.raises(InputError, match=r"3 classes \(eel, fox, gnu\) have a single image, or copies of one"):
        load(f"folder:{zoo}")
    data = load(f"folder:{zoo}", leave_out_classes_below=2)
    assert data.class_names == ("ant", "bee")
    assert data.counts.tolist() == [5, 4]
    assert "left out 2 classes with fewer than 2 pictures: eel (1), fox (1)" in data.notes
    assert "left out 1 class of copies of one picture: gnu" in data.notes


def test_single_training_pictures_beside_a_test_folder_are_a_note(tmp_path):
    fill(tmp_path / "zoo" / "train", {"ant": 3, "bee": 1, "cow": 1})
    fill(tmp_path / "zoo" / "test", {"ant": 1, "bee": 1, "cow": 1})
    assert load(f"folder:{tmp_path / 'zoo'}").notes == ("2 classes have a single training picture: bee, cow",)


def test_left_out_classes_are_left_out_of_all_splits(tmp_path):
    fill(tmp_path / "zoo" / "train", {"ant": 1, "bee": 4, "cow": 3})
    fill(tmp_path / "zoo" / "test", {"ant": 2, "bee": 2, "cow": 2, "dog": 1})
    data = load(f"folder:{tmp_path / 'zoo'}", leave_out_classes_below=3)
    assert (data.class_names, data.counts.tolist(), data.test.target.tolist()) == (("bee", "cow"), [4, 3], [0, 0, 1, 1])
    assert any("dog: there is no class of this name" in note for note in data.notes)


@pytest.mark.parametrize("below", [0, -1])
def test_fewer_than_one_picture_is_no_bound(zoo, below):
    for name in (f"folder:{zoo}", "digits-lt"):
        with pytest.raises(InputError, match="the fewest"):
            load(name, leave_out_classes_below=below)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="has one class only, 'ant': at least two folders of pictures are needed"):
        load(f"folder:{fill(tmp_path / 'zoo', {'ant': 4})}")


def test_the_first_of_several_faults_is_said_and_verify_names_all(zoo):
    (zoo / "cow").mkdir()
    os.mkdir(os.fsencode(zoo) + b"/d\xff")
    with pytest.raises(InputError, match=r"and 1 more faults \(longtail data verify names them all\)"):
        load(f"folder:{zoo}")
    (zoo / "bee" / "0.png").write_bytes(b"no picture")
    shutil.copy(zoo / "ant" / "1.png", zoo / "bee" / "1.png")
    found = "\n".join(faulty(verify(f"folder:{zoo}")))
    for words in ("no UTF-8", "cow", "bee/0.png is no readable picture", "ant/1.png (train), bee/1.png (train)"):
        assert words in found


# Files


@pytest.mark.parametrize("ending", [".JPG", ".jfif", ".Jpe", ".webp", ".tga", ".ppm", ".pcx", ".jp2", ".avif", ".ico"])
def test_what_pillow_reads_is_read(zoo, ending):
    before = load(f"folder:{zoo}").counts.tolist()
    kind = {".jfif": "JPEG", ".ico": "ICO"}.get(ending)
    for i in range(5):
        save(zoo / "ant" / f"more{i}{ending}", **({"format": kind} if kind else {}))
    data = load(f"folder:{zoo}")
    assert data.counts.tolist() == [before[0] + 4, before[1]]
    assert not any("left out" in note for note in data.notes)


def test_pictures_of_other_kinds_are_named_and_other_files_counted(zoo):
    for name in ("ant/a.svg", "bee/b.CR2", "ant/c.xcf", "ant/notes.txt", "bee/list.txt", "bee/README", ".git/x.png"):
        (zoo / name).parent.mkdir(exist_ok=True)
        (zoo / name).write_bytes(b"x")
    notes = load(f"folder:{zoo}").notes
    assert any(
        "left out 3 pictures of kinds that are not read" in n and "ant/a.svg, ant/c.xcf, bee/b.CR2" in n for n in notes
    )
    assert any("3 files): .txt (2), no ending (1)" in note for note in notes)
    assert any("left out 1 hidden file or folder: .git" in note for note in notes)
    found = verify(f"folder:{zoo}")
    assert [line.split(" (")[0] for line in faulty(found)] == [
        "left out: ant/a.svg",
        "left out: ant/c.xcf",
        "left out: bee/b.CR2",
    ]


def test_heic_is_named_with_the_plug_in_that_reads_it(zoo, monkeypatch):
    monkeypatch.setattr(layout, "endings", lambda: frozenset({".png"}))
    (zoo / "ant" / "photo.HEIC").write_bytes(b"x")
    assert any("pillow-heif reads .heic): ant/photo.HEIC" in note for note in load(f"folder:{zoo}").notes)


def test_heic_is_read_where_the_plug_in_is(zoo):
    pillow_heif = pytest.importorskip("pillow_heif")
    colour = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(colour)).save(zoo / "ant" / "photo.HEIC", quality=95)
    found = load(f"folder:{zoo}", image_size=8)
    assert not any("photo" in note for note in found.notes)
    pictures = np.concatenate([found.train.images.numpy(), found.test.images.numpy()]).astype(float)
    nearest = np.abs(pictures - np.array([200, 40, 40])[:, None, None]).max(axis=(1, 2, 3)).min()
    assert nearest < 12  # the format loses a little


def test_stray_pictures_are_named(zoo):
    save(zoo / "stray.png")
    assert any(
        "left out 1 picture beside the folders of the classes: stray.png" in n for n in load(f"folder:{zoo}").notes
    )
    assert faulty(verify(f"folder:{zoo}")) == ["left out: stray.png (picture beside the folders of the classes)"]


# Links and what cannot be opened


def test_linked_folders_are_read(zoo, tmp_path):
    before = load(f"folder:{zoo}").fingerprint
    (zoo / "bee").rename(tmp_path / "elsewhere")
    (zoo / "bee").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "deeper").mkdir()
    (zoo / "ant" / "5.png").rename(tmp_path / "deeper" / "5.png")
    (zoo / "ant" / "more").symlink_to(tmp_path / "deeper")
    assert load(f"folder:{zoo}").fingerprint == before


@pytest.mark.parametrize("target", [".", "..", "../..", "../ant", "loop"])
def test_links_that_lead_back_end(zoo, target):
    (zoo / "ant" / "loop").symlink_to(target)
    found = layout.find(zoo)
    assert len(found.train) == 11
    if target != "loop":
        assert [left.names for left in found.left] == [("ant/loop",)]


def test_links_that_lead_nowhere_are_named(zoo):
    (zoo / "ant" / "gone.png").symlink_to("nowhere.png")
    assert any("left out 1 link that leads nowhere: ant/gone.png" in note for note in load(f"folder:{zoo}").notes)
    assert faulty(verify(f"folder:{zoo}")) == ["left out: ant/gone.png (link that leads nowhere)"]


def test_a_link_that_leads_nowhere_is_named_whatever_it_is_called(zoo):
    for name in ("more", "list.txt", "drawing.svg"):
        (zoo / "ant" / name).symlink_to("nowhere")
    assert faulty(verify(f"folder:{zoo}")) == [
        f"left out: ant/{name} (link that leads nowhere)" for name in ("drawing.svg", "list.txt", "more")
    ]


@pytest.mark.parametrize("place", ["cow", "test", "Dr. Cow"])
def test_a_dead_link_beside_the_classes_may_have_been_one(zoo, place):
    """A disc that is not there: the class was passed over, or a fifth held out although there was a test folder."""
    (zoo / place).symlink_to("/nowhere/cow")
    with pytest.raises(InputError, match=rf"{place}: a link that leads nowhere; mend it, remove it, or leave it out"):
        load(f"folder:{zoo}")
    assert [line.split(";")[0] for line in faulty(verify(f"folder:{zoo}"))] == [
        f"folder: {zoo}/{place}: a link that leads nowhere"
    ]
    assert load(f"folder:{zoo}", leave_out_classes_below=1).class_names == ("ant", "bee")
    left = faulty(verify(f"folder:{zoo}", leave_out_classes_below=1))
    assert left == [f"left out: {place} (link that leads nowhere)"]


def test_a_dead_link_beside_one_folder_is_no_wrapper(tmp_path):
    fill(tmp_path / "zoo" / "ant", CLASSES)
    (tmp_path / "zoo" / "bee").symlink_to("/nowhere/bee")
    with pytest.raises(InputError, match="bee: a link that leads nowhere"):
        load(f"folder:{tmp_path / 'zoo'}")


@pytest.mark.parametrize("place", ["train/cow", "test/cow", "val"])
def test_a_dead_link_beside_the_classes_of_a_split_is_a_fault(tmp_path, place):
    for name in ("train", "test"):
        fill(tmp_path / "zoo" / name, CLASSES)
    (tmp_path / "zoo" / place).symlink_to("/nowhere")
    with pytest.raises(InputError, match=rf"{place}: a link that leads nowhere"):
        load(f"folder:{tmp_path / 'zoo'}")


def test_folders_within_a_class_are_told(zoo):
    """The class is one, but a branch that lies a level too deep looks the same."""
    fill(zoo, {"2024/photos/crow": 3, "2024/photos/owl": 3})
    told = "1 class holds its pictures in several folders, which count as one class: 2024 (crow, owl)"
    assert told in load(f"folder:{zoo}").notes
    assert faulty(verify(f"folder:{zoo}")) == [f"classes: {told}"]


def test_folders_within_every_class_are_in_order(tmp_path):
    fill(tmp_path / "zoo", {f"{name}/{year}": 3 for name in CLASSES for year in (2023, 2024)})
    (note,) = (note for note in load(f"folder:{tmp_path / 'zoo'}").notes if "several folders" in note)
    assert note.endswith("which count as one class: ant (2023, 2024), bee (2023, 2024)")
    assert faulty(verify(f"folder:{tmp_path / 'zoo'}")) == []
    save(tmp_path / "zoo" / "ant" / "2023" / "deep" / "1.png")
    for name in CLASSES:
        (tmp_path / "zoo" / name / "2023").rename(tmp_path / "zoo" / name / "all")
        shutil.rmtree(tmp_path / "zoo" / name / "2024")
    assert not any("several folders" in note for note in load(f"folder:{tmp_path / 'zoo'}").notes)


def test_a_fifo_never_hangs(zoo, tmp_path):
    os.mkfifo(zoo / "ant" / "pipe.png")
    os.mkfifo(tmp_path / "pipe.npz")
    assert any("no file: ant/pipe.png" in note for note in load(f"folder:{zoo}").notes)
    for call in (load, verify):
        with pytest.raises(InputError, match="no ordinary file"):
            call(f"npz:{tmp_path / 'pipe.npz'}")
        with pytest.raises(InputError, match="no such folder"):
            call(f"folder:{tmp_path / 'pipe.npz'}")


@pytest.fixture
def closed(monkeypatch):
    """Folders of this name may not be read, whoever runs the test."""
    scan = os.scandir

    def refuse(path):
        if pathlib.Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_folders_that_cannot_be_read_are_named(zoo, closed):
    fill(zoo / "ant", {"closed": 2})
    name = "ant/closed (Permission denied)"
    assert any(f"left out 1 folder that cannot be read: {name}" in note for note in load(f"folder:{zoo}").notes)
    assert any(name in line for line in faulty(verify(f"folder:{zoo}")))


def test_a_class_that_cannot_be_read_is_not_called_empty(zoo, closed):
    fill(zoo, {"closed": 2})
    with pytest.raises(InputError, match=r"class folders that cannot be read: closed \(Permission denied\)$"):
        load(f"folder:{zoo}")


def test_what_is_clean_has_nothing_left_out(zoo):
    found = layout.find(zoo)
    assert (found.left, found.notes, found.doubts, found.faults) == ((), (), (), ())
    assert faulty(verify(f"folder:{zoo}")) == []
