"""Models by the names that people type."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from longtail.errors import InputError
from longtail.models.bridge import known_to_timm, nearest_in_timm, timm_model
from longtail.models.network import Network
from longtail.models.residual import cifar_resnet, cifar_stem_resnet
from longtail.models.shallow import linear, mlp, projected
from longtail.models.small import small_conv_net

_SHORT: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    "small": (small_conv_net, {}),
    "linear": (linear, {}),
    "mlp": (mlp, {}),
    "projected": (projected, {}),
    **{f"resnet{depth}": (cifar_resnet, {"depth": depth}) for depth in (8, 20, 32, 44, 56)},
    **{f"resnet{depth}-cifar": (cifar_stem_resnet, {"depth": depth}) for depth in (18, 34)},
}
_OWN: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    **_SHORT,
    "small-conv-net": (small_conv_net, {}),
    "cifar-resnet": (cifar_resnet, {}),
    "cifar-stem-resnet": (cifar_stem_resnet, {}),
    "timm-model": (timm_model, {}),
}


def names() -> tuple[str, ...]:
    """Return the names of this library's own models; ``find`` knows those of timm as well.

    Example:
        >>> "resnet32" in names()
        True
    """
    return tuple(_OWN)


def find(name: str) -> tuple[Callable[..., Network], dict[str, Any]]:
    """Return the function and the options that a model's name stands for.

    Args:
        name: one of ``names()``, or any name of timm.

    Raises:
        InputError: neither has it; the nearest name is suggested.

    Example:
        >>> function, options = find("resnet20")
        >>> function.__name__, options
        ('cifar_resnet', {'depth': 20})
    """
    if name in _OWN:
        return _OWN[name]
    near = difflib.get_close_matches(name, _OWN, n=1, cutoff=0.8)
    known = f"known: {', '.join(_SHORT)}, and the models of timm"
    try:
        if known_to_timm(name):
            return timm_model, {"timm_name": name}
        nearest = near[0] if near else nearest_in_timm(name)
    except InputError:
        nearest = near[0] if near else None
        known = f"known: {', '.join(_SHORT)}; the models of timm need pip install 'longtail[vision]'"
    hint = f": did you mean {nearest!r}?" if nearest else ""
    raise InputError(f"unknown model {name!r}{hint} ({known})")
