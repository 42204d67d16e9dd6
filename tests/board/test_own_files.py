"""A board's own files: every kind as the documentation shows it, and what they change on the pages."""

from __future__ import annotations

import pathlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from longtail.board import build
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.pages import render
from longtail.board.reader import Index
from longtail.board.verification import verify
from longtail.errors import InputError

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "board.md"
KINDS = {"board.toml", "measures.toml", "tasks.toml", "datasets", "keys.toml", "methods", "papers", "claims", "notes"}


def documented() -> dict[str, str]:
    """The documentation's examples by the file that each names in its first line."""
    found = re.findall(r"```toml\n# ([\w/.-]+\.toml): [^\n]*\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("own")
    for name, text in documented().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def test_each_kind_is_documented_with_an_example_that_is_read(root: pathlib.Path) -> None:
    assert {name.split("/")[0] for name in documented()} == KINDS
    warnings: list[str] = []
    content = load(root, warnings)
    assert warnings == []
    assert content.measures.find("Sp.Rec.").id == "species-recall"
    assert content.measures.canonical(content.measures.find("species misses"), 12.0)[1] == 88.0
    assert content.key(content.variants["plankton-v1"]) is not None
    assert content.papers["tail-gate"].facets[0].checked_by == "Ben Olt"
    assert content.withdrawn == {"archive-0123456789abcdef": "trained on the test set, its authors"}
    assert verify(root) == []


@pytest.fixture(scope="module")
def index(root: pathlib.Path) -> Iterator[Index]:
    with build_index(root) as index:
        # The example withdraws a row of an archive, which this board does not hold.
        assert len(index.warnings) == 1
        assert index.warnings[0].startswith("withdrawal of 'archive-0123456789abcdef': no row")
        yield index


def page(index: Index, path: str) -> str:
    found = render(index, path)
    assert found is not None
    return found[1]


def test_an_own_measure_ranks_and_has_its_direction(index: Index) -> None:
    board = index.board("plankton-v1--species-recall")
    assert board is not None
    assert board.measure.higher_is_better is True
    (entry,) = index.entries(board.slug)
    assert (entry.value, entry.rank) == (71.4, 1)
    assert "Image Classification" in page(index, "tasks/plankton-recognition.html")


def test_a_note_and_the_issue_link_stand_on_their_page(index: Index) -> None:
    text = page(index, "papers/tail-gate.html")
    assert "The gate stays open for <code>copepods</code>; see section 5." in text
    found = re.search(r'href="(https://example\.org/project/issues/new[^"]*)"', text)
    assert found is not None
    asked = parse_qs(urlsplit(found[1].replace("&amp;", "&")).query)
    assert asked["title"] == ["papers/tail-gate"]
    assert "https://example.org/board/papers/tail-gate.html" in asked["body"][0]
    assert "copepods" not in page(index, "papers/dro-lt.html")
    assert "the plankton group" in text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("measures.toml", '[[measure]]\nid = "x"\nname = "Accuracy"\nhigher_is_better = true\n', "accuracy"),
        ("measures.toml", '[[measure]]\nid = "x"\nname = "X"\n', "higher_is_better"),
        ("measures.toml", '[[measure]]\nid = "x"\nname = "X"\nhigher_is_better = true\nunti = "%"\n', "unit"),
        ("measures.toml", '[[measure]]\nid = "x"\nname = "X"\nhigher_is_better = 1\n', "true or false"),
        ("board.toml", 'url = "javascript:alert(1)"\n', "address"),
        ("board.toml", 'nmae = "x"\n', "nmae"),
        ("notes/n.toml", 'on = "../etc"\ntext = "x"\nby = "y"\ndate = 2026-01-01\n', "on"),
        ("notes/n.toml", 'on = "papers/dro-lt"\ntext = "x"\nby = "y"\n', "date"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_skipped(
    tmp_path: pathlib.Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load(tmp_path)
    warnings: list[str] = []
    load(tmp_path, warnings)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{name}: skipped")


def test_a_slip_in_a_name_makes_no_new_board(tmp_path: pathlib.Path) -> None:
    (tmp_path / "claims").mkdir()
    base = 'metric = "Accuracy"\nvalue = "40"\nquote = "40"\nsource = "s"\nlocator = "l"\nmethod = "CE"\n'
    for wrong in ("cifar100-lt-if-100", "cifar-100-tl-if-100", "imagnet-lt"):
        (tmp_path / "claims" / "c.toml").write_text(f'[[claim]]\nid = "x"\ndataset = "{wrong}"\n{base}')
        with pytest.raises(InputError, match="did you mean"):
            load(tmp_path)
    # An alias is the data set itself, and another number is another data set.
    for right in ("CIFAR-100-LT (ρ=100)", "cifar-100-lt-if-1000", "plankton"):
        (tmp_path / "claims" / "c.toml").write_text(f'[[claim]]\nid = "x"\ndataset = "{right}"\n{base}')
        load(tmp_path)
    (tmp_path / "claims" / "c.toml").write_text(f'[[claim]]\nid = "x"\ndataset = "CIFAR-100-LT (ρ=100)"\n{base}')
    with build_index(tmp_path) as index:
        entry = index.entry("x")
    assert entry is not None
    assert entry.board == "cifar-100-lt-if-100"


def test_a_known_address_gives_a_site_map_previews_and_absolute_links(
    root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ["index.html", "papers/dro-lt.html", "feed.atom", "sitemap.xml", "robots.txt"]
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: some)
    pictures = ["previews/site.png", "previews/boards/imagenet-lt.png", "previews/papers/dro-lt.png"]
    monkeypatch.setattr("longtail.board.previews.preview_paths", lambda index: pictures)
    build(tmp_path / "site", root=root)
    text = (tmp_path / "site" / "papers/dro-lt.html").read_text()
    assert '<link rel="canonical" href="https://example.org/board/papers/dro-lt.html">' in text
    assert 'content="https://example.org/board/previews/papers/dro-lt.png"' in text
    tree = ElementTree.parse(tmp_path / "site" / "sitemap.xml")
    addresses = {each.text for each in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert {"https://example.org/board/index.html", "https://example.org/board/papers/dro-lt.html"} <= addresses
    assert "https://example.org/board/sitemap.xml" in (tmp_path / "site" / "robots.txt").read_text()
    feed = ElementTree.parse(tmp_path / "site" / "feed.atom").getroot()
    links = [each.get("href") or "" for each in feed.iter("{http://www.w3.org/2005/Atom}link")]
    assert links
    assert all(each.startswith("https://example.org/board/") for each in links)
    from PIL import Image

    for name in pictures:
        with Image.open(tmp_path / "site" / name) as image:
            assert image.size == (1200, 630)
    # Without an address there is neither, and nothing points at them.
    monkeypatch.undo()
    with build_index(None) as bare:
        assert render(bare, "sitemap.xml") is None
        assert "og:image" not in page(bare, "index.html")


def test_the_site_map_of_many_pages_has_parts() -> None:
    from longtail.board.pages.sitemap import LIMIT, sitemap

    pages = [f"p/{n}.html" for n in range(LIMIT + 1)]
    whole, second = sitemap(pages, "https://example.org/"), sitemap(pages, "https://example.org/", 2)
    assert whole is not None
    assert whole.count("<sitemap>") == 2
    assert second is not None
    assert second.count("<url>") == 1
    assert sitemap(pages, "https://example.org/", 3) is None
