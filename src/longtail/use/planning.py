"""What ``fit`` trains in the time that there is: methods, seeds, epochs, and what is left out."""

from __future__ import annotations

import dataclasses

from longtail.wording import counted

BASE = "ce"
"""The row that all others are compared with."""
SETTINGS = 8
"""Settings among which a tuned recipe chooses; half of them where time is short."""
ENOUGH = 0.5
"""Share of the epochs that a protocol states from which on a longer list of methods is worth shorter runs."""
RESERVE = 0.15
"""Share of the time that is left for the report and for what the measurement misses."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained in the time that there is.

    Args:
        seeds: of every method, from 0.
        epochs: of the first stage of a run.
        trials: settings among which the tuned rows choose, 0 for no tuned rows.
        both: whether logit adjustment is tuned as well as cross-entropy.
        seconds: that the plan should take.
        left_out: what did not fit, in words.
    """

    seeds: int
    epochs: int
    trials: int
    both: bool
    seconds: float | int
    left_out: tuple[str, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods by name, but for post-hoc logit adjustment, whose strength is chosen when ``ce`` is trained."""
        tried = "" if self.trials == SETTINGS else f"@trials={self.trials}"
        also = f",trials={self.trials}" if tried else ""
        return (
            BASE,
            *((f"tuned{tried}",) if self.trials else ()),
            "logit-adjustment",
            *((f"tuned@of=logit-adjustment{also}",) if self.both else ()),
            "class-balanced-sampling",
            "crt",
            "tau-norm@tau=none",
            "ncm",
        )


def planned(seconds: float | int, seeds: int, epochs: int, overhead: float | int, each: float | int) -> Plan:
    """Return the fullest plan that fits into a time: first logit adjustment is not tuned, then fewer settings, seeds.

    A verdict needs three seeds, so three of them come before tuning, and of two one is taken. Where nothing fits, runs
    get shorter.

    Args:
        seconds: that are left.
        seeds: that were asked for.
        epochs: of a full run.
        overhead: seconds of a run besides its epochs.
        each: seconds of an epoch.

    Returns:
        The plan, with what was left out.

    Example:
        >>> planned(600, 3, 30, 1.0, 0.1).left_out
        ()
        >>> planned(60, 3, 30, 1.0, 0.1).left_out
        ('tuning of logit-adjustment', 'tuning of ce')
    """
    budget = max(0.0, seconds) * (1 - RESERVE)
    numbers = [number for number in range(seeds, 0, -1) if number not in (1, 2) or number == seeds]
    kinds = ((SETTINGS, True), (SETTINGS, False), (SETTINGS // 2, False), (0, False))
    ladder = [(number, *kind) for kind in kinds for number in numbers]
    ladder += [(1, *kind) for kind in kinds if 1 not in numbers]
    for place, (number, trials, both) in enumerate(ladder):
        # Whole runs: ce, logit adjustment, balanced sampling, and each setting; the others add little to ce.
        whole, light = 3 + (trials + 1) * bool(trials) * (1 + both), 4
        room = budget / number - overhead * (whole + light)
        affordable = min(epochs, int(room / (whole * max(each, 1e-9)))) if room > 0 else 0
        if affordable >= max(1, ENOUGH * epochs) or place == len(ladder) - 1:
            count = max(1, affordable)
            left = [
                *(["tuning of logit-adjustment"] if not both else []),
                *(["tuning of ce"] if not trials else []),
                *([f"{SETTINGS - trials} of {SETTINGS} settings of tuned ce"] if 0 < trials < SETTINGS else []),
                *([f"{seeds - number} of {counted(seeds, 'seed')}"] if number < seeds else []),
                *([f"{epochs - count} of {epochs} epochs of each run"] if count < epochs else []),
            ]
            cost = number * (overhead * (whole + light) + whole * count * each)
            return Plan(number, count, trials, both, cost, tuple(left))
    raise AssertionError("the last plan is taken whatever it costs")  # pragma: no cover


def shortened(plan: Plan, left: float | int, each: float | int) -> Plan:
    """Return a plan with the seeds that still fit, known what one takes; two would give no verdict, so then one.

    Args:
        plan: whose first seed is trained.
        left: seconds that are left.
        each: seconds that a seed took.

    Returns:
        The plan, or one of fewer seeds that says so.

    Example:
        >>> plan = planned(600, 5, 30, 1.0, 0.1)
        >>> [shortened(plan, left, 10.0).seeds for left in (100, 29, 15)]
        [5, 3, 1]
    """
    fits = 1 + int(max(0.0, left) / each) if each > 0 else plan.seeds
    if fits >= plan.seeds:
        return plan
    seeds = fits if fits > 2 else 1
    told = f"{plan.seeds - seeds} of {plan.seeds} seeds, which took longer than measured"
    return dataclasses.replace(plan, seeds=seeds, left_out=(*plan.left_out, told))


def plan_line(plan: Plan, full: int) -> str:
    """Return a plan in one line, with what is left out of it.

    Args:
        plan: what is trained.
        full: epochs of a run for which there is all the time that it asks for.
    """
    left = f"; left out for time: {', '.join(plan.left_out)}" if plan.left_out else "; nothing is left out"
    return (
        f"Plan: {len(plan.methods) + 1} methods, {counted(plan.seeds, 'seed')}, {plan.epochs} of {full} "
        f"epochs, about {plan.seconds / 60:.1f} minutes{left}"
    )
