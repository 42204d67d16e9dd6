"""One seed becomes independent generators, each named for its purpose.

Streams are named, not drawn one after another, so an arm that uses one more of them leaves the others as they were:
that is what makes the controls of an experiment exact.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on ``seed`` and the purpose alone.

    Example:
        >>> a, b = generator(0, "init"), generator(0, "init")
        >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
        True
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    state = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator(device=device).manual_seed(state)
