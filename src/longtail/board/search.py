"""A search that forgives: hyphens, parts of words, numbers, and typing mistakes."""

from __future__ import annotations

import difflib
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from longtail.board.values import clean

SCHEMA = """
CREATE VIRTUAL TABLE search USING fts5 (title, names, body, kind UNINDEXED, path UNINDEXED, tokenize = 'unicode61',
  prefix = '2 3 4');
CREATE VIRTUAL TABLE words USING fts5 (word, tokenize = 'trigram');
"""
_TERMS = 12
_RANK = "kind = 'submission', lower(title) = :typed DESC, w.rowid IS NULL, kind = 'paper' DESC, b, s.rowid"
"""What comes first: not a submission but what it belongs to; a title typed whole; whole words of titles and names; a
paper; and then what FTS5 finds closest."""
_NEAR = 0.7
"""Words as alike as this stand for each other where nothing else is found; 1 would be the same word."""


class Document(NamedTuple):
    """What can be found: its title, other names for it, what it says, and where it is."""

    title: str
    names: str
    body: str
    kind: str
    path: str


def plain(text: str) -> str:
    """Text without accents, in lower case.

    Example:
        >>> plain("Fréchet DRO-LT")
        'frechet dro-lt'
    """
    split = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in split if not unicodedata.combining(sign)).lower()


def _joined(text: str) -> str:
    """Words with hyphens or points, written as one: ``DRO-LT`` is found by ``drolt`` too."""
    found = re.findall(r"\w+(?:[-./+_]\w+)+", text)
    return " ".join(dict.fromkeys(re.sub(r"\W|_", "", each) for each in found))


def add_documents(connection: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Put documents into the index."""
    rows = []
    for each in documents:
        title, names = clean(each.title, 600), clean(each.names, 60_000)
        body = f"{clean(each.body, 20_000)} {_joined(f'{title} {names}')}".strip()
        rows.append((title, names, body, each.kind, each.path))
    connection.executemany("INSERT INTO search (title, names, body, kind, path) VALUES (?, ?, ?, ?, ?)", rows)


def finish(connection: sqlite3.Connection) -> None:
    """Collect the words that titles and names are made of, for the correction of typing mistakes."""
    connection.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab ('main', 'search', 'col')")
    connection.execute(
        "INSERT INTO words SELECT DISTINCT term FROM vocabulary WHERE col IN ('title', 'names') AND length(term) > 3"
    )


def find(connection: sqlite3.Connection, words: str, limit: int = 40) -> list[dict[str, str]]:
    """Search; the words are taken as words, whatever characters they hold.

    Args:
        connection: to a finished index.
        words: as typed.
        limit: the most that is returned.

    Returns:
        Title, kind, path and an excerpt of what was found, the best first. If nothing holds all words, words that look
        like them are tried.
    """
    terms = [term for term in plain(words.replace("\x00", " ")).split()[:_TERMS] if re.search(r"\w", term)]
    if not terms:
        return []
    found = _match(connection, terms, " AND ".join(_either(term) for term in terms), limit)
    if not found:
        nearest = [_nearest(connection, term) for term in terms]
        if any(near != [term] for near, term in zip(nearest, terms, strict=True)):
            query = " AND ".join(f"({' OR '.join(_quoted(word) for word in near)})" for near in nearest if near)
            found = _match(connection, terms, query, limit) if query else []
    if not found and len(terms) > 1:
        found = _match(connection, terms, " OR ".join(_either(term) for term in terms), limit)
    return found


def _quoted(term: str, end: str = "*") -> str:
    return '"' + term.replace('"', '""') + f'"{end}'


def _either(term: str, end: str = "*") -> str:
    """A term, or the same without its hyphens; a beginning of a word, or with another ``end`` a whole one."""
    bare = re.sub(r"[^\w]|_", "", term)
    return f"({_quoted(term, end)} OR {_quoted(bare, end)})" if bare and bare != term else _quoted(term, end)


def _match(connection: sqlite3.Connection, terms: Sequence[str], query: str, limit: int) -> list[dict[str, str]]:
    # Excerpts are cut for what is shown alone, not for everything that matches.
    whole = "{title names} : (" + " AND ".join(_either(term, "") for term in terms) + ")"
    best = connection.execute(
        "WITH whole AS MATERIALIZED (SELECT rowid FROM search WHERE search MATCH :whole), hits AS MATERIALIZED"
        " (SELECT rowid, title, kind, path, bm25(search, 8.0, 6.0, 1.0) AS b FROM search WHERE search MATCH :query)"
        " SELECT s.rowid, s.title, s.kind, s.path FROM hits s LEFT JOIN whole w ON w.rowid = s.rowid"
        f" ORDER BY {_RANK} LIMIT :limit",
        {"query": query, "whole": whole, "typed": " ".join(terms), "limit": limit},
    ).fetchall()
    places = ", ".join(str(row[0]) for row in best)
    excerpts = dict(
        connection.execute(
            "SELECT rowid, snippet(search, 2, '', '', ' … ', 18) FROM search WHERE search MATCH ?"
            f" AND rowid IN ({places})",
            (query,),
        ).fetchall()
    )
    return [
        {"title": title, "kind": kind, "path": path, "excerpt": excerpts.get(place, "")}
        for place, title, kind, path in best
    ]


def _nearest(connection: sqlite3.Connection, term: str) -> list[str]:
    """Words of the index that look like a term; the term itself if there is none."""
    bare = re.sub(r"[^\w]|_", "", term)
    pieces = dict.fromkeys(bare[i : i + 3] for i in range(len(bare) - 2))
    if not pieces:
        return [term]
    query = " OR ".join(_quoted(piece)[:-1] for piece in pieces)
    rows = connection.execute("SELECT word FROM words WHERE words MATCH ? ORDER BY bm25(words) LIMIT 60", (query,))
    near = difflib.get_close_matches(bare, [row[0] for row in rows], n=3, cutoff=_NEAR)
    return near or [term]
