"""What protocols for trained networks add to a stage: resizing, pieces of a batch, clipping, averages, class means."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.data import Data, Split, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.models import CosineHead, Inputs, Network, small_conv_net
from longtail.models.network import Backbone
from longtail.recipes import Recipe, part, sgd
from longtail.recipes.contract import Batch
from longtail.training import checkpoint, loop, seeds
from longtail.training.compute import Compute
from longtail.training.passes import as_input, chunk_size
from longtail.training.prepare import class_mean_head, prepare, untrained
from longtail.training.run import train
from longtail.training.step import Average, Step

CPU = Compute("cpu", "float32", compiled=False)


@pytest.fixture(scope="module")
def digits() -> Data:
    """A few digits: 60 to train on, 40 to test on, 20 to validate on."""
    data = load("digits-lt", imbalance=10)

    def few(split: Split, start: int, count: int) -> Split:
        drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))[start : start + count]
        return split.at(drawn)

    train = few(data.train, 0, 60)
    counts = torch.bincount(train.target, minlength=10)
    return dataclasses.replace(
        data, train=train, test=few(data.test, 0, 40), validation=few(data.train, 60, 20), counts=counts
    ).renewed()


# Resizing.


def test_pictures_are_resized_as_torchvision_resizes_them() -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    images = torch.randint(80, 176, (2, 3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for size, kind in ((32, "bicubic"), (12, "bilinear"), (12, "bicubic")):
        found = as_input(images, Inputs(size, kind, (0.0,) * 3, (1.0,) * 3), (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
        mode = transforms.InterpolationMode(kind)
        theirs = transforms.resize(images, [size, size], interpolation=mode, antialias=True)
        assert found.shape == (2, 3, size, size)
        assert (
            float((255 * found - theirs).abs().max()) < 1.01
        )  # theirs rounds to whole levels between rows and columns
    black = torch.randint(0, 2, (1, 3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8) * 255
    sharp = as_input(black, Inputs(32, "bicubic", (0.0,) * 3, (1.0,) * 3), (0.5,) * 3, (0.5,) * 3)
    assert (float(sharp.min()), float(sharp.max())) == (0.0, 1.0)  # a bicubic kernel overshoots


def test_pictures_of_the_right_size_and_other_networks_keep_every_pixel() -> None:
    images = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    plain = as_input(images, None, (0.5,), (0.25,))
    assert torch.equal(as_input(images, Inputs(8), (0.5,), (0.25,)), plain)
    torch.testing.assert_close(plain, (images.float() / 255 - 0.5) / 0.25)
    views = as_input(torch.stack([images, images.flip(-1)]), Inputs(16), (0.5,), (0.25,))
    assert views.shape == (2, 2, 1, 16, 16)
    torch.testing.assert_close(views[0], as_input(images, Inputs(16), (0.5,), (0.25,)))


def test_a_pass_takes_fewer_pictures_at_once_where_they_are_larger() -> None:
    network = small_conv_net(num_classes=2, channels=1, image_size=8, generator=torch.Generator())
    assert chunk_size(network) == 1000
    sizes = {}
    for size in (32, 64, 224, 4096):
        network.inputs = Inputs(size)
        sizes[size] = chunk_size(network)
    assert sizes == {32: 1000, 64: 250, 224: 20, 4096: 8}


# A step.


def plain_network(data: Data) -> Network:
    """No layer that looks at the whole batch."""
    generator = torch.Generator().manual_seed(5)
    backbone = Backbone([nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh())], 8)
    network = Network(backbone, nn.Linear(8, data.num_classes), "plain")
    for weight in network.parameters():
        weight.data.normal_(0, 0.3, generator=generator)
    return network


def step_for(data: Data, compute: Compute = CPU, **fields: Any) -> Step:
    made = named("ce", data, epochs=1, augmentation="none")
    stage = dataclasses.replace(made.stages[0], optimizer=part(sgd, lr=0.1), **fields)
    recipe = dataclasses.replace(made, stages=(stage,))
    return prepare(recipe, 0, plain_network(data), data, seed=0, compute=compute).step


def weights(step: Step) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in step.network.parameters()])


@pytest.mark.parametrize("pieces", [2, 3, 50])
def test_a_batch_in_pieces_gives_the_update_of_the_whole_batch(pieces: int, digits: Data) -> None:
    index = torch.arange(10)  # three pieces are not of one size: a mean over pieces would be another number
    whole, divided = step_for(digits), step_for(digits, accumulate=pieces)
    whole(index)
    divided(index)
    torch.testing.assert_close(weights(divided), weights(whole))
    torch.testing.assert_close(divided.sums.loss, whole.sums.loss)
    assert torch.equal(divided.sums.correct, whole.sums.correct)
    assert int(divided.sums.steps) == 1


def test_views_cannot_be_divided(digits: Data) -> None:
    step = step_for(digits, accumulate=2)
    batch = Batch(torch.zeros(2, 4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    vectors = Batch(torch.zeros(2, 4, 64), batch.target, batch.index)
    for views in (batch, vectors):
        with pytest.raises(InputError, match="accumulate: the views"):
            step.in_pieces(views)


def test_pairs_cannot_be_divided(digits: Data) -> None:
    recipe = named("cmo", digits, epochs=1, changes=("stages.0.accumulate=2",))
    step = prepare(recipe, 0, plain_network(digits), digits, seed=0, compute=CPU).step
    with pytest.raises(InputError, match="belong together in pairs"):
        step(torch.arange(8))


def test_a_long_gradient_is_shortened_and_a_short_one_left(digits: Data) -> None:
    index = torch.arange(10)
    before = weights(step_for(digits))
    moved = {}
    for clip in (0.0, 0.01, 1e6):
        step = step_for(digits, clip=clip)
        for group in step.optimizer.param_groups:
            group["weight_decay"] = 0.0
        step(index)
        moved[clip] = weights(step) - before
    assert float(moved[0.01].norm()) == pytest.approx(0.1 * 0.01, rel=1e-3)
    torch.testing.assert_close(moved[1e6], moved[0.0])
    cosine = torch.nn.functional.cosine_similarity(moved[0.01], moved[0.0], dim=0)
    assert float(cosine) > 0.999


def test_the_average_is_that_of_its_formula_in_float64() -> None:
    network = nn.BatchNorm1d(3)
    average = Average(network, 0.5)
    expected, generator = network.weight.detach().double().clone(), torch.Generator().manual_seed(0)
    for update in range(12):
        network.weight.data.normal_(generator=generator)
        network.num_batches_tracked.fill_(update)
        average.move()
        keep = min(0.5, (1 + update) / (10 + update))
        expected = keep * expected + (1 - keep) * network.weight.detach().double()
    torch.testing.assert_close(average.tensors["weight"].double(), expected, rtol=1e-5, atol=1e-6)
    assert int(average.tensors["num_batches_tracked"]) == 11
    own = network.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(network.weight.detach(), average.tensors["weight"])
    assert torch.equal(network.weight, own)


def test_float16_scales_its_gradients_and_learns(digits: Data) -> None:
    index = torch.arange(10)
    half, single = step_for(digits, dataclasses.replace(CPU, precision="float16"), clip=1.0), step_for(digits, clip=1.0)
    assert half.scaler is not None
    assert single.scaler is None
    for _ in range(3):
        half(index)
        single(index)
    assert float(half.scaler.get_scale()) > 1
    torch.testing.assert_close(weights(half), weights(single), rtol=0.02, atol=2e-3)


# Class means.


@pytest.mark.parametrize("cosine", [False, True])
def test_class_means_answer_with_the_nearest_mean(cosine: bool, digits: Data) -> None:
    network = plain_network(digits).eval()
    if cosine:
        network.head = CosineHead(8, digits.num_classes, scale=30.0)
        network.head.reset(torch.Generator().manual_seed(0))
    class_mean_head(network, digits)
    images = as_input(digits.train.images, None, digits.mean, digits.std)
    features = network.backbone(images).detach().double()
    if cosine:
        features = features / features.norm(dim=1, keepdim=True)
    present = digits.train.target.unique()
    means = torch.stack([features[digits.train.target == label].mean(dim=0) for label in present])
    if cosine:
        means = means / means.norm(dim=1, keepdim=True)
    nearest = present[torch.cdist(features, means).argmin(dim=1)]
    logits = network.head(network.backbone(images))[:, present]
    assert torch.equal(present[logits.argmax(dim=1)], nearest)
    if not cosine:  # differences of logits are those of squared distances over twice the mean one within a class
        own = torch.searchsorted(present, digits.train.target)
        within = (features - means[own]).square().sum(dim=1).mean()
        squared = torch.cdist(features, means).square() / (-2 * within)
        torch.testing.assert_close(
            (logits - logits[:, :1]).double(), squared - squared[:, :1], rtol=1e-3, atol=1e-3, check_dtype=False
        )


def test_a_class_without_images_keeps_its_weights(digits: Data) -> None:
    kept = digits.train.at((digits.train.target != 3).nonzero().flatten())
    data = dataclasses.replace(digits, train=kept, counts=torch.bincount(kept.target, minlength=10))
    network = plain_network(data)
    before = network.head.weight[3].clone()
    class_mean_head(network, data)
    assert torch.equal(network.head.weight[3], before)
    assert bool(torch.isfinite(network.head.weight).all())


# Whole runs.


def recipe_of(data: Data, protocol: str, **options: Any) -> Recipe:
    pytest.importorskip("timm")
    options = {"model": "test_efficientnet@init=random,size=32", "epochs": 2, "batch_size": 16, **options}
    return named(options.pop("method", "ce"), data, protocol=protocol, **options)


def test_a_linear_probe_moves_the_classifier_alone(digits: Data, tmp_path: pathlib.Path) -> None:
    recipe = recipe_of(digits, "linear-probe@class-means=true,head=cosine,lr=0.01")
    assert [stage.trains for stage in recipe.stages] == ["classifier"]
    record = train(recipe, digits, seed=0, out=tmp_path / "run", compute=CPU)
    tensors, _ = checkpoint.load(tmp_path / "run" / "model.safetensors")
    first = untrained(recipe, digits, seed=0, compute=CPU)
    for name, tensor in first.backbone.state_dict().items():
        assert torch.equal(tensors[f"network.backbone.{name}"], tensor), name
    assert not torch.equal(tensors["network.head.weight"], first.head.weight)
    assert record.history[-1]["loss"] < record.history[0]["loss"]
    assert any("32x32 pixels, resized from 8x8 (bicubic)" in note for note in record.notes)


@pytest.mark.parametrize("protocol", ["fine-tune@lr=0.003,clip=1", "peft@lora=2,lr=0.02"])
def test_fine_tuning_and_adapters_learn(protocol: str, digits: Data, tmp_path: pathlib.Path) -> None:
    if "peft" in protocol:
        pytest.importorskip("peft")
    recipe = recipe_of(digits, protocol, epochs=3)
    record = train(recipe, digits, seed=0, out=tmp_path / "run", compute=CPU)
    tensors, _ = checkpoint.load(tmp_path / "run" / "model.safetensors")
    first = untrained(recipe, digits, seed=0, compute=CPU)
    changed = {
        name
        for name, weight in first.backbone.named_parameters()
        if not torch.equal(tensors[f"network.backbone.{name}"], weight)
    }
    moving = {name for name, _ in first.backbone.named_parameters()} - first.fixed
    assert changed == moving
    if "peft" in protocol:  # statistics of what is fixed are fixed, too
        name = "backbone.stages.0.bn1.running_mean"
        assert torch.equal(tensors[f"network.{name}"], first.state_dict()[name])
    assert record.history[-1]["loss"] < record.history[0]["loss"]


def test_a_killed_run_with_averages_goes_on_to_the_same_numbers(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = named("ce", digits, epochs=3, batch_size=16)
    recipe = dataclasses.replace(made, stages=(dataclasses.replace(made.stages[0], ema=0.9),))
    train(recipe, digits, seed=0, out=tmp_path / "whole", compute=CPU)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    look = loop._look
    seen = []

    def killed(*arguments: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        look(*arguments)

    monkeypatch.setattr(loop, "_look", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, seed=0, out=tmp_path / "killed", compute=CPU)
    train(recipe, digits, seed=0, out=tmp_path / "killed", compute=CPU)
    assert len(seen) == 4  # one epoch was left
    whole, again = (checkpoint.load(tmp_path / name / "model.safetensors")[0] for name in ("whole", "killed"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
    plain = train(made, digits, seed=0, out=tmp_path / "plain", compute=CPU)
    assert plain.history[-1]["loss"] == pytest.approx(
        train(recipe, digits, seed=0, out=tmp_path / "whole", compute=CPU).history[-1]["loss"]
    )  # an average changes no step
    last = checkpoint.load(tmp_path / "plain" / "model.safetensors")[0]["network.head.weight"]
    assert not torch.equal(last, whole["network.head.weight"])


def test_patience_ends_a_stage_and_keeps_its_best_epoch(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.9])

    def looked(job: Any, network: Any, row: dict[str, Any]) -> None:
        row["validation_accuracy"] = next(scores)

    monkeypatch.setattr(loop, "_look", looked)
    recipe = named("ce", digits, epochs=5, patience=2)
    assert recipe.selection == "best on validation"
    record = train(recipe, digits, seed=0, out=tmp_path / "run", compute=CPU)
    assert [row["validation_accuracy"] for row in record.history] == [0.5, 0.6, 0.6, 0.55]
    assert "classify: ended after epoch 4, 2 epochs without a better one on validation" in record.notes
    with pytest.raises(InputError, match="needs a validation split"):
        train(
            recipe, dataclasses.replace(digits, validation=None).renewed(), seed=0, out=tmp_path / "none", compute=CPU
        )


def test_random_streams_do_not_depend_on_what_a_protocol_adds(digits: Data) -> None:
    made = named("ce", digits, epochs=1)
    network = untrained(made, digits, seed=0, compute=CPU)
    stage = dataclasses.replace(made.stages[0], clip=1.0, ema=0.9)
    prepared = prepare(dataclasses.replace(made, stages=(stage,)), 0, network, digits, seed=0, compute=CPU)
    expected = seeds.generator(0, "stage", 0, "order")
    assert torch.equal(prepared.generators["order"].get_state(), expected.get_state())
