"""The lines of all boards, gathered from claims, imported tables and submissions."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longtail.board.archive import claims_of
from longtail.board.content import Claim, Content, Link, Paper, Variant
from longtail.board.evidence import BADGES, submission_badge
from longtail.board.measures import Measure, find_measure
from longtail.board.model import Draft, Entry, board_slug
from longtail.board.values import clean, slug
from longtail.board.verdicts import half_width, mean_half_width, mean_sd

Key = tuple[str, str, float | None]


@dataclass
class Gathered:
    """Every line of every board, and what comes with them."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    papers: dict[str, Paper] = field(default_factory=dict)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[tuple[str, str, str, str], int] = field(default_factory=lambda: defaultdict(int))

    def draft(self, variant: Variant, measure: Measure) -> Draft:
        """The board of a data set's variant and a measure, made if it is not there."""
        return self.drafts.setdefault(board_slug(variant, measure), Draft(variant, measure))


def gather(root: Path | None, content: Content) -> Gathered:
    """Collect the lines of all boards.

    Args:
        root: the board's folder; ``None`` for the shipped content alone.
        content: what the shipped files and those of the folder say.
    """
    out = Gathered(papers=dict(content.papers))
    method_of = {
        slug(name): each.id for each in content.methods.values() for name in (*each.aliases, each.name, each.id)
    }
    printed = _add_claims(out, content, method_of)
    if root is not None:
        _add_archive(out, root, content, method_of, printed)
        _add_submissions(out, root, content)
    return out


def _add_claims(out: Gathered, content: Content, method_of: dict[str, str]) -> dict[Key, Entry]:
    """Claims typed in; the result finds each by board, method and value."""
    superseded = {claim.supersedes: claim.id for claim in content.claims if claim.supersedes}
    printed: dict[Key, Entry] = {}
    for order, claim in enumerate(content.claims):
        variant = content.variants.get(claim.dataset) or Variant(
            id=slug(claim.dataset), dataset=slug(claim.dataset), name=claim.dataset
        )
        at = out.draft(variant, find_measure(claim.measure))
        method_id = claim.method_id or method_of.get(slug(claim.method))
        entry = _claim_entry(claim, at, method_id, claim.paper, superseded.get(claim.id), order)
        at.entries.append(entry)
        printed[entry.board, slug(claim.method), claim.value] = entry
        if claim.added:
            paper = content.papers.get(claim.paper or "")
            method = content.methods.get(entry.method_id or "")
            if paper:
                title, path = paper.title, f"papers/{paper.id}.html"
            elif method:
                title, path = method.name, f"methods/{method.id}.html"
            else:
                title, path = claim.method, f"boards/{entry.board}.html"
            out.changes[claim.added, title, path, entry.board] += 1
    return printed


def _claim_entry(
    claim: Claim,
    at: Draft,
    method_id: str | None,
    paper: str | None,
    superseded_by: str | None = None,
    order: int = 0,
) -> Entry:
    number, variant = claim.value, at.variant
    test = (
        half_width(number, variant.num_test)
        if number is not None and variant.num_test and at.measure.unit == "%"
        else None
    )
    return Entry(
        id=claim.id,
        board=board_slug(variant, at.measure),
        kind=claim.kind,
        method=claim.method,
        method_id=method_id,
        paper=paper,
        track=claim.track,
        badge=BADGES[1].id if claim.kind == "reported" else BADGES[0].id,
        value=number,
        raw=claim.raw,
        metric=claim.metric,
        dataset_name=variant.name,
        sd=claim.spread,
        n=claim.trials,
        test_half=test,
        many=claim.many,
        medium=claim.medium,
        few=claim.few,
        backbone=claim.backbone,
        epochs=claim.epochs,
        augmentation=claim.augmentation,
        selection=claim.selection,
        extra_data=claim.extra_data,
        date=claim.date,
        source=claim.source,
        locator=claim.locator,
        quote=claim.quote,
        url=claim.url,
        second_hand=claim.second_hand,
        catalogued=claim.catalogued,
        note=claim.note,
        flags=claim.flags,
        tasks=claim.tasks,
        paper_title=claim.paper_title,
        supersedes=claim.supersedes,
        superseded_by=superseded_by,
        order=order,
    )


def _add_archive(
    out: Gathered, root: Path, content: Content, method_of: dict[str, str], printed: dict[Key, Entry]
) -> None:
    papers = out.papers
    paper_of = {slug(paper.title): paper.id for paper in papers.values()}
    paper_of |= {paper.arxiv: paper.id for paper in papers.values() if paper.arxiv}
    for claim, variant in claims_of(root, content):
        at = out.draft(variant, find_measure(claim.measure))
        name = slug(claim.method)
        listed = printed.get((board_slug(variant, at.measure), name, claim.value))
        if listed is not None:
            # The archive repeats a claim that we hold with its source: one line, and a note that it does.
            entries = at.entries
            place = next(i for i, entry in enumerate(entries) if entry.id == listed.id)
            if "also-in-archive" not in entries[place].flags:
                entries[place] = dataclasses.replace(entries[place], flags=(*entries[place].flags, "also-in-archive"))
            continue
        paper = None
        if claim.paper_title:
            number = (claim.paper_url or "").rsplit("/", 1)[-1].split("v")[0]
            paper = paper_of.get(number) or paper_of.get(slug(claim.paper_title))
            if paper is None:
                paper = slug(claim.paper_title)
                paper_of[paper] = paper
                papers[paper] = Paper(
                    id=paper,
                    title=clean(claim.paper_title, 600),
                    date=claim.date,
                    links=(Link("Paper", claim.url),) if claim.url else (),
                    source="Papers with Code archive (CC-BY-SA 4.0)",
                    kind="archive",
                )
            held = papers[paper]
            if held.kind == "archive":
                tasks = tuple(dict.fromkeys((*held.tasks, *claim.tasks)))
                code = tuple(dict.fromkeys((*held.code, *claim.code)))
                if tasks != held.tasks or code != held.code:
                    papers[paper] = dataclasses.replace(held, tasks=tasks, code=code)
        at.entries.append(_claim_entry(claim, at, method_of.get(name), paper))


def _add_submissions(out: Gathered, root: Path, content: Content) -> None:
    from longtail.board.submissions import scored_submissions

    accuracy = find_measure("accuracy")
    found = list(scored_submissions(root))
    replaced = {each["supersedes"]: each["id"] for each, _ in found if each.get("supersedes")}
    for submission, score in found:
        data = submission["data"]
        variant = content.variants.get(data.get("variant") or "")
        if variant is None:
            variant = Variant(
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
        # A linear probe measures features, and stands on a board of its own.
        probe = submission["recipe"].split("@")[0].endswith("-probe")
        measure = find_measure("linear-probe") if probe else accuracy
        at = out.draft(variant, measure)
        values = tuple(100 * run["accuracy"] for run in score["runs"])
        mean, sd = mean_sd(values)
        badge = submission_badge(
            trusted=score["trusted"], num_seeds=len(values), selection=submission["selection"]
        )  # fmt: skip

        def over(name: str, runs: Sequence[dict[str, Any]]) -> float | None:
            found = [run[name] for run in runs if run[name] is not None]
            return 100 * sum(found) / len(found) if found else None

        entry = Entry(
            id=submission["id"],
            board=board_slug(variant, measure),
            kind="scored",
            method=clean(submission["name"], 200),
            method_id=submission["method"] if submission["method"] in content.methods else None,
            paper=content.methods[submission["method"]].paper if submission["method"] in content.methods else None,
            track=submission["track"],
            badge=badge.id if badge else None,
            value=mean,
            raw=f"{mean:.2f}",
            metric=measure.name,
            dataset_name=variant.name,
            sd=sd,
            n=len(values),
            test_half=half_width(mean, score["runs"][0]["num_samples"]),
            seed_half=mean_half_width(values),
            many=over("many", score["runs"]),
            medium=over("medium", score["runs"]),
            few=over("few", score["runs"]),
            backbone=clean(submission["backbone"], 80),
            epochs=submission["epochs"],
            augmentation=submission["augmentation"],
            selection=submission["selection"],
            extra_data=submission.get("extra_data"),
            date=submission["created"][:10],
            source="Predictions re-scored here",
            locator=f"submission {submission['id']}",
            submission=submission["id"],
            submitter=submission.get("submitter"),
            supersedes=submission.get("supersedes"),
            superseded_by=replaced.get(submission["id"]),
            tasks=("Long-tail Learning",),
            values=values,
            split=data["fingerprint"],
        )
        at.entries.append(entry)
        out.changes[
            entry.date or "", f"{entry.method}, {variant.name}", f"submissions/{entry.id}.html", entry.board
        ] += 1
        out.submissions.append({**submission, "score": score, "board": entry.board, "badge": entry.badge})
