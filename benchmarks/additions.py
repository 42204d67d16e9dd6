"""What a new part of the library touches: one loss, sampler, method and data set added as CONTRIBUTING.md says.

In a temporary clone of this checkout's last commit, each addition is written from the short texts below, its own tests
and those that watch over every part of its kind are run, and the files that changed are counted. Lint, format and types
are checked once, with all four in place.

python benchmarks/additions.py [--json records/benchmarks/additions.json]
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import record

ROOT = pathlib.Path(__file__).parents[1]

LOSS = '''"""Cross-entropy with one more term of its expansion, which weighs how sure of the class the network is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from longtail.losses.labels import IGNORED, check_labels, known_classes
from longtail.shapes import Float, Shaped


def poly_cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Shaped[Tensor, ...],
    *,
    epsilon: float = 1.0,
    ignore_index: int = IGNORED,
) -> Float[Tensor, " N"]:
    r"""Cross-entropy plus a multiple of the probability that the true class lacks.

    .. math:: \\ell = -\\log p_y + \\epsilon (1 - p_y)

    (Leng et al., Eq. 6). Use it to weigh doubtful images more (epsilon above 0) or less than cross-entropy does.

    Args:
        logits: (N, K).
        target: (N,) class numbers.
        epsilon: weight of the added term; 0 is cross-entropy.
        ignore_index: class number of samples without a label, whose loss is 0.

    Returns:
        Losses (N,) in nats.

    Raises:
        InputError: labels that do not fit the logits.

    Example:
        >>> round(float(poly_cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))), 4)  # log 2 + 1/2
        1.1931

    References:
        Leng et al., *PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions*, ICLR 2022.
    """
    target = check_labels(logits, target, soft=False)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = known_classes(target, ignore_index)
    cost = -functional.log_softmax(wide, dim=1).gather(1, known[:, None]).squeeze(1)
    return torch.where(target == ignore_index, 0.0, cost + epsilon * (1.0 - torch.exp(-cost)))
'''
LOSS_ORACLE = '''"""Poly-1 cross-entropy, sample by sample, as its paper writes it."""

from __future__ import annotations

import math


def poly(logits: list[list[float]], target: list[int], epsilon: float) -> list[float]:
    found = []
    for row, y in zip(logits, target, strict=True):
        share = math.exp(row[y]) / sum(map(math.exp, row))
        found.append(-math.log(share) + epsilon * (1 - share))
    return found
'''
LOSS_TEST = """from __future__ import annotations

import pytest
import torch

from longtail.losses import cross_entropy, poly_cross_entropy
from oracles import poly

LOGITS = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(9) % 4


def off(values: torch.Tensor) -> float:
    expected = torch.tensor(poly.poly(LOGITS.tolist(), TARGET.tolist(), 0.7), dtype=torch.float64)
    return float((values - expected).abs().max())


def test_it_is_the_formula_and_a_wrong_one_is_not() -> None:
    assert off(poly_cross_entropy(LOGITS, TARGET, epsilon=0.7)) < 1e-12
    share = LOGITS.softmax(1)[torch.arange(9), TARGET]
    assert off(-share.log() + 0.7 * share) > 0.1


def test_epsilon_nought_is_cross_entropy() -> None:
    assert torch.allclose(poly_cross_entropy(LOGITS, TARGET, epsilon=0.0), cross_entropy(LOGITS, TARGET))


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_it_exceeds_cross_entropy_by_less_than_epsilon(epsilon: float) -> None:
    more = poly_cross_entropy(LOGITS, TARGET, epsilon=epsilon) - cross_entropy(LOGITS, TARGET)
    assert float(more.min()) > 0
    assert float(more.max()) < epsilon


def test_a_sure_answer_costs_nothing() -> None:
    assert float(poly_cross_entropy(torch.tensor([[90.0, 0.0]]), torch.tensor([0]))[0]) == pytest.approx(0.0, abs=1e-6)
"""

SAMPLER = '''"""Classes drawn by a power of their size, from uniform over classes to uniform over images."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.samplers.frequency import ByClass
from longtail.shapes import Float, Labels


class PowerBalanced(ByClass):
    """A class by the power of its size, then one of its images, both with replacement.

    Use it between ``ClassBalanced`` (power 0), ``SquareRoot`` (0.5) and natural frequencies (1).

    Args:
        target: (N,) class numbers from 0; a list, an array or a tensor.
        power: exponent of the class size, from 0 to 1.
        num_samples: indices in an epoch of all ranks, N by default.
        generator: draws one epoch after another; on the device of ``target``.
        seed: seed of the random stream, in place of a generator; 0 when neither is given.
        rank: number of this process, from 0.
        world_size: number of processes that share an epoch.

    Raises:
        InputError: a power outside [0, 1], or what ``ByClass`` refuses.

    Example:
        >>> PowerBalanced([0, 0, 0, 0, 1], power=0.5).weights().tolist()
        [2.0, 1.0]
    """

    def __init__(
        self,
        target: Labels,
        *,
        power: float = 0.25,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= power <= 1:
            raise InputError(f"power {power:g}: give an exponent from 0 to 1")
        self.power = power
        super().__init__(
            target, num_samples=num_samples, generator=generator, seed=seed, rank=rank, world_size=world_size
        )

    def weights(self) -> Float[Tensor, " K"]:
        """Return the class sizes to the power, 0 for a class without images.

        Returns:
            (K,) float64.
        """
        sizes = self.counts.double()
        return torch.where(sizes > 0, sizes**self.power, 0.0)
'''
SAMPLER_TEST = """from __future__ import annotations

import pytest
import torch

from longtail.errors import InputError
from longtail.samplers import ClassBalanced, PowerBalanced, SquareRoot

TARGET = torch.repeat_interleave(torch.arange(3), torch.tensor([900, 90, 10]))


@pytest.mark.parametrize(("power", "shares"), [(0.0, [1 / 3] * 3), (0.5, [0.703, 0.222, 0.074])])
def test_classes_are_drawn_by_the_power(power: float, shares: list[float]) -> None:
    drawn = PowerBalanced(TARGET, power=power, num_samples=20_000, seed=0).draw()
    found = torch.bincount(TARGET[drawn]) / 20_000
    assert found.tolist() == pytest.approx(shares, abs=0.015)
    natural = torch.bincount(TARGET[torch.randint(1000, (20_000,), generator=torch.Generator().manual_seed(0))])
    assert (natural / 20_000).tolist() != pytest.approx(shares, abs=0.015)


def test_its_ends_are_the_samplers_that_there_are() -> None:
    for power, other in ((0.0, ClassBalanced), (0.5, SquareRoot)):
        assert PowerBalanced(TARGET, power=power, seed=1).draw().tolist() == other(TARGET, seed=1).draw().tolist()


def test_a_power_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="power 2: give an exponent from 0 to 1"):
        PowerBalanced(TARGET, power=2.0)
"""

METHOD = '''"""``poly``: cross-entropy with one more term of its expansion.

Paper: Leng et al., *PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions*, ICLR 2022, Eq. 6.
Command: ``longtail compare ce poly --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: nothing on long tails in the sources at hand.
"""

from __future__ import annotations

from longtail import losses
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, part


def recipe(protocol: Protocol, *, epsilon: float = 1.0) -> Recipe:
    """Poly-1 cross-entropy, natural sampling.

    Args:
        protocol: model and training.
        epsilon: weight of the added term; 0 is cross-entropy.
    """
    return Recipe("poly", protocol.model, (classify(protocol, part(losses.poly_cross_entropy, epsilon=epsilon)),))
'''
METHOD_TEST = """from __future__ import annotations

import pathlib

import longtail


def test_epsilon_nought_trains_as_cross_entropy_does_and_one_does_not(tmp_path: pathlib.Path) -> None:
    data = longtail.load("digits-lt", imbalance=20)
    loss = {}
    for name in ("ce", "poly@epsilon=0", "poly"):
        record = longtail.train(longtail.recipe(name, data, epochs=1), data, seed=0, out=tmp_path / name)
        loss[name] = record.history[-1]["loss"]
    assert abs(loss["poly@epsilon=0"] - loss["ce"]) < 1e-5 * loss["ce"]
    assert loss["poly"] > 1.1 * loss["ce"]
"""
METHOD_PAGE = """
[[method]]
id = "poly"
name = "Poly-1 cross-entropy"
family = "Re-weighting"
summary = "Cross-entropy plus a multiple of the probability that the true class lacks."
recipe = "poly"
venue = "ICLR 2022"
year = 2022
"""

DATA = '''"""``bars-lt``: bars at ten places of an 8 x 8 picture, drawn from a fixed generator, with a long tail."""

from __future__ import annotations

import torch

from longtail.data.dataset import Source
from longtail.data.images import Split

LARGEST, TEST_PER_CLASS = 100, 20


def read() -> Source:
    """The bars, as many of each place, and a test split of their own."""
    target = torch.arange(10).repeat_interleave(LARGEST + TEST_PER_CLASS)
    images = torch.randint(0, 120, (len(target), 1, 8, 8), generator=torch.Generator().manual_seed(7))
    at, upright = target % 5 + 1, target < 5
    place = torch.arange(8)
    rows = (place == at[:, None])[:, None, :, None] & ~upright[:, None, None, None]
    columns = (place == at[:, None])[:, None, None, :] & upright[:, None, None, None]
    whole = Split((images + 130 * (rows | columns)).to(torch.uint8), target, torch.arange(len(target)))
    held = torch.arange(len(target)) % (LARGEST + TEST_PER_CLASS) < TEST_PER_CLASS
    return Source(
        name="bars-lt",
        train=whole.at((~held).nonzero()[:, 0]),
        test=whole.at(held.nonzero()[:, 0]),
        class_names=tuple(f"{kind} {number}" for kind in ("upright", "level") for number in range(1, 6)),
        imbalance=100,
        largest=LARGEST,
        many=30,
        few=5,
        flips=False,
    )
'''
DATA_TEST = """from __future__ import annotations

import torch

from longtail.data import load
from longtail.testing import check_dataset


def test_it_keeps_the_contract_and_has_the_imbalance_asked_for() -> None:
    data = load("bars-lt", imbalance=50)
    check_dataset(data)
    assert (int(data.counts.max()), int(data.counts.min())) == (100, 2)
    assert len(data.test) == 200


def test_the_bar_is_where_the_class_says() -> None:
    test = load("bars-lt").test
    bright = test.images[:, 0].double()
    place = torch.cat([bright.mean(dim=1)[:, 1:6], bright.mean(dim=2)[:, 1:6]], dim=1).argmax(dim=1)
    assert float((place == test.target).double().mean()) > 0.95


def test_two_readings_are_one_data_set() -> None:
    assert load("bars-lt").fingerprint == load("bars-lt").fingerprint
"""

Edit = tuple[str, str | None, str]
"""A file; what the text goes before, empty for its end, None for a new file; the text."""

ADDITIONS: dict[str, list[Edit]] = {
    "loss": [
        ("src/longtail/losses/poly.py", None, LOSS),
        (
            "src/longtail/losses/__init__.py",
            "from longtail.losses.positives",
            "from longtail.losses.poly import poly_cross_entropy\n",
        ),
        ("src/longtail/losses/__init__.py", '    "probabilistic_contrastive",', '    "poly_cross_entropy",\n'),
        ("tests/oracles/poly.py", None, LOSS_ORACLE),
        ("tests/losses/test_poly.py", None, LOSS_TEST),
    ],
    "sampler": [
        ("src/longtail/samplers/power.py", None, SAMPLER),
        (
            "src/longtail/samplers/__init__.py",
            "from longtail.samplers.quota",
            "from longtail.samplers.power import PowerBalanced\n",
        ),
        ("src/longtail/samplers/__init__.py", '    "ProgressivelyBalanced",', '    "PowerBalanced",\n'),
        ("tests/samplers/test_power.py", None, SAMPLER_TEST),
        ("docs/samplers.md", "| `ClassBalanced` |", "| `PowerBalanced` | by n_c to a power | with replacement |\n"),
    ],
    "method": [
        ("src/longtail/methods/poly.py", None, METHOD),
        ("src/longtail/methods/names.py", '    "cb-focal": "focal', '    "poly": "poly:recipe",\n'),
        ("tests/methods/test_poly.py", None, METHOD_TEST),
        ("docs/methods.md", "| `cb-focal` |", "| `poly` | doubtful images are to count more | 1 | - |\n"),
        ("CHANGELOG.md", "* **A part is a callable", "* `poly`: Poly-1 cross-entropy.\n"),
        ("src/longtail/board/content/methods/library.toml", "", METHOD_PAGE),
    ],
    "data set": [
        ("src/longtail/data/bars.py", None, DATA),
        (
            "src/longtail/data/catalogue.py",
            '    ("cifar10-lt", "CIFAR-10',
            '    ("bars-lt", "bars at ten places, 8 x 8 grey, 10 classes", "nothing"),\n',
        ),
        ("src/longtail/data/catalogue.py", "cifar, digits, features", "bars, "),
        (
            "src/longtail/data/catalogue.py",
            '        case "cifar10-lt" |',
            '        case "bars-lt":\n            return bars.read()\n',
        ),
        ("tests/data/test_bars.py", None, DATA_TEST),
        ("docs/data.md", "| `cifar10-lt` |", "| `bars-lt` | bars at ten places, 8 x 8 grey | nothing |\n"),
    ],
}

COMMANDS = {"method": [("tests/training/test_numerics.py",)]}
"""Programs that an addition asks to be run; what they write counts as touched."""

TESTS: dict[str, list[tuple[str, ...]]] = {
    "loss": [
        ("tests/losses/test_poly.py", "src/longtail/losses/poly.py"),
        ("tests/test_testing.py", "-k", "poly_cross_entropy or forgotten"),
    ],
    "sampler": [
        ("tests/samplers/test_power.py", "src/longtail/samplers/power.py"),
        ("tests/test_testing.py", "-k", "PowerBalanced or forgotten"),
    ],
    "method": [
        ("tests/methods/test_poly.py", "tests/board/test_content.py"),
        (
            *("tests/methods", "tests/recipes/test_text.py", "tests/training/test_numerics.py"),
            *("-k", "poly or page_on_methods or table_is_of_this_version or scale_with_the_epochs"),
        ),
    ],
    "data set": [("tests/data/test_bars.py", "tests/data/test_data_catalogue.py", "tests/data/test_data_verify.py")],
}
WATCHING = [
    ("tests/test_docstrings.py", "tests/test_layers.py"),
    ("tests/test_docs.py", "-m", "pages", "-k", "takes"),
]
"""Tests over all parts, run once with everything in place."""

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))


def run(clone: pathlib.Path, *words: str) -> str:
    """Run a program in the clone; stop with what it said if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def tested(clone: pathlib.Path, words: tuple[str, ...]) -> int:
    """Run tests and return how many passed; none is a failure."""
    said = run(clone, sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *words)
    found = re.findall(r"(\d+) passed", said)
    if not found:
        sys.exit(f"pytest {' '.join(words)} ran no test:\n{said[-2000:]}")
    return int(found[-1])


def apply(clone: pathlib.Path, edits: list[Edit]) -> None:
    """Write the texts where they belong."""
    for path, before, text in edits:
        file = clone / path
        if before is None:
            if file.exists():
                sys.exit(f"{path} is there already: the addition is no new one")
            file.write_text(text)
            continue
        held = file.read_text()
        if held.count(before) < 1:
            sys.exit(f"{path} has no {before!r}")
        file.write_text(held.replace(before, text + before, 1) if before else held + text)


def touched(clone: pathlib.Path) -> list[str]:
    """Return the files that changed since the last commit of the clone, and commit them."""
    run(clone, "git", "add", "-A")
    files = run(clone, "git", "diff", "--cached", "--name-only").split()
    run(clone, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "an addition")
    return sorted(files)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=pathlib.Path)
    path = parser.parse_args().json
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = pathlib.Path(folder) / "longtail"
        run(pathlib.Path(folder), "git", "clone", "--quiet", str(ROOT), str(clone))
        if (ROOT / ".mypy_cache").is_dir():  # types of what did not change need not be found again
            shutil.copytree(ROOT / ".mypy_cache", clone / ".mypy_cache")
        for kind, edits in ADDITIONS.items():
            apply(clone, edits)
            for words in COMMANDS.get(kind, []):
                run(clone, sys.executable, *words)
            passed = sum(tested(clone, words) for words in TESTS[kind])
            files = touched(clone)
            found[kind] = {"files": files, "touched": len(files), "tests_passed": passed}
            print(f"{kind}: {len(files)} files, {passed} tests passed", flush=True)
        everything = sum(tested(clone, words) for words in WATCHING)
        for words in CHECKS:
            run(clone, sys.executable, "-m", *words)
    checks = [" ".join(words) for words in CHECKS]
    record.keep({"additions": found, "watching_tests_passed": everything, "checks_passed": checks}, path)
    print(f"all four: {everything} tests over all parts passed; {', '.join(checks)} too")


if __name__ == "__main__":
    main()
