"""What a board's own files name and is not there: said once where the board is built, never passed over."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from longtail.board.content import ENDINGS, OWN, OWN_FILES, Content
from longtail.board.reader import Index
from longtail.board.values import clean, slug


def unknown_names(index: Index, content: Content) -> list[str]:
    """Return a line for each name that a file uses for a paper, method, row, test set, task or page that is not there.

    Such a file is read all the same: a paper may come later, with an archive or another file.

    Args:
        index: of the board, filled.
        content: what the shipped files and the board's own say.
    """
    return [f"{clean(who, 200)}: {clean(said, 300)}" for who, said in _unknown(index, content)]


def _unknown(index: Index, content: Content) -> Iterator[tuple[str, str]]:
    tasks = {each["slug"] for each in index.tasks()}
    for paper in content.papers.values():
        who = f"paper {paper.id!r}"
        yield from ((who, f"its method {name!r} is not known") for name in paper.methods if not index.method(name))
        yield from (
            (who, f"its related paper {name!r} is not known") for name in paper.related if not index.paper(name)
        )
    for method in content.methods.values():
        if method.paper and not index.paper(method.paper):
            yield f"method {method.id!r}", f"its paper {method.paper!r} is not known"
    for variant in content.variants.values():
        if variant.key and variant.key not in content.keys:
            yield (
                f"data set {variant.id!r}",
                f"its test set {variant.key!r} is not known, so no labels are checked by it",
            )
    for claim in content.claims:
        who = f"claim {claim.id!r}"
        if claim.method_id and not index.method(claim.method_id):
            yield who, f"its method {claim.method_id!r} is not known"
        if claim.paper and not index.paper(claim.paper):
            yield who, f"its paper {claim.paper!r} is not known"
        if claim.supersedes and not index.entry(claim.supersedes):
            yield who, f"it supersedes {claim.supersedes!r}, which is no row here"
    for relation in content.relations:
        if relation.paper and not index.paper(relation.paper):
            yield f"relation {relation.id!r}", f"its paper {relation.paper!r} is not known"
    for task in content.tasks.values():
        if task.parent and slug(task.parent) not in tasks:
            yield f"task {task.name!r}", f"the task {task.parent!r}, which it is a part of, is not known"
    for name in content.withdrawn:
        if not index.entry(name):
            yield f"withdrawal of {name!r}", "no row has this identifier, so nothing is withdrawn"
    for note in content.notes:
        kind, name = note.on.split("/")
        find = {"papers": index.paper, "methods": index.method, "boards": index.board, "datasets": index.dataset}
        if not (name in tasks if kind == "tasks" else find[kind](name)):
            yield f"note on {note.on!r}", "there is no such page, so nobody reads it"


def unread(root: Path) -> list[str]:
    """Return a line for each file or folder of a board's that looks like one to be read and is not.

    Args:
        root: the board's folder.
    """
    found = [
        f"{kind}/{clean(file.name, 100)}: not read; only {' and '.join(ENDINGS)} files are"
        for kind in OWN
        for file in (sorted((root / kind).iterdir()) if (root / kind).is_dir() else ())
        if file.suffix not in ENDINGS and not file.name.startswith(".")
    ]
    files = [name.removesuffix(".toml") for name in OWN_FILES]
    for file in sorted(root.iterdir()) if root.is_dir() else ():
        if file.name in (*OWN, *OWN_FILES) or file.name.startswith("."):
            continue
        # A dump of an archive may lie here, and is called papers.json or datasets.json.
        meant = files if file.suffix == ".json" else [*OWN, *files] if file.is_dir() or file.suffix == ".toml" else []
        if near := difflib.get_close_matches(file.stem, meant, n=1, cutoff=0.8):
            right = f"{near[0]}/" if near[0] in OWN else f"{near[0]}.toml"
            found.append(f"{clean(file.name, 100)}: not read; did you mean {right}?")
    return found
