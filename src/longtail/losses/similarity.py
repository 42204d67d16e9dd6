"""Inner products of embeddings in float32 at least, whatever precision training uses."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn import functional

from longtail.shapes import Float


def products(rows: Float[Tensor, "N D"], others: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """Inner products (N, M), under autocast as well."""
    device = rows.device.type
    with contextlib.nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
        return rows @ others.T


def cosines(rows: Float[Tensor, "N D"], others: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """Cosines (N, M) in float32 at least, under autocast as well."""
    kind = torch.promote_types(rows.dtype, torch.float32)
    return products(functional.normalize(rows.to(kind), dim=1), functional.normalize(others.to(kind), dim=1))
