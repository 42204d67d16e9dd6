"""The board in the archive's layout: what was imported, or its own rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import tables
from longtail.board.archive.layout import check_task, task_rows
from longtail.board.index import build_index
from longtail.board.reader import Index
from longtail.errors import InputError


def export_archive(root: Path, file: Path) -> dict[str, Any]:
    """Write what was imported back in the archive's layout; without any import, the board's own claims and scores.

    Args:
        root: the board's folder.
        file: the file to write; it must not exist.

    Returns:
        The file, and how many tasks and rows it holds.
    """
    root, file = Path(root), Path(file)
    if file.exists():
        raise InputError(f"{file} exists; name a new file")
    imported = next(tables(root), None) is not None
    if imported:
        source: Iterator[dict[str, Any]] = tables(root)
    else:
        with build_index(root) as index:
            source = iter([check_task(task) for task in own_tables(index)])
    num_tasks = num_rows = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".new-{file.name}")
    with open(temporary, "w", encoding="utf-8", errors="surrogatepass") as out:
        out.write("[")
        for task in source:
            out.write(",\n" if num_tasks else "\n")
            out.write(json.dumps(task, ensure_ascii=False, indent=1))
            num_tasks += 1
            num_rows += sum(1 for _ in task_rows(task))
        out.write("\n]\n")
    os.replace(temporary, file)
    return {"file": str(file), "tasks": num_tasks, "rows": num_rows, "imported": imported}


def own_tables(index: Index) -> Iterator[dict[str, Any]]:
    """The board's own lines in the archive's layout, one task after another."""
    for task in index.tasks():
        datasets = []
        for board in index.task_boards(task["slug"]):
            rows: list[dict[str, Any]] = [
                {
                    "model_name": entry.method,
                    "paper_title": entry.paper_title or (paper.title if paper else ""),
                    "paper_url": paper.links[0].url if paper and paper.links else entry.url,
                    "paper_date": entry.date,
                    "code_links": [{"title": link.title, "url": link.url} for link in (paper.code if paper else ())],
                    "model_links": [],
                    "metrics": {entry.metric: entry.raw},
                    "uses_additional_data": entry.extra_data is not None,
                }
                for entry in index.entries(board.slug)
                if task["name"] in entry.tasks and not entry.superseded_by
                for paper in [index.paper(entry.paper) if entry.paper else None]
            ]
            metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
            datasets.append(
                {
                    "dataset": board.variant.name,
                    "description": "",
                    "dataset_links": [],
                    "dataset_citations": [],
                    "sota": {"metrics": metrics, "rows": rows},
                    "subdatasets": [],
                }
            )
        if datasets:
            yield {
                "task": task["name"],
                "description": task["description"],
                "categories": task["categories"],
                "datasets": datasets,
                "subtasks": [],
                "synonyms": [],
                "source_link": None,
            }
