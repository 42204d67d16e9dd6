"""The names of very many files in two arrays instead of as many strings.

Half a million strings are a gigabyte once every worker process has touched them; one row of bytes is shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Names(Sequence[str]):
    """A row of names, read one at a time.

    Args:
        names: texts; bytes of a file's name that are no UTF-8 are kept.

    Example:
        >>> names = Names(["a/1.jpg", "b/2.jpg"])
        >>> len(names), names[1], list(names + Names(["c.jpg"]))
        (2, 'b/2.jpg', ['a/1.jpg', 'b/2.jpg', 'c.jpg'])
    """

    def __init__(self, names: Iterable[str]) -> None:
        packed, ends = bytearray(), [0]
        for name in names:
            packed += name.encode("utf-8", "surrogateescape")
            ends.append(len(packed))
        self._bytes: NDArray[np.uint8] = np.frombuffer(bytes(packed), np.uint8)
        self._ends: NDArray[np.int64] = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Names: ...
    def __getitem__(self, place: int | slice) -> str | Names:
        """Return the name at a place, or the names of a slice."""
        if isinstance(place, slice):
            return Names(self[i] for i in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(f"name {place} of {len(self)}")
        start = place % len(self)
        held = self._bytes[self._ends[start] : self._ends[start + 1]]
        return held.tobytes().decode("utf-8", "surrogateescape")

    def __add__(self, other: Names) -> Names:
        """Return the names of both, these first."""
        both = Names(())
        both._bytes = np.concatenate([self._bytes, other._bytes])
        both._ends = np.concatenate([self._ends, other._ends[1:] + self._ends[-1]])
        return both
