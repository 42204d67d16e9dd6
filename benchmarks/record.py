"""What the benchmarks make of their measurements; imported by them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def ratio(values: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Of two rates measured in the same rounds: median, lowest and highest."""
    found = [a / b for a, b in zip(values, base, strict=True)]
    return {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}


def shown(times: Mapping[str, float]) -> str:
    """A ratio as the first columns of a printed line."""
    return f"{times['median']:5.2f} x  ({times['lowest']:.2f} to {times['highest']:.2f})"


def keep(result: Mapping[str, Any], path: pathlib.Path | None, *packages: str, device: str = "cpu") -> None:
    """Write what was measured and on what as JSON, if the user named a file.

    Args:
        result: what was measured.
        path: the file; nothing is written without one.
        packages: distributions that were measured against, whose versions are kept too.
        device: cpu or cuda.
    """
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**result, **measured_on(*packages, device=device)}, indent=2) + "\n")


def measured_on(*packages: str, device: str = "cpu") -> dict[str, Any]:
    """What a figure depends on beside the work: processor and instructions, versions, numerics and commit."""
    import torch

    from longtail.recipes import NUMERICS
    from longtail.training import compute

    own = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "instructions": instructions()}
    return {
        "hardware": {**compute.hardware(device), **own},
        "versions": {**compute.packages(), **{name: importlib.metadata.version(name) for name in packages}},
        "numerics": NUMERICS,
        "revision": compute.revision(),
    }


def instructions() -> list[str]:
    """Which vector and matrix instructions this processor names."""
    found = pathlib.Path("/proc/cpuinfo")
    words = found.read_text().split() if found.exists() else []
    return sorted({word for word in words if word.startswith(("avx", "amx"))})
