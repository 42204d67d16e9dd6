"""Embedding pictures with a frozen network: ``longtail embed`` against a plain script with timm and a DataLoader.

Both give the features of the same CIFAR-100 training pictures at the same size with the same weights; the script
decodes nothing, scales each picture with Pillow in two workers, and runs the network in eval mode. They take turns.

    python benchmarks/embed.py --root DATA --weights efficientnet_lite0.safetensors --out records/benchmarks/embed.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

import torch

from longtail.data import Split, catalogue
from longtail.data.features import read
from longtail.models import timm_model
from longtail.recipes import part
from longtail.training.embedding import embedded
from record import keep

NAME = "efficientnet_lite0"


def plain(split: Split, weights: str, size: int) -> torch.Tensor:
    """What a user would write."""
    import timm
    from PIL import Image
    from safetensors.torch import load_file
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    model = timm.create_model(NAME, num_classes=0)
    model.load_state_dict(load_file(weights), strict=False)
    model.eval()
    configuration = timm.data.resolve_data_config({}, model=model)
    change = transforms.Compose(
        [
            transforms.Resize((size, size), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(configuration["mean"], configuration["std"]),
        ]
    )
    pictures = split.images.permute(0, 2, 3, 1).numpy()

    class Pictures(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, position: int) -> torch.Tensor:
            return change(Image.fromarray(pictures[position]))

    with torch.no_grad():
        return torch.cat([model(batch) for batch in DataLoader(Pictures(), batch_size=64, num_workers=2)])


def main() -> None:
    """Take turns, and print the ratio first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    source = catalogue.read("cifar100-lt", root=arguments.root)
    few = source.train.at(torch.arange(arguments.pictures))
    sample = dataclasses.replace(source, train=few, test=few.at(torch.arange(1)))
    model = part(timm_model, timm_name=NAME, weights=arguments.weights)
    seconds: dict[str, list[float]] = {"longtail": [], "plain": []}
    apart = 0.0
    for _ in range(arguments.turns):
        with tempfile.TemporaryDirectory() as folder:
            clock = time.perf_counter()
            path = embedded(sample, model, pathlib.Path(folder) / "f.safetensors", image_size=arguments.size)
            seconds["longtail"].append(time.perf_counter() - clock)
            ours = read(path)[0].train.images.clone()
        clock = time.perf_counter()
        theirs = plain(few, arguments.weights, arguments.size)
        seconds["plain"].append(time.perf_counter() - clock)
        apart = float((ours - theirs).norm() / theirs.norm())
    ratios = [b / a for a, b in zip(seconds["longtail"], seconds["plain"], strict=True)]
    found = {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pictures_per_second": {name: arguments.pictures / min(held) for name, held in seconds.items()},
        "seconds": seconds,
        "features_apart": apart,
        "pictures": arguments.pictures,
        "size": arguments.size,
        "network": NAME,
        "threads": torch.get_num_threads(),
    }
    print(f"{found['ratio']:.2f} times as fast; {json.dumps(found['pictures_per_second'])}; apart {apart:.1e}")
    keep(found, arguments.out)


if __name__ == "__main__":
    main()
