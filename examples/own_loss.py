"""Your own loss as one more row of a comparison: a function (logits, target) -> (N,), nothing to register.

python examples/own_loss.py
longtail compare ce examples/own_loss.py:my_loss --data digits-lt --seeds 3
"""

import sys

import torch
from rich import print

import longtail
from longtail.losses import adjust_logits, focal


def my_loss(logits: torch.Tensor, target: torch.Tensor, *, counts: torch.Tensor, gamma: float = 1.0) -> torch.Tensor:
    """The focal loss on logits that carry the log-prior, as balanced softmax does."""
    return focal(adjust_logits(logits, counts=counts, tau=-1.0), target, gamma=gamma)


if __name__ == "__main__":
    epochs = int(sys.argv[1]) if sys.argv[1:] else None
    comparison = longtail.compare(["ce", my_loss], longtail.load("digits-lt"), seeds=3, out="runs", epochs=epochs)
    print(longtail.results.table(comparison))
    assert len(comparison.methods) == 2
