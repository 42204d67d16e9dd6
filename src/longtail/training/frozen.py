"""A frozen network sees every picture once: its features are kept, and what is trained on them sees only those.

Nothing of this shows in a run but its time: recipe, record and model file are those of the whole network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import torch
from torch import nn

from longtail.data import Data, Split
from longtail.models import Backbone, Inputs, Network
from longtail.models.bridge import TimmBackbone
from longtail.recipes.objectives import looks_at_levels
from longtail.recipes.stages import Recipe
from longtail.training.embedding import kept_features

FEWEST_EPOCHS = 2
"""From this many passes over the pictures on, keeping their features saves time."""


def shortened(
    recipe: Recipe, network: Network, data: Data, folder: pathlib.Path, notify: Callable[[int, int], object]
) -> tuple[Network, Data]:
    """Return what a recipe trains and what it trains it on: features in place of pictures where the trunk stays as it is.

    Args:
        recipe: that is to be trained.
        network: the whole network; what is returned shares the weights that move with it.
        data: pictures, on the network's device.
        folder: where features are kept, for all runs with this trunk and these pictures.
        notify: called with how many pictures are done and how many there are.

    Returns:
        The network and the data themselves where a stage changes the trunk, augments the pictures or reads levels
        within the trunk.
    """
    trunk = _trunk(recipe, network)
    if trunk is None or data.train.images.ndim != 4 or recipe.epochs < FEWEST_EPOCHS:
        return network, data
    rest = network.backbone.projection if isinstance(network.backbone, TimmBackbone) else nn.Identity()
    short = Network(Backbone([rest], network.backbone.width), network.head, network.name)
    found = kept_features(data, trunk, folder, name=network.name, inputs=network.inputs)
    return short, found


def _trunk(recipe: Recipe, network: Network) -> nn.Module | None:
    return None
