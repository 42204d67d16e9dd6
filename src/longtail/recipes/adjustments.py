"""What is done to the logits after training, as a description that a recipe can hold."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from longtail.rebalance import LogitAdjustment


@dataclasses.dataclass(frozen=True)
class SubtractLogPrior:
    """Post-hoc logit adjustment: subtract ``tau`` times the log of the training prior (Menon et al., Eq. 9)."""

    tau: float = 1.0

    def build(self, counts: Tensor) -> LogitAdjustment:
        """The fitted adjustment for class ``counts`` (K,)."""
        return LogitAdjustment(tau=self.tau).fit(counts=counts)
