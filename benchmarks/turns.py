"""Processes that take turns, so that what slows the machine slows all that is compared; imported by other benchmarks.

A worker is the calling script started again with ``--worker``. It prints one line of JSON when it is ready, and one for
every line that it is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

BATCH = 128
"""Images of a step."""
LEFT_ALONE = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Not handed on: each worker says itself how its threads wait."""


class Worker:
    """A started process.

    Args:
        arguments: of the script, ``--worker`` among them.
        variables: of its environment.
    """

    def __init__(self, *arguments: object, variables: Mapping[str, str] | None = None) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in LEFT_ALONE}
        command = [sys.executable, sys.argv[0], *map(str, arguments)]
        pipe = subprocess.PIPE
        environment = {**kept, **(variables or {})}
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.ready = self.answer()

    def ask(self, what: object) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of {sys.argv[0]} ended early: {self.process.args}")
        return json.loads(line)


def serve(answer: Callable[[str], Any], ready: Any = None) -> None:
    """Be a worker: answer every line of standard input until there are no more."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)


def serve_steps(depth: int = 32, context: Callable[[], contextlib.AbstractContextManager[Any]] | None = None) -> None:
    """Be a worker that trains: for every line "N" take N steps of a CIFAR ResNet and answer images per second.

    Args:
        depth: of the network.
        context: of the forward pass, such as that of a precision.
    """
    import torch

    from longtail.models import cifar_resnet

    generator = torch.Generator().manual_seed(0)
    network = cifar_resnet(num_classes=100, channels=3, image_size=32, depth=depth, generator=generator)
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    images = torch.randn(BATCH, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 100, (BATCH,), generator=generator)

    def step() -> float:
        started = time.perf_counter()
        with context() if context else contextlib.nullcontext():
            logits = network(images).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    step()
    serve(lambda line: BATCH / statistics.median(step() for _ in range(int(line))), torch.get_num_threads())


def together(workers: Sequence[Worker], what: object) -> float:
    """The sum of what the workers answer, asked at once."""
    for worker in workers:
        worker.ask(what)
    return float(sum(worker.answer() for worker in workers))


def rounds_of(arms: Mapping[str, Sequence[Worker]], what: object, rounds: int) -> dict[str, list[float]]:
    """What the workers of each arm answer together, arm after arm in every round."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, workers in arms.items():
            rates[name].append(together(workers, what))
    return rates


def end(workers: Iterable[Worker]) -> None:
    """Stop them."""
    for worker in workers:
        worker.process.kill()
