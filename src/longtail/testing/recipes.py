"""The promises of a recipe: its record says what it is, and a seed gives its numbers again."""

from __future__ import annotations

import functools
import json
import math
import tempfile
from collections.abc import Iterator
from typing import Any

from longtail.testing.contract import Check, ContractError, name_of


def check_recipe(recipe: Any, data: Any = None, **options: Any) -> None:
    """Check a recipe or a method of your own before you compare it.

    Args:
        recipe: what ``longtail.recipe`` takes: a name, a function from a protocol to a recipe, a loss, or a recipe.
        data: a data set; scikit-learn's digits if None.
        options: options of ``longtail.recipe``; one epoch if they name none and the recipe is not complete.

    Raises:
        ContractError: a promise of ``recipe_checks`` that it does not keep.

    Example:
        >>> check_recipe("ce")
    """
    for check in recipe_checks(recipe, data, **options):
        check()


def recipe_checks(recipe: Any, data: Any = None, **options: Any) -> Iterator[Check]:
    """Yield the promises of a recipe: it is what its record says, and the same numbers come out of the same seed.

    Args:
        recipe: what ``longtail.recipe`` takes.
        data: a data set; scikit-learn's digits if None.
        options: options of ``longtail.recipe``; one epoch if they name none.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> [check.promise for check in recipe_checks("ce")][:2]
        ['is the same every time', 'survives its own record']
    """
    from longtail.methods.names import ready

    probe = _RecipeProbe(recipe, data, options if ready(recipe) is not None else {"epochs": 1, **options})
    promises = {
        "is the same every time": probe.repeated,
        "survives its own record": probe.stored,
        "holds parts that are known by name or source": probe.known,
        "trains to a record that re-scores": probe.trained,
        "gives the same numbers from the same seed": probe.reproduced,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _RecipeProbe:
    """The recipe that is checked, and a method for each promise."""

    def __init__(self, recipe: Any, data: Any, options: dict[str, Any]) -> None:
        self._asked, self._data, self._options = recipe, data, options
        self.name = recipe if isinstance(recipe, str) else getattr(recipe, "name", name_of(recipe))

    @functools.cached_property
    def data(self) -> Any:
        from longtail.data import load

        return load("digits-lt", imbalance=20) if self._data is None else self._data

    def made(self) -> Any:
        from longtail.methods import recipe

        return recipe(self._asked, self.data, **self._options)

    def repeated(self) -> None:
        if self.made() != self.made():
            raise ContractError(f"{self.name}: two calls gave different recipes; let it depend on its arguments alone")

    def stored(self) -> None:
        from longtail.recipes.part import plain
        from longtail.recipes.stages import stored_recipe

        made = self.made()
        if stored_recipe(json.loads(json.dumps(plain(made)))) != made:
            raise ContractError(
                f"{self.name}: what its record says is another recipe; hold numbers, texts and parts only"
            )

    def known(self) -> None:
        from longtail.recipes import sources
        from longtail.recipes.part import parts_in

        for held in parts_in(self.made()):
            if not held.foreign:
                sources.ours(held.name)

    def numbers(self) -> tuple[Any, Any]:
        from longtail.training.audit import rescore
        from longtail.training.compute import Compute
        from longtail.training.run import train

        compute = Compute("cpu", "float32", compiled=False)
        with tempfile.TemporaryDirectory() as folder:
            record = train(self.made(), self.data, seed=0, out=folder, compute=compute)
            report = rescore(folder, self.data)
        losses = [row["loss"] for row in record.history]
        if not all(map(math.isfinite, losses)):
            raise ContractError(f"{self.name}: its losses are {losses}; they must be finite")
        return losses, report.to_json()

    def trained(self) -> None:
        self.numbers()

    def reproduced(self) -> None:
        first, again = self.numbers(), self.numbers()
        if first != again:
            raise ContractError(
                f"{self.name}: the same seed gave other numbers; draw from the generator that training hands over"
            )
