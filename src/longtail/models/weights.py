"""Pre-trained weights from a file, checked tensor by tensor: nothing in it is executed, nothing is left out unsaid."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import InputError

_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")
_WRAPPERS = ("_orig_mod.", "module.")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What was taken from a file of weights.

    Args:
        digest: SHA-256 of the file.
        classes: K of the classifier in the file; None if it holds none.
        head: weight (K, D) and bias (K,) of that classifier, as far as they are there.
    """

    digest: str
    classes: int | None
    head: dict[str, Tensor]


def read(path: pathlib.Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a PyTorch checkpoint by name, without the names of wrappers.

    A checkpoint is unpickled with ``weights_only``; where it holds averaged weights, these are taken.

    Args:
        path: of the file.

    Raises:
        InputError: no such file, or one that holds anything but tensors.
    """
    try:
        found: Any = _unpacked(path)
    except FileNotFoundError:
        raise InputError(f"no weights at {path}: give a .safetensors or .pth file") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} holds no weights that can be read safely: {type(error).__name__}, {reason}") from None
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(held, Tensor) for held in found.values()):
        raise InputError(f"{path} holds no tensors by name; a state_dict is needed")
    tensors = {}
    for name, tensor in found.items():
        short = str(name)
        for wrapper in (*_WRAPPERS, *_WRAPPERS):
            short = short.removeprefix(wrapper)
        tensors[short] = tensor
    return tensors


def _unpacked(path: pathlib.Path) -> Any:
    with path.open("rb") as file:
        beginning = file.read(16)
    if zipfile.is_zipfile(path) or beginning[:1] == b"\x80":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file

    return load_file(path)


def load(model: nn.Module, path: pathlib.Path, name: str, *, first: tuple[str, ...], classifier: set[str]) -> Loaded:
    """Load the weights of a file into a model without classifier; all of them must fit.

    Args:
        model: of timm, without classifier; changed in place.
        path: of the file.
        name: of the model, for messages.
        first: names of the layers that read the images; their kernels are adapted to another number of channels.
        classifier: names of the tensors of the model's classifiers, which the file may hold and the model does not.

    Returns:
        The digest of the file, and the classifier in it.

    Raises:
        InputError: as ``read``, and weights of another architecture, with how many tensors fit.
    """
    from timm.models import adapt_input_conv

    tensors = read(path)
    own = model.state_dict()
    converted = _converted(tensors, model)
    for layer in first:
        key = f"{layer}.weight"
        given, wanted = converted.get(key), own.get(key)
        if given is not None and wanted is not None and given.ndim == 4 and given.shape[1] != wanted.shape[1]:
            converted[key] = adapt_input_conv(wanted.shape[1], given)
    fits = {key for key, tensor in own.items() if key in converted and converted[key].shape == tensor.shape}
    # A buffer that is computed from the sizes need not be in a file; a counter of batches was not in old ones.
    needed = {key for key, _ in model.named_parameters()} | {key for key in own if "running_" in key}
    spare = {key for key in converted if key not in own and key not in classifier}
    if needed - fits or spare or any(key in converted for key in own.keys() - fits):
        raise InputError(
            f"{path} has weights of another architecture than {name}: {len(needed & fits)} of its {len(needed)} "
            f"tensors fit, and {len(set(converted) - fits - classifier)} of the {len(converted)} in the file do not"
        )
    model.load_state_dict({**own, **{key: converted[key] for key in fits}})
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    head = {key: tensor for key, tensor in converted.items() if key in classifier}
    weight = next((tensor for key, tensor in head.items() if key.endswith("weight") and tensor.ndim >= 2), None)
    named = {} if weight is None or len(head) > 2 else {key.rpartition(".")[2]: held for key, held in head.items()}
    return Loaded(
        digest,
        None if weight is None else len(weight),
        {key: held.flatten(1) if held.ndim > 2 else held for key, held in named.items()},
    )


def _converted(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Tensors as timm's own conversion of the model's family gives them: older names, position embeddings resampled."""
    convert = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    if convert is None:
        return dict(tensors)
    try:
        asked = len(inspect.signature(convert).parameters) > 1
        return dict(convert(dict(tensors), model) if asked else convert(dict(tensors)))
    except Exception:  # written for weights of its own family: of others, the names say that they do not fit
        return dict(tensors)
