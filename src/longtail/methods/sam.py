"""``sam``: any recipe whose network is trained by sharpness-aware minimisation.

Paper: Foret et al., *Sharpness-Aware Minimization for Efficiently Improving Generalization*, ICLR 2021; on long tails
Rangwani et al., *Escaping Saddle Points for Effective Generalization on Class-Imbalanced Data*, NeurIPS 2022.
Command: ``longtail compare ce sam ldam-drw sam@of=ldam-drw,rho=0.8 --data cifar100-lt --imbalance 100 --root DATA``
Cost: twice that of the recipe.
Expect: 3 to 4 points above ``ldam-drw`` on CIFAR-100-LT IF 100 at rho 0.8 for it and 0.2 for ``ce`` (authors' recipes).
"""

from __future__ import annotations

import dataclasses

from longtail.errors import InputError
from longtail.methods.names import named
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe


def recipe(protocol: Protocol, *, of: str = "ce", rho: float = 0.2) -> Recipe:
    """A recipe with sharpness-aware steps in every stage that trains the backbone.

    Args:
        protocol: model and training.
        of: a recipe as it is typed, with options in parentheses.
        rho: how far the weights are moved uphill, above 0.
    """
    if not rho > 0:
        raise InputError(f"rho {rho:g}: how far the weights are moved uphill, above 0")
    found = named(of, protocol)
    if found.trials:
        raise InputError("sam@of=tuned: tune the sharpness-aware recipe instead, tuned@of=sam")

    def sharpened(number: int) -> float:
        return 0.0 if found.stages[number].trains == "classifier" else rho

    stages = tuple(dataclasses.replace(stage, sharpness=sharpened(number)) for number, stage in enumerate(found.stages))
    return dataclasses.replace(found, name="sam", stages=stages)
