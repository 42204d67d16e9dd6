"""The list of tasks, and the page of each."""

from __future__ import annotations

from longtail.board.pages.boards import card
from longtail.board.pages.papers import PAPERS
from longtail.board.pages.template import fill
from longtail.board.reader import Index


def tasks(index: Index, live: bool) -> str:
    """All tasks."""
    return fill("tasks.html", "tasks.html", live, tasks=index.tasks())


def task(index: Index, live: bool, name: str) -> str | None:
    """One task with its boards and papers."""
    found = next((each for each in index.tasks() if each["slug"] == name), None)
    if found is None:
        return None
    cards = [card(index, board) for board in index.task_boards(name)[:60]]
    papers = index.task_papers(name)[:PAPERS]
    return fill("task.html", f"tasks/{name}.html", live, section="tasks.html", task=found, cards=cards, papers=papers)
