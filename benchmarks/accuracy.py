"""Whether the fast setting leaves accuracy alone: 3 seeds x 20 epochs in float32 and in bfloat16.

    python benchmarks/accuracy.py --root DATA [--out runs/accuracy] [--result records/benchmarks/accuracy.json]

``ce`` on CIFAR-100-LT, imbalance 100, crop and flip. Fast is bfloat16, which ``longtail train`` takes if the processor
has instructions for it. Where it has none, the products of the operands rounded to bfloat16 are summed in float32 and
the sum is rounded, as those instructions do; PyTorch would emulate them to the same end, but at half the speed. Each
seed has the same first weights, batches and augmentation in both. The difference is paired over seeds and test images,
with its 95 % interval; the predictions are kept beside the result. Runs resume; those that are done are read.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib

import numpy
import torch
from torch import Tensor

import longtail
from longtail import results
from longtail.training.compute import Compute, choose, has_bfloat16
from record import keep


def rounded_products(self: torch.nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution in bfloat16 whose sums are float32; outside of autocast, the convolution as it is.

    Autograd goes the same way back: gradients are rounded wherever an operand was.
    """
    assert self.padding_mode == "zeros"
    geometry = (self.stride, self.padding, self.dilation, self.groups)
    if not torch.is_autocast_enabled("cpu"):
        return torch.nn.functional.conv2d(images, weight, bias, *geometry)
    half = torch.bfloat16
    with torch.autocast("cpu", enabled=False):
        shift = None if bias is None else bias.to(half).float()
        return torch.nn.functional.conv2d(images.to(half).float(), weight.to(half).float(), shift, *geometry).to(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-100-python/, the original files")
    parser.add_argument("--model", default="resnet32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/accuracy"))
    parser.add_argument("--result", type=pathlib.Path)
    parser.add_argument("--only", help="train one run, such as fast-1, and stop: for several processes at once")
    arguments = parser.parse_args()

    data = longtail.load("cifar100-lt", imbalance=100, root=arguments.root)
    recipe = longtail.recipe("ce", data, model=arguments.model, epochs=arguments.epochs)
    device = choose().device
    settings: dict[str, Compute] = {
        "full": Compute(device, "float32", compiled=False),
        "fast": Compute(device, "bfloat16", compiled=False),
    }
    numbers = range(arguments.seeds)
    native = has_bfloat16(device)
    if not native:
        torch.nn.Conv2d._conv_forward = rounded_products
    for seed, (name, compute) in itertools.product(numbers, settings.items()):
        if arguments.only in (None, f"{name}-{seed}"):
            longtail.train(recipe, data, seed=seed, out=arguments.out / name / f"seed-{seed}", compute=compute)
    if arguments.only is not None:
        return

    records = {name: [results.read(arguments.out / name / f"seed-{seed}") for seed in numbers] for name in settings}
    comparison = results.compare_records(records)
    paired = results.to_json(comparison)
    accuracy = {name: [loaded.record.report["accuracy"] for loaded in held] for name, held in records.items()}
    result = {
        "work": f"ce, CIFAR-100-LT, imbalance 100, {arguments.model}, {arguments.epochs} epochs",
        "settings": {name: compute.describe() for name, compute in settings.items()},
        "accuracy": accuracy,
        "fast minus full, by seed": [b - a for a, b in zip(accuracy["full"], accuracy["fast"], strict=True)],
        "fast minus full": paired["methods"][1]["difference"],
        "comparison": paired,
        "bfloat16": "native" if native else "products of the rounded operands summed in float32",
    }
    print(json.dumps({key: value for key, value in result.items() if key != "comparison"}, indent=2))
    if arguments.result:
        keep(result, arguments.result, device=device)
        predictions = {
            f"{name}_{seed}": run.prediction.to(torch.int16).numpy()
            for name, held in records.items()
            for seed, run in zip(numbers, held, strict=True)
        }
        target = records["full"][0].target.to(torch.int16).numpy()
        numpy.savez_compressed(arguments.result.with_suffix(".npz"), target=target, **predictions)


if __name__ == "__main__":
    main()
