"""How much memory there is, so that what does not fit is said before it is asked for."""

from __future__ import annotations

import pathlib

from longtail.errors import InputError

CGROUP = pathlib.Path("/sys/fs/cgroup")
MEMINFO = pathlib.Path("/proc/meminfo")


def free() -> int | None:
    """The bytes that can be had without swapping, by the kernel and by the limit of the container; None if unknown.

    Where the system does not say it (outside Linux), nothing is refused beforehand.
    """
    found = [number for number in (_of_machine(), _of_container()) if number is not None]
    return min(found, default=None)


def check(need: int, what: str, remedy: str) -> None:
    """Refuse what needs more memory than is free.

    Args:
        need: in bytes.
        what: needs it, the subject of the message.
        remedy: what would make it fit.

    Raises:
        InputError: ``need`` is more than ``free()``.

    Example:
        >>> check(1000, "a small picture", "none is needed")
    """
    there = free()
    if there is not None and need > there:
        raise InputError(f"{what}: {_shown(need)} of memory are needed, {_shown(there)} are free: {remedy}")


def _shown(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"


def _of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    told = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(told[0]) * 1024 if told else None


def _of_container() -> int | None:
    """The rest of a container's limit; cached files count as free, since they are given up when memory is wanted."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used + int(counted.get("inactive_file", 0)), 0)
