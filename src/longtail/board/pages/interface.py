"""The page about the interface for programs."""

from __future__ import annotations

from longtail.board.pages.template import fill
from longtail.board.reader import Index

ENDPOINTS = (
    ("/api/v1/boards", "all boards", "dataset, task, measure, limit, offset"),
    ("/api/v1/boards/{name}", "one board with its rows",
     "track, badge, backbone, protocol, selection, method, extra, ranked, sort, order, limit, offset"),
    ("/api/v1/papers", "all papers", "q, task, explained, sort, order, limit, offset"),
    ("/api/v1/papers/{name}", "one paper with its facets, results and comparisons", ""),
    ("/api/v1/methods", "all methods", "family, recipe, limit, offset"),
    ("/api/v1/methods/{name}", "one method with its results", ""),
    ("/api/v1/datasets", "all data sets with their variants", "limit, offset"),
    ("/api/v1/tasks", "all tasks", "limit, offset"),
    ("/api/v1/relations", "claims that one method beats another, with verdicts", "board, method, limit, offset"),
    ("/api/v1/submissions", "all re-scored submissions", "board, limit, offset"),
    ("/api/v1/submissions/{name}", "one submission with its scores", ""),
    ("/api/v1/changes", "what was added last", "board, limit"),
    ("/api/v1/search", "full-text search", "q, limit"),
    ("/api/v1/statement.schema.json", "the JSON schema of what a submission states", ""),
    ("/api/v1/openapi.json", "all of this for machines", ""),
)  # fmt: skip
"""Address, what it gives, and the questions that it takes."""


def interface(index: Index, live: bool) -> str:
    """What a program can ask, and which files there are without a server."""
    standing = next((board.slug for board in index.boards(notable=True)), None)
    return fill(index, "api.html", "api.html", live, endpoints=ENDPOINTS, example=standing)
