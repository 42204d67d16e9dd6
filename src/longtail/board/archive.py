"""The Papers with Code archive (evaluation tables): read as a stream, kept as it was, turned into claims, written back.

The layout is strict (an unknown key, an empty date or a null title is an error that says where); the values in it are
not, and are parsed tolerantly with the raw string kept.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from longtail.board.content import Claim, Content, Link, Variant, find_variant, load
from longtail.board.measures import canonical, find_measure
from longtail.board.values import parse_value, safe_url, slug
from longtail.errors import InputError

FLAGS = {
    "percent-sign": "a per cent sign stood in the value",
    "stray-whitespace": "a tab or blanks stood in the value",
    "spread-in-value": "the value carried its spread",
    "decimal-comma": "the value had a decimal comma",
    "decoration": "other characters stood around the number",
    "not-a-number": "no number could be read from the value",
    "out-of-range": "the number cannot be a percentage",
    "metric-alias": "the metric goes by another name on this board",
    "two-names-one-metric": "one row has the same metric under two names",
    "unknown-metric": "the metric's direction is not known, so it is not ranked",
    "number-on-two-boards": "the same model and paper have the same number on another data set",
    "model-listed-twice": "the model's name occurs more than once on this board",
    "date-before-method": "the date is earlier than the paper of a method that the row builds on",
    "date-before-paper": "the date is earlier than the paper's arXiv number",
    "date-of-first-version": "the date is that of the first version, the row cites a later one",
    "extra-data-undeclared": "the name tells of pre-training, the archive says no additional data (its default)",
    "track-inferred": "the track was inferred from the name",
    "unsafe-link": "an address was no http or https link and is not linked",
    "also-in-archive": "the archive lists the same number",
}

_TASK = {"task", "description", "categories", "datasets", "subtasks", "synonyms", "source_link"}
_DATASET = {"dataset", "description", "dataset_links", "dataset_citations", "sota", "subdatasets"}
_ROW = {
    "model_name",
    "paper_title",
    "paper_url",
    "paper_date",
    "code_links",
    "model_links",
    "metrics",
    "uses_additional_data",
}
_DEPTH = 12


def _keys(thing: Any, allowed: set[str], where: str) -> dict[str, Any]:
    if not isinstance(thing, dict):
        raise InputError(f"{where}: expected an object, found {type(thing).__name__}")
    if extra := sorted(set(thing) - allowed):
        raise InputError(f"{where}: unknown key {extra[0]!r}; the layout has {', '.join(sorted(allowed))}")
    if lost := sorted(allowed - set(thing)):
        raise InputError(f"{where}: the key {lost[0]!r} is missing")
    return thing


def _list(thing: Any, where: str) -> list[Any]:
    if not isinstance(thing, list):
        raise InputError(f"{where}: expected a list, found {type(thing).__name__}")
    return thing


def _string(thing: Any, where: str, *, optional: bool = False, filled: bool = False) -> None:
    if thing is None and optional:
        return
    if not isinstance(thing, str):
        raise InputError(f"{where}: expected a text, found {'null' if thing is None else type(thing).__name__}")
    if filled and not thing.strip():
        raise InputError(f"{where}: is empty; write null or leave the entry out")


def _links(things: Any, where: str) -> None:
    for i, link in enumerate(_list(things, where)):
        link = _keys(link, {"title", "url"}, f"{where}[{i}]")
        _string(link["title"], f"{where}[{i}].title")
        _string(link["url"], f"{where}[{i}].url")


def _check_row(row: Any, where: str) -> None:
    row = _keys(row, _ROW, where)
    _string(row["model_name"], f"{where}.model_name", filled=True)
    _string(row["paper_title"], f"{where}.paper_title")
    _string(row["paper_url"], f"{where}.paper_url", optional=True)
    if (date := row["paper_date"]) is not None:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
                raise ValueError
            datetime.date.fromisoformat(date)
        except (TypeError, ValueError):
            raise InputError(f"{where}.paper_date: {date!r} is neither YYYY-MM-DD nor null") from None
    _links(row["code_links"], f"{where}.code_links")
    _links(row["model_links"], f"{where}.model_links")
    if not isinstance(row["metrics"], dict):
        raise InputError(f"{where}.metrics: expected an object")
    for name, value in row["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{where}.metrics[{name!r}]: expected a text or a number, found {value!r}")
    if not isinstance(row["uses_additional_data"], bool):
        raise InputError(f"{where}.uses_additional_data: expected true or false")


def _check_dataset(entry: Any, where: str, depth: int) -> None:
    if depth > _DEPTH:
        raise InputError(f"{where}: nested more than {_DEPTH} deep")
    entry = _keys(entry, _DATASET, where)
    _string(entry["dataset"], f"{where}.dataset", filled=True)
    _string(entry["description"], f"{where}.description")
    _links(entry["dataset_links"], f"{where}.dataset_links")
    _links(entry["dataset_citations"], f"{where}.dataset_citations")
    sota = _keys(entry["sota"], {"metrics", "rows"}, f"{where}.sota")
    for i, name in enumerate(_list(sota["metrics"], f"{where}.sota.metrics")):
        _string(name, f"{where}.sota.metrics[{i}]", filled=True)
    for i, row in enumerate(_list(sota["rows"], f"{where}.sota.rows")):
        _check_row(row, f"{where}.sota.rows[{i}]")
    for i, child in enumerate(_list(entry["subdatasets"], f"{where}.subdatasets")):
        _check_dataset(child, f"{where}.subdatasets[{i}]", depth + 1)


def check_task(task: Any, where: str = "task", depth: int = 0) -> dict[str, Any]:
    """One task of the archive, if its layout is the reference schema's.

    Raises:
        InputError: naming the place and what would be right.
    """
    if depth > _DEPTH:
        raise InputError(f"{where}: nested more than {_DEPTH} deep")
    task = _keys(task, _TASK, where)
    assert isinstance(task, dict)
    _string(task["task"], f"{where}.task", filled=True)
    _string(task["description"], f"{where}.description")
    for name in ("categories", "synonyms"):
        for i, each in enumerate(_list(task[name], f"{where}.{name}")):
            _string(each, f"{where}.{name}[{i}]")
    if task["source_link"] is not None:
        _links([task["source_link"]], f"{where}.source_link")
    for i, entry in enumerate(_list(task["datasets"], f"{where}.datasets")):
        _check_dataset(entry, f"{where}.datasets[{i}]", 0)
    for i, child in enumerate(_list(task["subtasks"], f"{where}.subtasks")):
        check_task(child, f"{where}.subtasks[{i}]", depth + 1)
    return task


def _no_constant(name: str) -> Any:
    raise InputError(f"the file holds {name}, which is no JSON number")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise InputError("an object in the file has one key twice")
    return out


def stream_list(file: io.TextIOBase, name: str, chunk: int = 1 << 20) -> Iterator[Any]:
    """The elements of one JSON list, one after another, with only the current one in memory.

    Raises:
        InputError: if the file is no JSON list, or is cut off.
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_twice)
    text, started, need, place = "", False, 0, 0
    while True:
        more = file.read(chunk)
        text += more
        if not started:
            text = text.lstrip("\ufeff \t\r\n")
            if text and text[0] != "[":
                raise InputError(f"{name}: expected a JSON list of tasks")
            started, text = bool(text), text[1:]
        while started and (len(text) >= need or not more):
            text = text.lstrip(" \t\r\n")
            if text.startswith("]"):
                if (text[1:] + file.read(64)).strip():
                    raise InputError(f"{name}: something follows the end of the list")
                return
            if place and text and not text.startswith(","):
                raise InputError(f"{name}: a comma is missing after element {place}")
            body = text[1:].lstrip(" \t\r\n") if place else text
            try:
                thing, end = decoder.raw_decode(body)
            except json.JSONDecodeError as error:
                if not more:
                    raise InputError(f"{name}: element {place + 1} cannot be read: {error.msg}") from None
                # Wait until the text has doubled, so that a large element costs linear time in all.
                need = max(2 * len(text), chunk)
                break
            except RecursionError:
                raise InputError(f"{name}: element {place + 1} is nested too deeply") from None
            text, need, place = body[end:], 0, place + 1
            yield thing
        if not more:
            raise InputError(f"{name}: the list does not end" if started else f"{name}: the file is empty")


def import_archive(file: Path, *, root: Path) -> dict[str, Any]:
    """Take an evaluation-tables file (``.json`` or ``.json.gz``) into a board's folder.

    Args:
        file: the archive; it is read as a stream.
        root: the board's folder; one file in ``archive/`` is added to it.

    Returns:
        What was found: the file written, tasks, boards, rows, rows without a readable number, and how often each flag
        was raised.

    Raises:
        InputError: if the file cannot be read, its layout is not the reference schema's, or it is there already.
    """
    file, root = Path(file), Path(root)
    opener: Any = gzip.open if file.suffix == ".gz" else open
    folder = root / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    digest, tasks, temporary = hashlib.sha256(), 0, ""
    try:
        with opener(file, "rt", encoding="utf-8") as source:
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
            with os.fdopen(handle, "wb") as out:
                for task in stream_list(source, file.name):
                    check_task(task, f"{file.name}: task {tasks + 1}")
                    line = (json.dumps(task, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
                    digest.update(line)
                    out.write(line)
                    tasks += 1
        path = folder / f"{slug(file.name.removesuffix('.gz').removesuffix('.json'))}-{digest.hexdigest()[:12]}.jsonl"
        os.chmod(temporary, 0o644)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise InputError(f"{file} is imported already, as {path.name}") from None
    except (OSError, EOFError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    finally:
        if temporary:
            os.unlink(temporary)
    claims = list(claims_of(root, load(root), only=path))
    flags: dict[str, int] = defaultdict(int)
    for claim, _ in claims:
        for flag in claim.flags:
            flags[flag] += 1
    return {
        "file": str(path),
        "tasks": tasks,
        "boards": len({(claim.dataset, claim.measure) for claim, _ in claims}),
        "rows": sum(1 for _ in _rows(path)),
        "unreadable": sum(claim.value is None for claim, _ in claims),
        "flags": dict(sorted(flags.items())),
    }


def tables(root: Path, only: Path | None = None) -> Iterator[dict[str, Any]]:
    """The imported tasks, in the order of the files and within each."""
    folder = root / "archive"
    found = [only] if only else sorted(folder.glob("[!.]*.jsonl")) if folder.is_dir() else []
    for path in found:
        with open(path, encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise InputError(f"{path}, line {number}: is damaged; remove the file and import it anew") from None


def task_rows(task: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every row of a task and of its sub-tasks, with the name of the task and the data set that it stands under."""

    def under(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        for row in entry["sota"]["rows"]:
            yield task["task"], entry, row
        for child in entry["subdatasets"]:
            yield from under(child)

    for entry in task["datasets"]:
        yield from under(entry)
    for child in task["subtasks"]:
        yield from task_rows(child)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for task in tables(path.parent.parent, path):
        yield from task_rows(task)


_FOUNDATION = re.compile(
    r"\bCLIP\b|ViT-L|vision[- ]language|visual[- ]linguistic|foundation model|\bprompt|\bVL-LTR\b|\bLIFT\b|\bBALLAD\b",
    re.I,
)
_PRETRAINED = re.compile(r"ImageNet-?21|\bIN-?21|pre-?train", re.I)
_SMALL = re.compile(r"(?:SE-|Wide)?ResNe[Xx]?t-?\d+|WRN|\bR(?:N)?-?(?:18|32|34|50|101|152)\b", re.I)
_BACKBONE = re.compile(
    r"(?:SE-|Wide)?ResNe[Xx]?t-?\d+(?:-\d+)?(?:[x×]\d+)?|(?:ViT|DeiT|Swin)-?[A-Za-z]*[/-]?\d*(?:@\d+px)?", re.I
)


def infer_track(model: str, title: str, variant: str) -> tuple[str, bool]:
    """The track that a row's names speak for, and whether they tell of extra data; ``unstated`` where they do not.

    Example:
        >>> infer_track("LIFT (ViT-B/16, CLIP)", "", "places-lt")
        ('foundation', True)
        >>> infer_track("TADE", "", "places-lt")
        ('unstated', False)
    """
    # A name that says ImageNet means it, even where the paper is about foundation models.
    if _PRETRAINED.search(model) and not re.search(r"\bCLIP\b", model):
        return "imagenet", True
    if _FOUNDATION.search(model) or _FOUNDATION.search(title):
        return "foundation", True
    if _SMALL.search(model) and variant.startswith(("cifar", "imagenet-lt")):
        return "scratch", False
    return "unstated", False


def _month(url: str | None) -> str | None:
    found = re.search(r"arxiv\.org/(?:abs|pdf)/(\d\d)(\d\d)\.\d{4,5}", url or "")
    return f"20{found[1]}-{found[2]}" if found else None


def _parts(model: str) -> list[str]:
    return [part.strip() for part in re.split(r"[+&,]", model.split("(")[0]) if part.strip()]


def claims_of(root: Path, content: Content, only: Path | None = None) -> Iterator[tuple[Claim, Variant]]:
    """The claims that the imported archives hold, each with the variant that it stands on.

    A row that the archive repeats under several tasks becomes one claim with several tasks.
    """
    stored: dict[str, tuple[Claim, Variant]] = {}
    for task, entry, row in (each for table in tables(root, only) for each in task_rows(table)):
        variant = find_variant(content, entry["dataset"])
        if variant is None:
            variant = Variant(id=slug(entry["dataset"]), dataset=slug(entry["dataset"]), name=entry["dataset"])
        ranking = find_measure(entry["sota"]["metrics"][0]) if entry["sota"]["metrics"] else None
        seen_measures: set[str] = set()
        for metric, raw in row["metrics"].items():
            identity = json.dumps(
                [variant.id, row["model_name"], row["paper_url"], row["paper_title"], metric, raw, row["paper_date"]]
            )
            key = "archive-" + hashlib.sha256(identity.encode()).hexdigest()[:16]
            if key in stored:
                claim = stored[key][0]
                if task not in claim.tasks:
                    stored[key] = (replace(claim, tasks=(*claim.tasks, task)), variant)
                continue
            claim = _claim(key, task, variant, row, metric, raw, entry["sota"]["metrics"], ranking, seen_measures)
            stored[key] = (claim, variant)
    yield from _flag_across(list(stored.values()))


def _claim(
    key: str,
    task: str,
    variant: Variant,
    row: dict[str, Any],
    metric: str,
    raw: str | int | float,
    metrics: list[str],
    ranking: Any,
    seen_measures: set[str],
) -> Claim:
    value = parse_value(raw)
    flags = list(value.flags)
    measure, number = find_measure(metric), value.number
    if number is not None:
        measure, number = canonical(measure, number)
        if measure.unit == "%" and not 0 <= number <= 100:
            flags.append("out-of-range")
            number = None
    elif measure.complement:
        measure = find_measure(measure.complement)
    if measure.higher_is_better is None:
        flags.append("unknown-metric")
    if ranking is not None and metrics and metric != metrics[0] and find_measure(metric).id == ranking.id:
        flags.append("metric-alias")
    if measure.id in seen_measures:
        flags.append("two-names-one-metric")
    seen_measures.add(measure.id)
    track, extra = infer_track(row["model_name"], row["paper_title"], variant.id)
    if track != "unstated":
        flags.append("track-inferred")
    if extra and not row["uses_additional_data"]:
        flags.append("extra-data-undeclared")
    month, date = _month(row["paper_url"]), row["paper_date"]
    if month and date:
        year, number_of_month = (int(part) for part in month.split("-"))
        # A paper handed in on the last days of a month carries the next month's number.
        if datetime.date.fromisoformat(date) < datetime.date(year, number_of_month, 1) - datetime.timedelta(days=7):
            flags.append("date-before-paper")
        version = re.search(r"v(\d+)$", row["paper_url"])
        if version and int(version[1]) > 1:
            flags.append("date-of-first-version")
    links = [link for link in row["code_links"] if safe_url(link["url"])]
    if len(links) < len(row["code_links"]) or (row["paper_url"] and safe_url(row["paper_url"]) is None):
        flags.append("unsafe-link")
    backbone = _BACKBONE.search(row["model_name"])
    return Claim(
        id=key,
        method=row["model_name"],
        dataset=variant.id,
        dataset_name=variant.name,
        metric=metric,
        raw=raw if isinstance(raw, str) else repr(raw),
        value=number,
        measure=measure.id,
        source="Papers with Code archive (CC-BY-SA 4.0)",
        locator=f"{task} / {variant.name} / {row['model_name']}",
        quote=str(raw),
        kind="archive",
        url=safe_url(row["paper_url"]),
        track=track,
        backbone=backbone[0] if backbone else None,
        extra_data="yes" if row["uses_additional_data"] else "suggested by the name" if extra else None,
        date=date,
        spread=value.spread,
        tasks=(task,),
        flags=tuple(flags),
        paper_title=row["paper_title"] or None,
        paper_url=row["paper_url"],
        code=tuple(Link(link["title"] or link["url"], link["url"]) for link in links),
    )


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
