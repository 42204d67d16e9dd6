"""The list of tasks, and the page of each."""

from __future__ import annotations

from longtail.board.pages.boards import card
from longtail.board.pages.papers import PAPERS
from longtail.board.pages.template import fill
from longtail.board.reader import Index


def tasks(index: Index, live: bool) -> str:
    """All tasks."""
    return fill(index, "tasks.html", "tasks.html", live, tasks=index.tasks())


def task(index: Index, live: bool, name: str) -> str | None:
    """One task with its boards and papers."""
    every = index.tasks()
    found = next((each for each in every if each["slug"] == name), None)
    if found is None:
        return None
    known = {each["name"]: each["slug"] for each in every}
    areas = [(known.get(each), each) for each in found["categories"]]
    below = [each for each in every if found["name"] in each["categories"]]
    cards = [card(index, board) for board in index.task_boards(name)[:60]]
    papers = index.task_papers(name)[:PAPERS]
    return fill(
        index,
        "task.html",
        f"tasks/{name}.html",
        live,
        section="tasks.html",
        task=found,
        cards=cards,
        papers=papers,
        areas=areas,
        below=below,
    )
