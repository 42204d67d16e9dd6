"""Re-balancing a trained classifier, with ``fit`` and ``predict`` on logits or features."""

from longtail.rebalance.logit_adjustment import LogitAdjustment

__all__ = ["LogitAdjustment"]
