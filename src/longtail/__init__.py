"""Learning from long-tailed data: exact implementations, one protocol for all, and evidence behind every number.

>>> import longtail
>>> data = longtail.load("digits-lt", imbalance=50)
>>> recipe = longtail.recipe("balanced-softmax", data, epochs=1)

``longtail.train(recipe, data, seed=0, out="runs/one")`` trains it, ``longtail.compare(["ce", recipe], data, seeds=3)``
compares, ``longtail.rescore(folder)`` checks a finished run, ``longtail.predict(folder, images)`` uses it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from longtail.data import load
    from longtail.methods import recipe
    from longtail.recipes.part import part
    from longtail.training.audit import rescore
    from longtail.training.many import compare
    from longtail.training.run import train
    from longtail.use.fitting import fit
    from longtail.use.predict import predict

__all__ = ["compare", "fit", "load", "part", "predict", "recipe", "rescore", "train"]

_WHERE = {
    "compare": "training.many",
    "fit": "use.fitting",
    "load": "data",
    "part": "recipes.part",
    "predict": "use.predict",
    "recipe": "methods.names",
    "rescore": "training.audit",
    "train": "training.run",
}


_PARTS = (
    *("augment", "counts", "data", "dpp", "losses", "metrics"),
    *("models", "rebalance", "recipes", "results", "samplers"),
)
"""Modules that are imported when they are named first, so that ``longtail.losses.focal`` needs no line of its own."""


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"longtail.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'longtail' has no attribute {name!r}")
    return getattr(importlib.import_module(f"longtail.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *_PARTS, "__version__"]
