"""``ip-dpp``: fine-tuning on balanced subsets drawn by a determinantal point process, after any first stage.

Paper: Lin and Yuan, *Long-Tailed Recognition via Information-Preservable Two-Stage Learning*, NeurIPS 2025, stage 2.
Command: ``longtail train ip-dpp --from RECORD``, or on cross-entropy ``longtail compare ip-dpp ip-dpp@arm=uniform``
Cost: that of the first stage, then half as many epochs on about a third of the images (3,446 at CIFAR-100-LT IF 100),
and a pass over the training set for each draw; the draws themselves take milliseconds (docs/dpp.md).
Expect: nothing published for this stage alone; the uniform arm is the control without which its number says nothing.

As in the released code: one view at half the strength of SimCLR's colours, AdamW with betas (0.9, 0.95), a draw every
fifth of the stage (20 of 100 epochs; on CIFAR-10-LT every tenth). Chosen here: inputs are standardised; on digits the
protocol's own augmentation and a second moment of 0.999.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from longtail.losses import cross_entropy
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, Stage, adamw, cosine, part
from longtail.samplers import InformativeSubset


def fine_tune(
    protocol: Protocol,
    *,
    trains: Literal["all", "classifier"] = "all",
    resample_every: int | None = None,
    **subset: Annotated[Any, InformativeSubset],
) -> Stage:
    """Return stage 2: a fresh classifier, plain cross-entropy, AdamW.

    Args:
        protocol: augmentation, batch size and learning rate.
        trains: everything, or the classifier alone.
        resample_every: epochs between draws; none for the protocol's share of the stage, a fifth.
        subset: options of the subset (``longtail.samplers.InformativeSubset``).
    """
    epochs = protocol.share(0.5)
    every = max(1, round(protocol.fine_tune_resample * epochs)) if resample_every is None else resample_every
    return Stage(
        "fine-tune",
        epochs=epochs,
        batch_size=protocol.fine_tune_batch_size,
        objective=part(cross_entropy),
        sampler=part(InformativeSubset, resample_every=every, **subset),
        optimizer=part(adamw, lr=protocol.fine_tune_lr, beta2=protocol.fine_tune_beta2, weight_decay=0.05),
        schedule=part(cosine, warmup=0.05),
        augmentation=protocol.after_pretraining,
        trains=trains,
        fresh_head=True,
    )


def recipe(protocol: Protocol, **options: Annotated[Any, fine_tune]) -> Recipe:
    """IP-DPP after cross-entropy.

    Args:
        protocol: model, first stage and augmentation.
        options: options of ``fine_tune``, such as ``arm=uniform`` for the control of equal size.
    """
    return Recipe("ip-dpp", protocol.model, (*ce.recipe(protocol).stages, fine_tune(protocol, **options)))
