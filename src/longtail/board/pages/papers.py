"""The list of papers, and the page of each."""

from __future__ import annotations

import math
import re

from longtail.board.model import Board, Entry
from longtail.board.pages.methods import against_method
from longtail.board.pages.template import fill, near
from longtail.board.reader import Index
from longtail.board.schema import QUESTIONS, Paper
from longtail.board.values import slug

PAPERS = 400


def bibtex(paper: Paper) -> str:
    """An entry for a bibliography, of what is known."""
    fields = {
        "title": paper.title,
        "author": " and ".join(paper.authors),
        "booktitle": paper.venue,
        "year": (paper.date or "")[:4],
        "eprint": paper.arxiv,
        "archiveprefix": "arXiv" if paper.arxiv else None,
        "url": paper.links[0].url if paper.links else None,
    }
    lines = [f"  {name} = {{{re.sub('[{}]', '', value)}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{'inproceedings' if paper.venue else 'misc'}{{{paper.id},", *lines, "}"])


def _better(board: Board | None, entry: Entry) -> bool | None:
    """Whether a larger number is better for the metric as the source prints it."""
    higher = board.measure.higher_is_better if board is not None else None
    return higher if higher is None or not entry.complemented else not higher


def papers_path(page: int) -> str:
    """The address of a page of the list of papers."""
    return "papers.html" if page == 1 else f"papers.page-{page}.html"


def papers(index: Index, live: bool, page: int = 1) -> str | None:
    """The list of papers."""
    found = index.papers()
    pages = max(1, math.ceil(len(found) / PAPERS))
    if page > pages:
        return None
    return fill(
        index,
        "papers.html",
        papers_path(page),
        live,
        section="papers.html",
        papers=found[(page - 1) * PAPERS : page * PAPERS],
        total=len(found),
        page=page,
        pages=pages,
        page_links=[(n, papers_path(n)) for n in near(page, pages)],
    )


def paper(index: Index, live: bool, name: str) -> str | None:
    """One paper: what it says, what it claims, and what was measured here."""
    found = index.paper(name)
    if found is None:
        return None
    entries = sorted(
        (entry for entry in index.entries_where("paper", name) if entry.kind != "scored"),
        key=lambda entry: (entry.order, entry.board),
    )
    catalogued = [entry for entry in entries if entry.catalogued]
    results = catalogued or entries
    all_tasks = list(dict.fromkeys(each for entry in results for each in entry.tasks))
    listed: list[tuple[str | None, Entry]]
    if catalogued:
        listed = [(each, entry) for each in all_tasks for entry in results if each in entry.tasks]
    else:
        listed = [(entry.tasks[0] if entry.tasks else None, entry) for entry in results]
    methods = [method for method in (index.method(each) for each in found.methods) if method]
    against = [row for method in methods for row in against_method(index, method)]
    boards = {each: index.board(each) for each in {entry.board for entry in results}}
    tasks = list(dict.fromkeys((*found.tasks, *(all_tasks if catalogued else ()))))
    return fill(
        index,
        "paper.html",
        f"papers/{name}.html",
        live,
        section="papers.html",
        p=found,
        task_links=[(slug(each), each) for each in tasks],
        quick=[
            (question, facet) for each, question in QUESTIONS.items() for facet in found.facets
            if facet.name == each and facet.quick
        ],
        listed=listed[:300],
        num_results=len({entry.id for _, entry in listed}),
        further=[entry for entry in entries if not entry.catalogued] if catalogued else [],
        where={entry.id: index.anchor(entry.id) for entry in results},
        directions={entry.id: _better(boards.get(entry.board), entry) for entry in results},
        elsewhere=[
            entry for method in methods for entry in index.entries_where("method_id", method.id)
            if entry.kind != "scored" and entry.paper != name and entry.current
        ][:100],
        relations=index.relations(paper=name),
        counts=(len({entry.id for entry in entries}), len({entry.board for entry in entries}), len(against)),
        preview=f"previews/papers/{name}.png" if found.facets else "previews/site.png",
        methods=methods,
        method_names=[method.name for method in methods],
        recipes=[method.recipe for method in methods if method.recipe],
        against=against,
        related=index.related(found),
        named=[(each if index.method(each) else None, name) for name in found.named_methods for each in [slug(name)]],
        bibtex=bibtex(found),
    )  # fmt: skip
