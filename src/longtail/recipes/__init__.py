"""What a recipe is made of: parts, stages, objectives, optimisers. Nothing here trains."""

from longtail.recipes.balanced_contrast import Subclassed, Targeted
from longtail.recipes.beside import ClassAveraged, Probabilistic
from longtail.recipes.experts import PerExpert, experts
from longtail.recipes.mixing import CutMix, MixUp, Remix
from longtail.recipes.muon import muon
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
from longtail.recipes.paired import Consistent, Pasted
from longtail.recipes.part import Part, part
from longtail.recipes.stages import NUMERICS, Recipe, Stage

__all__ = [
    "NUMERICS",
    "ClassAveraged",
    "Consistent",
    "Contrastive",
    "CutMix",
    "MixUp",
    "Part",
    "Pasted",
    "PerExpert",
    "Probabilistic",
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
    "experts",
    "max_norm_sgd",
    "muon",
    "part",
    "segment",
    "sgd",
    "steps",
]
