"""States on disk: one safetensors file each, the JSON part in its header, written whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtail.errors import InputError


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Let ``write`` make a temporary file beside ``path``, force it to disk, and move it into place.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose another folder with --out") from None
    temporary = pathlib.Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # a temporary file starts out as its owner's secret
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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


def generator_state(generator: torch.Generator) -> Tensor:
    """The state of a generator as a tensor that safetensors can hold."""
    return generator.get_state().clone()
