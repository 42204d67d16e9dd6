from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from longtail.counts import class_counts
from longtail.data import Source, Split, draw, hygiene, load, near, splits
from longtail.data.copies import groups
from longtail.data.describe import describe
from longtail.data.fingerprint import fingerprint
from longtail.data.verify import verify
from longtail.errors import InputError


def pool(numbers: list[int], target: list[int]) -> Split:
    """Images of 4 x 4, equal exactly where their numbers are."""
    images = torch.stack(
        [torch.randint(256, (1, 4, 4), generator=torch.Generator().manual_seed(n), dtype=torch.uint8) for n in numbers]
    )
    return Split(images, torch.tensor(target), torch.arange(len(numbers)))


def source(train, test, validation=None) -> Source:
    made = {name: pool(*held) for name, held in (("train", train), ("test", test))}
    return Source("toy", **made, class_names=("a", "b"), validation=None if validation is None else pool(*validation))


# Groups of copies


def naive(numbers: list[int]) -> list[int]:
    return [numbers.index(n) for n in numbers]


def test_equal_images_have_one_number_and_others_do_not(generator):
    numbers = torch.randint(40, (100,), generator=generator).tolist()
    images = pool(numbers, [0] * 100).images
    found = torch.cat(groups([images[:60], images[60:]])).tolist()
    assert naive(found) == naive(numbers)


def test_one_bit_makes_another_image():
    images = torch.zeros(2, 3, 5, 5, dtype=torch.uint8)
    images[1, 2, 4, 4] = 1
    assert groups([images])[0].tolist() == [0, 1]
    thumbnails = images.float().mean((1, 2, 3)).round()  # the mutant: compare means
    assert thumbnails[0] == thumbnails[1]


def test_a_split_without_images_has_no_copies():
    empty = pool([1], [0]).at(torch.arange(0))
    assert [found.tolist() for found in groups([empty.images, torch.zeros(0, 5)])] == [[], []]
    assert hygiene.count({"test": empty}, hygiene.copies({"test": empty})).clean
    assert hygiene.near_counted({"test": empty})[0] == "none"


def test_what_is_counted():
    data = source(([1, 1, 2, 3, 4, 9], [0, 0, 0, 1, 1, 1]), ([1, 5, 3, 3, 9], [0, 0, 1, 0, 1]), ([2, 6, 5], [0, 1, 0]))
    found = hygiene.summary(data)
    assert dataclasses.asdict(found) == {
        "test": 5,
        "test_in_train": 4,  # 1, 3, 3, 9
        "validation_in_train": 1,  # 2
        "test_in_validation": 1,  # 5
        "in_two_classes": 1,  # 3
        "repeated": 1,  # 1 in train
        "one_colour": 0,
    }
    assert not found.clean
    assert "4 of 5 test images are training images too; 1 validation image is a" in found.line()


def test_a_clean_set_has_nothing_to_say():
    found = hygiene.summary(source(([1, 2], [0, 1]), ([3, 4], [0, 1])))
    assert (found.clean, found.line()) == (True, "")
    assert hygiene.summary(source(([1, 1, 2], [0, 0, 1]), ([3, 4], [0, 1]))).clean  # repeated, but nowhere else


def test_pictures_of_one_colour_are_counted():
    data = source(([1, 2, 3], [0, 1, 1]), ([4], [0]))
    data.train.images[1] = 77
    data.train.images[2, :, 1:] = 77
    assert hygiene.summary(data).one_colour == 1
    colours = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 4).clone()
    colours[1, 2, 0, 0] = 0
    assert hygiene.one_colour(colours) == [0]


# A held-out split that keeps copies on one side


def random_pool(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets, copies and sizes with copies within and across classes."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(4, (120,), generator=generator)
    copies = torch.randint(20 + 10 * (seed % 9), (120,), generator=generator)
    return target, copies, (class_counts(target, 4) // 5).clamp(min=1)


@pytest.mark.parametrize("seed", range(40))
def test_copies_are_on_one_side_and_sizes_are_kept(seed):
    target, copies, sizes = random_pool(seed)
    rest, held, rule = splits.held_out_with_copies(target, sizes, copies, seed=seed)
    assert sorted([*rest.tolist(), *held.tolist()]) == list(range(120))
    assert set(copies[rest].tolist()).isdisjoint(copies[held].tolist())
    assert rule == splits.TOGETHER
    assert (class_counts(target[rest], 4) > 0).all()
    again = splits.held_out_with_copies(target, sizes, copies, seed=seed)
    assert torch.equal(again[1], held)
    plain = splits.held_out(target, sizes, seed=seed)  # the mutant
    assert not set(copies[plain[0]].tolist()).isdisjoint(copies[plain[1]].tolist())


def test_the_size_is_only_exceeded_where_nothing_fits():
    target = torch.tensor([0] * 9 + [1] * 10)
    copies = torch.tensor([0] * 4 + [1] * 5 + list(range(2, 12)))
    rest, held, _ = splits.held_out_with_copies(target, torch.tensor([1, 2]), copies, seed=0)
    assert held.tolist()[:4] == [0, 1, 2, 3]  # the smaller of the two groups of class 0
    assert class_counts(target[held], 2).tolist() == [4, 2]
    assert len(rest) == 13


def test_without_copies_the_split_is_the_plain_one():
    target, _, sizes = random_pool(3)
    rest, held, rule = splits.held_out_with_copies(target, sizes, torch.arange(120), seed=3)
    plain = splits.held_out(target, sizes, seed=3)
    assert (rule, rest.tolist(), held.tolist()) == ("", plain[0].tolist(), plain[1].tolist())


def test_many_copies_of_one_picture_take_no_time():
    target = torch.zeros(20_000, dtype=torch.int64)
    copies = torch.cat([torch.zeros(19_000, dtype=torch.int64), torch.arange(1, 1001)])
    _, held, _ = splits.held_out_with_copies(target, torch.tensor([4000]), copies, seed=0)
    assert held.tolist() == list(range(19_000, 20_000))


def test_validation_keeps_copies_on_one_side_and_the_fingerprint_says_so():
    numbers = [n for n in range(8) for _ in range(5)]
    made = source((numbers, [n % 2 for n in numbers]), ([90, 91], [0, 1]))
    data = draw(made, imbalance=None, profile="exponential", split_seed=0, validation=0.25)
    found = hygiene.summary(data)
    assert found.validation_in_train == 0
    assert class_counts(data.validation.target, 2).tolist() == [5, 5]
    assert data.rule == splits.TOGETHER
    assert data.fingerprint != fingerprint(data.train, data.validation, data.test)
    assert data.fingerprint == fingerprint(data.train, data.validation, data.test, splits.TOGETHER)


# Leaving copies out by a list


COPIES = source(([1, 1, 2, 3, 4, 4, 7, 6], [0, 0, 0, 1, 1, 0, 0, 1]), ([1, 5, 8], [0, 0, 1]), ([2, 6], [0, 1]))


def test_the_list_keeps_one_of_each_and_none_of_two_classes(tmp_path):
    path = tmp_path / "copies.txt"
    kept, note = hygiene.without_copies(COPIES, path)
    assert {name: split.index.tolist() for name, split in kept.items()} == {
        "train": [3, 6],  # 1 is in test, 2 and 6 in validation, 4 under two classes
        "validation": [0, 1],
        "test": [0, 1, 2],
    }
    assert note == "left out 6 images that copies.txt lists as copies"
    assert not hygiene.copies(kept)
    assert path.read_text().splitlines()[1:] == [
        "train 0 image 0",
        "train 1 image 1",
        "train 2 image 2",
        "train 4 image 4",
        "train 5 image 5",
        "train 7 image 7",
    ]


def test_a_list_may_be_edited(tmp_path):
    path = tmp_path / "copies.txt"
    hygiene.without_copies(COPIES, path)
    path.write_text(path.read_text().splitlines()[0] + "\n# mine\n\ntrain 3\n")
    assert hygiene.without_copies(COPIES, path)[0]["train"].index.tolist() == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: "", "is no list of copies"),
        (lambda text: text.replace("train 0", "train zero"), "line 2: a line reads SPLIT NUMBER NAME"),
        (lambda text: text + "train ٣\n", "line 8: a line reads SPLIT NUMBER NAME"),
        (lambda text: text + "train 99\n", "there is no train image of number 99"),
        (lambda text: text + "tests 1\n", "there is no split 'tests'; train, validation, test are there"),
        (lambda text: text + "test 0\ntest 1\ntest 2\n", "the test split would be left without images"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, edit, message):
    path = tmp_path / "copies.txt"
    hygiene.without_copies(COPIES, path)
    path.write_text(edit(path.read_text()), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        hygiene.without_copies(COPIES, path)


def test_the_list_of_other_data_is_refused(tmp_path):
    hygiene.without_copies(COPIES, tmp_path / "copies.txt")
    with pytest.raises(InputError, match="was made for other data"):
        hygiene.without_copies(source(([1], [0]), ([2], [1])), tmp_path / "copies.txt")


def test_loading_leaves_copies_out(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(7, 4, 4), dtype=np.uint8)
    names = np.array(["a", "b"])
    np.savez(
        tmp_path / "toy.npz",
        train_images=pixels[[0, 1, 2, 3, 0, 4]],
        train_target=[0, 0, 1, 1, 0, 1],
        test_images=pixels[[4, 5]],
        test_target=[1, 0],
        class_names=names,
    )
    name, path = f"npz:{tmp_path / 'toy.npz'}", tmp_path / "copies.txt"
    assert not all(finding.ok for finding in verify(name))
    data = load(name, drop_duplicates=path)
    assert data.train.index.tolist() == [0, 1, 2, 3]
    assert data.notes == ("left out 2 images that copies.txt lists as copies",)
    assert all(finding.ok for finding in verify(name, drop_duplicates=path))
    assert load(name, drop_duplicates=str(path)).fingerprint == data.fingerprint


# Near duplicates


def pictures(number: int, channels: int = 3) -> torch.Tensor:
    """Smooth pictures, as photographs are."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(number, channels, 6, 6, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255).byte()


def as_image(image: torch.Tensor):
    from PIL import Image

    return Image.fromarray(image.permute(1, 2, 0).numpy())


def changed(image: torch.Tensor, kind: str) -> torch.Tensor:
    import io

    from PIL import Image

    picture = as_image(image)
    if kind == "jpeg":
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=90)
        picture = Image.open(stored)
    elif kind == "scaled":
        picture = picture.resize((48, 48)).resize((32, 32))
    elif kind == "brighter":
        return (image.float() * 0.8 + 40).byte()
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["jpeg", "scaled", "brighter"])
def test_near_copies_are_found_and_others_are_not(kind):
    pytest.importorskip("imagehash")
    images = pictures(40)
    copies = torch.stack([changed(image, kind) for image in images[:10]])
    assert not torch.equal(copies, images[:10])
    assert near.pairs(torch.cat([images, copies])) == [(i, 40 + i) for i in range(10)]


def test_a_drawing_in_another_colour_is_another_picture():
    pytest.importorskip("imagehash")
    flag = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    flag[:, :, 8:24, 4:28] = 0
    red, green = flag.clone(), flag.clone()
    red[:, 0], green[:, 1] = 255, 255
    assert near.pairs(torch.cat([red, green])) == []


def test_flat_pictures_are_near_to_nothing():
    pytest.importorskip("imagehash")
    assert near.pairs(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 32, 32)) == []


def test_verify_names_near_copies_across_splits(tmp_path):
    pytest.importorskip("imagehash")
    images = pictures(12)
    test = torch.cat([torch.stack([changed(images[3], "jpeg")]), pictures(3)])
    np.savez(
        tmp_path / "toy.npz",
        train_images=images.numpy(),
        train_target=[0, 1] * 6,
        test_images=test.numpy(),
        test_target=[1, 0, 0, 1],
        class_names=np.array(["a", "b"]),
    )
    found = [finding.detail for finding in verify(f"npz:{tmp_path / 'toy.npz'}") if not finding.ok]
    assert found == ["1 pair across splits or classes, 0 within", "image 3 (train), image 0 (test)"]
    described = describe(load(f"npz:{tmp_path / 'toy.npz'}"))
    assert described.near_copies == "1 pair across splits or classes, 0 within"
    assert "  near copies  1 pair across" in described.text()


def test_what_was_not_looked_for_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "LIMIT", 10)
    assert any("images are too many" in finding.detail for finding in verify("digits-lt"))
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "imagehash", None)
    assert any("pip install 'longtail[hygiene]'" in finding.detail for finding in verify("digits-lt"))
