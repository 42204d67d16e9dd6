"""The contract in executable form: named checks of a loss, sampler, data set, objective, model and recipe.

A check is one promise. ``loss_checks(my_loss)`` and its kin yield them one by one, so that a test suite shows which
promise is broken::

    @parametrize_with_checks(loss_checks(my_loss))
    def test_my_loss(check):
        check()

``check_loss(my_loss)`` and its kin run them all. A broken promise raises a ``ContractError``, an ``AssertionError`` of
one line that says what is wrong, on what input, and what would be right.
"""

from longtail.testing.contract import Check, ContractError, parametrize_with_checks
from longtail.testing.datasets import check_dataset, dataset_checks
from longtail.testing.losses import check_loss, loss_checks
from longtail.testing.models import check_model, model_checks
from longtail.testing.objectives import check_objective, objective_checks
from longtail.testing.recipes import check_recipe, recipe_checks
from longtail.testing.samplers import Sampler, SamplerFactory, check_sampler, sampler_checks

__all__ = [
    "Check",
    "ContractError",
    "Sampler",
    "SamplerFactory",
    "check_dataset",
    "check_loss",
    "check_model",
    "check_objective",
    "check_recipe",
    "check_sampler",
    "dataset_checks",
    "loss_checks",
    "model_checks",
    "objective_checks",
    "parametrize_with_checks",
    "recipe_checks",
    "sampler_checks",
]
