"""States on disk: one safetensors file each, the JSON part in its header, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longtail.errors import InputError
from longtail.files import write_tensors


def save(path: pathlib.Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Write tensors and JSON facts as one file, atomically.

    Returns:
        The digest of both, which the file also holds.
    """
    # contiguous() only where needed; clone shared storage, which the format cannot express.
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text, found = json.dumps(facts), digest(flat, facts)
    write_tensors(path, flat, {"longtail": text, "sha256": found})
    return found


def load(path: pathlib.Path, *, expected: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save`` wrote, and check it against its digest.

    Args:
        path: checkpoint file.
        expected: the digest that a record names; the file's own if None.

    Raises:
        InputError: no such file, or one that is damaged, of another kind, or not the one expected.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            facts = json.loads(metadata["longtail"])
            # get_tensor may hand out views of the mapped file; clone so that the file can be replaced underneath.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}") from None
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is damaged or no longtail checkpoint ({error}); remove it to start over") from None
    found = digest(tensors, facts)
    if found != metadata.get("sha256"):
        raise InputError(f"{path} is damaged: its contents are not those of its checksum; remove it to start over")
    if expected is not None and found != expected:
        raise InputError(f"{path} is not the file that its record was written with (its checksum is another one)")
    return tensors, facts


def digest_of(path: pathlib.Path) -> str:
    """Return the digest that a file holds of itself; ``load`` says whether it is true."""
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {})["sha256"])


def digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of tensors, and of the facts beside them."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


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
