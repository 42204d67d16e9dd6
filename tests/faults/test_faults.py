"""A sample of the sweeps of benchmarks/faults.py, which counts at full size."""

from __future__ import annotations

import importlib
import itertools
import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("faults")
    sys.path.remove(str(BENCHMARKS))


def test_damaged_files_are_refused_or_harmless(faults: ModuleType) -> None:
    found, wrong = faults.damage(12, seed=1)
    assert wrong == []
    assert found.total() == 12
    assert found["refused"] >= 4


def test_hostile_records_are_refused_or_harmless(faults: ModuleType) -> None:
    found, wrong = faults.hostile(15, seed=1)
    assert wrong == []
    assert found.total() == 15
    assert found["refused"] >= 7


def test_a_killed_command_goes_on_to_the_same_numbers(faults: ModuleType) -> None:
    found = faults.kills(1, seed=1)
    assert found["kills"] >= 1
    assert found["same numbers"] >= 1
    assert not any(found[outcome] for outcome in faults.FORBIDDEN)


def test_a_killed_worker_ends_the_command(faults: ModuleType) -> None:
    found = faults.worker_kills(1, seed=1)
    assert found["kills"] == 1
    assert found["same numbers"] == 1
    assert not any(found[outcome] for outcome in faults.FORBIDDEN)


def test_the_sweep_notices_other_numbers(faults: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    never_twice = itertools.count()
    monkeypatch.setattr(faults, "shown", lambda text: next(never_twice))
    found, wrong = faults.damage(8, seed=1)
    assert found["harmless"] == 0
    assert found["other numbers"] == len(wrong) >= 1
