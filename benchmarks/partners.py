"""What ``partners`` (g) changes: how many images of its own class an anchor meets in a contrastive batch.

    python benchmarks/partners.py --root DATA --out records/benchmarks/partners.json

Counts, not times: CIFAR-100-LT IF 100, batches of 512, 20 epochs of each sampler from a fixed seed.
"""

import argparse
import pathlib

import torch

import longtail
from longtail.counts import shot_groups
from longtail.samplers import InstanceBalanced, MinimumPerClass
from record import keep

BATCH, EPOCHS, MINIMUMS = 512, 20, (1, 2, 4)


def partners(target: torch.Tensor, minimum: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes of all anchors of all epochs, and the partners each of them has."""
    if minimum == 1:
        sampler: InstanceBalanced | MinimumPerClass = InstanceBalanced(target, generator=generator)
    else:
        sampler = MinimumPerClass(target, minimum=minimum, generator=generator)
    labels, found = [], []
    for _ in range(EPOCHS):
        for batch in torch.split(target[sampler.draw()], BATCH):
            labels.append(batch)
            found.append((batch[:, None] == batch[None, :]).sum(dim=1) - 1)
    return torch.cat(labels), torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    data = longtail.load("cifar100-lt", root=arguments.root)
    groups = {"all": torch.ones(data.num_classes, dtype=torch.bool), **shot_groups(data.counts)}
    rows = []
    for minimum in MINIMUMS:
        generator = torch.Generator().manual_seed(0)
        label, found = partners(data.train.target, minimum, generator)
        for name, members in groups.items():
            mine = found[members[label]]
            row = {
                "g": minimum,
                "group": name,
                "share_without_partner": float((mine == 0).double().mean()),
                "mean_partners": float(mine.double().mean()),
                "share_of_anchors": len(mine) / len(found),
            }
            rows.append(row)
            print(
                f"g = {minimum}, {name:6}: {100 * row['share_without_partner']:5.1f} % of anchors have no partner, "
                f"{row['mean_partners']:5.2f} partners on average, {100 * row['share_of_anchors']:4.1f} % of anchors"
            )
    facts = {"data": data.name, "fingerprint": data.fingerprint, "batch": BATCH, "epochs": EPOCHS, "rows": rows}
    keep(facts, arguments.out)


if __name__ == "__main__":
    main()
