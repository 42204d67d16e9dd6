"""IP-DPP subsets: they are drawn when, and from what, they should be; arms differ in which images they hold alone."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import protocol_for
from longtail.methods import recipe as recipe_of
from longtail.models import Network
from longtail.recipes import Recipe, part
from longtail.recipes.contract import Chunk, Context
from longtail.results import Record
from longtail.samplers import InformativeSubset, informative
from longtail.samplers.subset import Arm
from longtail.training import checkpoint, loop, passes, seeds
from longtail.training.compute import Compute
from longtail.training.run import train
from longtail.training.store import load_network

CPU = Compute(device="cpu", precision="float32", compiled=False)
COUNTS = torch.tensor([40, 20, 7, 3])
TARGET = torch.repeat_interleave(COUNTS)[torch.randperm(70, generator=torch.Generator().manual_seed(0))]
ARMS = ("ip-dpp", "uniform", "hardest", "easiest", "class-balanced")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def build(seed: int = 0, order: int = 1, **options: Any) -> InformativeSubset:
    made: InformativeSubset = part(InformativeSubset, **{"resample_every": 20, **options}).build(
        target=TARGET,
        counts=COUNTS,
        generator=torch.Generator().manual_seed(order),
        subset_generator=torch.Generator().manual_seed(seed),
    )
    return made


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(k=0), "k must be at least 1"),
        (lambda: build(resample_every=0), "resample_every"),
        (lambda: build(arm="uniform", strength=2.0), "options of the arm ip-dpp, not of uniform"),
        (lambda: build(arm="hardest", mislabelled=0.1), "not of hardest"),
        (lambda: build(arm="uniform", diversity=True), "not of uniform"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


# --------------------------------------------------------------------------------------- by what the network knows


def context(
    logits: Tensor,
    epoch: int = 0,
    *,
    epochs: int = 10,
    asked: list[tuple[Tensor, bool, bool]] | None = None,
    trained: Callable[[Tensor], Tensor] | None = None,
) -> Context:
    """A network that says ``logits`` (N, K), in chunks, whatever it is asked."""

    def outputs(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        if asked is not None:
            asked.append((index, augmented, levels))
        for some in torch.split(index, 32):
            features = torch.randn(len(some), 6, generator=torch.Generator().manual_seed(int(some[0])))
            yield Chunk((features,), logits[some], TARGET[some])

    return Context(
        epoch, epochs, TARGET, COUNTS, torch.Generator().manual_seed(9), outputs, trained or (lambda _: logits)
    )


def knowledge(seed: int = 1) -> Tensor:
    return 2 * torch.randn(70, 4, generator=torch.Generator().manual_seed(seed))


def true_label_probability(logits: Tensor, target: Tensor) -> Tensor:
    """By hand: a float64 softmax."""
    exponentials = logits.double().exp()
    return exponentials[torch.arange(len(target)), target] / exponentials.sum(dim=1)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("k", [None, 5, 1, 100])
def test_all_arms_are_of_equal_size_and_small_classes_whole(arm: Arm, k: int | None) -> None:
    sampler = build(arm=arm, k=k)
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
        sampler = build(arm=arm, k=5)
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
    sampler = build(seed=4, k=5, **options)
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


def test_greedy_is_the_likeliest_set_item_by_item() -> None:
    logits, k = knowledge(), 4
    sampler = build(arm="greedy", k=k)
    sampler.start_epoch(context(logits))
    chunks = context(logits).outputs(torch.arange(70), False, False)
    rows = torch.nn.functional.normalize(torch.cat([chunk.levels[-1] for chunk in chunks]).double(), dim=1)
    probability = true_label_probability(logits, TARGET)

    def by_hand(power: float) -> list[int]:
        chosen: list[int] = []
        for c in range(4):
            items = [item for item in range(70) if TARGET[item] == c]
            if len(items) <= k:
                chosen += items
                continue
            p = probability[items]
            quality = (1 - p * p.mean()) ** power
            kernel = quality[:, None] * (rows[items] @ rows[items].T) * quality
            own: list[int] = []
            for _ in range(k):
                left = [place for place in range(len(items)) if place not in own]
                own.append(max(left, key=lambda place: float(torch.det(kernel[[*own, place]][:, [*own, place]]))))
            chosen += [items[place] for place in own]
        return sorted(chosen)

    assert sampler.index.tolist() == by_hand(0.5)
    assert by_hand(0.5) != by_hand(4.0)  # a quality of another power would give another set
    again = build(seed=9, arm="greedy", k=k)
    again.start_epoch(context(logits))
    assert again.index.tolist() == sampler.index.tolist()
    with pytest.raises(InputError, match="class 0: "):
        build(arm="greedy", k=7).start_epoch(context(logits))  # the features have six columns


def test_uniform_does_not_depend_on_the_network() -> None:
    def index(arm: Arm, seed: int) -> list[int]:
        sampler = build(arm=arm, k=5)
        sampler.start_epoch(context(4 * knowledge(seed)))
        return sampler.index.tolist()

    assert index("uniform", 1) == index("uniform", 2)
    assert index("ip-dpp", 1) != index("ip-dpp", 2)


def test_a_subset_is_scored_and_drawn_only_every_so_many_epochs() -> None:
    asked: list[tuple[Tensor, bool, bool]] = []
    sampler = build(arm="hardest", k=5, resample_every=3)
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
    options: dict[str, Any] = {"k": 5, "resample_every": 10}
    whole = build(**options)
    whole.start_epoch(context(knowledge()))
    whole.draw()
    tensors: dict[str, Tensor] = {}
    skeleton = checkpoint.flatten(whole.state_dict(), "sampler", tensors)
    resumed = build(seed=77, order=78, **options)
    resumed.load_state_dict(checkpoint.unflatten(skeleton, tensors))
    resumed._generator.set_state(whole._generator.get_state())
    for epoch in (1, 2):
        for sampler in (whole, resumed):
            sampler.start_epoch(context(knowledge(epoch), epoch))
        assert whole.draw().tolist() == resumed.draw().tolist()
    # Drawing anew on resumption, as a sampler without a state would, is another subset.
    mutant = build(**options)
    mutant._generator.set_state(whole._generator.get_state())
    mutant.start_epoch(context(knowledge(2), 0))
    assert sorted(mutant.draw().tolist()) != sorted(resumed.draw().tolist())


# ---------------------------------------------------------------------------------------------------- in the loop


def short(data: Data, name: str) -> Recipe:
    """One epoch of cross-entropy, then three on subsets."""
    recipe = recipe_of(name, data, epochs=6)
    return dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], epochs=1), recipe.stages[1]))


def untimed(record: Record) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in record.history]


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
    train(recipe, digits, seed=1, out=tmp_path / "run", compute=CPU)
    assert len(scores) == 2  # at epochs 0 and 2 of three

    first = dataclasses.replace(recipe, stages=recipe.stages[:1])
    train(first, digits, seed=1, out=tmp_path / "first", compute=CPU)
    tensors, _ = checkpoint.load(tmp_path / "first" / "model.safetensors")
    network: Network = recipe.model.build(num_classes=10, channels=1, image_size=8, generator=torch.Generator())
    load_network(network, tensors)
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
    whole = train(recipe, digits, seed=1, out=tmp_path / "whole", compute=CPU)
    for cut in (3, 2):  # just before the second draw, and after the first epoch of a subset
        out = tmp_path / f"cut-{cut}"

        def stop(progress: loop.Progress, limit: int = cut) -> None:
            if progress.epoch == limit + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, digits, seed=1, out=out, compute=CPU, notify=stop)
        _, facts = checkpoint.load(next(out.rglob("progress.safetensors")))
        assert facts["epoch"] == cut - 1
        seen: list[int] = []
        resumed = train(
            recipe, digits, seed=1, out=out, compute=CPU, notify=lambda now, seen=seen: seen.append(now.epoch)
        )
        assert min(seen) == cut + 1
        assert untimed(resumed) == untimed(whole)
        assert resumed.report == whole.report
        assert resumed.predictions == whole.predictions

    # A sampler whose subset is not in the checkpoint does not get there.
    monkeypatch.setattr(
        InformativeSubset, "load_state_dict", lambda self, state: setattr(self, "index", state["index"].flip(0)[1:])
    )
    with pytest.raises(KeyboardInterrupt):
        train(recipe, digits, seed=1, out=tmp_path / "mutant", compute=CPU, notify=stop)
    mutant = train(recipe, digits, seed=1, out=tmp_path / "mutant", compute=CPU)
    assert untimed(mutant) != untimed(whole)


def test_arms_differ_only_after_the_fork_and_in_which_images(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []
    plain = InformativeSubset.draw

    def draw(self: InformativeSubset) -> Tensor:
        drawn.append(plain(self))
        return drawn[-1]

    monkeypatch.setattr(InformativeSubset, "draw", draw)
    before, after = set(), set()
    for arm in ARMS:
        recipe = short(digits, f"ip-dpp@arm={arm}")
        record = train(recipe, digits, seed=1, out=tmp_path / arm, store=tmp_path / "stages", compute=CPU)
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
    parts = list(passes.chunks(network, digits.train, digits, everything))
    assert network.training
    together = passes.outputs(network, digits.train, digits)
    assert torch.equal(torch.cat([held.logits for held in parts]), together.logits)
    assert torch.equal(torch.cat([held.target for held in parts]), digits.train.target)


def test_a_pass_is_in_float32_whatever_a_step_is_in(digits: Data) -> None:
    network = protocol_for(digits).model.build(
        num_classes=10, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    outside = passes.outputs(network, digits.test, digits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = passes.outputs(network, digits.test, digits)
    assert torch.equal(inside.logits, outside.logits)


# --------------------------------------------------------------------------------- streams, scorers and what is said


def test_the_order_has_a_stream_apart_from_the_subset() -> None:
    one, two = build(seed=3, order=1, k=5), build(seed=3, order=2, k=5)
    for sampler in (one, two):
        sampler.start_epoch(context(knowledge()))
    assert one.index.tolist() == two.index.tolist()
    assert one.draw().tolist() != two.draw().tolist()
    other = build(seed=4, order=1, k=5)
    other.start_epoch(context(knowledge()))
    assert sorted(other.index.tolist()) != sorted(one.index.tolist())
    # However much an arm draws for its subset, the orders of its epochs are those of the other arms.
    orders = []
    for arm in ("ip-dpp", "uniform"):
        sampler = build(arm=arm, k=100)
        sampler.start_epoch(context(knowledge()))
        place = sampler.index.argsort()
        orders.append([place.argsort()[sampler.draw()].tolist() for _ in range(2)])
    assert orders[0] == orders[1]


def test_the_first_draw_may_be_scored_by_what_was_trained_before() -> None:
    """The stage's own classifier is new and knows nothing; the one before it does."""
    asked: list[Tensor] = []

    def trained(features: Tensor) -> Tensor:
        asked.append(features)
        return knowledge(7)

    def drawn(scorer: str, epoch: int) -> list[int]:
        sampler = build(arm="hardest", k=5, scorer=scorer)
        sampler.start_epoch(context(knowledge(1), epoch, epochs=40, trained=trained))
        return sorted(sampler.index.tolist())

    def hardest(logits: Tensor) -> list[int]:
        sampler = build(arm="hardest", k=5)
        sampler.start_epoch(context(logits))
        return sorted(sampler.index.tolist())

    assert drawn("fresh", 0) == hardest(knowledge(1))
    assert not asked
    assert drawn("trained", 0) == hardest(knowledge(7)) != hardest(knowledge(1))
    assert [features.shape for features in asked] == [(70, 6)]
    assert drawn("trained", 20) == hardest(knowledge(1))  # later draws are scored by the stage's own classifier
    assert len(asked) == 1


def test_what_a_reader_must_know_is_said() -> None:
    (nearly,) = build(k=5).notes
    assert "scored by a fresh classifier, so it is nearly uniform" in nearly
    assert build(k=5, scorer="trained").notes == ()
    assert build(k=5, arm="uniform").notes == ()
    for arm in ARMS:
        (whole,) = build(k=40, arm=arm).notes
        assert "whole training set" in whole
        assert len(build(k=39, arm=arm).notes) == (arm == "ip-dpp")


def test_seconds_of_scoring_and_drawing_are_told_where_they_were_spent() -> None:
    sampler = build(k=5, resample_every=2)
    rows = []
    for epoch in range(3):
        sampler.start_epoch(context(knowledge(), epoch))
        rows.append(sampler.history())
    assert all(set(row) == {"scoring_seconds", "drawing_seconds"} for row in rows)
    assert [min(row.values()) > 0 for row in rows] == [True, False, True]
    assert set(rows[1].values()) == {0.0}


def test_arms_with_equal_subsets_are_equal_runs(digits: Data, tmp_path: pathlib.Path) -> None:
    records = {}
    for arm in ("ip-dpp", "uniform", "hardest"):
        for k in (200, 8):
            recipe = short(digits, f"ip-dpp@arm={arm},k={k}")
            out = tmp_path / f"{arm}-{k}"
            records[arm, k] = train(recipe, digits, seed=1, out=out, store=tmp_path / "stages", compute=CPU)
    whole = [records[arm, 200] for arm in ("ip-dpp", "uniform", "hardest")]
    assert all(untimed(record) == untimed(whole[0]) for record in whole)
    assert all(record.predictions == whole[0].predictions for record in whole)
    assert all("whole training set" in " ".join(record.notes) for record in whole)
    assert len({str(untimed(records[arm, 8])) for arm in ("ip-dpp", "uniform", "hardest")}) == 3
    assert not any("whole training set" in " ".join(records[arm, 8].notes) for arm in ("ip-dpp", "uniform"))
    assert any("fine-tune: " in note and "nearly uniform" in note for note in records["ip-dpp", 8].notes)


@pytest.mark.parametrize("name", ["ip-dpp@scorer=trained,k=8", "bns-ipdpp@scorer=trained,k=8,positives=1"])
def test_a_trained_scorer_knows_more_than_a_fresh_one(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After cross-entropy it is that stage's classifier, after contrastive training one fitted to the features."""
    scores: list[Tensor] = []
    plain = informative.information_preserving

    def spy(probability: None, target: Tensor, *, log_probability: Tensor, **arguments: Any) -> Tensor:
        scores.append(log_probability)
        return plain(probability, target, log_probability=log_probability, **arguments)

    monkeypatch.setattr(informative, "information_preserving", spy)
    store = tmp_path / "stages"
    trained = train(short(digits, name), digits, seed=1, out=tmp_path / "trained", store=store, compute=CPU)
    fresh_name = name.replace("scorer=trained,", "")
    train(short(digits, fresh_name), digits, seed=1, out=tmp_path / "fresh", store=store, compute=CPU)
    draws = len(scores) // 2
    assert float(scores[0].mean()) > float(scores[draws].mean()) + 0.1
    assert not any("nearly uniform" in note for note in trained.notes)
    rows = [row for row in trained.history if row["stage"] == "fine-tune"]
    assert all(row["seconds"] >= row["scoring_seconds"] + row["drawing_seconds"] for row in rows)
