"""Papers, links to code, methods and data sets of the archive's dumps, put beside what the board holds itself.

Whatever belongs to a paper on the board is added to it. The many others are written to the index as they stream by.
"""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import SOURCE, arxiv_number, tables
from longtail.board.archive.files import KINDS, lines, stored
from longtail.board.content import Content
from longtail.board.entries import Gathered
from longtail.board.model import dump
from longtail.board.schema import Dataset, Link, Method, Paper, Variant
from longtail.board.search import Document, add_documents
from longtail.board.values import clean, safe_url, slug

_BATCH = 2000


def write_imported(connection: sqlite3.Connection, root: Path, content: Content, found: Gathered) -> list[Document]:
    """Write what the dumps add, and enrich the papers that stand on the board.

    Args:
        connection: the index, with its tables made.
        root: the board's folder.
        content: what the board holds itself, which an import never changes.
        found: the board's papers, which gain abstracts, authors, links and code.

    Returns:
        Documents for the search, of methods and data sets.
    """
    _links(connection, root, found.warnings)
    _papers(connection, root, found)
    return [*_methods(connection, root, content, found.warnings), *_datasets(connection, root, content, found.warnings)]


def _read(root: Path, kind: str, warnings: list[str]) -> Iterator[dict[str, Any]]:
    for path in stored(root, kind):
        yield from lines(path, warnings)


def _links(connection: sqlite3.Connection, root: Path, warnings: list[str]) -> None:
    connection.execute("CREATE TEMP TABLE links (key TEXT, title TEXT, url TEXT, official INTEGER)")
    for each in _read(root, "links", warnings):
        if safe_url(each["repo_url"]) is None:
            continue
        title = re.sub(r"^https?://(www\.)?(github\.com/)?", "", each["repo_url"])[:120]
        title += "".join(
            f" ({word})"
            for word, there in (("official", each["is_official"]), (each["framework"], True))
            if there and word
        )
        keys = {each["paper_url"], each["paper_arxiv_id"], each["paper_title"] and slug(each["paper_title"])}
        connection.executemany(
            "INSERT INTO links VALUES (?, ?, ?, ?)",
            [(clean(key), clean(title), each["repo_url"], each["is_official"]) for key in keys if key],
        )
    connection.execute("CREATE INDEX temp.links_key ON links (key)")


def _code(connection: sqlite3.Connection, *keys: str | None) -> tuple[Link, ...]:
    known = [clean(key) for key in keys if key]
    found = connection.execute(
        f"SELECT DISTINCT title, url, official FROM links WHERE key IN ({', '.join('?' * len(known))})"
        " ORDER BY official DESC, url LIMIT 40",
        known,
    )
    return tuple(Link(title, url) for title, url, _ in found)


def _papers(connection: sqlite3.Connection, root: Path, found: Gathered) -> None:
    by_name = {slug(paper.title): paper.id for paper in found.papers.values()}
    by_name |= {paper.arxiv: paper.id for paper in found.papers.values() if paper.arxiv}
    for paper in found.papers.values():
        for link in paper.links:
            if number := arxiv_number(link.url):
                by_name.setdefault(number, paper.id)
    seen: set[int] = set()
    batch: list[Paper] = []
    for each in _read(root, "papers", found.warnings):
        arxiv = each["arxiv_id"] or arxiv_number(each["url_abs"])
        name = slug(each["title"])
        code = _code(connection, each["paper_url"], arxiv, name)
        made = _paper(each, name, arxiv, code)
        held = found.papers.get(by_name.get(arxiv or "") or by_name.get(name) or "")
        if held is not None:
            found.papers[held.id] = _enriched(held, made)
        elif hash(name) not in seen:
            seen.add(hash(name))
            # A title may be the identifier of another paper, whose page it must not take.
            batch.append(made if name not in found.papers else dataclasses.replace(made, id=f"{name}-archive"))
            if len(batch) >= _BATCH:
                _write_papers(connection, batch)
                batch = []
    _write_papers(connection, batch)
    for paper in found.papers.values():
        if code := _code(connection, slug(paper.title), paper.arxiv, *(link.url for link in paper.links)):
            found.papers[paper.id] = dataclasses.replace(paper, code=_united(paper.code, code))


def _paper(each: dict[str, Any], name: str, arxiv: str | None, code: tuple[Link, ...]) -> Paper:
    addresses = (("Paper", each["url_abs"]), ("PDF", each["url_pdf"]), ("Archive entry", each["paper_url"]))
    date = each["date"] if each["date"] and re.fullmatch(r"\d{4}-\d{2}-\d{2}", each["date"], re.ASCII) else None
    return Paper(
        id=name,
        title=clean(each["title"], 600),
        authors=tuple(clean(author, 120) for author in each["authors"][:200]),
        date=date,
        venue=clean(each["proceeding"], 200) if each["proceeding"] else None,
        arxiv=arxiv,
        tasks=tuple(clean(task, 300) for task in each["tasks"][:60]),
        abstract=clean(each["abstract"], 6000) if each["abstract"] else None,
        links=tuple(Link(title, url) for title, url in addresses if safe_url(url)),
        code=code,
        named_methods=tuple(clean(method, 200) for method in each["methods"][:60]),
        source=SOURCE,
        kind="archive",
    )


def _united(first: tuple[Link, ...], second: tuple[Link, ...]) -> tuple[Link, ...]:
    known = {link.url for link in first}
    return (*first, *(link for link in second if link.url not in known))


def _enriched(held: Paper, made: Paper) -> Paper:
    """What the board says stays; what it does not say comes from the dump."""
    return dataclasses.replace(
        held,
        authors=held.authors or made.authors,
        date=held.date or made.date,
        venue=held.venue or made.venue,
        arxiv=held.arxiv or made.arxiv,
        tasks=tuple(dict.fromkeys((*held.tasks, *made.tasks))),
        abstract=held.abstract or made.abstract,
        links=_united(held.links, made.links),
        code=_united(held.code, made.code),
        named_methods=held.named_methods or made.named_methods,
    )


def _write_papers(connection: sqlite3.Connection, papers: list[Paper]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO things VALUES ('paper', ?, ?, ?, ?)",
        [(paper.id, paper.title, paper.date, dump(paper)) for paper in papers],
    )
    tasks = {slug(task): task for paper in papers for task in paper.tasks}
    connection.executemany("INSERT OR IGNORE INTO tasks VALUES (?, ?, '', '[]', 0, 0)", list(tasks.items()))
    connection.executemany(
        "INSERT INTO paper_tasks VALUES (?, ?)", [(paper.id, slug(task)) for paper in papers for task in paper.tasks]
    )
    add_documents(connection, [paper_document(paper, ()) for paper in papers])


def paper_document(paper: Paper, methods: tuple[Method, ...]) -> Document:
    """What a paper is found by: title, authors, arXiv number, venue, its methods' names, and what is said of it."""
    names = [name for method in methods for name in (method.name, *method.aliases)]
    parts = [*paper.authors, paper.arxiv or "", paper.venue or "", *names, *paper.named_methods]
    more = [paper.summary or "", paper.abstract or "", *(point for facet in paper.facets for point in facet.points)]
    return Document(paper.title, " ".join(parts), " ".join(more), "paper", f"papers/{paper.id}.html")


def _methods(connection: sqlite3.Connection, root: Path, content: Content, warnings: list[str]) -> Iterator[Document]:
    own = {slug(name) for each in content.methods.values() for name in (each.id, each.name, *each.aliases)}
    for each in _read(root, "methods", warnings):
        name = slug(each["name"])
        if name in own:
            continue
        own.add(name)
        full = each["full_name"] if each["full_name"] and each["full_name"] != each["name"] else None
        method = Method(
            id=name,
            name=clean(each["name"], 200),
            family=clean(each["collections"][0], 120) if each["collections"] else "Imported",
            summary=clean(each["description"] or "", 4000),
            year=each["introduced_year"],
            aliases=(clean(full, 300),) if full else (),
            paper=slug(each["paper_title"]) if each["paper_title"] else None,
            source=SOURCE,
        )
        _write(connection, "method", method.id, method.name, method)
        yield Document(method.name, " ".join((*method.aliases, method.family)), method.summary, "method",
                       f"methods/{method.id}.html")  # fmt: skip


def _datasets(connection: sqlite3.Connection, root: Path, content: Content, warnings: list[str]) -> Iterator[Document]:
    own = {each.id for each in content.datasets.values()} | {slug(each.name) for each in content.datasets.values()}
    standing = {slug(name) for each in content.variants.values() for name in (each.id, each.name, *each.aliases)}
    described = [*_read(root, "datasets", warnings), *_tabled(root)]
    for each in described:
        name = slug(each["name"])
        if name in own or name in standing:
            continue
        own.add(name)
        names = [each["name"], *(variant for variant in each["variants"] if variant != each["name"])]
        dataset = Dataset(
            id=name,
            name=clean(each["name"], 200),
            full_name=clean(each["full_name"] or each["name"], 300),
            summary=clean(each["description"] or "Nothing is said of this data set where it comes from.", 4000),
            modality=clean(", ".join(each["modalities"]), 300) or "not stated",
            homepage=safe_url(each["homepage"]),
            cite=None,
            licence=None,
            source=SOURCE,
            variants=tuple(
                Variant(id=slug(variant), dataset=name, name=clean(variant, 200))
                for variant in dict.fromkeys(names[:200])
                if slug(variant) not in standing
            ),
        )
        _write(connection, "dataset", dataset.id, dataset.name, dataset)
        yield Document(dataset.name, dataset.full_name, dataset.summary, "data set", f"datasets/{dataset.id}.html")


def _tabled(root: Path) -> Iterator[dict[str, Any]]:
    """Every data set that imported tables name, in the form of the dump."""

    def under(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
        links = [link["url"] for link in entry["dataset_links"] if safe_url(link["url"])]
        yield {
            "name": entry["dataset"],
            "full_name": None,
            "description": entry["description"],
            "homepage": links[0] if links else None,
            "modalities": [],
            "variants": [],
        }
        for child in entry["subdatasets"]:
            yield from under(child)

    def of(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for entry in task["datasets"]:
            yield from under(entry)
        for child in task["subtasks"]:
            yield from of(child)

    for task in tables(root):
        yield from of(task)


def _write(connection: sqlite3.Connection, kind: str, name: str, title: str, thing: Method | Dataset) -> None:
    connection.execute("INSERT OR IGNORE INTO things VALUES (?, ?, ?, NULL, ?)", (kind, name, title, dump(thing)))


def imports(root: Path) -> list[dict[str, Any]]:
    """The imported files with their kind, and how many elements each holds."""
    out = []
    for kind in KINDS:
        for path in filter(Path.is_file, stored(root, kind)):
            with open(path, "rb") as file:
                out.append({"file": path.name, "kind": kind, "elements": sum(1 for _ in file)})
    return out
