"""States on disk: one safetensors file each, the JSON part in its header, written whole or not at all."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtail.errors import InputError
from longtail.files import write_atomically


def save(path: pathlib.Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts as one file, atomically."""
    # contiguous() only where needed; clone shared storage, which the format cannot express.
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: save_file(flat, file, metadata={"longtail": json.dumps(facts)}))


def load(path: pathlib.Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save`` wrote.

    Raises:
        InputError: no such file, or one that is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["longtail"])
            # get_tensor may hand out views of the mapped file; clone so that the file can be replaced underneath.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, facts  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}") from None
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path} is damaged or no longtail checkpoint ({error}); remove it to start over") from None


def flatten(state: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """Split a nested ``state_dict`` into tensors (moved to ``tensors`` under ``prefix``) and a JSON skeleton."""
    if isinstance(state, Tensor):
        tensors[prefix] = state
        return {"tensor": prefix}
    if isinstance(state, dict):
        return {"dict": [[key, flatten(value, f"{prefix}.{key}", tensors)] for key, value in state.items()]}
    if isinstance(state, (list, tuple)):
        return {"list": [flatten(value, f"{prefix}.{i}", tensors) for i, value in enumerate(state)]}
    return {"value": state}


def unflatten(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of ``flatten`` (tuples come back as lists)."""
    if "tensor" in skeleton:
        return tensors[skeleton["tensor"]]
    if "dict" in skeleton:
        return {key: unflatten(value, tensors) for key, value in skeleton["dict"]}
    if "list" in skeleton:
        return [unflatten(value, tensors) for value in skeleton["list"]]
    return skeleton["value"]


@contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Hold the lock file at ``path``; another process that wants the same stage waits, a killed one lets go."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose another folder with --out") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
