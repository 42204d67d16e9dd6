"""What records say of the plans that announced them: runs that none announced, and planned runs that are not there.

A record cites its plan by name and hash, with the arms and seeds that it announced and a digest of its own recipe, so
that a table or a page can tell without the plan's file. What a record says of itself is no proof that the plan came
first: ``longtail plan status`` looks that up in the commits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from longtail.results.record import Record

LONGEST = 1000
"""Most arms or seeds that are taken from a citation, which may come from anywhere."""


@dataclasses.dataclass(frozen=True)
class Citation:
    """What a record says of the plan that announced it.

    Args:
        name: of the plan.
        sha256: of its contents.
        arm: that the run belongs to.
        question: that the plan asks.
        arms: all that the plan announced; empty in citations that are older than the field.
        seeds: likewise.
        recipe: ``digest`` of the announced recipe; empty where it was not stated.
        primary: the rate that decides; empty where it was not stated.
        smallest: the smallest difference of interest, in [0, 1]; 0 where it was not stated.
        control: the arm that differs in the one idea under test; empty where there is none, or none was stated.
    """

    name: str
    sha256: str
    arm: str
    question: str
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    recipe: str = ""
    primary: str = ""
    smallest: float = 0.0
    control: str = ""


def digest(config: Mapping[str, Any], numerics: int) -> str:
    """SHA-256 of a recipe's plain form without its names, and the version of the numerics."""
    text = json.dumps([nameless(config), numerics], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def nameless(config: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's plain form without what does not decide its numbers: names, and the paths of foreign files."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            held = {key: plain(item) for key, item in value.items()}
            if held.get("source") and "arguments" in held:
                held["name"] = str(held.get("name")).rpartition(":")[2]
            return held
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    held: dict[str, Any] = plain({key: value for key, value in config.items() if key not in ("name", "stated")})
    stages = [{key: value for key, value in stage.items() if key != "name"} for stage in held.get("stages", [])]
    return {**held, "stages": stages}


def citation(record: Record) -> Citation | None:
    """Return what a record says of its plan; None if no plan announced it.

    A field of another kind than a citation has counts as not stated.
    """
    held = record.plan
    texts = {key: held.get(key) for key in ("name", "sha256", "arm")}
    if not all(isinstance(text, str) and text for text in texts.values()):
        return None
    smallest = held.get("smallest")
    arms, seeds = (value if isinstance(value, list) else [] for value in (held.get("arms"), held.get("seeds")))
    return Citation(
        question=str(held.get("question") or ""),
        arms=tuple(arm for arm in arms[:LONGEST] if isinstance(arm, str)),
        seeds=tuple(seed for seed in seeds[:LONGEST] if isinstance(seed, int) and not isinstance(seed, bool)),
        recipe=str(held.get("recipe") or ""),
        primary=str(held.get("primary") or ""),
        control=str(held.get("control") or ""),
        smallest=smallest if isinstance(smallest, float) and 0 < smallest <= 1 else 0.0,
        **texts,  # type: ignore[arg-type]  # all are texts, as looked at above
    )


def departure(record: Record) -> str:
    """Return why a run is none that its plan announced; empty if it is one.

    Example:
        "no plan", "seed 7 is not in the plan", "its recipe, budget, numerics or the source of a part is another one".
    """
    cited = citation(record)
    if cited is None:
        return "no plan"
    if cited.arms and cited.arm not in cited.arms:
        return f"{cited.arm!r} is no arm of the plan"
    if cited.arm != record.recipe:
        return f"it cites the arm {cited.arm!r}"
    if cited.seeds and record.seed not in cited.seeds:
        return f"seed {record.seed} is not in the plan"
    if cited.recipe and cited.recipe != digest(record.config, record.numerics["version"]):
        return "its recipe, budget, numerics or the source of a part is another one"
    return ""


def planned_controls(rows: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """Return the contrasts that the plans of these runs announced: each row with the row that is its control.

    Args:
        rows: the runs of each method, by the name of its row.

    Returns:
        Name of a row to that of its control. A row whose runs state two controls, and one whose control is not there,
        have none.
    """
    found = {}
    for name, records in rows.items():
        stated = {cited.control for record in records if not departure(record) and (cited := citation(record))} - {""}
        if len(stated) == 1 and (control := stated.pop()) in rows:
            found[name] = control
    return found


def plan_marks(records: Sequence[Record]) -> tuple[str, ...]:
    """What the plan sets apart in the runs of one method, in a few words for a table.

    Args:
        records: the runs of one method.

    Returns:
        ``unplanned`` if no plan announced one of them; ``3 of 10 planned seeds`` if seeds that one announced are not
        there.
    """
    found = []
    planned = [record for record in records if not departure(record)]
    if len(planned) < len(records):
        stray = [record.seed for record in records if departure(record)]
        some = "" if not planned else f"seed{_s(stray)} {spans(stray)} "
        found.append(f"{some}unplanned")
    wanted = {seed for record in planned if (cited := citation(record)) for seed in cited.seeds}
    there = wanted & {record.seed for record in planned}
    if len(there) < len(wanted):
        found.append(f"{len(there)} of {len(wanted)} planned seeds")
    return tuple(found)


def plan_notes(rows: Mapping[str, Sequence[Record]]) -> list[str]:
    """What a reader of a table must know of the plans of its runs, in whole sentences.

    Args:
        rows: the runs of each method, by the name of its row.

    Returns:
        A sentence on what no plan announced; for each plan, one on what it announced and is not in the table.
    """
    why = {name: {record.seed: departure(record) for record in records} for name, records in rows.items()}
    if all(reason == "no plan" for found in why.values() for reason in found.values()):
        return ["No plan announced these runs."]
    notes = []
    stray = []
    for name, found in why.items():
        for reason in dict.fromkeys(filter(None, found.values())):
            seeds = [seed for seed, other in found.items() if other == reason]
            which = name if len(seeds) == len(found) else f"{name}, seed{_s(seeds)} {spans(seeds)}"
            stray.append(which if reason == "no plan" else f"{which} ({reason})")
    if stray:
        notes.append(f"No plan announced: {'; '.join(stray)}.")
    plans: dict[str, Citation] = {}
    there: dict[str, dict[str, set[int]]] = {}
    for records in rows.values():
        for record in records:
            cited = citation(record)
            if cited is not None and not departure(record):
                plans.setdefault(cited.sha256, cited)
                there.setdefault(cited.sha256, {}).setdefault(cited.arm, set()).add(record.seed)
    names = [cited.name for cited in plans.values()]
    for sha256, cited in plans.items():
        called = cited.name if names.count(cited.name) == 1 else f"{cited.name} ({sha256[:8]})"
        absent: dict[tuple[int, ...], list[str]] = {}
        other: dict[tuple[int, ...], list[str]] = {}
        for arm in cited.arms:
            wanted = set(cited.seeds) - there[sha256].get(arm, set())
            shown = wanted & {record.seed for record in rows.get(arm, ())}
            for kind, numbers in ((absent, wanted - shown), (other, shown)):
                if numbers:
                    kind.setdefault(tuple(sorted(numbers)), []).append(arm)
        for kind, words in ((absent, "not here"), (other, "here by another plan or by none")):
            told = [
                f"seed{_s(seeds)} {spans(seeds)} of {'every arm' if len(arms) == len(cited.arms) else ', '.join(arms)}"
                for seeds, arms in kind.items()
            ]
            if told:
                notes.append(f"Announced by the plan {called} and {words}: {'; '.join(told)}.")
    return notes


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers as a person writes them.

    Example:
        >>> spans([3, 4, 5, 9]), spans([1, 2])
        ('3 to 5, 9', '1, 2')
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found)


def _s(items: Sequence[int]) -> str:
    return "s" * (len(items) != 1)
