"""Monotonic norms, over-smoothed labels, aligned logits and temperatures by group: oracles and propositions."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longtail import rebalance
from longtail.errors import InputError
from longtail.rebalance import (
    SAMN,
    ClassifierRetraining,
    DisAlign,
    GroupTemperatureScaling,
    LabelOverSmoothing,
    LogitAdjustment,
    NearestClassMean,
    TauNormalization,
    TemperatureScaling,
)

COUNTS = [120, 30, 8]


def tail(counts: list[int] = COUNTS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, 3) of overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = 1.2 * torch.randn(len(counts), 3, generator=generator, dtype=torch.float64)
    return centres[target] + torch.randn(len(target), 3, generator=generator, dtype=torch.float64), target


WEIGHT = torch.tensor([[3.0, 0.5, -1.0], [0.4, 1.2, 0.3], [-0.3, 0.1, 0.5]], dtype=torch.float64)
BIAS = torch.tensor([0.5, 0.1, -0.8], dtype=torch.float64)


# --- SAMN -------------------------------------------------------------------------------------------------------------


def projection_by_enumeration(norms: list[float], counts: list[int]) -> list[float]:
    """The projection as the best of all partitions, in the order of rarity, into runs that share their mean.

    Isotonic regression is such a partition. Classes of one size are tried in every order.
    """
    best, found = math.inf, list(norms)
    for order in itertools.permutations(range(len(norms))):
        if any(counts[a] < counts[b] for a, b in itertools.pairwise(order)):
            continue
        for cuts in itertools.product([False, True], repeat=len(norms) - 1):
            runs = [[order[0]]]
            for item, cut in zip(order[1:], cuts, strict=True):
                if cut:
                    runs.append([item])
                else:
                    runs[-1].append(item)
            means = [sum(norms[i] for i in run) / len(run) for run in runs]
            if any(a > b for a, b in itertools.pairwise(means)):
                continue
            cost = sum((norms[i] - mean) ** 2 for run, mean in zip(runs, means, strict=True) for i in run)
            if cost < best - 1e-12:
                best, found = cost, list(norms)
                for run, mean in zip(runs, means, strict=True):
                    for item in run:
                        found[item] = mean
    return found


def check_monotone(norms_of: Callable[[Tensor, list[int]], Tensor]) -> None:
    generator = torch.Generator().manual_seed(4)
    for counts in ([9, 7, 5, 3, 1], [9, 5, 5, 5, 1], [1, 3, 9, 3, 2], [4, 4, 4, 4, 4]):
        for _ in range(3):
            weight = torch.randn(5, 3, generator=generator, dtype=torch.float64)
            found = norms_of(weight, counts)
            expected = projection_by_enumeration(weight.norm(dim=1).tolist(), counts)
            assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64))


def test_samn_is_the_projection() -> None:
    check_monotone(lambda weight, counts: SAMN().fit(weight=weight, counts=counts).weight_.norm(dim=1))
    for mutant in (
        lambda weight, counts: SAMN().fit(weight=weight, counts=[-n for n in counts]).weight_.norm(dim=1),
        lambda weight, counts: SAMN().fit(weight=weight, counts=[9, 7, 5, 3, 1]).weight_.norm(dim=1),
        lambda weight, counts: weight.norm(dim=1).sort().values,
        lambda weight, counts: TauNormalization().fit(weight=weight).weight_.norm(dim=1),
    ):
        with pytest.raises(AssertionError):
            check_monotone(mutant)


def test_samn_between_nothing_and_tau_normalisation() -> None:
    rows, target = tail()
    model = SAMN().fit(rows, target, weight=WEIGHT)
    assert torch.allclose(functional.normalize(model.weight_, dim=1), functional.normalize(WEIGHT, dim=1))
    # Norms that fall with rarity are pooled into one: tau-normalisation at 1.
    assert torch.equal(model.predict(rows), TauNormalization(1.0).fit(weight=WEIGHT).predict(rows))
    assert model.weight_.norm(dim=1).std() < 1e-12
    # Norms that rise with rarity stay, and a second time nothing changes.
    turned = SAMN().fit(weight=WEIGHT.flip(0), counts=COUNTS)
    assert torch.allclose(turned.weight_, WEIGHT.flip(0))
    again = SAMN().fit(weight=model.weight_, counts=COUNTS)
    assert torch.allclose(again.weight_, model.weight_)
    assert float(model.weight_.norm(dim=1).sum()) == pytest.approx(float(WEIGHT.norm(dim=1).sum()))


# --- LOS --------------------------------------------------------------------------------------------------------------


def over_smoothed(rows: Tensor, target: Tensor, smoothing: float, decay: float) -> tuple[Tensor, Tensor]:
    model = LabelOverSmoothing(smoothing, decay).fit(rows, target)
    return model.weight_, model.bias_


def check_smoothing(fit: Callable[[Tensor, Tensor, float, float], tuple[Tensor, Tensor]]) -> None:
    """The gradient of the objective, row by row from its definition with torch's own smoothing, is 0."""
    rows, target = tail()
    for smoothing, decay in ((0.98, 1e-3), (0.5, 0.1), (0.0, 0.01)):
        weight, bias = (held.clone().requires_grad_() for held in fit(rows, target, smoothing, decay))
        loss = functional.cross_entropy(rows @ weight.T + bias, target, label_smoothing=smoothing)
        loss = loss + decay / 2 * weight.square().sum()
        slopes = torch.autograd.grad(loss, (weight, bias))
        assert max(float(slope.abs().max()) for slope in slopes) < 1e-6


def test_los_is_the_minimum() -> None:
    check_smoothing(over_smoothed)
    for mutant in (
        lambda rows, target, smoothing, decay: over_smoothed(rows, target, 1 - smoothing / 2, decay),
        lambda rows, target, smoothing, decay: over_smoothed(rows, target, smoothing, 2 * decay),
        lambda rows, target, smoothing, decay: (
            (crt := ClassifierRetraining(decay).fit(rows, target)).weight_,
            crt.bias_,
        ),
    ):
        with pytest.raises(AssertionError):
            check_smoothing(mutant)


def test_los_shrinks_logits() -> None:
    rows, target = tail([300, 40, 8])
    found = [LabelOverSmoothing(smoothing, 1e-4).fit(rows, target) for smoothing in (0.0, 0.5, 0.98)]
    spans = [float(np.ptp(model.decision_function(rows.numpy()), axis=1).mean()) for model in found]
    assert spans[0] > spans[1] > spans[2]
    assert float(found[2].predict_proba(rows).max()) < 0.4


def test_los_gives_every_sample_one_margin_however_rare_its_class() -> None:
    """Where the features can be told apart, as those of a network on its own training images (Sun et al., section 4).

    The label is then met by every sample: the logit of its class exceeds the others by log(1 + K (1 - delta) / delta).
    Cross-entropy without smoothing has no such end, and gives frequent classes the larger weights.
    """
    generator = torch.Generator().manual_seed(3)
    target = torch.tensor([0] * 24 + [1] * 8 + [2] * 2)
    rows = torch.randn(34, 60, generator=generator, dtype=torch.float64)
    model = LabelOverSmoothing(0.98, 1e-9, steps=5000).fit(rows, target)
    logits = model.decision_function(rows)
    own = logits.gather(1, target[:, None])
    others = logits[functional.one_hot(target) == 0].view(34, 2)
    margin = math.log(1 + 3 * 0.02 / 0.98)
    assert torch.allclose(own - others, torch.full((34, 2), margin, dtype=torch.float64), rtol=0.01)
    plain = LabelOverSmoothing(0.0, 1e-3).fit(rows, target).decision_function(rows)
    margins = plain.gather(1, target[:, None]).squeeze(1) - plain.masked_fill(
        functional.one_hot(target) == 1, -torch.inf
    ).amax(dim=1)
    assert float(margins[target == 0].mean()) > 1.3 * float(margins[target == 2].mean())


# --- DisAlign ---------------------------------------------------------------------------------------------------------


def objective(rows: Tensor, target: Tensor, scale: Any, shift: Any, gate: Any, rho: float, decay: float) -> float:
    """The loss of Eq. 3, 4 and 7, sample by sample."""
    sizes = [int((target == c).sum()) for c in range(3)]
    total = weights = 0.0
    for row, y in zip(rows, target.tolist(), strict=True):
        plain = [float(row @ WEIGHT[c] + BIAS[c]) for c in range(3)]
        sure = 1 / (1 + math.exp(-float(row @ gate[:-1] + gate[-1]))) if gate is not None else 1.0
        moved = [sure * (float(scale[c]) * plain[c] + float(shift[c])) + (1 - sure) * plain[c] for c in range(3)]
        weight = sizes[y] ** -rho
        total += weight * (math.log(sum(math.exp(value) for value in moved)) - moved[y])
        weights += weight
    far = float((scale - 1).square().sum() + shift.square().sum() + (0 if gate is None else gate.square().sum()))
    return total / weights + decay / 2 * far


def check_alignment(fit: Callable[[Tensor, Tensor, float, bool], DisAlign]) -> None:
    """No point near what was found is better, and the scores are those of the formula."""
    rows, target = tail()
    generator = torch.Generator().manual_seed(1)
    for rho, confidence in ((1.0, True), (0.5, True), (1.0, False)):
        model = fit(rows, target, rho, confidence)

        def at(moved: Tensor, rho: float = rho, confidence: bool = confidence) -> float:
            return objective(rows, target, moved[:3], moved[3:6], moved[6:] if confidence else None, rho, 0.01)

        here = torch.cat([model.scale_, model.shift_, model.gate_])
        best = at(here)
        assert best < at(torch.tensor([1.0] * 3 + [0.0] * 7, dtype=torch.float64))
        for _ in range(4):
            step = 0.05 * functional.normalize(torch.randn(10, generator=generator, dtype=torch.float64), dim=0)
            if not confidence:
                step[6:] = 0
            assert at(here + step) > best
            assert at(here - step) > best


def aligned(rows: Tensor, target: Tensor, rho: float, confidence: bool) -> DisAlign:
    return DisAlign(rho, confidence, 0.01).fit(rows, target, weight=WEIGHT, bias=BIAS)


def test_disalign_is_a_minimum() -> None:
    check_alignment(aligned)
    for mutant in (
        lambda rows, target, rho, confidence: aligned(rows, target, 1 - rho, confidence),
        lambda rows, target, rho, confidence: DisAlign(rho, confidence, 0.01).fit(rows, target, weight=WEIGHT),
        lambda rows, target, rho, confidence: DisAlign(rho, confidence, 0.1).fit(
            rows, target, weight=WEIGHT, bias=BIAS
        ),
    ):
        with pytest.raises(AssertionError):
            check_alignment(mutant)


def test_disalign_as_a_head_and_without_one() -> None:
    rows, target = tail()
    model = aligned(rows, target, 1.0, False)
    assert torch.allclose(model.decision_function(rows), rows @ model.weight_.T + model.bias_)
    model.set_params(confidence=True).fit(rows, target, weight=WEIGHT, bias=BIAS)
    assert not hasattr(model, "weight_")
    # A pull without end leaves the classifier as it was; and frequent classes are given less than before.
    held = DisAlign(weight_decay=1e9).fit(rows, target, weight=WEIGHT, bias=BIAS)
    assert torch.allclose(held.decision_function(rows), rows @ WEIGHT.T + BIAS, atol=1e-6)
    plain = (rows @ WEIGHT.T + BIAS).argmax(dim=1)
    assert int((model.predict(rows) == 0).sum()) < int((plain == 0).sum())
    with pytest.raises(InputError, match="class 2 occurs in the target, but its count is 0"):
        DisAlign().fit(rows, target, weight=WEIGHT, counts=[1, 1, 0])


# --- temperature by group ---------------------------------------------------------------------------------------------


def uneven(number: int = 3000) -> tuple[Tensor, Tensor]:
    """Logits that are right about how sure they are, but three times too large where class 2 is predicted."""
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(number, 3, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return torch.where((logits.argmax(dim=1) == 2)[:, None], 3 * logits, logits), target


def check_groups(temperatures: Callable[[Tensor, Tensor], dict[str, float]]) -> None:
    logits, target = uneven()
    found = temperatures(logits, target)
    assert found["many"] == pytest.approx(1, abs=0.2)
    assert found["few"] == pytest.approx(3, abs=0.6)
    for name, members in {"many": [0], "medium": [1], "few": [2]}.items():
        chosen = torch.isin(logits.argmax(dim=1), torch.tensor(members))
        grid = [found[name] * (1 + step / 100) for step in range(-5, 6)]
        losses = [float(functional.cross_entropy(logits[chosen] / t, target[chosen])) for t in grid]
        assert losses.index(min(losses)) == 5


def by_group(logits: Tensor, target: Tensor) -> dict[str, float]:
    return GroupTemperatureScaling().fit(logits, target, counts=[500, 50, 5]).temperature_


def by_true_group(logits: Tensor, target: Tensor) -> dict[str, float]:
    names = ["many", "medium", "few"]
    return {
        name: TemperatureScaling().fit(logits[target == c], target[target == c]).temperature_
        for c, name in enumerate(names)
    }


def test_each_group_has_its_own_temperature() -> None:
    check_groups(by_group)
    for mutant in (
        by_true_group,
        lambda logits, target: dict.fromkeys(
            ("many", "medium", "few"), TemperatureScaling().fit(logits, target).temperature_
        ),
        lambda logits, target: GroupTemperatureScaling().fit(logits, target, counts=[5, 50, 500]).temperature_,
    ):
        with pytest.raises(AssertionError):
            check_groups(mutant)


def test_group_temperatures_change_no_prediction_and_fit_better_than_one() -> None:
    logits, target = uneven()
    model = GroupTemperatureScaling().fit(logits, target, counts=[500, 50, 5])
    assert torch.equal(model.predict(logits), logits.argmax(dim=1))

    def loss(probability: Tensor) -> float:
        return float(-probability.gather(1, target[:, None]).log().mean())

    assert loss(model.predict_proba(logits)) < loss(TemperatureScaling().fit(logits, target).predict_proba(logits))
    # Nothing is predicted in an empty group: it keeps the temperature of all.
    alone = GroupTemperatureScaling().fit(logits, target, counts=[500, 500, 500])
    assert alone.temperature_["few"] == TemperatureScaling().fit(logits, target).temperature_


# --- all of them ------------------------------------------------------------------------------------------------------

HEADS = [
    TauNormalization(),
    ClassifierRetraining(0.01),
    rebalance.LearnableWeightScaling(0.01),
    NearestClassMean(),
    NearestClassMean(cosine=False),
    SAMN(),
    LabelOverSmoothing(weight_decay=1e-3),
    DisAlign(confidence=False),
]


@pytest.mark.parametrize("model", HEADS, ids=repr)
def test_a_head_is_called_alike_and_given_back_as_weights(model: Any) -> None:
    rows, target = tail()
    model.fit(rows, target, weight=WEIGHT, bias=BIAS, counts=COUNTS)
    logits = rows @ model.weight_.T + model.bias_
    assert torch.equal(logits.argmax(dim=1), model.predict(rows))
    assert not model.weight_.requires_grad


def test_every_public_estimator_is_looked_at_here() -> None:
    heads = {type(model).__name__ for model in HEADS}
    assert heads | {"LogitAdjustment", "TemperatureScaling", "GroupTemperatureScaling"} == set(rebalance.__all__)


def test_the_strength_of_logit_adjustment_is_chosen_on_what_is_held_out() -> None:
    rows, target = tail([60, 60, 60])
    logits = rows @ WEIGHT.T
    model = LogitAdjustment(tau=None).fit(logits, target, counts=COUNTS)

    def balanced(tau: float) -> float:
        right = LogitAdjustment(tau).fit(counts=COUNTS).predict(logits) == target
        return float(sum(right[target == c].double().mean() for c in range(3)))

    scores = {i / 10: balanced(i / 10) for i in range(21)}
    assert scores[model.tau_] == pytest.approx(max(scores.values()))
    assert model.tau_ not in (0.0, 2.0)
    with pytest.raises(InputError, match="logits must be"):
        LogitAdjustment(tau=None).fit(counts=COUNTS)


def test_in_a_pipeline_and_a_search() -> None:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, target = (held.numpy() for held in tail([60, 40, 20]))
    chain = make_pipeline(StandardScaler(), LabelOverSmoothing(weight_decay=1e-4))
    search = GridSearchCV(chain, {"labeloversmoothing__smoothing": [0.0, 0.98]}, scoring="balanced_accuracy", cv=2)
    search.fit(rows, target)
    assert search.best_params_["labeloversmoothing__smoothing"] in (0.0, 0.98)
    assert 0.5 < search.best_score_ < 1


# Checks of scikit-learn that do not apply, and why; whatever else it checks must pass, and each of these must fail.
NAMES = "classes are numbers from 0, and a binary problem has two columns of scores like any other"
WORDS = "refused as it should be, in another wording"
NOT_OURS = {
    "check_fit_score_takes_y": "the arguments are called features and target",
    "check_classifiers_classes": NAMES,
    "check_classifiers_train": NAMES,
    "check_classifier_data_not_an_array": NAMES,
    "check_supervised_y_2d": NAMES,
    "check_estimators_nan_inf": NAMES,
    "check_dtype_object": WORDS,
    "check_complex_data": WORDS,
    "check_n_features_in_after_fitting": WORDS,
    "check_estimators_empty_data_messages": WORDS,
    "check_classifiers_regression_target": WORDS,
    "check_fit2d_predict1d": WORDS,
    "check_requires_y_none": WORDS,
}
TYPED = {
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_do_not_raise_errors_in_init_or_set_params",
}
"""Where annotations are checked, as in these tests, the annotation refuses first."""


@pytest.mark.parametrize("model", [NearestClassMean(cosine=False), LabelOverSmoothing(0.5, 0.1)], ids=repr)
def test_the_checks_of_scikit_learn(model: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    if "on_fail" not in inspect.signature(checks.check_estimator).parameters:
        pytest.skip("this scikit-learn cannot list which checks failed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = checks.check_estimator(model, on_fail=None)
    failed = {row["check_name"] for row in rows if row["status"] == "failed"}
    assert set(NOT_OURS) <= failed <= set(NOT_OURS) | TYPED
    assert sum(row["status"] == "passed" for row in rows) > 30
