"""Where and how the arithmetic runs: device, precision, compilation. Decided once, written into the record."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.nn import functional

from longtail.errors import InputError
from longtail.files import sha256

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
BFLOAT16_ERROR = 0.02
"""Largest error of a bfloat16 convolution, over the largest result, that rounding explains."""
BFLOAT16_GAIN = 1.2
"""How many times faster a bfloat16 step must be to be chosen; so far from 1 that one machine always says the same."""
WORTH_SHARING = 500_000_000
"""Multiply-adds of a forward pass from which on several threads pay: the digits network has 2e7, ResNet-32 9e9."""


@dataclasses.dataclass(frozen=True)
class Compute:
    """What the numbers of a run depend on besides recipe, data and seed.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: of the forward and backward pass; parameters, losses and evaluation are float32.
        compiled: whether the backbone runs through ``torch.compile``.
        sync_batch_norm: whether batch normalisation is over the images of all processes of a run.
        divided: processes of a run, where the numbers depend on how many there are (``prepare.settled``); else 1.
    """

    device: str
    precision: Literal["float32", "bfloat16", "float16"]
    compiled: bool
    sync_batch_norm: bool = False
    divided: int = 1

    def describe(self) -> str:
        """One phrase for the terminal."""
        return f"{self.device}, {self.precision}{', compiled' if self.compiled else ''}"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a training step."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=getattr(torch, self.precision))

    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps small gradients above the smallest number of float16; None for other precisions."""
        return torch.amp.GradScaler(self.device) if self.precision == "float16" else None


def choose(
    device: str = "auto", precision: str = "auto", compiled: bool = False, sync_batch_norm: bool = False
) -> Compute:
    """Settle what was left to choice.

    bfloat16 is chosen where the processor has instructions for it (AVX-512 BF16 or AMX on x86; any CUDA device from
    compute capability 8.0) and, on a CPU, a trial shows that they are right and a training step is faster with them;
    without them it is slower than float32. A GPU without them gets float16. Compilation is never chosen: where it was
    measured it did not pay (docs/speed.md).

    Raises:
        InputError: CUDA asked for and absent, or compilation without a C++ compiler.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device!r}: one of auto, cpu, cuda")
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision!r}: one of {', '.join(PRECISIONS)}")
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise InputError("--device cuda: torch finds no CUDA device here; use --device cpu")
    chosen = "cuda" if cuda and device != "cpu" else "cpu"
    settled = precision if precision != "auto" else "bfloat16" if bfloat16_pays(chosen) else _without_bfloat16(chosen)
    if compiled and chosen == "cpu" and shutil.which("g++") is None and shutil.which("clang++") is None:
        raise InputError("--compile needs a C++ compiler on the CPU (g++ or clang++), and none is on the PATH")
    return Compute(chosen, settled, compiled, sync_batch_norm)  # type: ignore[arg-type]


def _without_bfloat16(device: str) -> str:
    """The precision of a device that has no bfloat16: a GPU has float16, a processor nothing that is faster."""
    return "float16" if device == "cuda" else "float32"


@contextlib.contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """One thread for a step too small to share, for as long as the context lasts; else as many as torch has.

    Sharing a small step costs more than it saves, and many times more when another process has one of the cores.

    Args:
        multiply_adds: multiply-adds of a forward pass over one batch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiply_adds < WORTH_SHARING else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def bfloat16_pays(device: str) -> bool:
    """Return whether training should use bfloat16: the device has instructions for it, and they are right and fast.

    Some builds of PyTorch convolve wrongly in bfloat16 on a CPU, and with some instructions a training step is slower
    in it than in float32 although a convolution is faster (AVX-512 BF16 without AMX: ResNet-32 at 0.7 of the speed). So
    a small step is tried there on one thread: its convolution against that of float32, and the time of its forward and
    backward pass.
    """
    if not has_bfloat16(device):
        return False
    return device == "cuda" or _bfloat16_is_right_and_fast()


def _bfloat16_is_right_and_fast() -> bool:
    images, weight = trial()
    with torch.no_grad():
        wanted = functional.conv2d(images, weight, padding=1)
        found = functional.conv2d(images.bfloat16(), weight.bfloat16(), padding=1).float()
    if (found - wanted).abs().max() / wanted.abs().max() >= BFLOAT16_ERROR:
        return False
    return bfloat16_gain(images, weight) > BFLOAT16_GAIN


def bfloat16_gain(images: torch.Tensor, weight: torch.Tensor) -> float:
    """Return how many times faster a small training step is in bfloat16 than in float32, on one thread of this CPU.

    One thread, so that what another process does on the other cores counts for nothing.

    Args:
        images: (N, C, height, width) maps that two layers are given.
        weight: (C, C, 3, 3) of either layer.
    """
    kinds = (torch.float32, torch.bfloat16)
    with threads_for(0):
        seconds = [[_seconds_of_a_step(images, weight, kind) for kind in kinds] for _ in range(6)][1:]
    usual, narrow = (min(column) for column in zip(*seconds, strict=True))
    return float(usual / narrow)


def trial() -> tuple[torch.Tensor, torch.Tensor]:
    """Return what bfloat16 is tried on: maps (32, 32, 16, 16) and the weight of a layer, always the same."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 32, 16, 16, generator=generator).to(memory_format=torch.channels_last)
    return images, torch.randn(32, 32, 3, 3, generator=generator) / 17


def _seconds_of_a_step(images: torch.Tensor, weight: torch.Tensor, kind: torch.dtype) -> float:
    """Time of the forward and backward pass of two layers with batch normalisation, as a residual network has them."""
    weights = [weight.clone().requires_grad_() for _ in range(2)]
    clock = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
        maps = images
        for one in weights:
            normal = functional.batch_norm(functional.conv2d(maps, one, padding=1), None, None, training=True)
            maps = torch.relu(normal)
    maps.float().square().mean().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - clock


def reason(compute: Compute, asked: str = "auto") -> str:
    """Return why this precision is used, for the terminal."""
    if asked != "auto":
        return "as asked"
    if compute.precision == "bfloat16":
        return f"tried here: bfloat16 gives right results, in steps at least {BFLOAT16_GAIN:g} times as fast as float32"
    if not has_bfloat16(compute.device):
        return f"this {'GPU' if compute.device == 'cuda' else 'processor'} has no bfloat16 instructions"
    return f"tried here: bfloat16 gives wrong results, or steps not {BFLOAT16_GAIN:g} times as fast as float32"


@functools.cache
def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices natively."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def identity(compute: Compute) -> dict[str, Any]:
    """Return what of the arithmetic enters a run's address: its settings and, in a changed checkout, the package.

    How many processes computed it does only where the numbers depend on it.
    """
    settings = {"device": compute.device, "precision": compute.precision, "compiled": compute.compiled}
    if compute.divided > 1:
        settings |= {"divided": compute.divided, "sync_batch_norm": compute.sync_batch_norm}
    changed = _package_digest()
    return settings if changed is None else {**settings, "package": changed}


def identity_of_record(numerics: dict[str, Any]) -> dict[str, Any]:
    """Return what of a record's ``numerics`` is part of the run's address, as ``identity`` gave it then."""
    several = ("divided", "sync_batch_norm") if "divided" in numerics else ()
    return {
        name: numerics[name] for name in ("device", "precision", "compiled", *several, "package") if name in numerics
    }


def of_record(numerics: dict[str, Any]) -> Compute:
    """Return how a finished run was computed, from its record's ``numerics``."""
    plain = (numerics["device"], numerics["precision"], bool(numerics.get("compiled", False)))
    return Compute(*plain, bool(numerics.get("sync_batch_norm", False)), int(numerics.get("divided", 1)))


@functools.cache
def _package_digest() -> str | None:
    """SHA-256 of this library's source where it is a checkout that differs from its commit, else None."""
    if not revision()["dirty"]:
        return None
    folder = pathlib.Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return found.hexdigest()


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores and device, for the record."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    name = torch.cuda.get_device_name() if device == "cuda" else model
    return {"processor": model, "cores": torch.get_num_threads(), "device": name, "system": platform.system()}


def packages() -> dict[str, str]:
    """Versions that a number may depend on."""
    import numpy

    import longtail

    versions = {"longtail": longtail.__version__, "torch": torch.__version__, "numpy": numpy.__version__}
    return {"python": platform.python_version(), **versions}


def revision() -> dict[str, Any]:
    """Commit of the running code and whether its Python files were changed; both None outside a checkout."""
    folder = pathlib.Path(__file__).parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    inside = git("ls-files", "--error-unmatch", str(pathlib.Path(__file__))) is not None
    commit = git("rev-parse", "HEAD") if inside else None
    status = git("status", "--porcelain", "--untracked-files=all", "--", "*.py") if inside else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}
