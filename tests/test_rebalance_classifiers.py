"""Classifiers after training: equal to independent formulas, and what their papers say of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.metrics import evaluate
from longtail.rebalance import (
    SAMN,
    ClassifierRetraining,
    DisAlign,
    GroupTemperatureScaling,
    LabelOverSmoothing,
    LearnableWeightScaling,
    LogitAdjustment,
    NearestClassMean,
    TauNormalization,
    TemperatureScaling,
    classifiers,
)

COUNTS = [120, 30, 8]
WEIGHT = torch.tensor([[3.0, 0.5, -1.0], [0.4, 1.2, 0.3], [-0.3, 0.1, 0.5]], dtype=torch.float64)
ALL: list[tuple[Any, Callable[[Any, Tensor, Tensor], Any]]] = [
    (TauNormalization(), lambda model, rows, target: model.fit(weight=WEIGHT)),
    (ClassifierRetraining(0.01), lambda model, rows, target: model.fit(rows, target)),
    (LearnableWeightScaling(0.01), lambda model, rows, target: model.fit(rows, target, weight=WEIGHT)),
    (SAMN(), lambda model, rows, target: model.fit(weight=WEIGHT, counts=COUNTS)),
    (LabelOverSmoothing(weight_decay=1e-3), lambda model, rows, target: model.fit(rows, target)),
    (DisAlign(), lambda model, rows, target: model.fit(rows, target, weight=WEIGHT)),
    (DisAlign(confidence=False), lambda model, rows, target: model.fit(rows, target, weight=WEIGHT)),
    (NearestClassMean(), lambda model, rows, target: model.fit(rows, target)),
    (NearestClassMean(cosine=False), lambda model, rows, target: model.fit(rows, target)),
    (TemperatureScaling(), lambda model, rows, target: model.fit(rows, target)),
    (TemperatureScaling(balanced=True), lambda model, rows, target: model.fit(rows, target)),
    (GroupTemperatureScaling(few=20), lambda model, rows, target: model.fit(rows, target)),
    (LogitAdjustment(), lambda model, rows, target: model.fit(rows, target)),
]
everyone = pytest.mark.parametrize(
    ("model", "fit"), ALL, ids=lambda value: repr(value).replace("\n", "") if hasattr(value, "fit") else ""
)


def tail(counts: list[int] = COUNTS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, 3) of overlapping classes, the rare ones less well separated."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = 1.2 * torch.randn(len(counts), 3, generator=generator, dtype=torch.float64)
    return centres[target] + torch.randn(len(target), 3, generator=generator, dtype=torch.float64), target


def balanced_loss(logits: Tensor, target: Tensor) -> float:
    """The mean over classes of the mean cross-entropy of their samples, sample by sample."""
    each = [[] for _ in range(int(target.max()) + 1)]
    for row, y in zip(logits.tolist(), target.tolist(), strict=True):
        top = max(row)
        each[y].append(top + math.log(sum(math.exp(value - top) for value in row)) - row[y])
    return sum(sum(losses) / len(losses) for losses in each) / len(each)


def twice(rows: Tensor, target: Tensor, which: int) -> tuple[Tensor, Tensor]:
    """The set with every sample of one class there twice: how frequent a class is must not count."""
    again = target == which
    return torch.cat([rows, rows[again]]), torch.cat([target, target[again]])


# --- tau-normalisation ------------------------------------------------------------------------------------------------


def check_tau(normalise: Callable[[Tensor, float], Tensor]) -> None:
    for tau in (0.0, 0.5, 1.0, 2.0):
        expected = [[w / math.sqrt(sum(v * v for v in row)) ** tau for w in row] for row in WEIGHT.tolist()]
        assert torch.allclose(normalise(WEIGHT, tau), torch.tensor(expected, dtype=torch.float64))
    assert torch.allclose(normalise(WEIGHT, 1.0).norm(dim=1), torch.ones(3, dtype=torch.float64))
    scaled = torch.tensor([5.0, 2.0, 0.1], dtype=torch.float64)[:, None] * WEIGHT
    assert torch.allclose(normalise(scaled, 1.0), normalise(WEIGHT, 1.0))


def test_tau_normalisation() -> None:
    check_tau(lambda weight, tau: TauNormalization(tau).fit(weight=weight).weight_)
    for mutant in (
        lambda weight, tau: weight / weight.norm(dim=0, keepdim=True) ** tau,
        lambda weight, tau: weight * weight.norm(dim=1, keepdim=True) ** tau,
        lambda weight, tau: weight / weight.square().sum(dim=1, keepdim=True) ** tau,
    ):
        with pytest.raises(AssertionError):
            check_tau(mutant)
    rows, _ = tail()
    model = TauNormalization(0.0).fit(weight=WEIGHT)
    assert torch.equal(model.predict(rows), (rows @ WEIGHT.T).argmax(dim=1))


def test_tau_is_chosen_by_balanced_accuracy_on_what_is_held_out() -> None:
    rows, target = tail([40, 40, 40], seed=3)
    model = TauNormalization(tau=None).fit(rows, target, weight=WEIGHT)

    def score(tau: float) -> float:
        prediction = TauNormalization(tau).fit(weight=WEIGHT).predict(rows)
        return evaluate(target, prediction, counts=[40, 40, 40]).balanced_accuracy

    scores = {i / 10: score(i / 10) for i in range(21)}
    assert score(model.tau_) == max(scores.values())
    assert model.tau_ == min(tau for tau, value in scores.items() if value == max(scores.values()))
    assert min(scores.values()) < max(scores.values())
    assert model.tau is None


# --- retraining -------------------------------------------------------------------------------------------------------


def retrained(rows: Tensor, target: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    model = ClassifierRetraining(decay).fit(rows, target)
    return model.weight_, model.bias_


def check_retraining(fit: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, target = tail()
    for decay in (0.1, 0.003):
        theirs = LogisticRegression(C=1 / (decay * len(rows)), class_weight="balanced", tol=1e-10, max_iter=5000).fit(
            rows.numpy(), target.numpy()
        )
        weight, bias = fit(rows, target, decay)
        probability = torch.softmax(rows @ weight.T + bias, dim=1)
        assert np.allclose(probability, theirs.predict_proba(rows.numpy()), atol=2e-4)


def unbalanced(rows: Tensor, target: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """The mutant: every sample counts alike, as in the training that is to be corrected."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (decay * len(rows)), max_iter=5000).fit(rows.numpy(), target.numpy())
    return torch.tensor(model.coef_), torch.tensor(model.intercept_)


def decayed_sum(rows: Tensor, target: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    return retrained(rows, target, decay * len(rows))


def test_retraining_is_balanced_logistic_regression() -> None:
    check_retraining(retrained)
    for mutant in (unbalanced, decayed_sum):
        with pytest.raises(AssertionError):
            check_retraining(mutant)


def test_retraining_does_not_see_how_frequent_a_class_is() -> None:
    rows, target = tail()
    model = ClassifierRetraining(0.01).fit(rows, target)
    for which in range(3):
        other = ClassifierRetraining(0.01).fit(*twice(rows, target, which))
        assert torch.allclose(other.weight_, model.weight_, atol=1e-5)
        assert torch.allclose(other.bias_, model.bias_, atol=1e-5)
    weight, bias = unbalanced(rows, target, 0.01)
    held_out, truth = tail([200, 200, 200])
    accuracy = float((model.predict(held_out) == truth).double().mean())
    assert accuracy > float(((held_out @ weight.T + bias).argmax(dim=1) == truth).double().mean())


def test_retraining_says_when_it_did_not_converge() -> None:
    rows, target = tail()
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 steps"):
        ClassifierRetraining(1e-4, steps=2).fit(rows, target)


# --- weight scaling ---------------------------------------------------------------------------------------------------


def check_scaling(fit: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """No other scale is better: the objective, sample by sample, in many directions around what was found."""
    rows, target = tail()
    generator = torch.Generator().manual_seed(1)
    for decay in (0.1, 0.003):
        scale = fit(rows, target, decay)

        def objective(scale: Tensor, decay: float = decay) -> float:
            return balanced_loss(rows @ (scale[:, None] * WEIGHT).T, target) + decay / 2 * float(scale.square().sum())

        best = objective(scale)
        for _ in range(12):
            step = 0.02 * functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
            assert objective(scale + step) > best
            assert objective(scale - step) > best


def scaled(rows: Tensor, target: Tensor, decay: float) -> Tensor:
    return LearnableWeightScaling(decay).fit(rows, target, weight=WEIGHT).scale_


def scaled_for_every_sample(rows: Tensor, target: Tensor, decay: float) -> Tensor:
    """The mutant in which every sample counts alike."""
    with pytest.MonkeyPatch.context() as patch:
        even = torch.full((len(target),), 1 / len(target), dtype=torch.float64)
        patch.setattr(classifiers, "balanced_weights", lambda target, counts: even)
        return scaled(rows, target, decay)


def test_weight_scaling_is_the_minimum() -> None:
    check_scaling(scaled)
    for mutant in (
        scaled_for_every_sample,
        lambda rows, target, decay: torch.ones(3, dtype=torch.float64),
        lambda rows, target, decay: 1 / WEIGHT.norm(dim=1),
    ):
        with pytest.raises(AssertionError):
            check_scaling(mutant)


def test_weight_scaling_keeps_directions_and_does_not_see_frequencies() -> None:
    rows, target = tail()
    model = LearnableWeightScaling(0.01).fit(rows, target, weight=WEIGHT)
    assert torch.allclose(functional.normalize(model.weight_, dim=1).abs(), functional.normalize(WEIGHT, dim=1).abs())
    assert torch.allclose(model.decision_function(rows), rows @ (model.scale_[:, None] * WEIGHT).T)
    for which in range(3):
        other = LearnableWeightScaling(0.01).fit(*twice(rows, target, which), weight=WEIGHT)
        assert torch.allclose(other.scale_, model.scale_, atol=1e-5)


# --- nearest mean -----------------------------------------------------------------------------------------------------


def check_means(predict: Callable[[Tensor, Tensor, Tensor, bool], Tensor]) -> None:
    rows, target = tail()
    held_out, _ = tail([50, 50, 50])
    for cosine in (True, False):
        prediction = []
        known = functional.normalize(rows, dim=1) if cosine else rows
        means = [known[target == c].sum(dim=0) / int((target == c).sum()) for c in range(3)]
        for row in held_out:
            if cosine:
                scores = [float(functional.cosine_similarity(row, mean, dim=0)) for mean in means]
            else:
                scores = [-math.dist(row.tolist(), mean.tolist()) for mean in means]
            prediction.append(max(range(3), key=scores.__getitem__))
        assert predict(rows, target, held_out, cosine).tolist() == prediction


def nearest(rows: Tensor, target: Tensor, held_out: Tensor, cosine: bool) -> Tensor:
    return NearestClassMean(cosine).fit(rows, target).predict(held_out)


def largest_product(rows: Tensor, target: Tensor, held_out: Tensor, cosine: bool) -> Tensor:
    """The mutant that forgets half the squared length of the mean."""
    return (held_out @ NearestClassMean(cosine).fit(rows, target).means_.T).argmax(dim=1)


def sums(rows: Tensor, target: Tensor, held_out: Tensor, cosine: bool) -> Tensor:
    model = NearestClassMean(cosine).fit(rows, target)
    model.weight_ = model.means_ * torch.tensor(COUNTS)[:, None] / 30
    return model.predict(held_out)


def test_nearest_class_mean() -> None:
    check_means(nearest)
    for mutant in (largest_product, sums):
        with pytest.raises(AssertionError):
            check_means(mutant)


def test_nearest_class_mean_by_scikit_learn_and_its_propositions() -> None:
    from sklearn.neighbors import NearestCentroid

    rows, target = tail()
    held_out, _ = tail([50, 50, 50])
    model = NearestClassMean(cosine=False).fit(rows, target)
    assert model.predict(held_out).tolist() == NearestCentroid().fit(rows, target).predict(held_out).tolist()
    for which in range(3):
        assert torch.allclose(
            NearestClassMean().fit(*twice(rows, target, which)).means_, NearestClassMean().fit(rows, target).means_
        )
    lengths = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    assert torch.allclose(
        NearestClassMean().fit(lengths * rows, target).means_, NearestClassMean().fit(rows, target).means_
    )
    # Spherical Gaussians of unit variance, all classes equally frequent: the posterior by Bayes' rule.
    density = torch.exp(-((held_out[:, None] - model.means_) ** 2).sum(dim=2) / 2)
    assert torch.allclose(model.predict_proba(held_out), density / density.sum(dim=1, keepdim=True))


# --- temperature ------------------------------------------------------------------------------------------------------


def a_calibrated_network(number: int = 4000) -> tuple[Tensor, Tensor]:
    """Logits whose softmax is the law of the targets."""
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(number, 4, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


def check_temperature(fit: Callable[[Tensor, Tensor], float]) -> None:
    logits, target = a_calibrated_network()
    found = fit(logits, target)
    # Its standard error is below 0.03, so this is wrong less than once in 10^5.
    assert abs(found - 1) < 0.13
    for factor in (0.2, 3.0):
        assert fit(factor * logits, target) == pytest.approx(factor * found, rel=1e-6)
    grid = [found * (1 + step / 1000) for step in range(-30, 31)]
    losses = [float(functional.cross_entropy(logits / t, target)) for t in grid]
    assert grid[losses.index(min(losses))] == pytest.approx(found, rel=1e-3)


def test_temperature_scaling() -> None:
    check_temperature(lambda logits, target: TemperatureScaling().fit(logits, target).temperature_)
    for mutant in (
        lambda logits, target: 1 / TemperatureScaling().fit(logits, target).temperature_,
        lambda logits, target: TemperatureScaling().fit(logits, logits.argmax(dim=1)).temperature_,
        lambda logits, target: 1.0,
    ):
        with pytest.raises(AssertionError):
            check_temperature(mutant)


def test_temperature_changes_no_prediction_and_calibrates() -> None:
    from longtail.metrics import calibration

    logits, target = a_calibrated_network()
    model = TemperatureScaling().fit(6 * logits, target)
    assert torch.equal(model.predict(6 * logits), logits.argmax(dim=1))
    before = calibration(target, torch.softmax(6 * logits, dim=1))
    after = calibration(target, model.predict_proba(6 * logits))
    assert after.ece < 0.05 < before.ece
    assert after.nll < before.nll
    # What minimises the loss makes the mean logit of the model that of the truth (Guo et al., supplement, claim 1).
    mean = (model.predict_proba(6 * logits) * 6 * logits).sum(dim=1).mean()
    assert float(mean) == pytest.approx(float((6 * logits).gather(1, target[:, None]).mean()), abs=1e-6)


def test_a_balanced_temperature_is_that_of_a_balanced_set() -> None:
    logits, target = a_calibrated_network(400)
    model = TemperatureScaling(balanced=True).fit(logits, target)
    for which in range(4):
        assert TemperatureScaling(balanced=True).fit(*twice(logits, target, which)).temperature_ == pytest.approx(
            model.temperature_
        )
    plain = TemperatureScaling().fit(logits, target).temperature_
    assert TemperatureScaling().fit(*twice(logits, target, 0)).temperature_ != pytest.approx(plain)


def test_the_temperature_has_bounds() -> None:
    logits = torch.eye(3)
    assert TemperatureScaling().fit(logits, [0, 1, 2]).temperature_ == pytest.approx(0.01)
    assert TemperatureScaling().fit(logits, [1, 2, 0]).temperature_ == pytest.approx(100)


# --- all of them ------------------------------------------------------------------------------------------------------


@everyone
def test_fit_returns_itself_and_arrays_do_what_tensors_do(model: Any, fit: Callable[..., Any]) -> None:
    rows, target = tail()
    fitted = fit(model, rows, target)
    assert fitted is model
    prediction, probability = model.predict(rows), model.predict_proba(rows)
    assert torch.equal(probability.argmax(dim=1), prediction)
    assert torch.allclose(probability.sum(dim=1), torch.ones(len(rows), dtype=torch.float64))
    again = fit(type(model)(**model.get_params()), rows.numpy(), target.tolist())
    assert isinstance(again.predict(rows.numpy()), np.ndarray)
    assert again.predict(rows.numpy()).tolist() == prediction.tolist()
    single = fit(type(model)(**model.get_params()), rows.float(), target).predict_proba(rows.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), probability, atol=1e-3)


@everyone
def test_scikit_learn_takes_it(model: Any, fit: Callable[..., Any]) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    other = clone(model)
    assert other is not model
    assert other.get_params() == model.get_params()
    assert is_classifier(other)
    for name, value in model.get_params().items():
        assert other.set_params(**{name: value}).get_params()[name] == value
    with pytest.raises(ValueError, match="strength"):
        other.set_params(strength=1)
    with pytest.raises(NotFittedError):
        other.predict(torch.zeros(2, 3))
    fitted = fit(other, *tail())
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.n_features_in_ == 3
    check_is_fitted(fitted)
    assert not hasattr(clone(fitted), "classes_")


def test_a_grid_search_takes_it() -> None:
    from sklearn.model_selection import GridSearchCV

    rows, target = tail([40, 30, 20])
    search = GridSearchCV(
        ClassifierRetraining(), {"weight_decay": [1e-3, 10.0]}, scoring="balanced_accuracy", cv=3
    ).fit(rows.numpy(), target.numpy())
    scores = search.cv_results_["mean_test_score"]
    assert 0.5 < scores.min() <= scores.max() < 1
    assert search.best_score_ == scores.max()
    assert torch.equal(search.best_estimator_.predict(rows), torch.as_tensor(search.predict(rows.numpy())))


@pytest.mark.parametrize(
    "fit",
    [
        lambda rows, target: ClassifierRetraining(0.01).fit(rows, target, num_classes=4),
        lambda rows, target: LearnableWeightScaling(0.01).fit(rows, target, weight=torch.cat([WEIGHT, 9 * WEIGHT[:1]])),
        lambda rows, target: NearestClassMean().fit(rows, target, num_classes=4),
        lambda rows, target: NearestClassMean(cosine=False).fit(rows, target, num_classes=4),
    ],
)
def test_a_class_without_samples_is_never_predicted(fit: Callable[[Tensor, Tensor], Any]) -> None:
    rows, target = tail()
    model = fit(rows, target)
    probability = model.predict_proba(rows)
    assert probability.shape == (len(rows), 4)
    assert bool((probability[:, 3] == 0).all())
    assert bool(probability.isfinite().all())


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: TauNormalization().predict(torch.zeros(1, 3)), r"TauNormalization is not fitted yet: call fit\(weight="),
    (lambda: ClassifierRetraining().predict(torch.zeros(1, 3)), r"call fit\(features, target\) first"),
    (lambda: LearnableWeightScaling().predict(torch.zeros(1, 3)), r"call fit\(features, target, weight=\.\.\.\) first"),
    (lambda: NearestClassMean().predict(torch.zeros(1, 3)), "NearestClassMean is not fitted yet"),
    (lambda: TemperatureScaling().predict(torch.zeros(1, 3)), r"call fit\(logits, target\) first"),
    (lambda: LogitAdjustment().fit(), "give fit the training images per class, counts=..., or the training targets"),
    (lambda: TauNormalization(None).fit(weight=WEIGHT), r"features must be"),
    (lambda: TauNormalization().fit(weight=0 * WEIGHT), "the weight of class 0 is 0 and has no direction"),
    (lambda: ClassifierRetraining(0.0).fit(*tail()), "weight_decay must be above 0, not 0"),
    (lambda: LearnableWeightScaling(-1.0).fit(*tail(), weight=WEIGHT), "weight_decay must be above 0, not -1"),
    (lambda: NearestClassMean().fit(torch.zeros(3, 2), [0, 1]), "3 rows of features and 2 classes"),
    (lambda: NearestClassMean().fit(torch.zeros(3, 2), [0, 1, 4], num_classes=3), "target holds class 4"),
    (lambda: NearestClassMean().fit(torch.eye(2), [0, 1]).predict(torch.zeros(1, 3)), r"features must be \(N, 2\)"),
    (lambda: TemperatureScaling().fit(torch.full((1, 2), torch.inf), [0]), "logits must be finite"),
    (
        lambda: LearnableWeightScaling().fit(*tail(), weight=WEIGHT[:, :2].numpy()),
        r"features must be \(N, 2\), not \(158, 3\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_fitted_or_asked_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
