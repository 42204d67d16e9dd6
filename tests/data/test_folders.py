from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data import folders, layout, load, pictures
from longtail.data.fingerprint import fingerprint
from longtail.data.splits import TOGETHER, held_out
from longtail.errors import InputError


def picture(path: pathlib.Path, *, size=(8, 8), mode="L", value=None, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No two files are alike: the last three parts of a path tell them apart.
    generator = np.random.default_rng(list("/".join(path.parts[-3:]).encode()))
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    pixels = generator.integers(256, size=shape, dtype=np.uint8) if value is None else np.full(shape, value, np.uint8)
    Image.fromarray(pixels, mode if mode != "LA" else None).save(path, **options)


def tree(root: pathlib.Path, sizes: dict[str, int], **options) -> pathlib.Path:
    for name, images in sizes.items():
        for number in range(images):
            picture(root / name / f"{number:03d}.png", **options)
    return root


@pytest.fixture
def toy(tmp_path):
    """A natural tail in one folder: 20, 10 and 2 grey pictures."""
    return tree(tmp_path / "toy", {"bee": 10, "ant": 20, "cow": 2})


def opened(file: pathlib.Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(file)))


# Layouts


def test_train_and_test_folders_are_taken_as_they_are(tmp_path):
    tree(tmp_path / "toy" / "train", {"b": 4, "a": 9})
    tree(tmp_path / "toy" / "test", {"a": 2, "b": 3})
    data = load(f"folder:{tmp_path / 'toy'}")
    assert (data.name, data.class_names, data.counts.tolist()) == ("folder:toy", ("a", "b"), [9, 4])
    assert data.test.target.tolist() == [0, 0, 1, 1, 1]
    assert data.train.index.tolist() == list(range(13))
    assert data.train.images.shape == (13, 1, 8, 8)
    for position, file in ((0, "train/a/000"), (12, "train/b/003")):
        assert torch.equal(data.train.images[position, 0], opened(tmp_path / "toy" / f"{file}.png"))
    assert torch.equal(data.test.images[4, 0], opened(tmp_path / "toy" / "test" / "b" / "002.png"))
    assert data.notes == ()
    assert (data.profile, data.split_seed, data.imbalance) == (None, None, 9 / 4)


def test_without_a_test_folder_a_fifth_of_each_class_is_held_out_and_said(toy):
    data, again = load(f"folder:{toy}"), load(f"folder:{toy}")
    assert data.counts.tolist() == [16, 8, 1]
    assert data.test.target.bincount().tolist() == [4, 2, 1]
    assert sorted([*data.train.index.tolist(), *data.test.index.tolist()]) == list(range(32))
    assert data.notes == ("no test folder: a fifth of each class was held out for testing, from a fixed seed",)
    assert again.fingerprint == data.fingerprint


def test_without_copies_the_held_out_images_are_those_of_the_plain_draw(toy):
    """So folders without copies keep the split and the fingerprint that they had before copies were looked at."""
    data = load(f"folder:{toy}")
    target = torch.tensor([0] * 20 + [1] * 10 + [2] * 2)
    _, out = held_out(target, torch.tensor([4, 2, 1]), seed=0)
    assert data.test.index.tolist() == out.tolist()
    assert data.rule == ""
    assert data.fingerprint == fingerprint(data.train, None, data.test)


def test_copies_are_held_out_together_and_the_fingerprint_says_by_which_rule(toy):
    for number in range(4):
        for copy in range(3):
            shutil.copy(toy / "ant" / f"{number:03d}.png", toy / "ant" / f"copy{number}-{copy}.png")
    data = load(f"folder:{toy}")
    known = {image.numpy().tobytes() for image in data.train.images}
    assert not any(image.numpy().tobytes() in known for image in data.test.images)
    assert data.counts.tolist() == [26, 8, 1]
    assert data.rule == TOGETHER
    assert data.fingerprint == fingerprint(data.train, None, data.test, TOGETHER)
    assert data.fingerprint != fingerprint(data.train, None, data.test)
    assert "12 pictures are copies of another; copies were kept on one side of the test split" in data.notes


def test_a_train_folder_alone_is_split_as_well(toy, tmp_path):
    (tmp_path / "other").mkdir()
    toy.rename(tmp_path / "other" / "train")
    assert load(f"folder:{tmp_path / 'other'}").counts.tolist() == [16, 8, 1]


def test_drawing_and_validation_leave_the_test_images_alone(toy):
    plain, drawn = load(f"folder:{toy}"), load(f"folder:{toy}", imbalance=2, split_seed=4, validation=0.25)
    assert torch.equal(plain.test.index, drawn.test.index)
    assert drawn.profile == "exponential"


def test_names_are_in_the_order_of_their_letters_not_of_the_disc(tmp_path):
    for name in ("b", "B", "ä", "a10", "a9"):
        tree(tmp_path / "toy", {name: 2})
    assert load(f"folder:{tmp_path / 'toy'}").class_names == ("B", "a10", "a9", "b", "ä")


def test_hidden_and_other_files_are_skipped(toy):
    before = load(f"folder:{toy}").fingerprint
    (toy / "ant" / ".hidden.png").write_bytes(b"no picture")
    (toy / "ant" / "._000.png").write_bytes(b"no picture")
    (toy / "ant" / "notes.txt").write_text("no picture")
    (toy / "Thumbs.db").write_bytes(b"no folder")
    (toy / ".git").mkdir()
    (toy / "bee" / ".thumbnails").mkdir()
    (toy / "bee" / ".thumbnails" / "000.png").write_bytes(b"no picture")
    assert load(f"folder:{toy}").fingerprint == before


def test_pictures_may_lie_deeper_and_be_links(toy, tmp_path):
    before = load(f"folder:{toy}").fingerprint
    outside = tmp_path / "outside.png"
    (toy / "ant" / "019.png").rename(outside)
    (toy / "ant" / "zz").mkdir()
    (toy / "ant" / "zz" / "a.PNG").symlink_to(outside)
    assert load(f"folder:{toy}").fingerprint == before


# Pixels


def test_pictures_of_one_small_size_stay_as_they_are(tmp_path):
    tree(tmp_path / "toy", {"a": 5, "b": 5}, size=(12, 10), mode="RGB")
    data = load(f"folder:{tmp_path / 'toy'}")
    assert data.train.images.shape[1:] == (3, 10, 12)
    assert "scaled" not in "".join(data.notes)
    first = opened(tmp_path / "toy" / "a" / "000.png").permute(2, 0, 1)
    assert any(torch.equal(first, image) for image in [*data.train.images, *data.test.images])


def test_pictures_of_many_sizes_become_squares_of_32_and_it_is_said(tmp_path):
    tree(tmp_path / "toy", {"a": 3}, size=(50, 40))
    tree(tmp_path / "toy", {"b": 3}, size=(40, 50))
    data = load(f"folder:{tmp_path / 'toy'}")
    assert data.train.images.shape[1:] == (1, 32, 32)
    assert data.notes[0] == (
        "pictures scaled and cropped around their centre to 32 x 32 pixels; 2 sizes, 40 x 50 to 50 x 40"
    )


def test_large_pictures_become_squares_of_32(tmp_path):
    tree(tmp_path / "toy", {"a": 3, "b": 3}, size=(80, 80))
    assert load(f"folder:{tmp_path / 'toy'}").train.images.shape[1:] == (1, 32, 32)


def test_the_size_that_is_asked_for(tmp_path):
    tree(tmp_path / "toy", {"a": 3, "b": 3}, size=(12, 12))
    data = load(f"folder:{tmp_path / 'toy'}", image_size=20)
    assert data.train.images.shape[1:] == (1, 20, 20)
    assert "20 x 20" in data.notes[0]
    assert "scaled" not in "".join(load(f"folder:{tmp_path / 'toy'}", image_size=12).notes)


def test_the_shorter_side_is_scaled_and_the_longer_one_cropped_around_the_centre(tmp_path):
    """A picture three times as wide as high, black, white and black: only the white middle is left."""
    pixels = np.zeros((16, 48), np.uint8)
    pixels[:, 16:32] = 255
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / "toy" / name[0]).mkdir(parents=True, exist_ok=True)
        pixels[8, 20:28] -= 9  # so that no two are copies
        Image.fromarray(pixels).save(tmp_path / "toy" / f"{name}.png")
    images = load(f"folder:{tmp_path / 'toy'}", image_size=8).train.images
    assert (images > 200).float().mean() > 0.9
    stretched = np.array(Image.fromarray(pixels).resize((8, 8)))  # the mutant
    assert (stretched > 200).mean() < 0.5


def test_one_colour_picture_makes_all_of_three_channels(toy):
    grey = load(f"folder:{toy}")
    picture(toy / "ant" / "zzz.png", mode="RGB")
    data = load(f"folder:{toy}")
    assert data.train.images.shape[1:] == (3, 8, 8)
    assert grey.train.images.shape[1:] == (1, 8, 8)
    together = torch.cat([data.train.images, data.test.images])
    target = torch.cat([data.train.target, data.test.target])
    cows = together[target == 2]
    assert torch.equal(cows[:, 0], cows[:, 1])


def test_photos_stand_upright(tmp_path):
    """A photo stored lying and marked as turned is the same as one stored upright."""
    upright = np.arange(8 * 8, dtype=np.uint8).reshape(8, 8)
    lying = Image.fromarray(np.rot90(upright))
    exif = lying.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    tree(tmp_path / "toy" / "train", {"b": 1})
    tree(tmp_path / "toy" / "test", {"b": 1})
    (tmp_path / "toy" / "train" / "a").mkdir()
    lying.save(tmp_path / "toy" / "train" / "a" / "0.png", exif=exif)
    data = load(f"folder:{tmp_path / 'toy'}")
    assert torch.equal(data.train.images[0, 0], torch.from_numpy(upright))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK"])
def test_other_kinds_of_pictures(tmp_path, mode):
    options = {"transparency": bytes([0, 128] * 128)} if mode == "P" else {}
    ending = "jpg" if mode == "CMYK" else "png"
    for number in range(4):
        pixels = np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8)
        where = tmp_path / "toy" / "ab"[number % 2]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(where / f"{number}.{ending}", **options)
    channels = 1 if mode in ("LA", "1") else 3
    assert load(f"folder:{tmp_path / 'toy'}").train.images.shape == (2, channels, 8, 8)


def test_progress_is_told(toy):
    told = []
    folders.read(toy, image_size=None, notify=lambda done, total: told.append((done, total)))
    assert told == [(32, 32)]


# What cannot be read


def damaged(root):
    (root / "bee" / "004.png").write_bytes((root / "bee" / "004.png").read_bytes()[:-30])


def no_picture(root):
    (root / "bee" / "004.png").write_text("some text")


def deep(root):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "bee" / "004.png")


def empty_class(root):
    for file in (root / "cow").iterdir():
        file.unlink()


def single(root):
    (root / "cow" / "000.png").unlink()


def two_train(root):
    tree(root / "train", {"a": 2, "b": 2})
    tree(root / "Training", {"a": 2})


def foreign(root):
    tree(root / "train", {"a": 2, "b": 2})
    tree(root / "test", {"a": 2, "dog": 1})


def only_test(root):
    tree(root / "test", {"a": 2})


def empty_test(root):
    tree(root / "train", {"a": 2, "b": 2})
    (root / "test" / "a").mkdir(parents=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, r"bee/004\.png is no readable picture"),
        (no_picture, r"bee/004\.png is no readable picture \(cannot identify image file\)"),
        (deep, r"bee/004\.png: more than 8 bits a channel"),
        (empty_class, r"cow: class 'cow' has no pictures \(files that end in \.png"),
        (single, "class 'cow' has a single image, or copies of one, so none can be held out for testing: add images"),
        (two_train, "has 2 train folders, Training, train: keep one of them"),
        (foreign, "test/dog: there is no class of this name in"),
        (only_test, "has a test folder but no train folder beside it"),
        (empty_test, "test holds no pictures"),
    ],
)
def test_what_is_wrong_is_said(toy, tmp_path, spoil, message):
    if spoil in (two_train, foreign, only_test, empty_test):
        toy = tmp_path / "splits"
    spoil(toy)
    with pytest.raises(InputError, match=message) as caught:
        load(f"folder:{toy}")
    assert "\n" not in str(caught.value)


HINT = "; leave such pictures out with --skip-unreadable, list all with longtail data verify"


@pytest.mark.parametrize("image_size", [None, 104])
def test_what_can_be_done_about_damage_is_said(toy, monkeypatch, tmp_path, image_size):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    no_picture(toy)
    with pytest.raises(InputError, match=r"bee/004\.png is no readable picture \(cannot identify image file\)") as one:
        load(f"folder:{toy}", image_size=image_size)
    assert str(one.value).endswith(f"image file){HINT}")
    (toy / "ant" / "000.png").write_text("some text")
    with pytest.raises(InputError, match=r"ant/000\.png is no readable picture") as two:
        load(f"folder:{toy}", image_size=image_size)
    assert str(two.value).endswith(f"; and 1 more picture{HINT}")
    data = load(f"folder:{toy}", image_size=image_size, skip_unreadable=True)
    assert "left out 2 training pictures that cannot be read: ant/000.png, bee/004.png" in data.notes


@pytest.mark.parametrize("image_size", [None, 104])
def test_damage_that_cannot_be_skipped_is_said_to_be_listed(toy, monkeypatch, tmp_path, image_size):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "test"):
        tree(tmp_path / "both" / split, {"a": 2, "b": 2})
    (tmp_path / "both" / "test" / "a" / "000.png").write_text("some text")
    for skip in (False, True):
        with pytest.raises(InputError, match=r"image file\); list all with longtail data verify$"):
            load(f"folder:{tmp_path / 'both'}", image_size=image_size, skip_unreadable=skip)
    for file in toy.rglob("*.png"):
        file.write_text("some text")
    with pytest.raises(InputError, match=r"; and 31 more pictures; list all with longtail data verify$"):
        load(f"folder:{toy}", image_size=image_size, skip_unreadable=True)


def test_what_was_skipped_is_said_where_small_pictures_are_many(toy, monkeypatch, tmp_path):
    """Their number alone made them too large for memory, and their size did not: the note was lost."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("longtail.data.listing.is_streamed", lambda *_: True)
    no_picture(toy)
    data = load(f"folder:{toy}", skip_unreadable=True)
    assert not data.train.streamed
    assert "left out 1 training picture that cannot be read: bee/004.png" in data.notes


def test_two_pictures_a_class_leave_none_for_validation(tmp_path):
    tree(tmp_path / "toy", {"a": 2, "b": 2})
    with pytest.raises(InputError, match="no class has an image to spare for validation"):
        load(f"folder:{tmp_path / 'toy'}", validation=0.5)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        load(f"folder:{tmp_path / 'none'}")


def test_a_folder_without_folders(tmp_path):
    with pytest.raises(InputError, match="has no folders: one folder of pictures is needed for each class"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_none(toy, size):
    with pytest.raises(InputError, match="the side of the images in pixels, from 1"):
        load(f"folder:{toy}", image_size=size)


def test_plankton_loads(real_data):
    if not (real_data / "plankton" / "train").is_dir():
        pytest.skip("plankton/ is not in the folder with the real data")
    # Reading all of it takes seconds; the listing and one class show that the layout is understood.
    found = layout.find(real_data / "plankton")
    assert (len(found.train), len(found.test or ()), len(found.class_names)) == (28_541, 1_795, 121)
    assert (found.left, found.notes, found.doubts, found.faults) == ((), (), (), ())
    for file in found.files[:200]:
        pictures.decode(file, None)
