"""The lines of all boards, gathered from claims, imported tables and submissions."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import SOURCE, arxiv_number, claims_of
from longtail.board.content import Content
from longtail.board.evidence import BADGES, submission_badge
from longtail.board.fields import made
from longtail.board.measures import Measure, Measures
from longtail.board.model import Draft, Entry, board_slug
from longtail.board.overlap import replacements, shared_marks
from longtail.board.planned import plans_of
from longtail.board.repeats import repeat_marks
from longtail.board.scale import on_one_scale
from longtail.board.schema import Claim, Link, Method, Paper, Variant
from longtail.board.values import clean, look_alike, slug
from longtail.board.verdicts import ranked_by, rate_estimate, test_interval
from longtail.results.statistics import summarize

Key = tuple[str, str, float | None]
"""A board, a paper or the name of a method, and a number: the same number of one paper is one line."""
Printed = dict[Key, list[Entry]]


@dataclass
class Gathered:
    """Every line of every board, and what comes with them."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    papers: dict[str, Paper] = field(default_factory=dict)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[tuple[str, str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    warnings: list[str] = field(default_factory=list)

    def draft(self, variant: Variant, measure: Measure) -> Draft:
        """The board of a data set's variant and a measure, made if it is not there."""
        return self.drafts.setdefault(board_slug(variant, measure), Draft(variant, measure))


def gather(root: Path | None, content: Content, numerics: int | None = None) -> Gathered:
    """Collect the lines of all boards.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        content: what the shipped files and those of the folder say.
        numerics: current version of the numerics; records of an earlier one are marked.
    """
    out = Gathered(papers=dict(content.papers))
    method_of = content.method_by_name
    _add_claims(out, content, method_of)
    if root is not None and (root / "archive").is_dir():
        _add_archive(out, root, content, method_of)
    _add_submissions(out, root, content, numerics)
    scored = {each["id"] for each in out.submissions}
    for draft in out.drafts.values():
        taken = [each for each in draft.entries if each.kind != "scored" and each.id in scored]
        out.warnings += [f"claim {each.id!r}: skipped, a submission has that identifier" for each in taken]
        kept = [each for each in draft.entries if each not in taken]
        draft.entries = on_one_scale(kept, draft.measure, content.measures)
    return out


def _add_claims(out: Gathered, content: Content, method_of: dict[str, Method]) -> None:
    """Claims typed in."""
    superseded = content.superseded
    boards: dict[tuple[str, str], Draft] = {}
    for order, claim in enumerate(content.claims):
        at = boards.get((claim.dataset, claim.measure))
        if at is None:
            variant = (
                content.variants.get(claim.dataset)
                or content.by_name.get(slug(claim.dataset))
                or Variant(id=slug(claim.dataset), dataset=slug(claim.dataset), name=claim.dataset)
            )
            at = boards[claim.dataset, claim.measure] = out.draft(variant, content.measures.find(claim.measure))
        method = content.methods.get(claim.method_id or "") or method_of.get(slug(claim.method))
        paper = claim.paper
        if claim.second_hand and claim.date is None and method and method.paper in content.papers:
            # Whoever prints another's number, it is as old as the other's paper.
            claim = dataclasses.replace(claim, date=content.papers[method.paper].date)
        replaced, gone = superseded.get(claim.id), content.withdrawn.get(claim.id)
        entry = _claim_entry(claim, at, method, paper, content.measures, replaced, gone, order)
        at.entries.append(entry)
        if claim.added:
            printing = content.papers.get(claim.paper or "")
            if printing:
                title, path = printing.title, f"papers/{printing.id}.html"
            elif method:
                title, path = method.name, f"methods/{method.id}.html"
            else:
                title, path = claim.method, f"boards/{entry.board}.html"
            out.changes[claim.added, title, path, entry.board] += 1


def _printed(drafts: dict[str, Draft]) -> Printed:
    """The lines of claims by board, method or paper, and value."""
    found: Printed = defaultdict(list)
    for entry in (entry for draft in drafts.values() for entry in draft.entries):
        for name in (slug(entry.method), *([f"paper {entry.paper}"] if entry.paper else [])):
            found[entry.board, name, entry.value].append(entry)
    return found


def _claim_entry(
    claim: Claim,
    at: Draft,
    method: Method | None,
    paper: str | None,
    measures: Measures,
    superseded_by: str | None = None,
    withdrawn: str | None = None,
    order: int = 0,
) -> Entry:
    number, variant = claim.value, at.variant
    given = {name: value for name, value in claim.__dict__.items() if name in _AS_CLAIMED}
    given |= {
        "board": board_slug(variant, at.measure),
        "method_id": method.id if method else None,
        "paper": paper,
        "badge": (BADGES[0] if claim.kind == "archive" or claim.url is None else BADGES[1]).id,
        "track": claim.track,
        "kind": claim.kind,
        "dataset_name": variant.name,
    }
    rest = {
        "sd": claim.spread,
        "n": claim.trials,
        "superseded_by": superseded_by,
        "withdrawn": withdrawn,
        "order": order,
        "complemented": measures.find(claim.metric).complement is not None,
    }
    given |= {name: value for name, value in rest.items() if value is not None}
    if number is not None and variant.num_test and at.measure.proportion:
        given["low"], given["high"] = test_interval(number, variant.num_test)
    return made(Entry, given)


_AS_CLAIMED = frozenset(each.name for each in dataclasses.fields(Claim)) & {
    each.name for each in dataclasses.fields(Entry)
}
"""Fields of a line that are those of its claim."""


def _add_archive(out: Gathered, root: Path, content: Content, method_of: dict[str, Method]) -> None:
    papers, superseded, printed = out.papers, content.superseded, _printed(out.drafts)
    seen: set[tuple[str, str, str, float]] = set()
    paper_of = {slug(paper.title): paper.id for paper in papers.values()}
    paper_of |= {paper.arxiv: paper.id for paper in papers.values() if paper.arxiv}
    for claim, variant in claims_of(root, content, warnings=out.warnings):
        at = out.draft(variant, content.measures.find(claim.measure))
        name, board = slug(claim.method), board_slug(variant, at.measure)
        paper = paper_of.get(arxiv_number(claim.paper_url) or "") or paper_of.get(slug(claim.paper_title or ""))
        alike = (*printed.get((board, name, claim.value), ()), *printed.get((board, f"paper {paper}", claim.value), ()))
        listed = next((each for each in alike if _same_method(each, claim.method, method_of)), None)
        if listed is not None:
            # The archive repeats a claim that we hold with its source: one line, and a note that it does.
            entries = at.entries
            place = next(i for i, entry in enumerate(entries) if entry.id == listed.id)
            if "also-in-archive" not in entries[place].flags:
                entries[place] = dataclasses.replace(entries[place], flags=(*entries[place].flags, "also-in-archive"))
            continue
        if paper is not None and claim.value is not None:
            if (board, paper, name, claim.value) in seen:
                continue
            seen.add((board, paper, name, claim.value))
        if claim.paper_title:
            if paper is None:
                title = slug(claim.paper_title)
                # A title may be the identifier of another paper, whose page it must not take.
                paper = title if title not in papers else f"{title}-archive"
                paper_of[title] = paper
                papers[paper] = Paper(
                    id=paper,
                    title=clean(claim.paper_title, 600),
                    date=claim.date,
                    links=(Link("Paper", claim.url),) if claim.url else (),
                    source=SOURCE,
                    kind="archive",
                )
            held = papers[paper]
            if held.kind == "archive":
                tasks = tuple(dict.fromkeys((*held.tasks, *claim.tasks)))
                code = tuple(dict.fromkeys((*held.code, *claim.code)))
                if tasks != held.tasks or code != held.code:
                    papers[paper] = dataclasses.replace(held, tasks=tasks, code=code)
        if claim.added:
            out.changes[claim.added, f"Papers with Code archive: {variant.name}", f"boards/{board}.html", board] += 1
        replaced, gone = superseded.get(claim.id), content.withdrawn.get(claim.id)
        at.entries.append(_claim_entry(claim, at, method_of.get(name), paper, content.measures, replaced, gone))


def _same_method(listed: Entry, name: str, method_of: dict[str, Method]) -> bool:
    """Whether a line and a name are of one method: known by it, or one name begins with the other."""
    known = method_of.get(slug(name))
    if known is not None and listed.method_id is not None:
        return known.id == listed.method_id
    first, second = sorted((slug(listed.method), slug(name)), key=len)
    return second == first or second.startswith(f"{first}-")


def _numerics(submission: dict[str, Any]) -> int | None:
    """The version of the numerics of a submission's runs; ``None`` for those of another framework."""
    versions = [run["numerics"]["version"] for run in submission["runs"] if run.get("numerics")]
    return min(versions) if versions else None


_MEASURES = {
    "accuracy": ("accuracy", "linear-probe"),
    "balanced_accuracy": ("balanced-accuracy", "balanced-linear-probe"),
}
"""The measures of re-scored runs by their rate: of a network as it is, and of a probe on it."""


def _add_submissions(out: Gathered, root: Path | None, content: Content, numerics: int | None) -> None:
    from longtail.board.submissions import scored_submissions, shipped_submissions

    known, left_out = shipped_submissions()
    out.warnings += left_out
    own = scored_submissions(root, content, out.warnings) if root is not None else ()
    found = list({each.id: each for each in (*known, *own)}.values())
    newest = max((version for each in found if (version := _numerics(each.view)) is not None), default=0)
    newest = max(newest, numerics or 0)
    replaced = replacements(found, content.withdrawn)
    records = {each.id: each.body.get("records") or () for each in found}
    plans = plans_of(records, root, out.warnings)
    standing = [each for each in found if each.id not in replaced and each.id not in content.withdrawn]
    repeats = repeat_marks({each.id: records[each.id] for each in standing})
    shared = shared_marks(standing)
    for each in found:
        submission, score = each.view, each.score
        variant = content.variants.get(submission["data"].get("variant") or "") or _own_variant(submission, score)
        rate = ranked_by(each.answers)
        measure = content.measures.find(_MEASURES[rate][bool(submission["probe"])])
        at = out.draft(variant, measure)
        badge = submission_badge(
            trusted=score["trusted"], num_seeds=len(score["runs"]), selection=submission["selection"]
        )
        method = content.methods.get(submission["method"])
        values = tuple(100 * run[rate] for run in score["runs"])
        summary, estimate = summarize(values), rate_estimate(each.answers)
        entry = Entry(
            id=submission["id"],
            board=board_slug(variant, measure),
            kind="scored",
            method=clean(submission["name"], 200),
            method_id=method.id if method else None,
            paper=method.paper if method else None,
            track=submission["track"],
            badge=badge.id if badge else None,
            value=summary.mean,
            raw=f"{summary.mean:.2f}",
            metric=measure.name,
            dataset_name=variant.name,
            sd=summary.sd,
            n=summary.n,
            low=None if estimate.low is None else 100 * estimate.low,
            high=None if estimate.high is None else 100 * estimate.high,
            many=_mean("many", score["runs"]),
            medium=_mean("medium", score["runs"]),
            few=_mean("few", score["runs"]),
            backbone=clean(submission["backbone"], 80) if submission["backbone"] else None,
            epochs=submission["epochs"],
            augmentation=submission["augmentation"],
            selection=submission["selection"],
            extra_data=submission["extra_data"],
            date=submission["created"][:10],
            added=submission["created"][:10],
            source="Predictions re-scored here",
            locator=f"submission {submission['id']}",
            flags=("look-alike-letters",) if look_alike(submission["name"]) else (),
            note=submission["note"],
            submission=submission["id"],
            submitter=submission["submitter"],
            supersedes=submission["supersedes"],
            superseded_by=replaced.get(submission["id"]),
            withdrawn=content.withdrawn.get(submission["id"]),
            code=(Link("Code", submission["code"]),) if submission["code"] else (),
            options=tuple(submission["options"]),
            marks=(
                *submission["marks"],
                *plans[each.id].marks,
                *repeats.get(each.id, ()),
                *shared.get(each.id, ()),
                *_aged(submission, newest),
            ),
            tasks=("Long-tail Learning",),
            values=values,
            split=submission["data"]["fingerprint"],
        )
        at.entries.append(entry)
        if badge:
            at.answers[entry.id] = each.answers
        title = f"{', '.join((entry.method, *entry.options))}: {variant.name}"
        out.changes[entry.added or "", title, f"submissions/{entry.id}.html", entry.board] += 1
        shown = {"score": score, "board": entry.board, "badge": entry.badge}
        out.submissions.append({**submission, "plans": plans[each.id].shown, **shown})


def _aged(submission: dict[str, Any], newest: int) -> tuple[str, ...]:
    version = _numerics(submission)
    return (f"numerics {version} (now {newest})",) if version is not None and version < newest else ()


def _own_variant(submission: dict[str, Any], score: dict[str, Any]) -> Variant:
    """A data set that the board does not know, as the submission describes it."""
    data = submission["data"]
    return Variant(
        id=slug(data["name"]),
        dataset=slug(data["name"]),
        name=data["name"],
        num_test=score["runs"][0]["num_samples"],
        num_classes=len(data["counts"]),
        images=sum(data["counts"]),
        counts=tuple(data["counts"]),
        many=data["many"],
        few=data["few"],
    )


def _mean(name: str, runs: Sequence[dict[str, Any]]) -> float | None:
    found = [run[name] for run in runs if run[name] is not None]
    return 100 * sum(found) / len(found) if found else None
