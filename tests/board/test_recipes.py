from __future__ import annotations

from typing import Any

import pytest

from longtail.board.recipes import (
    augmentations,
    is_linear_probe,
    method_name,
    options_in_words,
    split_recipe,
    stage_epochs,
    track,
)


def part(name: str, source: str = "", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "source": source}


def stage(trains: str, epochs: int, *augmentation: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "stage", "epochs": epochs, "trains": trains, "augmentation": list(augmentation),
        "objective": part("longtail.losses:focal", gamma=2.0), "sampler": part("longtail.samplers:natural"),
        "optimizer": part("longtail.recipes:sgd"), "schedule": part("longtail.recipes:cosine"), **more,
    }  # fmt: skip


NEW = {
    "name": "bns-probe",
    "model": part("longtail.models:cifar_resnet", depth=32),
    "stages": [
        stage("backbone", 1000, part("longtail.augment:Views", operations=[part("longtail.augment:RandomResizedCrop"),
                                                                          part("longtail.augment:HorizontalFlip")])),
        stage("classifier", 100, part("longtail.augment:RandomCrop", padding=4)),
    ],
}  # fmt: skip
OLD = {
    "type": "Recipe", "name": "bns-probe", "model": {"type": "CifarResNet", "depth": 32},
    "stages": [
        {"type": "Stage", "epochs": 1000, "trains": "backbone", "augmentation": [
            {"type": "Views", "operations": [{"type": "RandomResizedCrop"}, {"type": "HorizontalFlip"}]}]},
        {"type": "Stage", "epochs": 100, "trains": "classifier", "augmentation": [{"type": "RandomCrop"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("config", [NEW, OLD])
def test_both_forms_of_a_configuration_are_read(config: dict[str, Any]) -> None:
    assert stage_epochs(config) == [1000, 100]
    assert augmentations(config) == "Views + RandomResizedCrop + flip + crop"
    assert is_linear_probe(config)
    record = {"config": config, "data": {"name": "cifar100-lt"}, "model": {"name": "resnet32"}}
    assert track(record) == "scratch"


@pytest.mark.parametrize(
    ("trained", "probe"),
    [(["all"], False), (["all", "classifier"], False), (["backbone", "classifier"], True), (["classifier"], True),
     (["backbone"], False), (["classifier", "all"], False), (["backbone", "all"], False), ([], False)],
)  # fmt: skip
def test_a_probe_is_known_by_its_stages(trained: list[str], probe: bool) -> None:
    assert is_linear_probe({"stages": [{"trains": each} for each in trained]}) == probe


def test_pre_trained_weights_and_foreign_features_are_no_training_from_scratch() -> None:
    def of(model: Any, data: str = "cifar100-lt") -> str:
        return track({"config": {"model": model}, "data": {"name": data}, "model": {"name": "x"}})

    assert of(part("longtail.models:timm_model", weights="FILE")) == "imagenet"
    assert of(part("longtail.models:timm_model", weights="")) == "scratch"
    assert of({"type": "Pretrained", "pretrained": True}) == "imagenet"
    assert of(None) == "unstated"
    assert of(part("longtail.models:linear"), "features:mine.npz") == "unstated"


def test_options_and_own_parts_in_words() -> None:
    own = {"stages": [stage("all", 3, sampler=part("mine.py:Half", "3f0c"))]}
    assert options_in_words("ce", own) == ("own part Half",)
    assert options_in_words("dro-lt@balancing=(ldam@scale=30),layers=0.5,1,resample-every=4", NEW) == (
        "balancing ldam@scale=30", "layers 0.5,1", "resample every 4",
    )  # fmt: skip
    assert split_recipe("ce") == ("ce", {})
    assert method_name("/home/ada/secret/mine.py:vs_loss@gamma=1") == "vs_loss"


@pytest.mark.parametrize(
    "config", [{}, {"stages": 3}, {"stages": [3, {"epochs": "x"}]}, {"stages": [{"augmentation": 1}]}]
)
def test_a_configuration_of_another_kind_says_nothing(config: dict[str, Any]) -> None:
    assert stage_epochs(config) == []
    assert augmentations(config) is None
    assert not is_linear_probe(config)
    assert options_in_words("x", config) == ()


def test_endless_nesting_ends() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"augmentation": [deep], "type": "x"}
    assert augmentations({"stages": [deep]}) == "x"
    assert track({"config": {"model": deep}, "data": {}, "model": {}}) == "scratch"


def test_runs_on_pictures_of_other_sizes_are_told_apart() -> None:
    def words(size: Any) -> tuple[str, ...]:
        network = {"name": "longtail.models:timm_model", "arguments": {"head": "cosine", "size": size}, "source": ""}
        return options_in_words("ce", {"model": network, "stages": [{"trains": "classifier"}]})

    assert words(224) == ("cosine head", "pictures of 224 pixels")
    assert words(0) == words(None) == words("224") == words(True) == ("cosine head",)


@pytest.mark.parametrize(
    ("name", "shape", "stated"),
    [
        ("cifar100-lt", [3, 32, 32], "scratch"),
        ("features:own", [64], "unstated"),
        ("cifar100-lt-a-network-128", [1280], "unstated"),
    ],
)
def test_a_layer_on_given_features_is_not_trained_from_scratch(name: str, shape: list[int], stated: str) -> None:
    model = {"name": "longtail.models:projected", "arguments": {}}
    assert track({"data": {"name": name, "shape": shape}, "config": {"model": model}, "model": {}}) == stated
