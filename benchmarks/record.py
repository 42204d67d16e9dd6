"""What the benchmarks make of their measurements; imported by them."""

from __future__ import annotations

import json
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


def keep(result: Any, path: pathlib.Path | None) -> None:
    """Write what was measured as JSON, if the user named a file."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
