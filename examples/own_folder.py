"""A folder of pictures, one sub-folder a class: counts, a comparison with intervals, predictions for new pictures.

python examples/own_folder.py
longtail compare ce balanced-softmax --data folder:birds --image-size 32 --seeds 3
"""

import pathlib

import torch
from PIL import Image
from rich import print
from sklearn.datasets import load_digits

import longtail

SIZES = (150, 150, 100, 60, 40, 30, 20, 15, 12, 10)


def write_pictures(folder: pathlib.Path) -> None:
    """Write a long tail of scikit-learn's digits as PNG files: in your case, the folder that you have."""
    digits = load_digits()
    for label, size in enumerate(SIZES):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(digits.images[digits.target == label][:size]):
            Image.fromarray((pixels * 15.9).astype("uint8")).save(folder / str(label) / f"{number}.png")


def main() -> None:
    write_pictures(pathlib.Path("digits"))
    data = longtail.load("folder:digits", image_size=8)  # a fixed fifth of each class is held out for testing
    comparison = longtail.compare(["ce", "balanced-softmax"], data, seeds=3, out="runs", epochs=20)
    print(longtail.results.table(comparison))

    run = next(pathlib.Path("runs").rglob("balanced-softmax/seed-0-*"))
    probability = longtail.predict(run, data.test.images[:5])
    print("new pictures:", [data.class_names[c] for c in probability.argmax(dim=1)])
    assert torch.allclose(probability.sum(dim=1), torch.ones(5))
    assert int(data.counts.max() / data.counts.min()) == 15


if __name__ == "__main__":
    main()
