"""Models by the names that people type."""

from __future__ import annotations

import difflib

from longtail.errors import InputError
from longtail.models.bridge import TimmModel, known_to_timm, nearest_in_timm
from longtail.models.residual import CifarResNet, CifarStemResNet
from longtail.models.small import SmallConvNet

Model = CifarResNet | CifarStemResNet | SmallConvNet | TimmModel

_MODELS: tuple[Model, ...] = (
    SmallConvNet(),
    *(CifarResNet(depth) for depth in (20, 32, 44, 56)),
    *(CifarStemResNet(depth) for depth in (18, 34)),
)
_OWN = {model.name: model for model in _MODELS}


def names() -> tuple[str, ...]:
    """The names of this library's own models; ``by_name`` knows those of timm as well."""
    return tuple(_OWN)


def by_name(name: str) -> Model:
    """The description of a model: one of ``names()``, or any name of timm.

    Raises:
        InputError: neither has it; the nearest name is suggested.

    Example:
        >>> by_name("resnet32")
        CifarResNet(depth=32, widths=(16, 32, 64), head='linear', scale=16.0)
    """
    if name in _OWN:
        return _OWN[name]
    near = difflib.get_close_matches(name, _OWN, n=1, cutoff=0.8)
    known = f"(known: {', '.join(_OWN)}, and the models of timm)"
    try:
        if known_to_timm(name):
            return TimmModel(name)
        nearest = near[0] if near else nearest_in_timm(name)
    except InputError:
        nearest = near[0] if near else None
        known = f"(known: {', '.join(_OWN)}; the models of timm need pip install 'longtail[vision]')"
    hint = f"did you mean {nearest!r}? " if nearest else ""
    raise InputError(f"unknown model {name!r}: {hint}{known}")
