"""What a recipe is made of: parts, stages, objectives, optimisers. Nothing here trains."""

from longtail.recipes.objectives import Contrastive, Robust, Total
from longtail.recipes.optimizers import adamw, adamw_by_layer, constant, cosine, sgd, steps
from longtail.recipes.part import Part, part
from longtail.recipes.stages import NUMERICS, Recipe, Stage

__all__ = [
    "NUMERICS",
    "Contrastive",
    "Part",
    "Recipe",
    "Robust",
    "Stage",
    "Total",
    "adamw",
    "adamw_by_layer",
    "constant",
    "cosine",
    "part",
    "sgd",
    "steps",
]
