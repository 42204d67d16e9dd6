"""Samplers of stages: their epochs have the published length, and a subset is drawn when, and from what, it should."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from longtail.recipes.sampling import Balanced, Informative, Natural, Quota
from torch import Tensor

from longtail.data import Data, exponential_profile, load
from longtail.errors import InputError
from longtail.methods import by_name, protocol_for
from longtail.models import Network
from longtail.recipes import sampling
from longtail.recipes.contract import Chunk, Context, Setting
from longtail.recipes.stages import Recipe
from longtail.results import Record
from longtail.samplers import informative
from longtail.training import checkpoint, loop, restore, seeds
from longtail.training import passes as evaluate
from longtail.training.compute import Compute

CPU = Compute(device="cpu", precision="float32", compiled=False)
COUNTS = torch.tensor([40, 20, 7, 3])
TARGET = torch.repeat_interleave(COUNTS)[torch.randperm(70, generator=torch.Generator().manual_seed(0))]
ARMS = ("ip-dpp", "uniform", "hardest", "easiest", "class-balanced")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def setting(counts: Tensor = COUNTS, seed: int = 0) -> Setting:
    return Setting(counts, (6,), torch.device("cpu"), torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ without a network


def test_natural_sees_every_image_once() -> None:
    sampler = Natural().build(setting(), TARGET)
    first, second = sampler.draw(), sampler.draw()
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(70))
    assert first.tolist() != second.tolist()


def test_natural_keeps_partners_together() -> None:
    index = Natural(batch_size=8, minimum=4).build(setting(), TARGET).draw()
    hands = TARGET[index].view(-1, 4)
    assert bool((hands == hands[:, :1]).all())
    assert set(index.tolist()) == set(range(70))


@pytest.mark.parametrize(
    ("description", "epoch", "shares"),
    [
        (Balanced(), 0, [0.25, 0.25, 0.25, 0.25]),
        (Balanced(square_root=True), 0, (COUNTS.double().sqrt() / COUNTS.double().sqrt().sum()).tolist()),
        (Balanced(progressive=True), 0, (COUNTS / 70).tolist()),
        (Balanced(progressive=True), 50, (0.5 * COUNTS / 70 + 0.125).tolist()),
    ],
    ids=str,
)
def test_balanced_draws_classes_as_it_says(description: Balanced, epoch: int, shares: list[float]) -> None:
    sampler: Any = description.build(setting(), TARGET)
    if hasattr(sampler, "start_epoch"):
        sampler.start_epoch(context(torch.zeros(70, 4), epoch, epochs=100))
    drawn = torch.cat([TARGET[sampler.draw()] for _ in range(300)])
    found = torch.bincount(drawn, minlength=4) / len(drawn)
    # Five standard deviations of a share over 21,000 draws: one failure in a million.
    assert torch.allclose(found, torch.tensor(shares, dtype=found.dtype), rtol=0.0, atol=5 * 0.5 / 21_000**0.5)


def test_an_epoch_of_quota_on_cifar100_lt_has_391_batches_of_128() -> None:
    counts = exponential_profile(100, 500, 100)
    sampler = Quota(classes=32, images=4).build(setting(counts), torch.repeat_interleave(counts))
    assert (len(sampler), sampler.batch_size) == (391 * 128, 128)
    target = torch.repeat_interleave(counts)[sampler.draw()].view(391, 32, 4)
    assert bool((target == target[:, :, :1]).all())
    assert all(len(set(batch)) == 32 for batch in target[:, :, 0].tolist())
    # At imbalance 10 the largest class is as large, and so is the epoch.
    mild = exponential_profile(100, 500, 10)
    assert len(Quota().build(setting(mild), torch.repeat_interleave(mild))) == 391 * 128


def test_quota_takes_all_classes_where_there_are_fewer() -> None:
    description = Quota(classes=32, images=4)
    sampler = description.build(setting(), TARGET)
    assert sampler.batch_size == 16  # the loop reads it from here, not from the description
    assert description.batch_size == 128
    assert len(sampler) == 160  # 4 classes x 40 images
    assert torch.bincount(TARGET[sampler.draw()]).tolist() == [40, 40, 40, 40]


def test_quota_steps_can_be_given() -> None:
    assert len(Quota(classes=2, images=3, steps=7).build(setting(), TARGET)) == 7 * 6
    assert len(Quota(classes=2, images=3).build(setting(), TARGET)) == 27 * 6  # 160 images, rounded up


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Natural(batch_size=0), "batch_size must be at least 1, not 0"),
        (lambda: Natural(minimum=0), "minimum must be at least 1"),
        (lambda: Natural(batch_size=512, minimum=3), "multiple of minimum"),
        (lambda: Balanced(batch_size=-1), "batch_size"),
        (lambda: Balanced(square_root=True, progressive=True), "not both"),
        (lambda: Quota(steps=0), "steps must be at least 1"),
        (lambda: Quota(classes=0), "classes"),
        (lambda: Quota(images=0), "images"),
        (lambda: Informative(k=0), "k must be at least 1"),
        (lambda: Informative(resample_every=0), "resample_every"),
        (lambda: Informative(batch_size=0), "batch_size"),
        (lambda: Informative(arm="uniform", strength=2.0), "options of the arm ip-dpp, not of uniform"),
        (lambda: Informative(arm="hardest", mislabelled=0.1), "not of hardest"),
        (lambda: Informative(arm="uniform", diversity=True), "not of uniform"),
    ],
)
def test_what_cannot_be_drawn_is_refused(build: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build()


# --------------------------------------------------------------------------------------- by what the network knows


def context(
    logits: Tensor, epoch: int = 0, *, epochs: int = 10, asked: list[tuple[Tensor, bool, bool]] | None = None
) -> Context:
    """A network that says ``logits`` (N, K), in chunks, whatever it is asked."""

    def outputs(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        if asked is not None:
            asked.append((index, augmented, levels))
        for part in torch.split(index, 32):
            features = torch.randn(len(part), 6, generator=torch.Generator().manual_seed(int(part[0])))
            yield Chunk((features,), logits[part], TARGET[part])

    return Context(epoch, epochs, TARGET, COUNTS, torch.Generator().manual_seed(9), outputs)


def knowledge(seed: int = 1) -> Tensor:
    return 2 * torch.randn(70, 4, generator=torch.Generator().manual_seed(seed))


def true_label_probability(logits: Tensor, target: Tensor) -> Tensor:
    """By hand: a float64 softmax."""
    exponentials = logits.double().exp()
    return exponentials[torch.arange(len(target)), target] / exponentials.sum(dim=1)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("k", [None, 5, 1, 100])
def test_all_arms_are_of_equal_size_and_small_classes_whole(arm: sampling.Arm, k: int | None) -> None:
    sampler = Informative(arm=arm, k=k).build(setting(), TARGET)
    sampler.start_epoch(context(knowledge()))
    limit = 30 if k is None else k  # ten times the smallest class
    sizes = COUNTS.clamp(max=limit)
    assert len(sampler) == int(sizes.sum())
    drawn = sampler.draw()
    if arm != "class-balanced":
        assert len(set(drawn.tolist())) == len(drawn)
        assert torch.bincount(TARGET[drawn]).tolist() == sizes.tolist()
        whole = [item for item in range(70) if COUNTS[TARGET[item]] <= limit]
        assert set(whole) <= set(drawn.tolist())
    assert sorted(sampler) == sorted(drawn.tolist())  # an epoch is the whole subset, in another order


def test_the_subset_is_drawn_from_the_probability_of_the_true_label() -> None:
    logits = knowledge()
    probability = true_label_probability(logits, TARGET)
    for arm, sign in (("hardest", 1.0), ("easiest", -1.0)):
        sampler = Informative(arm=arm, k=5).build(setting(), TARGET)
        sampler.start_epoch(context(logits))
        expected: set[int] = set()
        for c in range(4):
            items = [item for item in range(70) if TARGET[item] == c]
            expected |= set(sorted(items, key=lambda item: sign * float(probability[item]))[:5])
        assert set(sampler.index.tolist()) == expected
        # Ranking by the confidence in the predicted label instead would give another subset.
        confidence = logits.double().softmax(dim=1).amax(dim=1)
        wrong: set[int] = set()
        for c in range(4):
            items = [item for item in range(70) if TARGET[item] == c]
            wrong |= set(sorted(items, key=lambda item: sign * float(confidence[item]))[:5])
        assert wrong != expected


@pytest.mark.parametrize("options", [{}, {"strength": 3.0}, {"mislabelled": 0.2}, {"diversity": True}], ids=str)
def test_ip_dpp_is_the_plain_sampler_on_those_probabilities(options: dict[str, Any]) -> None:
    logits, k = knowledge(), torch.tensor([5, 5, 5, 3])
    sampler = Informative(k=5, **options).build(setting(seed=4), TARGET)
    sampler.start_epoch(context(logits))
    arguments = {key: value for key, value in options.items() if key != "diversity"}
    if options.get("diversity"):
        chunks = context(logits).outputs(torch.arange(70), False, False)
        arguments["features"] = torch.cat([chunk.levels[-1] for chunk in chunks])
    expected = informative.information_preserving(
        None,
        TARGET,
        k=k,
        generator=torch.Generator().manual_seed(4),
        log_probability=true_label_probability(logits, TARGET).log(),
        **arguments,
    )
    assert sampler.index.tolist() == expected.tolist()


def test_uniform_does_not_depend_on_the_network() -> None:
    def index(arm: sampling.Arm, seed: int) -> list[int]:
        sampler = Informative(arm=arm, k=5).build(setting(), TARGET)
        sampler.start_epoch(context(4 * knowledge(seed)))
        return sampler.index.tolist()

    assert index("uniform", 1) == index("uniform", 2)
    assert index("ip-dpp", 1) != index("ip-dpp", 2)


def test_a_subset_is_scored_and_drawn_only_every_so_many_epochs() -> None:
    asked: list[tuple[Tensor, bool, bool]] = []
    sampler = Informative(arm="hardest", k=5, resample_every=3).build(setting(), TARGET)
    subsets = []
    for epoch in range(8):
        sampler.start_epoch(context(knowledge(epoch), epoch, asked=asked))
        subsets.append(sorted(sampler.draw().tolist()))
    assert subsets[0] == subsets[1] == subsets[2]
    assert subsets[3] == subsets[4] == subsets[5]
    assert subsets[6] == subsets[7]
    assert subsets[0] != subsets[3] != subsets[6]
    # Every image once, on clean images.
    assert [(index.tolist(), augmented) for index, augmented, _ in asked] == [(list(range(70)), False)] * 3


def test_a_subset_comes_back_from_its_state() -> None:
    description = Informative(k=5, resample_every=10)
    whole = description.build(setting(), TARGET)
    whole.start_epoch(context(knowledge()))
    whole.draw()
    tensors: dict[str, Tensor] = {}
    skeleton = checkpoint.flatten(whole.state_dict(), "sampler", tensors)
    resumed = description.build(setting(seed=77), TARGET)
    resumed.load_state_dict(checkpoint.unflatten(skeleton, tensors))
    resumed._generator.set_state(whole._generator.get_state())
    for epoch in (1, 2):
        for sampler in (whole, resumed):
            sampler.start_epoch(context(knowledge(epoch), epoch))
        assert whole.draw().tolist() == resumed.draw().tolist()
    # Drawing anew on resumption, as a sampler without a state would, is another subset.
    mutant = description.build(setting(), TARGET)
    mutant._generator.set_state(whole._generator.get_state())
    mutant.start_epoch(context(knowledge(2), 0))
    assert sorted(mutant.draw().tolist()) != sorted(resumed.draw().tolist())


# ---------------------------------------------------------------------------------------------------- in the loop


def short(data: Data, name: str) -> Recipe:
    """One epoch of cross-entropy, then three on subsets."""
    recipe = by_name(name, protocol_for(data, epochs=6))
    return dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], epochs=1), recipe.stages[1]))


def untimed(record: Record) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record.history]


def test_training_scores_clean_images_in_eval_mode(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores: list[Tensor] = []
    plain = informative.information_preserving

    def spy(probability: None, target: Tensor, *, log_probability: Tensor, **arguments: Any) -> Tensor:
        assert torch.equal(target, digits.train.target)
        scores.append(log_probability)
        return plain(probability, target, log_probability=log_probability, **arguments)

    monkeypatch.setattr(informative, "information_preserving", spy)
    recipe = short(digits, "ip-dpp@resample-every=2,k=8")
    assert recipe.stages[1].augmentation  # so that clean images differ from the stage's
    loop.train(recipe, digits, seed=1, out=tmp_path / "run", compute=CPU)
    assert len(scores) == 2  # at epochs 0 and 2 of three

    first = dataclasses.replace(recipe, stages=recipe.stages[:1])
    loop.train(first, digits, seed=1, out=tmp_path / "first", compute=CPU)
    tensors, _ = checkpoint.load(tmp_path / "first" / "model.safetensors")
    network: Network = recipe.model.build(num_classes=10, channels=1, image_size=8, generator=torch.Generator())
    loop.load_network(network, tensors)
    head: Any = network.head
    head.reset(seeds.generator(1, "stage", 1, "head"))  # the first draw is made with the fresh classifier

    def by_hand(network: Network, images: Tensor) -> Tensor:
        pixels = (images.float() / 255 - digits.mean[0]) / digits.std[0]
        with torch.no_grad():
            return true_label_probability(network(pixels).logits, digits.train.target).log()

    torch.testing.assert_close(scores[0], by_hand(network.eval(), digits.train.images), atol=1e-5, rtol=1e-5)
    training = by_hand(network.train(), digits.train.images)
    moved = by_hand(network.eval(), digits.train.images.roll(1, dims=3))
    assert not any(torch.allclose(scores[0], other, atol=1e-3) for other in (training, moved))

    # The last stage's second draw knows what its first two epochs taught.
    assert float(scores[1].mean()) > float(scores[0].mean())


@pytest.mark.parametrize("name", ["ip-dpp@resample-every=2,k=8", "bns-ipdpp@resample-every=2,k=8,positives=1"])
def test_a_run_cut_between_two_draws_continues_to_the_same_numbers(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    recipe = short(digits, name)
    whole = loop.train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    for cut in (3, 2):  # just before the second draw, and after the first epoch of a subset
        out = tmp_path / f"cut-{cut}"

        def stop(progress: loop.Progress, limit: int = cut) -> None:
            if progress.epoch == limit + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loop.train(recipe, digits, seed=1, out=out, compute=CPU, notify=stop)
        _, facts = checkpoint.load(next(out.rglob("progress.safetensors")))
        assert facts["epoch"] == cut - 1
        seen: list[int] = []
        resumed = loop.train(
            recipe, digits, seed=1, out=out, compute=CPU, notify=lambda now, seen=seen: seen.append(now.epoch)
        )
        assert min(seen) == cut + 1
        assert untimed(resumed) == untimed(whole)
        assert resumed.report == whole.report
        assert resumed.predictions == whole.predictions

    # A sampler whose subset is not in the checkpoint does not get there.
    monkeypatch.setattr(
        sampling._Subset, "load_state_dict", lambda self, state: setattr(self, "index", state["index"].flip(0)[1:])
    )
    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, digits, seed=1, out=tmp_path / "mutant", compute=CPU, notify=stop)
    mutant = loop.train(recipe, digits, seed=1, out=tmp_path / "mutant", compute=CPU)
    assert untimed(mutant) != untimed(whole)


def test_arms_differ_only_after_the_fork_and_in_which_images(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []
    plain = sampling._Subset.draw

    def draw(self: sampling._Subset) -> Tensor:
        drawn.append(plain(self))
        return drawn[-1]

    monkeypatch.setattr(sampling._Subset, "draw", draw)
    before, after = set(), set()
    for arm in ARMS:
        recipe = short(digits, f"ip-dpp@arm={arm}")
        record = loop.train(recipe, digits, seed=1, out=tmp_path / arm, store=tmp_path / "stages", compute=CPU)
        before.add(record.history[0]["loss"])
        after.add(record.history[-1]["loss"])
    assert len(drawn) == 3 * len(ARMS)
    assert {len(index) for index in drawn} == {int(digits.counts.clamp(max=50).sum())}
    assert len(before) == 1
    assert len(after) == len(ARMS)


def test_what_a_subset_is_drawn_from_is_what_evaluation_says(digits: Data, tmp_path: pathlib.Path) -> None:
    """The loop's stream, chunked, is one pass over the whole split."""
    network = protocol_for(digits).model.build(
        num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    everything = torch.arange(len(digits.train))
    parts = list(evaluate.chunks(network, digits.train, digits, everything))
    assert network.training
    together = evaluate.outputs(network, digits.train, digits)
    assert torch.equal(torch.cat([part.logits for part in parts]), together.logits)
    assert torch.equal(torch.cat([part.target for part in parts]), digits.train.target)
    assert restore.KINDS["Informative"] is Informative


def test_a_pass_is_in_float32_whatever_a_step_is_in(digits: Data) -> None:
    network = protocol_for(digits).model.build(
        num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    outside = evaluate.outputs(network, digits.test, digits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = evaluate.outputs(network, digits.test, digits)
    assert torch.equal(inside.logits, outside.logits)
