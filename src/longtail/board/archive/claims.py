"""The rows of imported tables as claims: values read tolerantly, the raw text kept, each oddity flagged."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from longtail.board.archive.files import imported_on, lines, stored
from longtail.board.archive.layout import task_rows
from longtail.board.content import Content, find_variant
from longtail.board.measures import Measure, Measures
from longtail.board.schema import Claim, Link, Variant
from longtail.board.values import clean, look_alike, parse_value, safe_url, slug

SOURCE = "Papers with Code archive (CC-BY-SA 4.0)"
_YEARS = (1950, 2049)
"""A paper dated outside these is dated wrongly."""

FLAGS = {
    "percent-sign": "a per cent sign stood in the value",
    "stray-whitespace": "a tab or blanks stood in the value",
    "spread-in-value": "the value carried its spread",
    "decimal-comma": "the value had a decimal comma",
    "thousands-comma": "the value had commas between thousands",
    "odd-sign": "a plus, or a dash in the place of a minus, stood before the number",
    "decoration": "other characters stood around the number",
    "not-a-number": "no number could be read from the value",
    "out-of-range": "the number cannot be a percentage",
    "fraction-among-per-cents": "below 1 among per cents, perhaps a fraction: neither read nor ranked",
    "read-as-fraction": "every value of this metric on this board lies below 1, so they were read as fractions",
    "scale-unknown": "every value of this metric on this board lies below 1: fraction or per cent, so none is ranked",
    "metric-alias": "the metric goes by another name on this board",
    "two-names-one-metric": "one row has the same metric under two names",
    "unknown-metric": "the metric's direction is not known, so it is not ranked",
    "number-on-two-boards": "the same model and paper have the same number on another data set",
    "model-listed-twice": "the model's name occurs more than once on this board",
    "date-before-method": "the date is earlier than the paper of a method that the row builds on",
    "date-before-paper": "the date is earlier than the paper's arXiv number",
    "date-of-first-version": "the date is that of the first version, the row cites a later one",
    "date-impossible": "the date, or the month in the arXiv number, cannot be",
    "look-alike-letters": "letters of another script that look like Latin ones stand in the name",
    "extra-data-undeclared": "the name tells of pre-training, the archive says no additional data (its default)",
    "track-inferred": "the track was inferred from the name",
    "unsafe-link": "an address was no http or https link and is not linked",
    "also-in-archive": "the archive lists the same number",
}

_FOUNDATION = re.compile(
    r"\bCLIP\b|ViT-L|vision[- ]language|visual[- ]linguistic|foundation model|\bprompt|\bVL-LTR\b|\bLIFT\b|\bBALLAD\b",
    re.I,
)
_PRETRAINED = re.compile(r"ImageNet-?21|\bIN-?21|pre-?train", re.I)
_BACKBONE = re.compile(
    r"(?:SE-|Wide)?ResNe[Xx]?t-?\d+(?:-\d+)?(?:[x×]\d+)?|(?:ViT|DeiT|Swin)-?[A-Za-z]*[/-]?\d*(?:@\d+px)?", re.I
)


def infer_track(model: str, title: str) -> tuple[str, bool]:
    """The track that a row's names speak for, and whether they tell of extra data; ``unstated`` where they do not.

    No name says that a network was trained from scratch: that takes a record or a source.

    Example:
        >>> infer_track("LIFT (ViT-B/16, CLIP)", "")
        ('foundation', True)
        >>> infer_track("TADE (ResNet-32)", "")
        ('unstated', False)
    """
    # A name that says ImageNet means it, even where the paper is about foundation models.
    if _PRETRAINED.search(model) and not re.search(r"\bCLIP\b", model):
        return "imagenet", True
    if _FOUNDATION.search(model) or _FOUNDATION.search(title):
        return "foundation", True
    return "unstated", False


def arxiv_number(url: str | None) -> str | None:
    """The arXiv number in an address, without its version; ``None`` for an impossible month.

    Example:
        >>> arxiv_number("https://arxiv.org/abs/2104.03066v2"), arxiv_number("https://arxiv.org/abs/2015.12345")
        ('2104.03066', None)
    """
    found = re.search(r"arxiv\.org/(?:abs|pdf)/(\d\d(\d\d)\.\d{4,5})(?!\d)", url or "", re.ASCII)
    return found[1] if found and 1 <= int(found[2]) <= 12 else None


def _parts(model: str) -> list[str]:
    return [part.strip() for part in re.split(r"[+&,]", model.split("(")[0]) if part.strip()]


def tables(root: Path, only: Path | None = None, warnings: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The imported tasks, in the order of the files and within each.

    Args:
        root: the board's folder.
        only: one file instead of all.
        warnings: told of each line that cannot be read, which is skipped.
    """
    for path in [only] if only else stored(root, "tables"):
        yield from lines(path, warnings)


def _dated_rows(
    root: Path, only: Path | None, warnings: list[str] | None
) -> Iterator[tuple[str | None, str, dict[str, Any], dict[str, Any]]]:
    """Every row with the day on which its file was imported, its task and its data set."""
    for path in [only] if only else stored(root, "tables"):
        day = imported_on(path)
        for table in lines(path, warnings):
            for task, entry, row in task_rows(table):
                yield day, task, entry, row


def claims_of(
    root: Path, content: Content, only: Path | None = None, warnings: list[str] | None = None
) -> Iterator[tuple[Claim, Variant]]:
    """The claims that the imported archives hold, each with the variant that it stands on.

    A row that the archive repeats under several tasks becomes one claim with several tasks.
    """
    found: dict[str, tuple[Claim, Variant]] = {}
    for day, task, entry, row in _dated_rows(root, only, warnings):
        for claim, variant in row_claims(task, entry, row, content, day):
            if claim.id not in found:
                found[claim.id] = (claim, variant)
            elif task not in (held := found[claim.id][0]).tasks:
                found[claim.id] = (replace(held, tasks=(*held.tasks, task)), variant)
    yield from _flag_across(list(found.values()))


def row_claims(
    task: str, entry: dict[str, Any], row: dict[str, Any], content: Content, added: str | None = None
) -> Iterator[tuple[Claim, Variant]]:
    """One row's claims, one for each metric.

    Args:
        task: the task that it stands under.
        entry: the data set that it stands under.
        row: the row itself, checked.
        content: the board's content, for its data sets and measures.
        added: the day of the import.
    """
    variant = find_variant(content, entry["dataset"])
    if variant is None:
        address = slug(entry["dataset"])
        variant = Variant(id=address, dataset=address, name=clean(entry["dataset"], 300))
    metrics = entry["sota"]["metrics"]
    seen: set[str] = set()
    for metric, raw in row["metrics"].items():
        identity = json.dumps(
            [variant.id, row["model_name"], row["paper_url"], row["paper_title"], metric, raw, row["paper_date"]]
        )
        name = "archive-" + hashlib.sha256(identity.encode()).hexdigest()[:16]
        yield _claim(name, task, variant, row, metric, raw, metrics, seen, content.measures, added), variant


def _claim(
    name: str,
    task: str,
    variant: Variant,
    row: dict[str, Any],
    metric: str,
    raw: str | int | float,
    metrics: list[str],
    seen: set[str],
    measures: Measures,
    added: str | None,
) -> Claim:
    value = parse_value(raw)
    flags = list(value.flags)
    measure, number = _on_scale(metric, value.number, flags, measures)
    if metrics and metric != metrics[0] and measures.find(metric).id == measures.find(metrics[0]).id:
        flags.append("metric-alias")
    if measure.id in seen:
        flags.append("two-names-one-metric")
    seen.add(measure.id)
    track, extra = infer_track(row["model_name"], row["paper_title"])
    if track != "unstated":
        flags.append("track-inferred")
    if extra and not row["uses_additional_data"]:
        flags.append("extra-data-undeclared")
    if look_alike(f"{row['model_name']} {variant.name}"):
        flags.append("look-alike-letters")
    date = _dated(row, flags)
    links = [link for link in row["code_links"] if safe_url(link["url"])]
    if len(links) < len(row["code_links"]) or (row["paper_url"] and safe_url(row["paper_url"]) is None):
        flags.append("unsafe-link")
    backbone = _BACKBONE.search(row["model_name"])
    return Claim(
        id=name,
        method=clean(row["model_name"], 600),
        dataset=variant.id,
        dataset_name=variant.name,
        metric=clean(metric, 300),
        raw=value.raw,
        value=number,
        measure=measure.id,
        source=SOURCE,
        locator=f"{task} / {variant.name} / {row['model_name']}",
        quote=value.raw,
        kind="archive",
        url=safe_url(row["paper_url"]),
        track=track,
        backbone=backbone[0] if backbone else None,
        extra_data="yes" if row["uses_additional_data"] else "suggested by the name" if extra else None,
        date=date,
        spread=value.spread,
        tasks=(clean(task, 300),),
        flags=tuple(flags),
        paper_title=row["paper_title"] or None,
        paper_url=row["paper_url"],
        added=added,
        code=tuple(Link(link["title"] or link["url"], link["url"]) for link in links),
    )


def _on_scale(metric: str, number: float | None, flags: list[str], measures: Measures) -> tuple[Measure, float | None]:
    """The measure that the board ranks by, and the number on its scale if it can stand there."""
    measure = measures.find(metric)
    if measure.higher_is_better is None:
        flags.append("unknown-metric")
    if number is None:
        return measures.canonical(measure, 0.0)[0], None
    measure, number = measures.canonical(measure, number)
    if measure.unit == "%" and not 0 <= number <= 100:
        flags.append("out-of-range")
        return measure, None
    return measure, number


def _dated(row: dict[str, Any], flags: list[str]) -> str | None:
    """The row's date, where it can be one."""
    date, url = row["paper_date"], row["paper_url"]
    number = arxiv_number(url)
    if re.search(r"arxiv\.org/(?:abs|pdf)/\d{4}\.\d{4,5}", url or "") and number is None:
        flags.append("date-impossible")
    if date is None:
        return None
    if not _YEARS[0] <= int(date[:4]) <= _YEARS[1]:
        flags.append("date-impossible")
        return None
    if number:
        # A paper handed in on the last days of a month carries the next month's number.
        born = datetime.date(2000 + int(number[:2]), int(number[2:4]), 1) - datetime.timedelta(days=7)
        if datetime.date.fromisoformat(date) < born:
            flags.append("date-before-paper")
        version = re.search(r"v(\d{1,3})(?:\.pdf)?$", url)
        if version and int(version[1]) > 1:
            flags.append("date-of-first-version")
    return str(date)


def _flag_across(claims: list[tuple[Claim, Variant]]) -> Iterator[tuple[Claim, Variant]]:
    """Add the flags that only a look at all rows can raise."""
    boards: dict[tuple[str, str | None, str], set[str]] = defaultdict(set)
    listed: dict[tuple[str, str, str], int] = defaultdict(int)
    born: dict[str, str] = {}
    for claim, _ in claims:
        boards[claim.method, claim.paper_url, claim.raw].add(claim.dataset)
        listed[claim.dataset, claim.measure, claim.method] += "two-names-one-metric" not in claim.flags
        parts = _parts(claim.method)
        if len(parts) == 1 and claim.date:
            born[parts[0]] = min(born.get(parts[0], claim.date), claim.date)
    for claim, variant in claims:
        flags = list(claim.flags)
        if len(boards[claim.method, claim.paper_url, claim.raw]) > 1:
            flags.append("number-on-two-boards")
        if listed[claim.dataset, claim.measure, claim.method] > 1:
            flags.append("model-listed-twice")
        parts = _parts(claim.method)
        if claim.date and len(parts) > 1 and any(born.get(part, claim.date) > claim.date for part in parts):
            flags.append("date-before-method")
        yield (replace(claim, flags=tuple(flags)) if len(flags) > len(claim.flags) else claim), variant
