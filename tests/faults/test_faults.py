"""A sample of the sweeps of benchmarks/faults.py, which counts at full size."""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("faults")
    sys.path.remove(str(BENCHMARKS))


def test_damaged_files_are_refused_or_harmless(faults: ModuleType) -> None:
    found, wrong = faults.damage(40, seed=1)
    assert wrong == []
    assert found.total() == 40
    assert found["refused"] >= 15


def test_hostile_records_are_refused_or_harmless(faults: ModuleType) -> None:
    found, wrong = faults.hostile(60, seed=1)
    assert wrong == []
    assert found.total() == 60
    assert found["refused"] >= 30


def test_a_killed_command_goes_on_to_the_same_numbers(faults: ModuleType) -> None:
    found = faults.kills(3, seed=1)
    assert found["kills"] >= 3
    assert found["same numbers"] >= 1
    assert not any(found[outcome] for outcome in faults.FORBIDDEN)


def test_a_killed_worker_ends_the_command(faults: ModuleType) -> None:
    found = faults.worker_kills(1, seed=1)
    assert found["same numbers"] == 1
    assert not any(found[outcome] for outcome in faults.FORBIDDEN)


def test_the_sweep_notices_other_numbers(faults: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from longtail.training import checkpoint

    monkeypatch.setattr(checkpoint, "digest", lambda tensors, facts: "")  # a check that cannot fail
    found, wrong = faults.damage(60, seed=1)
    assert found["other numbers"] + found["traceback"] >= 1
    assert wrong != []
