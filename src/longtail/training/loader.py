"""Batches of pictures that are read from their files, decoded and augmented in worker processes.

What a picture becomes depends on the picture and on its own seed, so that neither the number of workers nor their turns
change a number.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from longtail.augment.compose import Operation
from longtail.augment.single import Transform, pipeline
from longtail.data import Data, Source
from longtail.data.decoding import squared
from longtail.data.streams import Pictures
from longtail.errors import InputError
from longtail.training.orphans import end_with_parent
from longtail.training.processes import beside

MOST_WORKERS = 8
"""Worker processes at most; beyond, the disc and not the decoding is what one waits for."""
AHEAD = 2
"""Batches that each worker prepares before they are asked for."""
PIXELS = 6_000_000
"""In a chunk of an evaluation: 119 pictures of 224 x 224, so that a large network's maps fit beside them."""


def workers_for(pictures: int) -> int:
    """Return how many processes decode: one for each core that may be used, at most 8, none within one of ``--jobs``.

    The processes of one run on a machine share its cores.

    Args:
        pictures: to be decoded; for fewer than 64 a process does not pay.
    """
    if pictures < 64 or multiprocessing.current_process().daemon:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // beside(), MOST_WORKERS))


def seeds_of(number: int, *, generator: torch.Generator) -> Tensor:
    """Draw a seed for each of so many pictures, (N,) int64 on the CPU, moving the generator by one number.

    Args:
        number: N.
        generator: of the augmentation.
    """
    start = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return seeds_from(start, number)


def seeds_from(start: int, number: int) -> Tensor:
    """Return the seeds (N,) that a number stands for."""
    return torch.randint(2**62, (number,), generator=torch.Generator().manual_seed(start))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A batch as the workers give it.

    Args:
        images: (n, C, S, S) uint8, or (V, n, C, S, S) for views; of those that could be read.
        kept: (n,) int64, the places of those in the batch.
        problems: why each of the others could not be read.
    """

    images: Tensor
    kept: Tensor
    problems: tuple[str, ...]


def loaded(
    images: Pictures,
    batches: Sequence[Tensor],
    data: Data | Source,
    *,
    operations: Sequence[Operation] = (),
    seeds: Tensor | None = None,
    skip: bool = False,
    workers: int | None = None,
) -> Iterator[Loaded]:
    """Read pictures batch by batch, in the order asked for.

    Args:
        images: of a split.
        batches: positions in the split, (n,) each.
        data: data set, which says how pictures are scaled where nothing else does; one before anything is drawn from it
            has the usual way.
        operations: augmentation of each picture.
        seeds: of the augmentation, (N,), one for each picture of all batches in their order.
        skip: leave out what cannot be read.
        workers: processes that decode; chosen if None.

    Raises:
        InputError: a picture that cannot be read, unless it is to be left out, or a worker that was killed.
    """
    every = torch.cat([batch.cpu() for batch in batches]) if batches else torch.zeros(0, dtype=torch.int64)
    number = workers_for(len(every)) if workers is None else min(workers, len(batches))
    wanted = _Wanted([len(batch) for batch in batches], every, seeds)
    scaling = (data.interpolation, data.crop) if isinstance(data, Data) else ("bicubic", 1.0)
    reading = DataLoader(
        _Read(images, tuple(operations), *scaling),
        batch_sampler=wanted,
        num_workers=number,
        collate_fn=_collated,
        prefetch_factor=AHEAD if number else None,
        generator=torch.Generator(),  # else it would draw from the global one
        worker_init_fn=_started,
    )
    try:
        for arrays, kept, problems in reading:
            if problems and not skip:
                more = f"; and {len(problems) - 1} more in the same batch" if len(problems) > 1 else ""
                raise InputError(problems[0] + more)
            stacked = torch.from_numpy(arrays)
            # Views come image by image from the workers, and view by view to an objective.
            shaped = stacked.transpose(0, 1).contiguous() if stacked.ndim == 5 else stacked
            yield Loaded(shaped, torch.from_numpy(kept), tuple(problems))
    except Exception as error:
        if isinstance(error, RuntimeError) and "worker (pid" in str(error):
            raise InputError(
                "a process that decodes pictures was killed, perhaps for memory; the same command goes on from the "
                "last checkpoint"
            ) from None
        if "in DataLoader worker process" in str(error):  # the whole traceback of that process
            raise RuntimeError(str(error).strip().rpartition("\n")[2]) from error
        raise


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Batches of (position, seed), as a loader asks for them."""

    sizes: list[int]
    every: Tensor
    seeds: Tensor | None

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start = 0
        for size in self.sizes:
            positions = self.every[start : start + size].tolist()
            seeds = [0] * size if self.seeds is None else self.seeds[start : start + size].tolist()
            yield list(zip(positions, seeds, strict=True))
            start += size


class _Read(Dataset[Any]):
    """Pictures by position and seed."""

    def __init__(self, images: Pictures, operations: tuple[Operation, ...], interpolation: str, crop: float) -> None:
        self.images, self.operations, self.interpolation, self.crop = images, operations, interpolation, crop
        self.transform: Transform | None = None  # made in each process, since functions do not travel

    def fit(self, picture: Tensor) -> Tensor:
        """Scale a picture to its final size."""
        return squared(picture, self.images.side, interpolation=self.interpolation, crop=self.crop)

    def __getitem__(self, asked: tuple[int, int]) -> np.ndarray | str:
        position, seed = asked
        try:
            picture = self.images.whole(position)
        except InputError as error:
            return str(error)
        if not self.operations:
            return self.fit(picture).numpy()
        if self.transform is None:
            self.transform = pipeline(self.operations, side=self.images.side, fit=self.fit)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.transform(picture).numpy()


def _started(worker: int) -> None:
    """PyTorch's own watch over the parent ends a worker only while it waits for work, not while it hands some over."""
    end_with_parent()


def _collated(found: list[np.ndarray | str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A batch as arrays: tensors would travel through shared memory, of which a container has little."""
    kept = [place for place, one in enumerate(found) if not isinstance(one, str)]
    images = [one for one in found if not isinstance(one, str)]
    problems = [one for one in found if isinstance(one, str)]
    return np.stack(images) if images else np.zeros((0, 0, 0, 0), np.uint8), np.array(kept, np.int64), problems
