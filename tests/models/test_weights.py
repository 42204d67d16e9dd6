from __future__ import annotations

import hashlib
import os
import pathlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from longtail.errors import InputError
from longtail.models import timm_model
from longtail.models.weights import read
from longtail.recipes.part import address, part

timm = pytest.importorskip("timm")


def build(name: str, weights: pathlib.Path | str = "", *, num_classes: int = 5, channels: int = 3, **options):
    generator = torch.Generator().manual_seed(0)
    given = {"num_classes": num_classes, "channels": channels, "image_size": 32, "generator": generator}
    return part(timm_model, timm_name=name, weights=str(weights), **options).build(**given)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A model of timm with a classifier of seven classes, whose numbers no draw of ours gives."""
    torch.manual_seed(11)
    return timm.create_model("test_efficientnet", num_classes=7).eval()


@pytest.fixture(scope="module")
def file(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(trained.state_dict(), path)
    return path


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def theirs(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.forward_head(model.forward_features(images), pre_logits=True)


def test_features_are_those_of_the_file_and_a_foreign_classifier_is_left_out_and_said(trained, file):
    network = build("test_efficientnet", file).eval()
    torch.testing.assert_close(network.backbone(IMAGES), theirs(trained, IMAGES))
    assert network.name == "test_efficientnet (pretrained)"
    assert any("its classifier of 7 classes is left out, the one for these 5 is new" in note for note in network.notes)
    random = build("test_efficientnet").eval()
    assert not torch.allclose(random.backbone(IMAGES), theirs(trained, IMAGES))
    assert torch.equal(network.head.weight, random.head.weight)


def test_a_classifier_of_the_same_number_of_classes_is_taken_over_and_said(trained, file):
    network = build("test_efficientnet", file, num_classes=7).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES).logits, trained(IMAGES))
    assert any("its classifier of 7 classes included" in note for note in network.notes)
    # A cosine head is another one: it is drawn.
    assert any("left out" in note for note in build("test_efficientnet", file, num_classes=7, head="cosine").notes)


def test_inputs_are_the_models_own_with_weights_and_the_datas_without(file):
    with_weights = build("test_efficientnet", file).inputs
    assert (with_weights.size, with_weights.interpolation) == (160, "bicubic")
    assert with_weights.mean == (0.485, 0.456, 0.406)
    assert build("test_efficientnet", file, size=48).inputs.size == 48
    assert build("test_efficientnet").inputs.mean is None
    assert build("test_efficientnet").inputs.size == 32
    assert build("test_resnet").inputs.interpolation == "bilinear"


@pytest.mark.parametrize("nest", ["", "state_dict", "model"])
def test_a_pytorch_checkpoint_gives_the_same(nest, trained, tmp_path):
    tensors = {f"_orig_mod.module.{name}": held for name, held in trained.state_dict().items()}
    torch.save({nest: tensors, "epoch": 3} if nest else tensors, tmp_path / "model.pth")
    network = build("test_efficientnet", tmp_path / "model.pth").eval()
    torch.testing.assert_close(network.backbone(IMAGES), theirs(trained, IMAGES))


def test_averaged_weights_are_preferred(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": {"a": torch.ones(1)}}, tmp_path / "model.pth")
    assert float(read(tmp_path / "model.pth")["a"]) == 1.0


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Runs()}, tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"model\.pth holds no weights that can be read safely"):
        read(tmp_path / "model.pth")
    assert not (tmp_path / "ran").exists()


def test_files_that_hold_no_weights_are_one_line(tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, said in (("none.pth", "no weights at"), ("text.pth", "read safely"), ("list.pth", "no tensors by name")):
        with pytest.raises(InputError, match=said) as error:
            build("test_efficientnet", tmp_path / name)
        assert "\n" not in str(error.value)


def broken(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    if how == "a tensor fewer":
        return {name: held for name, held in tensors.items() if name != "conv_head.weight"}
    if how == "another shape":
        return {**tensors, "conv_head.weight": torch.zeros(3, 3, 1, 1)}
    return {**tensors, "blocks.9.0.conv.weight": torch.zeros(2)}  # as of a deeper network of the family


@pytest.mark.parametrize("how", ["a tensor fewer", "another shape", "a tensor more"])
def test_weights_of_a_near_relative_are_refused(how, trained, tmp_path):
    save_file(broken(trained.state_dict(), how), tmp_path / "model.safetensors")
    needed = sum("num_batches" not in name and "classifier" not in name for name in trained.state_dict())
    fit = needed if how == "a tensor more" else needed - 1
    said = f"weights of another architecture than test_efficientnet: {fit} of its {needed} tensors fit"
    with pytest.raises(InputError, match=said):
        build("test_efficientnet", tmp_path / "model.safetensors")


def test_weights_of_another_family_are_refused_with_how_many_fit(file):
    with pytest.raises(InputError, match=r"another architecture than test_vit: 0 of its \d+ tensors fit, and \d+ of"):
        build("test_vit", file)


def test_a_position_embedding_is_resampled(tmp_path):
    model = timm.create_model("test_vit", num_classes=3)
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    network = build("test_vit", tmp_path / "vit.safetensors", size=64)
    (own,) = network.backbone.stages
    assert own.pos_embed.shape[1] == (64 // 16) ** 2 + 1
    torch.testing.assert_close(own.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)


def test_grey_pictures_get_the_sum_of_the_colours_kernels(trained, file):
    network = build("test_efficientnet", file, channels=1)
    (own,) = network.backbone.stages
    torch.testing.assert_close(own.conv_stem.weight, trained.conv_stem.weight.sum(dim=1, keepdim=True))
    assert network.inputs.mean == pytest.approx((sum((0.485, 0.456, 0.406)) / 3,))


def test_a_file_enters_an_address_by_its_contents(file, tmp_path):
    copy = tmp_path / "other name.safetensors"
    copy.write_bytes(file.read_bytes())
    made = part(timm_model, timm_name="test_efficientnet", weights=str(file))
    assert address(made) == address(made.with_arguments(weights=str(copy)))
    copy.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert address(made) != address(made.with_arguments(weights=str(copy)))


def test_a_large_file_is_hashed_once_until_it_changes(file, tmp_path, monkeypatch):
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(b"one")
    made = part(timm_model, timm_name="test_efficientnet", weights=str(copy))
    opened, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: opened.append(1) or digest(*given))
    first = address(made)
    copy.write_bytes(b"two")  # of the same size, within the resolution of a file system's clock
    second = address(made)
    assert first != second
    assert len(opened) == 2
    os.utime(copy, ns=(10**18, 10**18))
    assert [address(made), address(made)] == [second, second]
    assert len(opened) == 3
    copy.write_bytes(b"six")
    os.utime(copy, ns=(10**18 + 1, 10**18 + 1))
    assert address(made) not in (first, second)


def test_no_file_is_read_where_the_weights_are_replaced(tmp_path):
    made = part(timm_model, timm_name="test_efficientnet", weights=str(tmp_path / "gone.safetensors"))
    given = {"num_classes": 2, "channels": 3, "image_size": 32, "generator": torch.Generator()}
    assert made.build(**given, first_weights=False).inputs.size == 160


def test_weights_and_random_ones_contradict_each_other(file):
    with pytest.raises(InputError, match="contradict each other"):
        build("test_efficientnet", file, init="random")


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("test_vit", 8, r"test_vit cannot take pictures of 8x8 pixels \(its patches are 16 pixels wide\)"),
        ("test_convnext", 8, r"test_convnext cannot take pictures of 8x8 pixels \("),
    ],
)
def test_pictures_smaller_than_a_patch_or_stride_are_one_line(name, size, said):
    with pytest.raises(InputError, match=said) as error:
        build(name, size=size)
    assert "--image-size" in str(error.value)
    assert "\n" not in str(error.value)
