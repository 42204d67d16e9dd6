"""``ip-dpp``: fine-tuning on balanced subsets drawn by a determinantal point process, after any first stage.

Paper: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025, stage 2.
Command: ``longtail train ip-dpp --from RECORD``, or on cross-entropy ``longtail compare ip-dpp ip-dpp@arm=uniform``
Cost: that of the first stage, then half as many epochs on about a third of the images (3,446 at CIFAR-100-LT IF 100),
and a pass over the training set for each draw; the draws themselves take milliseconds (docs/dpp.md).
Expect: nothing published for this stage alone; the uniform arm is the control without which its number says nothing.

Chosen here, where the facts are silent: the protocol's own augmentation; AdamW's second moment at 0.999; a draw every
fifth of the stage (20 of 100 epochs on CIFAR-100-LT, as released; on CIFAR-10-LT it was every tenth).
"""

from __future__ import annotations

from typing import Literal

from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes.objectives import CrossEntropy, Supervised
from longtail.recipes.optimizers import AdamW, Cosine
from longtail.recipes.sampling import Arm, Informative
from longtail.recipes.stages import Recipe, Stage

Trains = Literal["all", "classifier"]


def fine_tune(
    protocol: Protocol,
    *,
    arm: Arm,
    k: int | None,
    resample_every: int | None,
    trains: Trains,
    strength: float,
    diversity: bool,
    mislabelled: float,
) -> Stage:
    """Stage 2: a fresh classifier, everything trained (or only the classifier), plain cross-entropy, AdamW."""
    epochs = protocol.share(0.5)
    return Stage(
        "fine-tune",
        epochs=epochs,
        objective=Supervised(CrossEntropy()),
        sampler=Informative(
            protocol.fine_tune_batch_size,
            arm=arm,
            k=k,
            resample_every=max(1, round(0.2 * epochs)) if resample_every is None else resample_every,
            strength=strength,
            diversity=diversity,
            mislabelled=mislabelled,
        ),
        optimizer=AdamW(lr=protocol.fine_tune_lr, beta2=0.999, weight_decay=0.05),
        schedule=Cosine(warmup=0.05),
        augmentation=protocol.augmentation,
        trains=trains,
        fresh_head=True,
    )


def recipe(
    protocol: Protocol,
    *,
    arm: Arm = "ip-dpp",
    k: int | None = None,
    resample_every: int | None = None,
    trains: Trains = "all",
    strength: float = 1.0,
    diversity: bool = False,
    mislabelled: float = 0.0,
) -> Recipe:
    """IP-DPP after cross-entropy.

    Args:
        protocol: model, first stage and augmentation.
        arm: ``ip-dpp`` or a control of equal size: ``uniform``, ``hardest``, ``easiest``, ``class-balanced``.
        k: images of each class; none for min(10 * smallest class, N_c).
        resample_every: epochs between draws; none for a fifth of the stage.
        trains: ``all`` or ``classifier``.
        strength: power of the odds.
        diversity: quality times diversity.
        mislabelled: share of each class set aside as mislabelled.
    """
    stage = fine_tune(
        protocol,
        arm=arm,
        k=k,
        resample_every=resample_every,
        trains=trains,
        strength=strength,
        diversity=diversity,
        mislabelled=mislabelled,
    )
    return Recipe("ip-dpp", protocol.model, (*ce.recipe(protocol).stages, stage))
