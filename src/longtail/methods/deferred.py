"""One run whose loss changes on the way: two stages that share optimiser and schedule (deferred re-weighting, DRW)."""

from __future__ import annotations

import dataclasses

from longtail.errors import InputError
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes import Part, Stage, part, segment


def deferred(protocol: Protocol, before: Part, after: Part, share: float) -> tuple[Stage, ...]:
    """Return the stages of a run that changes its objective once; the learning rate goes on as if it did not.

    Args:
        protocol: optimiser, schedule and length of the whole run.
        before: objective until the change.
        after: objective from then on.
        share: of the run before the change, in [0, 1); 0 for one stage with the second objective.

    Raises:
        InputError: a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"after {share:g}: the share of the run before the loss changes, from 0 to below 1")
    whole = ce.classify(protocol, after)
    if share == 0:
        return (whole,)
    first = min(max(1, round(share * whole.epochs)), max(1, whole.epochs - 1))
    second = max(1, whole.epochs - first)
    total = first + second

    def stretch(begun: int) -> Part:
        return part(segment, of=whole.schedule, before=begun, total=total)

    return (
        dataclasses.replace(whole, name="before", epochs=first, objective=before, schedule=stretch(0)),
        dataclasses.replace(whole, name="after", epochs=second, schedule=stretch(first), keeps_optimizer=True),
    )
