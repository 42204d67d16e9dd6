"""Shape annotations: ``Float[Tensor, "N K"]`` says what a docstring would otherwise have to.

They are checked at run time in the tests only, where jaxtyping is installed. Elsewhere they cost nothing: without
jaxtyping an annotation evaluates to the plain array type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Int
    from typing import Annotated as Shaped
    from typing import Annotated as UInt8
else:
    try:
        from jaxtyping import Bool, Float, Int, Shaped, UInt8
    except ImportError:

        class _Unchecked:
            def __class_getitem__(cls, item: tuple[type, str]) -> Any:
                return item[0]

        Bool = Float = Int = Shaped = UInt8 = _Unchecked

__all__ = ["Bool", "Counts", "Float", "Int", "Labels", "Shaped", "Target", "UInt8"]

Counts: TypeAlias = Tensor | np.ndarray | Sequence[Any]
"""Training images per class, (K,) whole numbers, in any of the forms people have them."""

Labels: TypeAlias = Tensor | np.ndarray | Sequence[Any]
"""Class numbers from 0, (N,), in any of the forms people have them."""

Target: TypeAlias = Int[Tensor, " N"] | Float[Tensor, "N K"]
"""What a loss on logits compares them with: (N,) class numbers, or (N, K) soft labels whose rows sum to 1."""
