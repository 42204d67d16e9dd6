"""How fast a recipe trains here, where a step spends its time, and how near that is to the network's own arithmetic."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from longtail.data import Data
from longtail.models import identity, sides_of
from longtail.recipes import Recipe
from longtail.training import capture
from longtail.training import compute as computing
from longtail.training.prepare import Prepared, advance, batches_of, on_device, prepare, untrained

PARTS = ("data", "forward", "backward", "optimizer")
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class StageSpeed:
    """Speed of one stage; every rate is the median of ``ROUNDS`` turns of ``steps`` steps.

    Attributes:
        stage: its name.
        batch_size: images in a step.
        steps: in a turn.
        steps_per_second: whole steps a second, taken as training takes them.
        images_per_second: training images, however many views each has.
        parts: seconds of a step in ``data`` (gathering, augmentation, normalisation), ``forward`` (and the loss),
            ``backward`` and ``optimizer``, measured one after the other, so on a GPU without recording.
        ceiling_steps_per_second: forward and backward pass of the same network, precision and compilation on one fixed
            batch, with the mean of the logits for a loss, and nothing else.
        of_ceiling: share of the ceiling that training reaches: median over the rounds, lowest, highest.
        multiply_adds: multiply-adds of a forward pass over the batch, all views.
    """

    stage: str
    batch_size: int
    steps: int
    steps_per_second: float
    images_per_second: float
    parts: dict[str, float]
    ceiling_steps_per_second: float
    of_ceiling: tuple[float, float, float]
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Speed:
    """Speed of a recipe on this machine, stage by stage, and the largest memory it took, in bytes."""

    recipe: str
    stages: tuple[StageSpeed, ...]
    compute: computing.Compute
    threads: int
    recorded: bool
    peak_memory: int

    def to_json(self) -> dict[str, Any]:
        """For ``json.dumps``."""
        return {**dataclasses.asdict(self), "hardware": computing.hardware(self.compute.device)}


def bench(
    recipe: Recipe,
    data: Data,
    *,
    compute: computing.Compute,
    seconds: float = 15.0,
    seed: int = 0,
    notify: Callable[[int, int], object] = lambda done, total: None,
) -> Speed:
    """Time the steps of each stage of a recipe. Nothing is stored, and no stage is trained to its end.

    Whole steps, the parts of a step and the ceiling take turns, so that what slows the machine slows all of them.

    Args:
        recipe: recipe whose stages are timed, each on an untrained network.
        data: to take batches from.
        compute: device and precision as in training, from ``longtail.training.compute.choose``.
        seconds: roughly, for each stage; compilation comes on top.
        seed: random seed of network, sampling and augmentation.
        notify: called with the turns done and their number.
    """
    data = on_device(data, compute.device)
    channels, size = sides_of(tuple(data.train.images.shape[1:]))
    speeds = []
    for position in range(len(recipe.stages)):
        network = untrained(recipe, data, seed=seed, compute=compute)
        each = int(identity(network, channels=channels, image_size=size)["multiply_adds"])
        largest = max(stage.batch_size for stage in recipe.stages)
        with computing.threads_for(each * largest), capture.apart(compute.device):
            threads = torch.get_num_threads()
            prepared = prepare(recipe, position, network, data, seed=seed, compute=compute)
            prepared.start_epoch(0)
            speeds.append(_stage(recipe, position, prepared, seconds, each, notify))
    return Speed(
        recipe=recipe.name,
        stages=tuple(speeds),
        compute=compute,
        threads=threads,
        recorded=capture.recorder(compute.device) is not None,
        peak_memory=peak_memory(compute.device),
    )


def _stage(
    recipe: Recipe,
    position: int,
    prepared: Prepared,
    seconds: float,
    multiply_adds: int,
    notify: Callable[[int, int], object],
) -> StageSpeed:
    step, device = prepared.step, prepared.step.compute.device
    stage = recipe.stages[position]
    step.rate(0.0)  # what is measured must not depend on where training would have gone
    step.sums.reset()
    stream = full_batches(prepared)
    batch = step.batch(next(stream))
    views = batch.images.shape[0] if batch.images.ndim in (3, 5) else 1
    fixed = batch.images.flatten(0, 1) if views > 1 else batch.images
    fixed = fixed.contiguous(memory_format=torch.channels_last) if fixed.ndim == 4 else fixed

    def ceiling(index: Tensor) -> None:
        del index
        with step.compute.autocast():
            with torch.set_grad_enabled(not step.frozen_backbone):
                features = step.network.backbone(fixed)
            loss = step.network.head(features).float().mean()
        step.network.zero_grad(set_to_none=True)
        loss.backward()

    spent = dict.fromkeys(PARTS, 0.0)

    def apart(index: Tensor) -> None:
        marks = [_now(device)]
        inner = step.batch(index)
        marks.append(_now(device))
        loss = step.forward(inner)
        marks.append(_now(device))
        step.backward(loss)
        marks.append(_now(device))
        step.update()
        marks.append(_now(device))
        for part, before, after in zip(PARTS, marks, marks[1:], strict=False):
            spent[part] += after - before

    whole = advance(prepared)
    turns: tuple[Callable[[Tensor], None], ...] = (whole, apart, ceiling)
    for take in turns:  # compiles, records, and brings momentum into being
        for _ in range(capture.WARM_UP + 1 if take is whole else 1):
            take(next(stream))
    once = _timed(whole, stream, 2, device)
    steps = max(1, min(500, round(seconds / (ROUNDS * len(turns) * once))))
    times: list[list[float]] = [[], [], []]
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    for turn in range(ROUNDS):
        for part in PARTS:
            spent[part] = 0.0
        for take, held in zip(turns, times, strict=True):
            held.append(_timed(take, stream, steps, device))
        for part in PARTS:
            parts[part].append(spent[part] / steps)
        notify(position * ROUNDS + turn + 1, len(recipe.stages) * ROUNDS)
    shares = [least / all_of_it for all_of_it, least in zip(times[0], times[2], strict=True)]
    rate = 1.0 / statistics.median(times[0])
    return StageSpeed(
        stage=stage.name,
        batch_size=step.size,
        steps=steps,
        steps_per_second=rate,
        images_per_second=rate * step.size,
        parts={part: statistics.median(values) for part, values in parts.items()},
        ceiling_steps_per_second=1.0 / statistics.median(times[2]),
        of_ceiling=(statistics.median(shares), min(shares), max(shares)),
        multiply_adds=multiply_adds * len(fixed),
    )


def full_batches(prepared: Prepared) -> Iterator[Tensor]:
    """Batches without end, all of the same size."""
    size = prepared.step.size
    while True:
        batches = batches_of(prepared.sampler, size, prepared.step.compute.device)
        full = [part for part in batches if len(part) == size]
        if not full:  # fewer images than a batch: the one that there is
            prepared.step.size = len(batches[0])
            full = batches[:1]
        yield from full


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _timed(take: Callable[[Tensor], None], stream: Iterator[Tensor], steps: int, device: str) -> float:
    """Seconds a step; the drawing of a new epoch is part of it."""
    before = _now(device)
    for _ in range(steps):
        take(next(stream))
    return (_now(device) - before) / steps


def peak_memory(device: str) -> int:
    """The most that this process has held so far, in bytes: on the GPU, or resident in main memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else 1024 * held
