"""Ten pictures of a class that show as much as possible of it: random, diverse (an exact k-DPP), greedy.

python examples/diverse_subset.py
longtail data select digits-lt --per-class 5 --by diverse --out chosen.txt
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from longtail import samplers


def main() -> None:
    digits = load_digits()
    threes = torch.tensor(digits.data[digits.target == 3])
    features, target = threes - threes.mean(dim=0), torch.zeros(len(threes), dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    chosen = {
        "random": torch.randperm(len(threes), generator=generator)[:10],
        "diverse": samplers.diverse(features, target, k=10, generator=generator),
        "greedy": samplers.greedy(features, target, k=10),
    }
    figure, rows = plt.subplots(3, 10, figsize=(8, 3))
    spread = {}
    for axes, (name, index) in zip(rows, chosen.items(), strict=True):
        unit = torch.nn.functional.normalize(features[index])
        spread[name] = float(1 - (unit @ unit.T).fill_diagonal_(0).sum() / 90)
        print(f"{name:8} mean cosine distance between two of the ten: {spread[name]:.3f}")
        axes[0].set_title(name, loc="left", fontsize=9)
        for axis, i in zip(axes, index.tolist(), strict=True):
            axis.imshow(threes[i].view(8, 8).numpy(), cmap="gray_r")
            axis.axis("off")
    figure.savefig("figure.svg")
    assert spread["random"] < spread["diverse"]


if __name__ == "__main__":
    main()
