"""What a measured difference says about a claim, and how much that depends on the tolerance."""

from __future__ import annotations

from collections.abc import Callable

TOLERANCE = 0.01
"""The distance from a claim that does not matter, as a share, where nobody names another."""
VERDICTS = ("agrees", "above", "below", "undecided", "not tested")
"""Of a measurement, seen from the claim."""


def judge(low: float | None, high: float | None, *, claimed: float | None = None, tolerance: float = TOLERANCE) -> str:
    """Hold the interval of a measured difference against a claimed one.

    Use it where a paper says that one method is better than another, or by how much, and both were run here under one
    protocol. Equivalence testing (Schuirmann 1987) by the interval: a difference agrees only if the whole interval
    does, so a wide interval is never taken for agreement. Ends are held against the tolerance as they are printed, to a
    hundredth of a point.

    Args:
        low: lower end of the interval of the measured difference, as a share (1 point is 0.01); None if there is none,
            as for two seeds.
        high: upper end.
        claimed: the difference claimed, as a share; 0 for "makes no difference"; None for "is better", with no size.
        tolerance: the distance that does not matter, as a share; a gain below it is none worth claiming.

    Returns:
        With a size claimed: ``agrees`` if the interval lies within the tolerance around it, ``above`` or ``below`` if
        it lies wholly beyond one end of that, otherwise ``undecided``. Without a size: ``agrees`` if the interval lies
        above 0 and reaches the tolerance, ``below`` if it lies wholly below the tolerance (no gain, a loss, or one too
        small to matter), otherwise ``undecided``.

    Example:
        >>> judge(0.012, 0.031), judge(-0.004, 0.006), judge(-0.01, 0.02), judge(0.001, 0.006)
        ('agrees', 'below', 'undecided', 'below')
        >>> judge(0.012, 0.031, claimed=0.02, tolerance=0.02), judge(-0.004, 0.006, claimed=0.0)
        ('agrees', 'agrees')
        >>> judge(None, None)
        'undecided'
    """
    if low is None or high is None:
        return "undecided"
    start, end = round(low, 4), round(high, 4)
    if claimed is None:
        if end < tolerance:
            return "below"
        return "agrees" if low > 0 else "undecided"
    least, most = round(claimed - tolerance, 6), round(claimed + tolerance, 6)
    if start > most:
        return "above"
    if end < least:
        return "below"
    return "agrees" if least <= start and end <= most else "undecided"


def moved(low: float | None, high: float | None, *, claimed: float | None = None, tolerance: float = TOLERANCE) -> str:
    """Say how a verdict moves when its tolerance is halved and doubled; empty where it does not.

    Use it beside every verdict of ``judge``, so that nobody has to trust one number that we chose.

    Args:
        low: as for ``judge``.
        high: as for ``judge``.
        claimed: as for ``judge``.
        tolerance: as for ``judge``, the one in the middle.

    Returns:
        For instance ``"halved: undecided"``, ``"doubled: agrees"``, or both with a comma between.

    Example:
        >>> moved(0.001, 0.006), moved(0.012, 0.031)
        ('halved: agrees', '')
    """
    return elsewhere(lambda other: judge(low, high, claimed=claimed, tolerance=other), tolerance)


def elsewhere(verdict: Callable[[float], str], tolerance: float) -> str:
    """Say how any verdict moves when its tolerance is halved and doubled; use it for one that is not of ``judge``.

    Args:
        verdict: gives the verdict at a tolerance.
        tolerance: the one in the middle, in the units of ``verdict``.

    Returns:
        As ``moved``.

    Example:
        >>> elsewhere(lambda tolerance: "agrees" if tolerance > 1 else "below", 1.0)
        'doubled: agrees'
    """
    found = {"halved": verdict(tolerance / 2), "doubled": verdict(2 * tolerance)}
    return ", ".join(f"{name}: {other}" for name, other in found.items() if other != verdict(tolerance))
