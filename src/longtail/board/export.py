"""The board in the archive's layout: everything that was imported, and the board's own rows beside it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import tables
from longtail.board.archive.layout import check_task, task_rows
from longtail.board.content import Content, find_variant, load
from longtail.board.index import build_index
from longtail.board.model import Board, Entry
from longtail.board.reader import Index
from longtail.board.values import clean, safe_url, slug
from longtail.errors import InputError


def export_archive(root: Path, file: Path) -> dict[str, Any]:
    """Write a board in the archive's layout: what was imported as it was, with the board's own rows among it.

    A data set goes by one name, the board's, under whatever alias it was imported. Every task passes the reference
    schema.

    Args:
        root: the board's folder.
        file: the file to write; it must not exist.

    Returns:
        The file, how many tasks and rows it holds, and how many of the rows are the board's own.

    Raises:
        InputError: if there is no such folder, or the file exists.
    """
    root, file = Path(root), Path(file)
    if not root.is_dir():
        raise InputError(f"{root} is no folder of a board")
    if file.exists():
        raise InputError(f"{file} exists; name a new file")
    content = load(root, [])
    num_tasks = num_rows = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".new-{file.name}")
    try:
        with build_index(root) as index, open(temporary, "w", encoding="utf-8", errors="surrogatepass") as out:
            own = _own_rows(index)
            count = sum(len(found["rows"]) for datasets in own.values() for found in datasets.values())
            out.write("[")
            for task in _merged(tables(root), own, index, content):
                out.write(",\n" if num_tasks else "\n")
                out.write(json.dumps(check_task(task), ensure_ascii=False, indent=1))
                num_tasks += 1
                num_rows += sum(1 for _ in task_rows(task))
            out.write("\n]\n")
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    return {"file": str(file), "tasks": num_tasks, "rows": num_rows, "own": count}


Own = dict[str, dict[str, dict[str, Any]]]
"""The board's own rows by the addresses of their task and of their data set."""


def _own_rows(index: Index) -> Own:
    out: Own = defaultdict(dict)
    for board in index.boards():
        for entry in index.entries(board.slug):
            if entry.kind == "archive" or not entry.current:
                continue
            for task in entry.tasks or ("Unsorted",):
                at = out[slug(task)].setdefault(
                    slug(board.variant.name), {"task": task, "dataset": board.variant.name, "metrics": [], "rows": []}
                )
                made = _row(index, board, entry)
                at["metrics"] += [name for name in made["metrics"] if name not in at["metrics"]]
                at["rows"].append(made)
    return out


def _row(index: Index, board: Board, entry: Entry) -> dict[str, Any]:
    paper = index.paper(entry.paper) if entry.paper else None
    code = [{"title": link.title, "url": link.url} for link in (*entry.code, *(paper.code if paper else ()))]
    name = ", ".join((entry.method, *entry.options))
    return {
        "model_name": clean(name) or "unnamed",
        "paper_title": entry.paper_title or (paper.title if paper else ""),
        "paper_url": safe_url(paper.links[0].url if paper and paper.links else entry.url),
        "paper_date": entry.date,
        "code_links": code,
        "model_links": [],
        "metrics": {entry.metric: entry.raw},
        "uses_additional_data": entry.extra_data is not None,
    }


def _merged(imported: Iterator[dict[str, Any]], own: Own, index: Index, content: Content) -> Iterator[dict[str, Any]]:
    """Imported tasks with the board's own rows under them, then tasks that only the board has."""
    for task in imported:
        _add(task, own, content)
        yield task
    known = {each["slug"]: each for each in index.tasks()}
    for address, datasets in own.items():
        if not datasets:
            continue
        task = known.get(address, {})
        yield {
            "task": next(iter(datasets.values()))["task"],
            "description": task.get("description", ""),
            "categories": task.get("categories", []),
            "datasets": [_dataset(found) for found in datasets.values()],
            "subtasks": [],
            "synonyms": [],
            "source_link": None,
        }


def _add(task: dict[str, Any], own: Own, content: Content) -> None:
    mine = own.pop(slug(task["task"]), {})
    for entry in _datasets(task["datasets"]):
        variant = find_variant(content, entry["dataset"])
        entry["dataset"] = variant.name if variant else entry["dataset"]
        if found := mine.pop(slug(entry["dataset"]), None):
            entry["sota"]["rows"] += found["rows"]
            entry["sota"]["metrics"] += [name for name in found["metrics"] if name not in entry["sota"]["metrics"]]
    task["datasets"] += [_dataset(found) for found in mine.values()]
    for child in task["subtasks"]:
        _add(child, own, content)


def _datasets(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        yield from _datasets(entry["subdatasets"])


def _dataset(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": found["dataset"],
        "description": "",
        "dataset_links": [],
        "dataset_citations": [],
        "sota": {"metrics": found["metrics"], "rows": found["rows"]},
        "subdatasets": [],
    }
