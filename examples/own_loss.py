"""Your own loss as one more row of a comparison: a function (logits, target) -> (N,), nothing to register.

python examples/own_loss.py
longtail compare ce examples/own_loss.py:prior_focal --data digits-lt --seeds 3
"""

import pathlib
import sys
import tempfile

import torch
from rich.console import Console

from longtail import results
from longtail.data import load
from longtail.losses import adjust_logits, focal
from longtail.methods import by_name, protocol_for
from longtail.testing import check_loss
from longtail.training.compute import choose
from longtail.training.many import compare


def prior_focal(logits: torch.Tensor, target: torch.Tensor, *, counts: torch.Tensor) -> torch.Tensor:
    """The focal loss on logits that carry the log-prior, as balanced softmax does."""
    return focal(adjust_logits(logits, counts=counts, tau=-1.0), target, gamma=1.0)


def main(epochs: int = 60) -> None:
    check_loss(lambda logits, target: prior_focal(logits, target, counts=torch.tensor([9, 5, 3, 2, 1])))
    data = load("digits-lt")
    protocol = protocol_for(data, epochs=epochs)
    recipes = [by_name(name, protocol) for name in ("ce", f"{__file__}:prior_focal")]
    with tempfile.TemporaryDirectory() as folder:
        runs = compare(recipes, data, seeds=[0, 1, 2], out=pathlib.Path(folder), compute=choose(precision="float32"))
        records = {pathlib.Path(name).name: [results.read(path) for path in paths] for name, paths in runs.items()}
        comparison = results.compare_records(records, generator=torch.Generator().manual_seed(0))
    Console().print(results.table(comparison))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
