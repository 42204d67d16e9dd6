"""What a recipe is made of: parts, stages, objectives, optimisers. Nothing here trains."""

from longtail.recipes.balanced_contrast import Subclassed, Targeted
from longtail.recipes.mixing import CutMix, MixUp, Remix
from longtail.recipes.objectives import Contrastive, Robust, Total
from longtail.recipes.optimizers import (
    adamw,
    adamw_by_layer,
    constant,
    cosine,
    max_norm_sgd,
    segment,
    sgd,
    steps,
)
from longtail.recipes.part import Part, part
from longtail.recipes.stages import NUMERICS, Recipe, Stage

__all__ = [
    "NUMERICS",
    "Contrastive",
    "CutMix",
    "MixUp",
    "Part",
    "Recipe",
    "Remix",
    "Robust",
    "Stage",
    "Subclassed",
    "Targeted",
    "Total",
    "adamw",
    "adamw_by_layer",
    "constant",
    "cosine",
    "max_norm_sgd",
    "part",
    "segment",
    "sgd",
    "steps",
]
