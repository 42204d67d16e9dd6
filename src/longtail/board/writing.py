"""A paper's file: begun from what is known of the paper, and checked for what is still missing."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from longtail.board.archive.claims import arxiv_number
from longtail.board.archive.dumps import READERS, kind_of
from longtail.board.archive.stream import stream_file
from longtail.board.content import Content, load
from longtail.board.schema import FACETS, QUESTIONS
from longtail.board.values import safe_url, slug
from longtail.errors import InputError
from longtail.files import write_once


def new_paper(
    root: Path,
    *,
    arxiv: str | None = None,
    bibtex: Path | None = None,
    dump: Path | None = None,
    title: str | None = None,
) -> Path:
    """Write a paper's file with what is known of it; the four questions and seven facets stand empty.

    Args:
        root: the board's folder; the file goes to ``papers/``.
        arxiv: its arXiv number; looked up in ``dump`` where there is one, else only the addresses follow from it.
        bibtex: a file with its entry.
        dump: the archive's dump of papers, ``.json`` or ``.json.gz``.
        title: its title, where nothing else gives it.

    Returns:
        The file.

    Raises:
        InputError: if no title can be found, a file cannot be read, or the paper has a file already.
    """
    known: dict[str, Any] = {}
    if bibtex is not None:
        known = read_bibtex(Path(bibtex))
    if dump is not None:
        known |= _from_dump(Path(dump), arxiv, title)
    number = arxiv or known.get("arxiv")
    if number is not None and arxiv_number(f"https://arxiv.org/abs/{number}") is None:
        raise InputError(f"{number!r} is no arXiv number; write it as 2104.03066")
    known["title"] = title or known.get("title")
    if not known["title"]:
        raise InputError("the paper's title is not known: give --title, --bibtex FILE, or a dump that holds the paper")
    path = Path(root) / "papers" / f"{slug(known['title'])}.toml"
    write_once(path, _toml(known, number).encode())
    return path


def _toml(known: dict[str, Any], arxiv: str | None) -> str:
    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = [f"id = {text(slug(known['title']))}", f"title = {text(known['title'])}"]
    lines.append(f"authors = {text(list(known.get('authors', ())))}")
    lines += [f"{name} = {text(known[name])}" for name in ("date", "venue") if known.get(name)]
    if arxiv:
        lines.append(f"arxiv = {text(arxiv)}")
    lines.append(f"tasks = {text(list(known.get('tasks', ())))}")
    lines += ["methods = []", '# summary = "One paragraph in your own words."', '# summary_by = "Who wrote it"', ""]
    links = [("Paper", f"https://arxiv.org/abs/{arxiv}"), ("PDF", f"https://arxiv.org/pdf/{arxiv}")] if arxiv else []
    if not links and safe_url(known.get("url")):
        links = [("Paper", known["url"])]
    for title, url in links:
        lines += ["[[links]]", f"title = {text(title)}", f"url = {text(url)}", ""]
    for facet in FACETS:
        lines += ["[[facet]]", f"name = {text(facet)}"]
        if facet in QUESTIONS:
            lines += [f"# {QUESTIONS[facet]}", 'quick = ""']
        lines += ["points = []", 'where = ""', 'written_by = ""', 'checked_by = ""', ""]
    return "\n".join(lines)


def read_bibtex(file: Path) -> dict[str, Any]:
    """Title, authors, venue, year and arXiv number of the first entry of a file.

    Raises:
        InputError: if there is none.
    """
    try:
        content = file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    fields: dict[str, str] = {}
    for found in re.finditer(r"(\w+)\s*=\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|\"([^\"]*)\"|(\d+))", content):
        value = next(part for part in found.groups()[1:] if part is not None)
        fields.setdefault(found[1].lower(), re.sub(r"\s+", " ", value.replace("{", "").replace("}", "")).strip())
    if not fields.get("title"):
        raise InputError(f"{file}: holds no BibTeX entry with a title")
    authors = [author.strip() for author in fields.get("author", "").split(" and ") if author.strip()]
    turned = [" ".join(reversed([part.strip() for part in each.split(",", 1)])) for each in authors]
    out: dict[str, Any] = {"title": fields["title"], "authors": turned}
    out["venue"] = fields.get("booktitle") or fields.get("journal")
    out["url"] = fields.get("url")
    out["arxiv"] = fields.get("eprint") or arxiv_number(fields.get("url"))
    return out


def _from_dump(file: Path, arxiv: str | None, title: str | None) -> dict[str, Any]:
    if arxiv is None and title is None:
        raise InputError(f"{file}: say which of its papers, by --arxiv or --title")
    for each in stream_file(file):
        if kind_of(each) != "papers":
            continue
        made = READERS["papers"](each, "paper", lambda *_: None)
        if made is not None and (
            (arxiv is not None and made["arxiv_id"] == arxiv)
            or (title is not None and slug(made["title"]) == slug(title))
        ):
            found = {"title": made["title"], "authors": made["authors"], "tasks": made["tasks"], "date": made["date"]}
            return {**found, "venue": made["proceeding"], "arxiv": made["arxiv_id"], "url": made["url_abs"]}
    raise InputError(f"{file}: holds no paper {arxiv or title!r}")


def check_paper(file: Path, root: Path | None = None) -> list[str]:
    """What a paper's file still lacks, and numbers in it that no claim of the board holds.

    Args:
        file: the file.
        root: the board's folder, for its claims.

    Returns:
        One line for each; empty if the page is complete.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        table = tomllib.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    needed = ("title", "authors", "date", "venue", "tasks", "summary", "summary_by", "links", "methods")
    findings = [f"{name!r} is missing" for name in needed if not table.get(name)]
    facets = {each.get("name"): each for each in table.get("facet", ()) if isinstance(each, dict)}
    values = _claimed(load(Path(root) if root is not None else None, []), table)
    for name in FACETS:
        facet = facets.get(name)
        if facet is None or not facet.get("points"):
            findings.append(f"facet {name!r}: nothing is said")
            continue
        if name in QUESTIONS and not facet.get("quick"):
            findings.append(f"facet {name!r}: no answer to {QUESTIONS[name]!r}")
        findings += [f"facet {name!r}: {each!r} is missing" for each in ("where", "written_by") if not facet.get(each)]
        if facet.get("written_by") and not facet.get("checked_by"):
            findings.append(f"facet {name!r}: nobody has checked what {facet['written_by']} wrote")
        for text in (*facet["points"], facet.get("quick") or ""):
            for number in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", str(text)):
                if float(number) not in values:
                    findings.append(f"facet {name!r}: {number} stands in no claim of this paper")
    return findings


def _claimed(content: Content, table: dict[str, Any]) -> set[float]:
    out: set[float] = set()
    for claim in content.claims:
        if claim.paper == table.get("id") or claim.method_id in table.get("methods", ()):
            for value in (claim.value, claim.many, claim.medium, claim.few):
                out |= {round(value, places) for places in (1, 2)} if value is not None else set()
            out |= {float(each) for each in re.findall(r"\d+\.\d+", claim.raw)}
    return out
