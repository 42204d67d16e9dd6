"""Faults planted in folders of pictures and in files of arrays: how many are named, in what time and memory.

    python benchmarks/faults_data.py [--folder icons=PATH ...] [--root DATA] [--out records/benchmarks/faults_data.json]

1. 1,000 faults of all kinds in a folder of 20,000 pictures; ``longtail data verify`` must name each and nothing else.
2. A changed byte in a file of arrays, 1,000 times: the data as they were written, or one line; nothing else.
3. Near duplicates: the share that is found of pictures stored as JPEG, scaled, brighter or cropped, and the pairs that
   are found among pictures that are none, of generated pictures and of the folders and CIFAR-100 where they are given.
4. What is said of the folders that are given.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import PIL
import torch
from PIL import Image, ImageEnhance

from longtail.data import hygiene, load, near
from longtail.data.verify import verify
from longtail.errors import InputError
from record import keep

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from oracles import planted

SIZES = [6000, 4000, 2700, 1800, 1200, 800, 540, 360, 240, 160, 105, 70, 25]
TESTED = 154  # of each class, so that there are 20,002 pictures
FAULTS = 1000


def verified(root: pathlib.Path) -> tuple[list[tuple[bool, str]], dict[str, float]]:
    """The findings of the command line, its time and the most memory that it held."""
    command = [sys.executable, "-m", "longtail.cli", "data", "verify", f"folder:{root}", "--json"]
    with tempfile.TemporaryDirectory() as where:
        out = os.path.join(where, "out")
        opened = (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT, 0o600)
        began = time.perf_counter()
        process = os.posix_spawn(command[0], command, os.environ, file_actions=[opened])
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - began
        findings = json.loads(pathlib.Path(out).read_text())
    held = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = [(bool(finding["ok"]), str(finding["detail"])) for finding in findings]
    return found, {"exit": os.waitstatus_to_exitcode(status), "seconds": seconds, "peak bytes": held}


def folder_of_faults(seed: int) -> dict[str, object]:
    """Part 1."""
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as where:
        root = pathlib.Path(where) / "zoo"
        planted.folder(root, SIZES, TESTED, generator)
        clean, before = verified(root)
        faults = planted.plant(root, FAULTS, generator)
        findings, after = verified(root)
        touched = {name for _, names in faults for name in names}
        words = " ".join(detail for ok, detail in findings if not ok)
        untouched = [p.relative_to(root).as_posix() for p in root.rglob("*.png")]
        wrongly = [name for name in untouched if name not in touched and name in words]
    missed = planted.missed(faults, findings)
    return {
        "seed": seed,
        "pictures": sum(SIZES) + TESTED * len(SIZES),
        "planted": dict(Counter(kind for kind, _ in faults)),
        "missed": dict(Counter(kind for kind, _ in missed)),
        "named wrongly": len(wrongly),
        "not in order before anything is planted": sum(not ok for ok, _ in clean),
        "before": before,
        "after": after,
    }


def changed_bytes(number: int, seed: int) -> dict[str, int]:
    """Part 2."""
    generator, outcomes = np.random.default_rng(seed), Counter[str]()
    pixels = generator.integers(256, size=(9, 6, 5, 3), dtype=np.uint8)
    target = np.arange(9) % 3
    with tempfile.TemporaryDirectory() as where:
        path = pathlib.Path(where) / "toy.npz"
        for i in range(number):
            (np.savez if i % 2 else np.savez_compressed)(
                path,
                train_images=pixels,
                train_target=target,
                test_images=pixels[:3],
                test_target=target[:3],
                class_names=np.array(["a", "b", "c"]),
            )
            whole, content = load(f"npz:{path}").fingerprint, bytearray(path.read_bytes())
            content[generator.integers(len(content))] ^= int(generator.integers(1, 256))
            path.write_bytes(content)
            try:
                outcomes["as written" if load(f"npz:{path}").fingerprint == whole else "silently other"] += 1
            except InputError as error:
                outcomes["one line" if "\n" not in str(error) else "several lines"] += 1
            except Exception:  # the fault that is looked for
                outcomes["traceback"] += 1
    return dict(outcomes)


def as_jpeg(picture: Image.Image) -> Image.Image:
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=75)
    return Image.open(stored)


def scaled(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    smaller = picture.resize((round(width * share), round(height * share)), Image.Resampling.BICUBIC)
    return smaller.resize(picture.size, Image.Resampling.BICUBIC)


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((1, 1, width - 1, height - 1)).resize(picture.size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "stored as JPEG of quality 75": as_jpeg,
    "scaled to twice the size and back": lambda picture: scaled(picture, 2),
    "scaled to three quarters and back": lambda picture: scaled(picture, 0.75),
    "a tenth brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.1),
    "cropped by a pixel a side": cropped,
}


def near_copies(images: torch.Tensor, generator: np.random.Generator, number: int = 300) -> dict[str, object]:
    """Part 3 for one set of images: pairs among them as they are, and the share found of changed ones."""
    began = time.perf_counter()
    pairs = len(near.pairs(images))
    result: dict[str, object] = {"images": len(images), "pairs as it is": pairs, "seconds": time.perf_counter() - began}
    chosen = images[torch.from_numpy(generator.choice(len(images), min(number, len(images)), replace=False))]
    for name, change in CHANGES.items():
        copies = []
        for image in chosen:
            values = image.permute(1, 2, 0).numpy()
            picture = Image.fromarray(values[..., 0] if len(image) == 1 else values)
            changed = np.asarray(change(picture).convert(picture.mode))
            copies.append(torch.from_numpy(changed.reshape(values.shape).copy()).permute(2, 0, 1))
        found = set(near.pairs(torch.cat([chosen, torch.stack(copies)])))
        result[name] = sum((i, i + len(chosen)) in found for i in range(len(chosen))) / len(chosen)
    return result


def given(path: str) -> dict[str, object]:
    """Part 4 for one folder."""
    began = time.perf_counter()
    findings = verify(f"folder:{path}", leave_out_classes_below=2)
    seconds = time.perf_counter() - began
    data = load(f"folder:{path}", leave_out_classes_below=2)
    return {
        "classes": data.num_classes,
        "train and test": [len(data.train), len(data.test)],
        "copies": hygiene.summary(data).to_json(),
        "rule": data.rule,
        "notes": list(data.notes),
        "not in order": dict(Counter(finding.what for finding in findings if not finding.ok)),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=PATH", help="look at this one as well")
    parser.add_argument("--root", help="folder that holds cifar-100-python/, the original files")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    folders = dict(words.split("=", 1) for words in arguments.folder)
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    result: dict[str, object] = {
        "python": platform.python_version(),
        "pillow": PIL.__version__,
        "machine": f"{platform.machine()}, 1 thread",
        "faults in a folder": folder_of_faults(seed=20261125),
        "a changed byte in a file of arrays": changed_bytes(1000, seed=20261125),
    }
    made = torch.stack([torch.from_numpy(planted.smooth(generator)).permute(2, 0, 1) for _ in range(5000)])
    sets = {"generated pictures": near_copies(made, generator)}
    if arguments.root:
        sets["CIFAR-100-LT, training images"] = near_copies(
            load("cifar100-lt", root=arguments.root).train.images, generator
        )
    for name, path in folders.items():
        with contextlib.suppress(InputError):
            sets[name] = near_copies(load(f"folder:{path}", leave_out_classes_below=2).train.images, generator)
    result["near duplicates"] = sets
    result["folders"] = {name: given(path) for name, path in folders.items()}
    print(json.dumps(result, indent=2))
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
