from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from longtail.board import import_archive
from longtail.board.index import build_index
from longtail.board.pages import paths, render
from longtail.board.reader import Index
from oracles.board import dataset, row, task, write_archive
from oracles.crawler import crawl

PAPERS = [
    {
        "paper_url": "https://paperswithcode.com/paper/a-made-up-paper",
        "arxiv_id": "2107.00001",
        "title": "A paper on Méthode-X",
        "abstract": "We study unobtainium <b>carefully</b>.",
        "url_abs": "https://arxiv.org/abs/2107.00001v1",
        "url_pdf": "https://arxiv.org/pdf/2107.00001v1.pdf",
        "proceeding": "NeurIPS 2021 12",
        "authors": ["Ada Lovelace", "Grace Hopper"],
        "tasks": ["Long-tail Learning", "Unseen Task"],
        "date": "2021-07-01",
        "methods": [{"name": "Quuxer", "full_name": "Quuxing", "description": ""}],
    },
    {"paper_url": "https://paperswithcode.com/paper/alone", "title": "A paper on no board", "abstract": "Nothing.",
     "authors": ["Emmy Noether"], "tasks": ["Unseen Task"], "date": "2015-13-40", "methods": []},
    {"title": None, "abstract": "no title"},
]  # fmt: skip
LINKS = [
    {"paper_url": "https://paperswithcode.com/paper/a-made-up-paper", "paper_title": "A paper on Méthode-X",
     "paper_arxiv_id": "2107.00001", "repo_url": "https://github.com/ada/engine", "is_official": True,
     "mentioned_in_paper": True, "framework": "pytorch"},
    {"paper_url": None, "paper_title": None, "repo_url": "javascript:alert(1)", "is_official": False},
]  # fmt: skip
METHODS = [{"name": "Quuxer", "full_name": "Quuxing", "description": "It quuxes.", "introduced_year": 2019,
            "collections": [{"collection": "Quux Layers"}], "paper": {"title": "A paper on no board"}}]  # fmt: skip
DATASETS = [{"name": "Zyzzyva", "full_name": "Weevils of the tropics", "homepage": "https://example.org/z",
             "description": "Weevils.", "modalities": ["Images"], "tasks": [{"task": "Unseen Task"}],
             "variants": ["Zyzzyva", "Zyzzyva-LT"]}]  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> Iterator[Index]:
    with build_index() as index:
        yield index


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "root"
    tables = [task("Long-tail Learning", [dataset("Mine", ["Accuracy"], [
        row("X", 0, metrics={"Accuracy": "55.1", "Top 5 Accuracy": "80.2"}, paper_title="A paper on Méthode-X",
            paper_url="https://arxiv.org/abs/2107.00001v1")])])]  # fmt: skip
    import_archive(write_archive(tmp_path / "tables.json", tables), root=root)
    for kind, content in (("papers", PAPERS), ("links", LINKS), ("methods", METHODS), ("datasets", DATASETS)):
        file = tmp_path / f"{kind}.json"
        file.write_text(json.dumps(content))
        summary = import_archive(file, root=root)
        assert summary["kind"] == kind
    return root


def text(index: Any, path: str) -> str:
    found = render(index, path)
    assert found is not None, path
    return found[1]


def test_one_of_each_is_followed_from_the_dump_to_its_page_and_the_search(root: pathlib.Path) -> None:
    with build_index(root) as index:
        (entry,) = [each for each in index.entries("mine") if each.method == "X"]
        assert entry.paper is not None
        address = f"papers/{entry.paper}.html"
        page = text(index, address)
        for part in ("We study unobtainium &lt;b&gt;carefully", "Ada Lovelace, Grace Hopper", "NeurIPS 2021 12",
                     'href="https://github.com/ada/engine"', "ada/engine (official) (pytorch)", "Quuxer"):  # fmt: skip
            assert part in page, part
        assert "javascript" not in page
        # The paper and its code stand on the board's row too, and its other metric in a column.
        board = text(index, "boards/mine.html")
        assert address in board
        assert "https://github.com/ada/engine" in board
        assert "80.20" in board
        assert "It quuxes." in text(index, "methods/quuxer.html")
        assert "Weevils of the tropics" in text(index, "datasets/zyzzyva.html")
        assert "Nothing." in text(index, "papers/a-paper-on-no-board.html")
        assert "A paper on no board" in text(index, "tasks/unseen-task.html")
        for words, path in (
            ("unobtainium", address), ("lovelace", address), ("2107.00001", address), ("methode x", address),
            ("quuxing", "methods/quuxer.html"), ("weevils", "datasets/zyzzyva.html"),
            ("noether", "papers/a-paper-on-no-board.html"),
        ):  # fmt: skip
            assert path in [each["path"] for each in index.search(words)], words


def test_what_cannot_be_read_is_listed_on_a_page(root: pathlib.Path) -> None:
    with build_index(root) as index:
        about = text(index, "about.html")
    assert "papers 3: title: expected a text, found null" in about


def test_a_site_of_imports_has_no_dead_link(root: pathlib.Path) -> None:
    with build_index(root) as index, build_index() as shipped:
        known = set(paths(shipped))
        assert crawl(index, [path for path in paths(index) if "/" not in path or path not in known]) == []


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("DRO", "papers/dro-lt.html"),
        ("drolt", "papers/dro-lt.html"),
        ("DRO-LT", "papers/dro-lt.html"),
        ("2104.03066", "papers/dro-lt.html"),
        ("ICCV 2021", "papers/dro-lt.html"),
        ("samuel chechik", "papers/dro-lt.html"),
        ("distributionl robustnes", "papers/dro-lt.html"),
        ("Lngtail lerning robustnss", "papers/dro-lt.html"),
        ("ipdpp", "methods/ip-dpp.html"),
        ("balanced sofmax", "methods/balanced-softmax.html"),
        ("BALMS", "methods/balanced-softmax.html"),
        ("cifar100", "datasets/cifar-100-lt.html"),
        ("inaturalst", "datasets/inaturalist-2018.html"),
    ],
)
def test_the_search_forgives(shipped: Index, words: str, path: str) -> None:
    assert path in [each["path"] for each in shipped.search(words)][:12]


def test_the_static_search_leaves_imported_papers_out_first(root: pathlib.Path) -> None:
    with build_index(root) as index:
        every, none = index.search_documents()
        assert none == 0
        papers = [path for _, kind, path, _ in every if kind in ("paper", "submission")]
        found, left = index.search_documents(len(every) - len(papers) + 5)
    assert left == len(papers) - 5
    kept = {path for _, _, path, _ in found}
    assert {path for _, _, path, _ in every} - kept <= set(papers)
    assert "papers/a-paper-on-no-board.html" not in kept


def test_nonsense_is_not_found(shipped: Index) -> None:
    assert shipped.search("xqzvkw") == []


def test_a_paper_comes_before_what_else_has_its_methods_name_and_submissions_come_last(shipped: Index) -> None:
    found = [(each["path"], each["kind"]) for each in shipped.search("DRO")]
    assert found[:2] == [("papers/dro-lt.html", "paper"), ("methods/dro-lt.html", "method")]
    kinds = [kind == "submission" for _, kind in found]
    assert any(kinds)
    assert kinds == sorted(kinds)
    # A title typed whole is what was meant, and whole words come before beginnings of others.
    assert shipped.search("ImageNet-LT")[0]["path"].startswith(("boards/imagenet-lt", "datasets/imagenet-lt"))
    assert shipped.search("dro-lt")[0]["path"] == "methods/dro-lt.html"
    assert shipped.search("los")[0]["path"] == "methods/los.html"
