"""Programs of this repository that are no part of the package, for tests of what they do."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import pathlib
import types

ROOT = pathlib.Path(__file__).parents[1]


def loaded(path: str) -> types.ModuleType:
    """A program of this repository as a module."""
    loader = importlib.machinery.SourceFileLoader("program", str(ROOT / path))
    spec = importlib.util.spec_from_loader("program", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
