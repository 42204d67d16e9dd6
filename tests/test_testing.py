from __future__ import annotations

import dataclasses
import functools
import inspect
import random
import re
import time
import types
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

import longtail.data
from longtail import losses, samplers
from longtail.testing import (
    ContractError,
    check_dataset,
    check_loss,
    check_model,
    check_objective,
    check_recipe,
    check_sampler,
    dataset_checks,
    loss_checks,
    model_checks,
    objective_checks,
    parametrize_with_checks,
    recipe_checks,
    sampler_checks,
)

COUNTS = torch.tensor([50, 20, 8, 3, 1])
plain = functools.partial(cross_entropy, reduction="none")


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


# --- losses -----------------------------------------------------------------------------------------------------------

CENTROIDS = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def public_losses() -> dict[str, tuple[str, ...]]:
    """The parameters of each public loss of a batch."""
    functions = {name: getattr(losses, name) for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    named = {name: tuple(inspect.signature(function).parameters) for name, function in functions.items()}
    first = {"logits", "features", "queries"}
    return {name: names for name, names in named.items() if names[0] in first and "target" in names}


def asks_only_for(function: Callable[..., object], given: set[str]) -> bool:
    """Whether all that a function needs is among these."""
    needed = [one for one in inspect.signature(function).parameters.values() if one.default is inspect.Parameter.empty]
    return {one.name for one in needed} <= given


# A loss that asks for logits, target and counts alone is checked without being named here.
ORDINARY_LOSSES = {
    name: functools.partial(getattr(losses, name), **({"counts": COUNTS} if "counts" in names else {}))
    for name, names in public_losses().items()
    if names[0] == "logits" and asks_only_for(getattr(losses, name), {"logits", "target", "counts"})
}
TOGETHER = {"class_weighted_cross_entropy"}  # divides by the weights of the batch
OWN_LOSSES = {
    **{name: (loss, {"per_sample": False} if name in TOGETHER else {}) for name, loss in ORDINARY_LOSSES.items()},
    "cross_entropy with weights": (
        functools.partial(losses.cross_entropy, class_weights=losses.inverse_frequency_weights(COUNTS)),
        {},
    ),
    "logit_adjusted_cross_entropy with tau": (
        functools.partial(losses.logit_adjusted_cross_entropy, counts=COUNTS, tau=1.5),
        {},
    ),
    "class_balanced": (functools.partial(losses.class_balanced, counts=COUNTS, beta=0.999), {}),
    "class_balanced_focal": (functools.partial(losses.class_balanced_focal, counts=COUNTS, beta=0.9), {}),
    "ldam with weights": (functools.partial(losses.ldam, counts=COUNTS, beta=0.99), {}),
    "robustness_loss": (
        functools.partial(losses.robustness_loss, centroids=CENTROIDS, radii=torch.full((5,), 0.5)),
        {"width": 7, "per_sample": False},
    ),
    "robustness_loss, strict": (
        functools.partial(losses.robustness_loss, centroids=CENTROIDS, radii=torch.full((5,), 0.5), strict=True),
        {"width": 7, "per_sample": False},
    ),
}


@parametrize_with_checks(*(loss_checks(loss, **arguments) for loss, arguments in OWN_LOSSES.values()))
def test_own_losses_keep_the_contract(check):
    check()


# Losses of two views, as losses of one: the other view is the features turned by one place.
TWO_VIEWS = {
    "negative_sampling": functools.partial(losses.negative_sampling, temperature=0.5),
    "balanced_negative_sampling": functools.partial(losses.balanced_negative_sampling, temperature=0.5),
    "balanced_negative_sampling, in chunks": functools.partial(
        losses.balanced_negative_sampling, temperature=0.5, chunk=5
    ),
    "released_balanced_negative_sampling": losses.released_balanced_negative_sampling,
    "supervised_contrastive": functools.partial(losses.supervised_contrastive, temperature=0.1),
    "class_averaged_contrastive": functools.partial(losses.class_averaged_contrastive, temperature=0.1),
    "instance_contrastive": functools.partial(losses.instance_contrastive, temperature=0.5),
    "k_positive_contrastive": lambda queries, keys, target: losses.k_positive_contrastive(
        queries, keys, target, positives=100, generator=torch.Generator().manual_seed(0)
    ),
    "subclass_contrastive": lambda queries, keys, target: losses.subclass_contrastive(
        queries, keys, target, subclass=target, class_temperature=torch.full((len(target),), 0.2)
    ),
}


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_own_losses_of_two_views_keep_the_contract(name):
    check_loss(
        lambda features, target: TWO_VIEWS[name](features, features.roll(1, 1), target), width=7, per_sample=False
    )


def test_no_loss_is_forgotten():
    assert set(public_losses()) == {re.split(",| with", name)[0] for name in (*OWN_LOSSES, *TWO_VIEWS)}
    assert {"balanced_softmax", "focal", "ldam"} <= set(ORDINARY_LOSSES)


class Drifting:
    """Different at every call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, logits, target):
        self.calls += 1
        return plain(logits, target) * self.calls


def in_place(logits, target):
    logits -= logits.max(dim=1, keepdim=True).values
    return plain(logits, target)


def python_loop(logits, target):
    return torch.stack([plain(logits[i : i + 1], target[i : i + 1])[0] * (1 + int(y)) for i, y in enumerate(target)])


def sorted_by_class(logits, target):
    return plain(logits, target)[target.sort(stable=True).indices]


def unstable(logits, target):
    return -torch.log(torch.softmax(logits, 1)[torch.arange(len(target)), target])


def infinite_gradient(logits, target):
    saturated = one_hot(target, logits.shape[1]) - torch.softmax(logits, 1)
    return saturated.square().sum(1).sqrt()


def batch_normalised(logits, target):
    weight = COUNTS.to(logits.device, logits.dtype)[target]
    return plain(logits, target) * weight / weight.mean()


def global_noise(logits, target):
    return plain(logits + 0 * torch.rand(logits.shape, dtype=logits.dtype, device=logits.device), target)


def masked(logits, target):
    out = torch.zeros_like(logits[:, 0])
    out[target == 0] = plain(logits, target)[target == 0]
    return out + plain(logits, target)


def chosen(logits, target):
    return torch.logsumexp(logits, 1) - logits[torch.arange(len(target)), target]


def picks(logits, target):
    """Takes the first N targets, so it swallows one too many."""
    return plain(logits, target[: len(logits)])


def broadcast(logits, target, counts):
    """Adds log-counts, one for all classes too; further ones are cut off."""
    return plain(logits + counts[: logits.shape[1]].log().to(logits), target)


BAD_LOSSES = {
    "counts of another length": (
        functools.partial(broadcast, counts=COUNTS),
        "broadcast: accepts counts of 1 classes for logits of 5",
    ),
    "reduced": (cross_entropy, "cross_entropy: returned a scalar for 12 samples; return one value for each"),
    "column": (lambda logits, target: plain(logits, target)[:, None], r"returned shape \(12, 1\), not \(12,\)"),
    "list": (lambda logits, target: plain(logits, target).tolist(), "returned list, not a tensor"),
    "raises": (lambda logits, target: plain(logits, target, weight=1), "on a plain batch: raised TypeError"),
    "drifting": (Drifting(), "Drifting: two calls on one batch differ"),
    "in place": (in_place, "in_place: changes its input in place"),
    "downcast": (lambda logits, target: plain(logits.float(), target), "on float64 logits, returned torch.float32"),
    "upcast": (lambda logits, target: plain(logits.double(), target), "plain batch, returned torch.float64; keep the"),
    "unstable": (unstable, "unstable: on logits in the thousands, the loss of sample .* is inf"),
    "infinite gradient": (infinite_gradient, "logits in the thousands, the gradient is not finite"),
    "detached": (lambda logits, target: plain(logits.detach(), target), "no gradient flows to the logits"),
    "constant": (lambda logits, target: 0 * plain(logits, target), "the gradient is zero everywhere"),
    "reordered": (sorted_by_class, "shuffling the batch changes the values of its samples by up to"),
    "batch weights": (batch_normalised, "in a batch and .* alone"),
    "host sync": (python_loop, r"python_loop: on shapes alone \(device meta\): raised .*no .item\(\)"),
    "boolean mask": (masked, r"masked: on shapes alone \(device meta\): raised"),
    "global noise": (global_noise, "global_noise: draws from the global generator"),
    "too many targets": (picks, "picks: accepts 13 targets for 12 samples"),
    "one target for all": (chosen, "chosen: accepts targets of shape"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_bad_losses_are_rejected_with_the_reason(name):
    loss, message = BAD_LOSSES[name]
    with pytest.raises(ContractError, match=message) as error:
        check_loss(loss)
    one_line(error)


def test_a_loss_that_depends_on_the_batch_may_say_so():
    check_loss(batch_normalised, per_sample=False)


def test_a_loss_that_is_nan_for_one_sample_alone_is_rejected():
    def spread(logits, target):
        return plain(logits, target) + 0 * logits.std(dim=0).sum()

    with (
        pytest.warns(UserWarning, match="degrees of freedom"),
        pytest.raises(ContractError, match="batch of one sample"),
    ):
        check_loss(spread, per_sample=False)


def test_constants_on_the_processor_are_no_fault():
    """A lambda over counts: the check of shapes takes them along to the meta device."""
    log_counts = COUNTS.log()
    check_loss(lambda logits, target: plain(logits + log_counts.to(logits.dtype), target))


def test_modules_are_losses_too():
    class Tempered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, logits, target):
            return plain(logits / self.temperature.to(logits.dtype), target)

    check_loss(Tempered())


# --- samplers ---------------------------------------------------------------------------------------------------------


def public_samplers() -> set[str]:
    classes = [name for name in samplers.__all__ if inspect.isclass(getattr(samplers, name))]
    return {name for name in classes if "target" in inspect.signature(getattr(samplers, name)).parameters}


# A sampler that asks for the targets alone is checked without being named here.
ORDINARY_SAMPLERS = {
    name: getattr(samplers, name)
    for name in sorted(public_samplers())
    if asks_only_for(getattr(samplers, name), {"target"})
}
OWN_SAMPLERS = {
    **ORDINARY_SAMPLERS,
    "EffectiveNumber": functools.partial(samplers.EffectiveNumber, beta=0.9),
    "RepeatFactor": functools.partial(samplers.RepeatFactor, threshold=0.2),
    "ClassQuota": functools.partial(samplers.ClassQuota, classes=4, images=3),
    "MinimumPerClass": functools.partial(samplers.MinimumPerClass, minimum=2),
    "Paired": functools.partial(samplers.Paired, batch_size=4),
}


FEW = torch.tensor([2, 0, 1, 3, 0, 0, 2, 1])


@parametrize_with_checks(
    *(sampler_checks(factory) for factory in OWN_SAMPLERS.values()),
    *(sampler_checks(factory, target=FEW) for factory in OWN_SAMPLERS.values()),
)
def test_own_samplers_keep_the_contract(check):
    check()


def test_no_sampler_is_forgotten():
    # A subset scores the training set before it has an epoch: tests/samplers/test_subset.py.
    assert public_samplers() - {"InformativeSubset"} == set(OWN_SAMPLERS)
    assert {"InstanceBalanced", "ClassBalanced"} <= set(ORDINARY_SAMPLERS)


class Good:
    """Every image once; the mutants below each break one thing."""

    def __init__(self, target, *, generator):
        self.target, self.generator = target, generator

    def __len__(self):
        return len(self.target)

    def __iter__(self):
        return iter(torch.randperm(len(self.target), generator=self.generator).tolist())


class Tensors(Good):
    def __iter__(self):
        return iter(torch.randperm(len(self.target), generator=self.generator))


class Long(Good):
    def __len__(self):
        return len(self.target) + 1


class OffByOne(Good):
    def __iter__(self):
        return (index + 1 for index in super().__iter__())


class Frozen(Good):
    def __init__(self, target, *, generator):
        super().__init__(target, generator=generator)
        self.order = torch.randperm(len(target), generator=generator).tolist()

    def __iter__(self):
        return iter(self.order)


class GlobalTorch(Good):
    def __iter__(self):
        return iter(torch.randperm(len(self.target)).tolist())


class GlobalPython(Good):
    def __iter__(self):
        order = list(super().__iter__())
        random.shuffle(order)
        return iter(order)


class GlobalNumpy(Good):
    def __iter__(self):
        return iter([int(i) for i in np.random.permutation(len(self.target))])


class OwnSeed(Good):
    def __iter__(self):
        self.epoch = getattr(self, "epoch", -1) + 1
        generator = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(len(self.target), generator=generator).tolist())


class LeftOver(Good):
    """Deals a third of a deck at a time and keeps the rest for later."""

    def __init__(self, target, *, generator):
        super().__init__(target, generator=generator)
        self.deck: list[int] = []

    def __len__(self):
        return len(self.target) // 3

    def __iter__(self):
        if len(self.deck) < len(self):
            self.deck = torch.randperm(len(self.target), generator=self.generator).tolist()
        hand, self.deck = self.deck[: len(self)], self.deck[len(self) :]
        return iter(hand)


class LeftOverTold(LeftOver):
    """The same, but its state can be stored."""

    def state_dict(self):
        return {"deck": self.deck}

    def load_state_dict(self, state):
        self.deck = list(state["deck"])


class Sorts(Good):
    def __init__(self, target, *, generator):
        target.copy_(target.sort().values)
        super().__init__(target, generator=generator)


class OtherDraw(Good):
    def draw(self):
        return torch.randperm(len(self.target), generator=self.generator).flip(0)


class ShortDraw(Good):
    def draw(self):
        return torch.randperm(len(self.target), generator=self.generator).int()


class NoKeyword(Good):
    def __init__(self, target, seed=0):
        self.target = target


class NamedBatch(Good):
    batch_size = 2.5


class Placed(Good):
    """Names a position and forgets it."""

    def state_dict(self):
        return {"position": 0}

    def load_state_dict(self, state):
        pass


class Ranked(Good):
    """Every rank draws for itself, from equal generators."""

    def __init__(self, target, *, generator, rank=0, world_size=1):
        super().__init__(target, generator=generator)


class Unequal(Good):
    def __init__(self, target, *, generator, rank=0, world_size=1):
        super().__init__(target, generator=generator)
        self.rank, self.world_size = rank, world_size

    def __len__(self):
        return len(range(self.rank, len(self.target) - 1, self.world_size))

    def __iter__(self):
        order = torch.randperm(len(self.target) - 1, generator=self.generator).tolist()
        return iter(order[self.rank :: self.world_size])


class Whole(Ranked):
    def __init__(self, target, *, generator, rank=0, world_size=1):
        super().__init__(target, generator=generator)
        for _ in range(rank):
            torch.randperm(len(target), generator=generator)


BAD_SAMPLERS = {
    Placed: "does not go on in the middle of an epoch although its state names a position",
    Ranked: "two ranks draw the same indices",
    Unequal: "two ranks have 52 and 51 indices",
    Whole: "a rank of two has 104 indices and a process alone 104",
    Tensors: "index 0 is a Tensor, not an int",
    Long: "yields 104 indices, but its length is 105",
    OffByOne: "is 104, not a position from 0 to 103",
    Frozen: "a later epoch repeats the first",
    GlobalTorch: "draws from the global generator",
    GlobalPython: "equal generators give different epochs",
    GlobalNumpy: "equal generators give different epochs",
    OwnSeed: "another seed gives the same epoch",
    LeftOver: "does not go on where it was",
    Sorts: "changes the targets in place",
    OtherDraw: r"draw\(\) and iteration give different epochs",
    ShortDraw: r"draw\(\) returned torch.int32 \(104,\) on cpu, not int64",
    NoKeyword: "construction: raised TypeError",
    NamedBatch: "batch_size is 2.5, not a whole number",
}


@pytest.mark.parametrize("bad", BAD_SAMPLERS)
def test_bad_samplers_are_rejected_with_the_reason(bad):
    with pytest.raises(
        ContractError, match=f"{bad.__name__}: .*{BAD_SAMPLERS[bad]}|{bad.__name__}: {BAD_SAMPLERS[bad]}"
    ) as error:
        check_sampler(bad)
    one_line(error)


def test_good_samplers_pass():
    check_sampler(Good)
    check_sampler(LeftOverTold)


def test_checks_leave_the_global_state_alone():
    before = torch.get_rng_state()
    check_sampler(Good)
    check_loss(plain)
    assert torch.equal(torch.get_rng_state(), before)


# --- data sets --------------------------------------------------------------------------------------------------------


def split(counts: list[int], first: int, seed: int) -> longtail.data.Split:
    target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pixels = torch.randint(
        256, (len(target), 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return longtail.data.Split(images=pixels, target=target, index=torch.arange(first, first + len(target)))


@pytest.fixture
def good() -> types.SimpleNamespace:
    """A small data set by the fields that a data set has, so that each can be broken."""
    return types.SimpleNamespace(
        name="made-up",
        train=split([6, 3, 1], 0, 0),
        validation=split([1, 1, 1], 10, 1),
        test=split([2, 2, 2], 0, 2),
        counts=torch.tensor([6, 3, 1]),
        class_names=("a", "b", "c"),
        num_classes=3,
        fingerprint="f" * 64,
        imbalance=6.0,
        split_seed=0,
        many=4,
        few=2,
        mean=(0.5,),
        std=(0.2,),
    )


def test_own_data_sets_keep_the_contract(good):
    check_dataset(good)
    check_dataset(longtail.data.load("digits-lt"))
    check_dataset(longtail.data.load("digits-lt", imbalance=10, validation=0.2))


def test_the_real_cifar_keeps_the_contract(real_data):
    check_dataset(longtail.data.load("cifar100-lt", imbalance=100, root=real_data))


def changed(part: longtail.data.Split, **fields: torch.Tensor) -> longtail.data.Split | types.SimpleNamespace:
    return Loose(**{"images": part.images, "target": part.target, "index": part.index, **fields})


class Loose(types.SimpleNamespace):
    """A split that checks nothing itself."""

    def __len__(self) -> int:
        return len(self.images)


def leak(data: types.SimpleNamespace) -> None:
    images = data.test.images.clone()
    images[4] = data.train.images[4]
    data.test = changed(data.test, images=images)


def twice(data: types.SimpleNamespace) -> None:
    index = data.train.index.clone()
    index[3] = 7
    data.train = changed(data.train, index=index)


def carved_twice(data: types.SimpleNamespace) -> None:
    data.validation = changed(
        data.train, images=data.train.images[:3], target=torch.tensor([0, 1, 2]), index=data.train.index[:3]
    )


def beyond(data: types.SimpleNamespace) -> None:
    target = data.test.target.clone()
    target[5] = 3
    data.test = changed(data.test, target=target)


def put(**fields):
    return lambda data: vars(data).update(fields)


def on_train(**fields):
    def breaks(data: types.SimpleNamespace) -> None:
        data.train = changed(data.train, **{name: change(getattr(data.train, name)) for name, change in fields.items()})

    return breaks


BAD_DATA = {
    "no fingerprint field": (lambda data: delattr(data, "fingerprint"), "made-up: has no field 'fingerprint'"),
    "float images": (on_train(images=torch.Tensor.float), "train.images is torch.float32, not a tensor of torch.uint8"),
    "narrow target": (on_train(target=torch.Tensor.int), "train.target is torch.int32, not a tensor of torch.int64"),
    "ids as a list": (on_train(index=torch.Tensor.tolist), "train.index is list, not a tensor"),
    "flat images": (
        on_train(images=lambda images: images.flatten(1)),
        r"train.images has shape \(10, 16\), not \(N, C",
    ),
    "other size": (
        lambda data: setattr(data, "test", changed(data.test, images=data.test.images[..., :3])),
        r"test.images has shape \(6, 1, 4, 3\)",
    ),
    "too few targets": (on_train(target=lambda target: target[:-1]), r"train has 10 images, targets \(9,\)"),
    "class out of range": (beyond, r"test.target\[5\] is 3, not a class from 0 to 2"),
    "id twice": (twice, "train.index holds the id 7 2 times"),
    "leak into test": (leak, "1 images are in train and in test, the first with id 4"),
    "leak into validation": (carved_twice, "3 images are in train and in validation, the first with id 0"),
    "counts of another set": (
        put(counts=torch.tensor([5, 4, 1])),
        r"counts are \[5, 4, 1\], the int64 counts of the training targets are \[6, 3, 1\]",
    ),
    "float counts": (put(counts=torch.tensor([6.0, 3.0, 1.0])), r"counts are \[6.0, 3.0, 1.0\], the int64 counts"),
    "empty class": (
        lambda data: vars(data).update(train=split([6, 4], 0, 0), counts=torch.tensor([6, 4, 0])),
        "class 'c' has no training image",
    ),
    "name twice": (put(class_names=("a", "b", "b")), "3 classes but 2 different names"),
    "mean of three channels": (put(mean=(0.5, 0.5, 0.5)), r"mean is \(0.5, 0.5, 0.5\); one number in \[0, 1\]"),
    "mean of bytes": (put(mean=(127.5,)), r"mean is \(127.5,\)"),
    "no spread": (put(std=(0.0,)), r"std is \(0.0,\)"),
    "nan spread": (put(std=(float("nan"),)), r"std is \(nan,\)"),
    "no fingerprint": (put(fingerprint=""), "the fingerprint is ''"),
    "inverted imbalance": (put(imbalance=0.01), "imbalance is 0.01; largest over smallest class is at least 1"),
    "crossed thresholds": (put(many=2, few=4), "many > 2 and few < 4"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_sets_are_rejected_with_the_reason(name, good):
    breaks, message = BAD_DATA[name]
    breaks(good)
    with pytest.raises(ContractError, match=message) as error:
        check_dataset(good)
    one_line(error)


def test_a_test_set_that_is_numbered_anew_is_no_leak(good):
    """The CIFAR test file has ids of its own; the same id then shows another image."""
    assert set(good.train.index.tolist()) & set(good.test.index.tolist())
    check_dataset(good)


def test_errors_are_assertions():
    assert issubclass(ContractError, AssertionError)
    assert dataclasses.is_dataclass(longtail.data.Split)


# --- one check for each promise ---------------------------------------------------------------------------------------


def test_every_promise_is_a_test_of_its_own():
    """Only the promise that a loss breaks fails, whatever the order in which they are looked at."""
    checks = list(loss_checks(batch_normalised))
    assert len({str(check) for check in checks}) == len(checks) == 12
    broken = []
    for check in reversed(checks):
        try:
            check()
        except ContractError:
            broken.append(str(check))
    assert broken == ["batch_normalised values each sample alone"]


def test_what_is_checked_of_counts_and_of_ranks_is_what_a_part_knows():
    bound = [check.promise for check in loss_checks(functools.partial(losses.ldam, counts=COUNTS))]
    assert bound[-1] == "refuses counts of another number of classes"
    assert [check.promise for check in loss_checks(lambda logits, target: plain(logits, target))] == bound[:-1]
    assert "shares an epoch among ranks" in [check.promise for check in sampler_checks(samplers.ClassBalanced)]
    assert "shares an epoch among ranks" not in [check.promise for check in sampler_checks(Good)]
    assert len(list(dataset_checks(longtail.data.load("digits-lt")))) == 7


def test_tests_are_named_by_subject_and_promise():
    mark = parametrize_with_checks(loss_checks(plain), sampler_checks(Good)).mark
    ids = [parameter.id for parameter in mark.args[1]]
    assert ids[0] == "cross_entropy returns one finite value for each sample"
    assert ids[-1] == "Good is taken by a DataLoader"


# --- objectives -------------------------------------------------------------------------------------------------------


def supervised(model, batch):
    return plain(model(batch.images).logits, batch.target)


def of_two_views(model, batch):
    queries, keys = model.features(batch.images.flatten(0, 1)).chunk(2)
    return losses.balanced_negative_sampling(queries, keys, batch.target, temperature=0.5)


def of_features(model, batch):
    centroids = torch.zeros(5, 6)
    features = model.levels(batch.images)[-1]
    return losses.robustness_loss(features, batch.target, centroids=centroids, radii=torch.ones(5))


@parametrize_with_checks(
    objective_checks(supervised), objective_checks(of_two_views, views=2), objective_checks(of_features)
)
def test_objectives_of_every_kind_keep_the_contract(check):
    check()


def brightens(model, batch):
    batch.images += 1
    return supervised(model, batch)


BAD_OBJECTIVES = {
    "reduced": (lambda model, batch: supervised(model, batch).mean(), r"returned shape \(\) for 12 images"),
    "not a tensor": (lambda model, batch: supervised(model, batch).tolist(), "returned list for 12 images"),
    "not finite": (lambda model, batch: supervised(model, batch) / 0, "is not a finite number"),
    "without a gradient": (lambda model, batch: supervised(model, batch).detach(), "no gradient reaches the model"),
    "of the images alone": (
        lambda model, batch: batch.images.flatten(1).sum(dim=1).requires_grad_(),
        "no gradient reaches the model",
    ),
    "in place": (brightens, "brightens: changes the batch in place"),
    "global noise": (
        lambda model, batch: supervised(model, batch) + torch.rand(12),
        "draws from the global generator",
    ),
    "another shape": (lambda model: 0, "on 12 images: raised TypeError"),
}


@pytest.mark.parametrize("name", BAD_OBJECTIVES)
def test_bad_objectives_are_rejected_with_the_reason(name):
    objective, message = BAD_OBJECTIVES[name]
    with pytest.raises(ContractError, match=message) as error:
        check_objective(objective)
    one_line(error)


# --- models -----------------------------------------------------------------------------------------------------------


class Network(torch.nn.Module):
    """A good one; those below each break one thing."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU())
            self.head = torch.nn.Linear(6, 4)

    def forward(self, images):
        features = self.body(images).mean(dim=(2, 3))
        return types.SimpleNamespace(features=features, logits=self.head(features))


@parametrize_with_checks(model_checks(Network(), num_classes=4, image=(1, 8, 8)))
def test_a_good_model_passes(check):
    check()


class Logits(Network):
    def forward(self, images):
        return super().forward(images).logits


class OfTheBatch(Network):
    def forward(self, images):
        return super().forward(images - images.mean(dim=0, keepdim=True))


class Noisy(Network):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, images):
        return super().forward(images + float(self.generator.normal()))


class Dropping(Network):
    def forward(self, images):
        torch.rand(1)
        return super().forward(images)


class Hidden(Network):
    """Its state dictionary does not hold what it computes with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = [self.head.weight]

    def __deepcopy__(self, memo):
        other = Hidden()
        other.scale = [torch.zeros(4, 6)]
        return other

    def forward(self, images):
        output = super().forward(images)
        return types.SimpleNamespace(features=output.features, logits=output.logits + output.features @ self.scale[0].T)


class Idle(Network):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(3))


class Overwrites(Network):
    def forward(self, images):
        output = super().forward(images)
        images.zero_()
        return output


class Double(Network):
    def forward(self, images):
        output = super().forward(images)
        return types.SimpleNamespace(features=output.features, logits=output.logits.double())


BAD_MODELS = {
    Logits: "on images .*: raised AttributeError",
    OfTheBatch: "image 0 has other logits alone than in a batch",
    Noisy: "has other logits alone|two calls on the same images differ",
    Dropping: "draws from the global generator",
    Hidden: "has other logits once its state_dict is loaded",
    Idle: "parameter unused gets no gradient",
    Overwrites: "changes the images in place",
    Double: "logits are torch.float64",
}


@pytest.mark.parametrize("bad", BAD_MODELS)
def test_bad_models_are_rejected_with_the_reason(bad):
    with pytest.raises(ContractError, match=f"{bad.__name__}: .*({BAD_MODELS[bad]})|{bad.__name__}: {BAD_MODELS[bad]}"):
        check_model(bad(), num_classes=4, image=(1, 8, 8))


def test_a_model_of_other_classes_is_rejected():
    with pytest.raises(ContractError, match=r"logits \(4, 4\) for 4 images; they are \(4, D\) and \(4, 9\)"):
        check_model(Network(), num_classes=9, image=(1, 8, 8))


@pytest.mark.parametrize("name", ["ce", "logit-adjustment@tau=0.5", "ip-dpp@arm=uniform"])
def test_recipes_keep_their_promises(name: str) -> None:
    check_recipe(name)


def test_a_complete_recipe_keeps_the_contract():
    check_recipe(longtail.recipe("ce", longtail.load("digits-lt", imbalance=20), epochs=1))


def drawing_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Draws from the clock, not from a generator."""
    return torch.nn.functional.cross_entropy(logits, target, reduction="none") * (1 + time.perf_counter_ns() % 97 / 97)


def test_a_recipe_that_breaks_a_promise_is_named() -> None:
    checks = {check.promise: check for check in recipe_checks(drawing_loss)}
    checks["is the same every time"]()
    with pytest.raises(ContractError, match="the same seed gave other numbers"):
        checks["gives the same numbers from the same seed"]()
