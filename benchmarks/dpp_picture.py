"""What a diverse subset of real images looks like beside a uniform one, and how much of the set each one covers.

    python benchmarks/dpp_picture.py [--out records/benchmarks/dpp_picture.json] [--figure FILE.png]
    python benchmarks/dpp_picture.py --folder PLANKTON/train/acantharia_protist [...]

The images are scikit-learn's handwritten digits as one class with a tail inside: 170 zeros, and fewer of each following
digit, down to 4 nines; the labels only serve to count, at the end, what a subset shows. Or they are a folder of images,
read as grey and reduced to 24 x 24. What is compared are the first 16 principal components of the pixels, so
that the angle between two images says how they deviate from the mean image.

Measured, as the mean of many subsets: the distance of an image of the set to the nearest chosen one and that of the
closest two chosen, both over the mean distance of two images, and how many of the ten digits the subset shows.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics

import matplotlib
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from longtail.data.profiles import exponential_profile
from longtail.samplers import diverse, greedy
from longtail.samplers.informative import uniform
from record import keep

matplotlib.use("Agg")

import matplotlib.pyplot as plt

DRAWS = 300
COMPONENTS = 16


def images_of(folder: pathlib.Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The images, (N, H, W), dark on light, and the digits they show."""
    if folder is None:
        digits = load_digits()
        sizes = exponential_profile(10, 170, 170 / 4).tolist()
        index = np.concatenate([np.flatnonzero(digits.target == d)[:size] for d, size in enumerate(sizes)])
        return 1.0 - digits.images[index] / 16.0, digits.target[index]
    paths = sorted(folder.iterdir())
    return np.stack([np.asarray(Image.open(path).convert("L").resize((24, 24))) / 255.0 for path in paths]), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of images of one class, instead of the digits")
    parser.add_argument("--k", type=int, default=12, help="images in a subset")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the measurement as JSON")
    parser.add_argument("--figure", type=pathlib.Path, help="where to draw the subsets")
    options = parser.parse_args()

    images, shown = images_of(options.folder)
    pixels = torch.from_numpy(images.reshape(len(images), -1)).double()
    left, singular, _ = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    features = left[:, :COMPONENTS] * singular[:COMPONENTS]
    target = torch.zeros(len(images), dtype=torch.int64)
    k, generator = options.k, torch.Generator().manual_seed(0)
    distance = torch.cdist(pixels, pixels)
    unit = float(distance.sum() / (len(images) * (len(images) - 1)))

    ways = {
        "uniform": lambda: uniform(None, target, k=k, generator=generator),
        "diverse": lambda: diverse(features, target, k=k, generator=generator),
        "greedy": lambda: greedy(features, target, k=k),
    }
    result = {"images": len(images), "features": features.shape[1], "k": k, "draws": DRAWS, "ways": {}}
    result["set"] = "digits with a tail" if options.folder is None else options.folder.name
    for name, draw in ways.items():
        gaps, pairs, kinds = [], [], []
        for _ in range(1 if name == "greedy" else DRAWS):
            index = draw()
            gaps.append(float(distance[:, index].min(1).values.mean()) / unit)
            among = distance[index][:, index]
            pairs.append(float(among[among > 0].min()) / unit)
            kinds.append(0 if shown is None else len(set(shown[index].tolist())))
        result["ways"][name] = {
            "distance to the nearest chosen": statistics.mean(gaps),
            "standard deviation": statistics.stdev(gaps) if len(gaps) > 1 else 0.0,
            "distance of the closest pair chosen": statistics.mean(pairs),
            **({} if shown is None else {"digits shown": statistics.mean(kinds)}),
        }
        print(
            f"{statistics.mean(gaps):.3f} to the nearest chosen, {statistics.mean(pairs):.3f} the closest pair,"
            f" {statistics.mean(kinds):.1f} digits: {name}"
        )
    keep(result, options.out)

    if options.figure:
        generator.manual_seed(1)
        rows = [(name, images[ways[name]()]) for name in ("uniform", "uniform", "diverse", "diverse", "greedy")]
        figure, axes = plt.subplots(len(rows), k, figsize=(0.62 * k + 0.9, 0.66 * len(rows)))
        for line, (name, chosen) in zip(axes, rows, strict=True):
            for axis, image in zip(line, chosen, strict=True):
                axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
                axis.set_xticks([])
                axis.set_yticks([])
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        figure.tight_layout(pad=0.3)
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
