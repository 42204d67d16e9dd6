"""A frozen network sees every picture once: its features are kept, and what is trained on them sees only those.

Nothing of it shows in a run but its time: recipe, record and model file are those of the whole network.
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Callable

from torch import nn

from longtail.data import Data, Source, Split, features
from longtail.errors import InputError
from longtail.models import Backbone, Network
from longtail.models.bridge import TimmBackbone
from longtail.recipes.objectives import Robust, Total
from longtail.recipes.part import Part, parameters_of, part
from longtail.recipes.stages import Recipe
from longtail.training.embedding import facts_of_network, written

FEWEST_EPOCHS = 2
"""From this many passes over the pictures on, keeping their features saves time."""


def shortened(
    recipe: Recipe, network: Network, data: Data, folder: pathlib.Path, notify: Callable[[int, int], object]
) -> tuple[Network, Data]:
    """Return what a recipe really trains: features in place of pictures, where the network below them stays as it is.

    Args:
        recipe: recipe that is to be trained.
        network: whole network; what is returned shares the weights that move.
        data: data set of pictures, on the network's device.
        folder: folder of the features, for all runs with these weights and these pictures.
        notify: called with how many pictures are done and how many there are.

    Returns:
        A network on features, and the data with features in place of pictures. Network and data as they are where a
        stage changes what lies below the features, augments or mixes pictures, or reads levels below the features.
    """
    if (
        len(data.train.images.shape) != 4
        or recipe.epochs < FEWEST_EPOCHS
        or not all(map(_on_features, _objectives(recipe)))
    ):
        return network, data
    if any(stage.augmentation for stage in recipe.stages):
        return network, data
    backbone, width = network.backbone, network.backbone.width
    below: Backbone
    rest: nn.Module
    if all(stage.trains == "classifier" for stage in recipe.stages):
        below, rest = backbone, nn.Identity()
    elif isinstance(backbone, TimmBackbone) and _is_fixed(network, backbone.stages[0]):
        below, rest = Backbone(backbone.stages, _width_of(backbone)), backbone.projection
    else:
        return network, data
    facts = facts_of_network(data, below, model=recipe.model, name=network.name, inputs=network.inputs)
    path = folder / f"{facts.key[:24]}.safetensors"
    written(data, below, path, model=recipe.model, name=network.name, inputs=network.inputs, notify=notify)
    kept, _ = features.read(path)
    return Network(Backbone([rest], width), network.head, network.name), _with_features(data, kept)


def _objectives(recipe: Recipe) -> list[Part]:
    """The objectives of all stages, the terms of sums in place of the sums."""
    found: list[Part] = []
    for stage in recipe.stages:
        terms = stage.objective["terms"] if stage.objective.name == part(Total).name else (stage.objective,)
        found.extend(terms)
    return found


def _on_features(objective: Part) -> bool:
    """Whether an objective looks at a batch only through features and logits: a loss does, mixing does not."""
    try:
        function = objective.function
    except InputError:  # of a stage that is trained already, in a file that nobody named
        return False
    if function is Robust:
        layers = objective["layers"]
        return not isinstance(layers, tuple) or len(layers) == 1
    if getattr(function, "on_features", False):
        return True
    asked = parameters_of(function)
    return inspect.isfunction(function) and "target" in asked and not {"model", "batch"} & set(asked)


def _is_fixed(network: Network, below: nn.Module) -> bool:
    names = {f"stages.0.{name}" for name, _ in below.named_parameters()}
    return bool(names) and names <= network.fixed


def _width_of(backbone: TimmBackbone) -> int:
    first = next(module for module in backbone.projection.modules() if isinstance(module, nn.Linear))
    return first.in_features


def _with_features(data: Data, kept: Source) -> Data:
    """The data set with features in place of its pictures; labels, indices and names are its own."""

    def held(split: Split, found: Split) -> Split:
        return dataclasses.replace(split, images=found.images.to(split.target.device))

    validation = None
    if data.validation is not None:
        assert kept.validation is not None  # both were written from this data set
        validation = held(data.validation, kept.validation)
    train, test = held(data.train, kept.train), held(data.test, kept.test)
    return dataclasses.replace(data, train=train, test=test, validation=validation, mean=(), std=())
