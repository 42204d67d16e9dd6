"""Features of a frozen network: each is the network's answer to its picture, written once, whole, and found again."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longtail.data import catalogue, load
from longtail.errors import InputError
from longtail.methods import recipe
from longtail.models import Inputs, small_conv_net
from longtail.recipes import Part, part, text
from longtail.results import read as read_run
from longtail.training import embedding
from longtail.training.compute import Compute
from longtail.training.embedding import embedded, frozen, prepared
from longtail.training.many import train_many
from longtail.training.prepare import network_of
from longtail.training.run import train
from longtail.training.seeds import generator

MODEL = part(small_conv_net)


def test_the_features_are_the_networks_own(tmp_path: pathlib.Path) -> None:
    pictures = load("digits-lt", imbalance=20, validation=0.2)
    path = embedded(pictures, MODEL, tmp_path / "a.safetensors")
    data = load(f"features:{path}")
    network = network_of(MODEL, num_classes=10, shape=(1, 8, 8), generator=generator(0, "model")).eval()
    mean, std = pictures.mean[0], pictures.std[0]
    assert pictures.validation is not None
    assert data.validation is not None
    for own, held in (
        (pictures.train, data.train),
        (pictures.validation, data.validation),
        (pictures.test, data.test),
    ):
        with torch.no_grad():
            expected = network.backbone((own.images.double() / 255 - mean).div(std).float())
        assert torch.allclose(held.images, expected, atol=1e-4)
        assert torch.equal(held.target, own.target)
        assert torch.equal(held.index, own.index)
    for name in ("imbalance", "profile", "split_seed", "validation_share", "class_names", "many", "few"):
        assert getattr(data, name) == getattr(pictures, name)
    assert data.fingerprint != pictures.fingerprint
    assert "features by small" in data.notes[-1]
    with pytest.raises(InputError, match="holds the subset of imbalance 20 and split seed 0; embed with --whole"):
        load(f"features:{path}", imbalance=10)
    again = load(f"features:{path}", imbalance=20, validation=0.2)
    assert again.fingerprint == data.fingerprint


def test_every_imbalance_comes_from_one_whole_file(tmp_path: pathlib.Path) -> None:
    path = embedded(catalogue.read("digits-lt"), MODEL, tmp_path / "a.safetensors")
    for imbalance in (100, 20):
        data, pictures = load(f"features:{path}", imbalance=imbalance), load("digits-lt", imbalance=imbalance)
        assert torch.equal(data.train.index, pictures.train.index)
        assert torch.equal(data.train.target, pictures.train.target)
        assert torch.equal(data.test.index, pictures.test.index)
    assert load(f"features:{path}").imbalance == 100


def counted(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[int]:
    """Counts the pictures that are prepared; after ``fail_at`` of them the process is as good as killed."""
    seen = [0]
    plain = embedding.prepared

    def once(images: Tensor, transform: Inputs) -> Tensor:
        if fail_at is not None and seen[0] >= fail_at:
            raise KeyboardInterrupt
        seen[0] += len(images)
        return plain(images, transform)

    monkeypatch.setattr(embedding, "prepared", once)
    return seen


def test_the_same_command_twice_computes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = load("digits-lt", imbalance=20)
    path = embedded(pictures, MODEL, tmp_path / "a.safetensors")
    before = path.stat().st_mtime_ns
    seen = counted(monkeypatch)
    assert embedded(pictures, MODEL, path) == path
    assert seen == [0]
    assert path.stat().st_mtime_ns == before
    for other, words in (
        ((load("digits-lt", imbalance=10), MODEL), "imbalance"),
        ((pictures, part(small_conv_net, widths=(4, 8))), "weights"),
    ):
        with pytest.raises(InputError, match=f"holds other features .*{words}"):
            embedded(*other, path)
    with pytest.raises(InputError, match=r"holds other features .*transform"):
        embedded(pictures, MODEL, path, image_size=16)


def test_a_stopped_run_goes_on_to_the_same_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "KEPT", 128)
    pictures = load("digits-lt", imbalance=20)
    total = len(pictures.train) + len(pictures.test)
    whole = embedded(pictures, MODEL, tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "a.safetensors"
    with monkeypatch.context() as patch:
        counted(patch, fail_at=500)
        with pytest.raises(KeyboardInterrupt):
            embedded(pictures, MODEL, path)
    assert not path.exists()
    with monkeypatch.context() as patch:
        seen = counted(patch)
        embedded(pictures, MODEL, path)
    assert path.read_bytes() == whole
    # What had reached the disk is not computed again; one batch is looked at to fold the network.
    assert seen[0] < total - 500 + 128 + 3 * embedding.BATCH
    assert [entry.name for entry in tmp_path.iterdir() if "a.safe" in entry.name and "lock" not in entry.name] == [
        "a.safetensors"
    ]


def test_what_another_run_began_is_not_taken_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that resumes whatever lies there would mix the features of two networks."""
    monkeypatch.setattr(embedding, "KEPT", 128)
    pictures = load("digits-lt", imbalance=20)
    path = tmp_path / "a.safetensors"
    with monkeypatch.context() as patch:
        counted(patch, fail_at=500)
        with pytest.raises(KeyboardInterrupt):
            embedded(pictures, part(small_conv_net, widths=(8, 32, 64)), path)
    embedded(pictures, MODEL, path)
    right = embedded(pictures, MODEL, tmp_path / "b.safetensors")
    assert path.read_bytes() == right.read_bytes()


def test_a_damaged_file_is_refused(tmp_path: pathlib.Path) -> None:
    path = embedded(load("digits-lt", imbalance=20), MODEL, tmp_path / "a.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum does not fit"):
        load(f"features:{path}")
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="is damaged"):
        load(f"features:{path}")


def test_what_cannot_be_embedded_is_refused(tmp_path: pathlib.Path) -> None:
    pictures = load("digits-lt", imbalance=20)
    with pytest.raises(InputError, match=r"written to a \.safetensors file"):
        embedded(pictures, MODEL, tmp_path / "a.npz")
    path = embedded(pictures, MODEL, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds features already"):
        embedded(load(f"features:{path}"), MODEL, tmp_path / "b.safetensors")


def check_scaling(scale: Any) -> None:
    """Bicubic scaling is Pillow's, within one level, where nothing is cut off between its two passes."""
    from PIL import Image

    images = torch.randint(60, 196, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = [
        np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((128, 128), Image.Resampling.BICUBIC))
        for image in images
    ]
    found = scale(images) * 255
    assert found.shape == (3, 3, 128, 128)
    assert float((found - torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2)).abs().max()) <= 1.01


def test_pictures_are_scaled_as_pillow_does_it() -> None:
    plain = Inputs(128, "bicubic", (0.0,) * 3, (1.0,) * 3)
    check_scaling(lambda images: prepared(images, plain))
    for mutant in (
        lambda images: prepared(images, dataclasses.replace(plain, interpolation="bilinear")),
        lambda images: nn.functional.interpolate(images / 255, size=(128, 128), mode="bicubic"),
    ):
        with pytest.raises(AssertionError):
            check_scaling(mutant)


def test_folding_changes_nothing_and_what_does_is_not_folded() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone[1].running_mean.normal_()
    backbone[1].running_var.uniform_(0.5, 2)
    backbone.eval()
    images = torch.randn(6, 3, 8, 8)
    folded = frozen(backbone, images)
    assert folded is not backbone
    assert torch.allclose(folded(images[:5]), backbone(images[:5]), atol=1e-5)

    class OfTheBatch(nn.Module):
        """Its trace holds the number of images for ever."""

        def forward(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3)) * images.shape[0] if len(images) > 3 else images.mean(dim=(2, 3))

    odd = OfTheBatch().eval()
    assert frozen(odd, images) is odd


def test_methods_run_on_features(tmp_path: pathlib.Path) -> None:
    """One epoch of each kind of method: losses, samplers, two stages, subsets, centroids, two views."""
    path = embedded(catalogue.read("digits-lt"), MODEL, tmp_path / "a.safetensors")
    data = load(f"features:{path}", imbalance=20)
    compute = Compute("cpu", "float32", compiled=False)
    for name, model in [
        ("logit-adjustment", None),
        ("crt", "linear@head=cosine,scale=20"),
        ("ip-dpp", "linear"),
        ("dro-lt@steps=3", "projected@width=8"),
        ("bns-ipdpp", "mlp@widths=(32,)"),
    ]:
        made = recipe(name, data, model=model, epochs=1)
        record = train(made, data, seed=0, out=tmp_path / name, store=tmp_path / "stages", compute=compute)
        assert record.data["shape"] == [64]
        assert 0 <= record.report["accuracy"] <= 1
    assert recipe("ce", data).stages[0].batch_size == 512
    with pytest.raises(InputError, match="trains a representation, and linear has none: use --model projected"):
        train(recipe("dro-lt", data, epochs=1), data, seed=0, out=tmp_path / "x", compute=compute)
    with pytest.raises(InputError, match="these are features: --augmentation none"):
        train(recipe("ce", data, epochs=1, augmentation="plain"), data, seed=0, out=tmp_path / "y", compute=compute)
    with pytest.raises(InputError, match="this network is for images"):
        train(recipe("ce", data, epochs=1, model="small"), data, seed=0, out=tmp_path / "z", compute=compute)


def test_a_run_on_features_predicts_for_new_rows(tmp_path: pathlib.Path) -> None:
    from longtail.use import predict

    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    target = (rows[:, 0] > 0).long()
    np.savez(
        tmp_path / "t.npz",
        train_features=rows[:40],
        train_target=target[:40],
        test_features=100 * rows[40:],
        test_target=target[40:],
    )
    data = load(f"features:{tmp_path / 't.npz'}")
    made = recipe("ce", data, epochs=30, batch_size=8, model="linear")
    record = train(made, data, seed=0, out=tmp_path / "run", compute=Compute("cpu", "float32", compiled=False))
    probability = predict(tmp_path / "run", data.test.images)
    right = float((probability.argmax(dim=1) == data.test.target).double().mean())
    assert right == record.report["accuracy"] > 0.8
    with pytest.raises(InputError, match=r"takes float32 features \(N, 3\)"):
        predict(tmp_path / "run", torch.zeros(2, 4))


def test_the_key_holds_all_that_the_features_depend_on(tmp_path: pathlib.Path) -> None:
    pictures = load("digits-lt", imbalance=20)
    network = network_of(MODEL, num_classes=10, shape=(1, 8, 8), generator=generator(0, "model"))
    inputs = Inputs(8, "bicubic", (0.5,), (0.5,))

    def key(data: Any = pictures, held: Inputs = inputs, model: Part = MODEL) -> str:
        splits = {"train": data.train, "test": data.test}
        return embedding.facts_for(data, splits, model, "small", network.backbone, held).key

    turned = dataclasses.replace(
        pictures, train=dataclasses.replace(pictures.train, images=255 - pictures.train.images)
    )
    with torch.no_grad():
        plain = key()
        others = {
            key(turned),
            key(held=dataclasses.replace(inputs, size=16)),
            key(held=dataclasses.replace(inputs, mean=(0.1,))),
            key(model=text.read("resnet20", "model")),
            key(model=text.read("resnet20@widths=(8,16,32)", "model")),
        }
        next(network.backbone.parameters()).add_(1)
        others.add(key())
    assert len(others | {plain}) == 7
    assert key() == key(model=MODEL.with_arguments(head="cosine", scale=1.0))  # what the features do not depend on


def _own(tmp_path: pathlib.Path, function: str) -> Part:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, num_classes=10):\n"
        f"        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.{function}(), nn.Linear(8, num_classes))\n"
    )
    os.utime(tmp_path / "net.py", (0, 0))
    return text.read(f"{tmp_path / 'net.py'}:Net", "model")


def test_a_network_edited_in_its_file_has_features_of_its_own(tmp_path: pathlib.Path) -> None:
    pictures, out = load("digits-lt", imbalance=50), tmp_path / "f.safetensors"
    embedded(pictures, _own(tmp_path, "ReLU"), out)
    other = _own(tmp_path, "Tanhshrink")
    with pytest.raises(InputError, match="it differs in the network's code or options"):
        embedded(pictures, other, out)
    once = load(f"features:{out}").train.images
    again = load(f"features:{embedded(pictures, other, tmp_path / 'g.safetensors')}").train.images
    assert once.min() >= 0 > again.min()


def test_a_run_on_an_edited_network_takes_no_features_of_the_old_one(tmp_path: pathlib.Path) -> None:
    pictures, compute = load("digits-lt", imbalance=50), Compute("cpu", "float32", compiled=False)

    def accuracy(function: str, out: str) -> float:
        made = recipe("ce", pictures, epochs=2, augmentation="none", model=_own(tmp_path, function))
        stages = tuple(dataclasses.replace(stage, trains="classifier") for stage in made.stages)
        made = dataclasses.replace(made, stages=stages)
        rows = train_many([made], pictures, seeds=[0], out=tmp_path / out, compute=compute)
        return float(read_run(next(iter(rows.values()))[0]).record.history[-1]["loss"])

    first = accuracy("ReLU", "runs")
    assert accuracy("Tanhshrink", "runs") == accuracy("Tanhshrink", "other") != first
