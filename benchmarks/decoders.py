"""How fast pictures are decoded: Pillow, torchvision, and what longtail does, in turns on the same files.

    python benchmarks/decoders.py [--folder PICTURES] [--out records/benchmarks/decoders.json]

Generated photographs of 500 x 375 pixels as JPEG and PNG, drawings of 64 x 64 grey pixels as PNG, and, if a folder is
given, up to 200 pictures in it. Each arm reads a file and makes an array (C, H, W) of it, on one thread; the arrays are
compared before anything is timed. Then decoding, scaling and cropping to 224 x 224 in one, as evaluation does it.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from longtail.data import decoding, pictures
from record import keep, ratio, shown

ROUNDS, FILES = 7, 24


def generated(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Blurred noise with grain, which JPEG packs about as well as a photograph."""
    found: dict[str, list[pathlib.Path]] = {"jpeg 500 x 375": [], "png 500 x 375": [], "png 64 x 64 grey": []}
    generator = np.random.default_rng(0)
    for i in range(FILES):
        coarse = Image.fromarray(generator.integers(256, size=(24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int64)
        photo = Image.fromarray((smooth + generator.integers(-20, 21, size=smooth.shape)).clip(0, 255).astype(np.uint8))
        for kind, image, ending in (
            ("jpeg 500 x 375", photo, "jpg"),
            ("png 500 x 375", photo, "png"),
            ("png 64 x 64 grey", photo.convert("L").resize((64, 64)), "grey.png"),
        ):
            file = folder / f"{i:03}.{ending}"
            image.save(file, **({"quality": 90} if ending == "jpg" else {}))
            found[kind].append(file)
    return found


def pillow(file: pathlib.Path) -> torch.Tensor:
    """The rules and Pillow alone."""
    return decoding.array_of(pictures.whole(file).image)


def torchvision(file: pathlib.Path) -> torch.Tensor:
    """No rule."""
    from torchvision.io import decode_image

    found: torch.Tensor = decode_image(torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8))
    return found


def whole(decode: Callable[[pathlib.Path], torch.Tensor]) -> Callable[[pathlib.Path], torch.Tensor]:
    return lambda file: decoding.squared(decode(file), 224)


def rate(decode: Callable[[pathlib.Path], torch.Tensor], files: list[pathlib.Path]) -> float:
    """Pictures a second of processor time, so that a busy machine does not decide."""
    start = time.process_time()
    for file in files:
        decode(file)
    return len(files) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    result = {}
    with tempfile.TemporaryDirectory() as name:
        sets = generated(pathlib.Path(name))
        if arguments.folder:
            own = sorted(
                file for file in arguments.folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png")
            )
            sets[f"{len(own[:200])} pictures of {arguments.folder.name}"] = own[:200]
        for kind, files in sets.items():
            differ = sum(not torch.equal(decoding.pixels_of(file), pillow(file)) for file in files)
            arms = {"pillow": pillow, "torchvision": torchvision, "longtail": decoding.pixels_of}
            arms |= {"pillow, 224": whole(pillow), "longtail, 224": whole(decoding.pixels_of)}
            rates: dict[str, list[float]] = {arm: [] for arm in arms}
            for _ in range(ROUNDS):
                for arm, decode in arms.items():
                    rates[arm].append(rate(decode, files))
            base = {arm: "pillow, 224" if arm.endswith("224") else "pillow" for arm in arms}
            times = {arm: ratio(rates[arm], rates[base[arm]]) for arm in arms}
            result[kind] = {
                "pictures a second": {arm: sorted(held)[ROUNDS // 2] for arm, held in rates.items()},
                "times pillow": times,
                "files that differ": differ,
            }
            for arm in arms:
                speed = result[kind]["pictures a second"][arm]
                print(f"{shown(times[arm])}  {speed:7.0f} a second  {arm:14} {kind}", flush=True)
            print(f"{differ} of {len(files)} files differ between longtail and Pillow")
    keep({"decoders": result}, arguments.out, "pillow")


if __name__ == "__main__":
    main()
