"""What a board says of plans: which submissions none announced, and what of a plan is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from longtail.board.content import shipped_root
from longtail.board.values import clean
from longtail.errors import InputError
from longtail.results.announced import citation, departure, plan_marks
from longtail.results.plan import Plan, completed, read_plan
from longtail.results.record import Record


class Planned(NamedTuple):
    """What is said of one submission.

    Args:
        marks: what the plan sets apart, in a few words; nothing of predictions from another framework.
        shown: for its page, of each plan that its records cite: name, hash, arm and question, the numbers of its arms
            and seeds, and the arms that no submission of this board belongs to.
    """

    marks: tuple[str, ...]
    shown: list[dict[str, Any]]


def plans_of(
    submissions: Mapping[str, Sequence[dict[str, Any]]], root: Path | None, warnings: list[str]
) -> dict[str, Planned]:
    """Return what is said of each submission; what a record cites is completed by the plans in ``plans/`` of a board.

    Args:
        submissions: the records of each as they were checked, by its identifier; none for predictions from another
            framework.
        root: the board's folder; ``None`` for the shipped content alone.
        warnings: takes a line for each file in ``plans/`` that is no plan.
    """
    known = _known(root, warnings)
    records = {name: [completed(Record(**record), known) for record in held] for name, held in submissions.items()}
    arms: dict[str, set[str]] = {}
    for held in records.values():
        for record in held:
            if (cited := citation(record)) and not departure(record):
                arms.setdefault(cited.sha256, set()).add(cited.arm)
    return {name: Planned(plan_marks(held), _shown(held, arms)) for name, held in records.items()}


def _known(root: Path | None, warnings: list[str]) -> dict[str, Plan]:
    """The plans that come with the package and those in the board's folder, by their hash."""
    known: dict[str, Plan] = {}
    for folder in (shipped_root(), *(() if root is None else (root,))):
        for file in sorted((folder / "plans").glob("[!.]*.toml")):
            try:
                plan = read_plan(file)
            except InputError as error:
                warnings.append(f"plans/{file.name}: skipped, {error}")
            else:
                known[plan.sha256] = plan
    return known


def _shown(records: Sequence[Record], arms: Mapping[str, set[str]]) -> list[dict[str, Any]]:
    shown = []
    for cited in {(each.sha256, each.arm): each for each in map(citation, records) if each is not None}.values():
        # The texts may be anybody's.
        texts = {name: clean(getattr(cited, name), 300) for name in ("name", "sha256", "arm", "question")}
        absent = [clean(arm, 300) for arm in cited.arms if arm not in arms.get(cited.sha256, ())]
        shown.append({**texts, "arms": len(cited.arms), "seeds": len(cited.seeds), "absent": absent})
    return shown
