from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from longtail.board import build, import_archive, submit
from longtail.board.evidence import BADGES
from longtail.board.feeds import as_csv
from longtail.board.index import build_index
from longtail.board.pages import paths, render
from longtail.board.pages.boards import _other_measures
from longtail.board.reader import Index
from longtail.errors import InputError
from oracles.board import add_claims, dataset, dirty_archive, row, runs, task, write_archive
from oracles.crawler import EVIL, Page, crawl


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A board with claims, an archive and submissions of two methods."""
    folder = tmp_path_factory.mktemp("pages")
    root = folder / "root"
    import_archive(write_archive(folder / "t.json"), root=root)
    submit(runs(folder / "ce", (0.80, 0.81, 0.82)), root=root, submitter="Ada")
    submit(runs(folder / "bs", (0.86, 0.85, 0.86), recipe="balanced-softmax", stream=3), root=root)
    add_claims(
        root,
        "digits",
        [
            {"id": "ce-d", "method": "CE", "method_id": "ce", "dataset": "digits-lt-if-100", "metric": "Error Rate",
             "value": "19.0", "quote": "19.0", "source": "Made up", "locator": "Table 1", "track": "scratch",
             "backbone": "small", "epochs": 60, "date": "2024-05-06", "tasks": ["Long-tail Learning"]},
        ],
    )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def index(root: pathlib.Path) -> Iterator[Index]:
    with build_index(root) as built:
        yield built


def page(index: Index, path: str) -> Page:
    found = render(index, path)
    assert found is not None, path
    return Page(found[1])


def test_every_page_is_sound_small_and_complete(index: Index) -> None:
    assert crawl(index) == []
    every = list(paths(index))
    assert len(set(every)) == len(every)
    assert len([path for path in every if path.endswith(".html")]) > 150


def test_a_crawl_finds_what_is_wrong(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        '<a href="nobody.html">x</a>': "nobody.html",
        '<a href="about.html#nowhere">x</a>': "nowhere",
        '<a href="javascript:alert(1)">x</a>': "javascript",
        '<p onclick="alert(1)">x</p>': "onclick",
        "<script>alert(1)</script>": "inline",
        '<img src="https://example.org/x.png" alt="">': "elsewhere",
        "<b>x": "not closed",
    }
    for text, told in wrong.items():
        monkeypatch.setattr(
            "oracles.crawler.render",
            lambda index, path, text=text: (
                ("text/html", f'<main id="main"><h1>t</h1>{text}</main>')
                if path == "index.html"
                else render(index, path)
            ),
        )
        assert [each for each in crawl(index, ["index.html", "about.html"]) if told in each], text


def test_the_style_sheet_and_script_load_nothing() -> None:
    with build_index() as index:
        for path in ("static/style.css", "static/board.js", "static/favicon.svg"):
            found = render(index, path)
            assert found is not None
            assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", found[1])


def test_the_page_of_dro_lt(index: Index) -> None:
    read = page(index, "papers/dro-lt.html")
    text = " ".join(read.text)
    for fact in ("Dvir Samuel, Gal Chechik", "2021-04-07", "ICCV 2021", "Long-tail Learning"):
        assert fact in text
    rows = [[cell.strip() for cell in line[:5]] for line in read.tables[0][1:]]
    assert len(rows) == 15
    tasks = ["Image Classification", "Few-Shot Image Classification", "Generalized Few-Shot Classification",
             "Long-tail Learning", "Generalized Few-Shot Learning"]  # fmt: skip
    for name in tasks:
        mine = [line[1:] for line in rows if line[0] == name]
        assert mine == [
            ["CIFAR-100-LT (ρ=10)", "Error Rate ↓", "36.59", "DRO-LT"],
            ["ImageNet-LT", "Top-1 Accuracy ↑", "53.5", "DRO-LT"],
            ["CIFAR-100-LT (ρ=100)", "Error Rate ↓", "52.67", "DRO-LT"],
        ]
    for title, date in (
        ("Mitigating Spurious Correlations with Causal Logit Perturbation", "2025-05-21"),
        ("LTRL: Boosting Long-tail Recognition via Reflective Learning", "2024-07-17"),
    ):
        assert title in text
        assert date in text
    # Stored once, listed five times.
    assert len([entry for entry in index.entries_where("paper", "dro-lt") if entry.catalogued]) == 3


def test_the_page_of_bns_ipdpp(index: Index) -> None:
    read = page(index, "papers/bns-ipdpp.html")
    text = " ".join(read.text)
    for fact in (
        "Fudong Lin, Xu Yuan", "2025-10-09", "NeurIPS 2025", "2510.08836", "fudong03/BNS_IPDPP", "Quick answers",
        "What methodology did the authors use?", "What are the key results?", "Why does this work matter?",
        "What are the main limitations?", "Published against measured here", "76.4", "52.4", "51.7", "74.0",
    ):  # fmt: skip
        assert fact in text, fact
    for facet in ("significance", "key-results", "methodology", "novelty", "contributions", "limitations"):
        assert facet in read.ids
    assert text.count("Written by the longtail authors") == 7
    assert "#limitations" in read.links


def test_a_board_shows_what_was_asked(index: Index) -> None:
    read = page(index, "boards/digits-lt-if-100.html")
    text = " ".join(read.text)
    assert "Published against measured here" in text
    assert "agrees" in text or "undecided" in text
    assert "± 1.0" in text.replace("  ", " ") or "(3)" in text
    table = read.tables[1] if len(read.tables) > 2 else read.tables[0]
    assert [cell.strip() for cell in table[0]][:2] == ["Rank", "Method"]


def test_tracks_are_ranked_apart(index: Index) -> None:
    entries = index.entries("cifar-100-lt-if-100")
    for track in ("scratch", "foundation", "unstated"):
        mine = [entry for entry in entries if entry.track == track and entry.rank]
        assert mine[0].rank == 1
        assert [entry.rank for entry in mine] == sorted(entry.rank for entry in mine if entry.rank)
    assert len({entry.track for entry in entries}) >= 3


def test_filters(index: Index) -> None:
    board = "cifar-100-lt-if-100"
    found = render(index, f"boards/{board}.html", live=True, query={"backbone": "ResNet-32", "badge": "reported"})
    assert found is not None
    rows = re.findall(r'<tr data-backbone="([^"]*)"[^>]*data-badge="([^"]*)"', found[1])
    assert rows
    assert set(rows) == {("ResNet-32", "reported")}
    # An unknown filter, an unknown value and a page beyond the last are no error.
    for query in ({"nonsense": "1"}, {"backbone": "' OR 1=1 --"}, {"page": "abc"}):
        assert render(index, f"boards/{board}.html", live=True, query=query) is not None
    assert render(index, f"boards/{board}.html", live=True, query={"page": "99"}) is None


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "static/../pages.py", "static/..%2f", "papers/nobody.html", "boards/x.csv", "x",
     "papers/.html", "boards/imagenet-lt.page-1000000000.html", "papers.page-1.html",
     "compare/lws--crt.html", "tasks/%00.html"],
)  # fmt: skip
def test_addresses_that_are_not_there(index: Index, path: str) -> None:
    assert render(index, path) is None


def test_two_methods_are_compared_image_by_image(index: Index, root: pathlib.Path) -> None:
    text = " ".join(page(index, "compare/balanced-softmax--ce.html").text)
    assert "image by image" in text
    assert "better" in text or "indistinguishable at 95 %" in text


def test_search_takes_words_as_words(index: Index) -> None:
    assert index.search("robustness loss")[0]["path"] == "papers/dro-lt.html"
    assert index.search("determinantal")
    for words in ('"', "a OR b NEAR(", "* ^ -", "NOT", "title:x", "\x00", "('", "é" * 200, *EVIL):
        index.search(words)
    assert index.search("") == []


@pytest.mark.slow
def test_the_same_bytes_on_every_build(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    script = (
        "import sys; from pathlib import Path; from longtail.board import build, pages; every = pages.paths;"
        # Of the many comparisons a few are enough.
        "pages.paths = lambda index: [p for p in every(index) if not p.startswith('compare/') or '--ce.' in p];"
        "build(Path(sys.argv[1]), root=Path(sys.argv[2]))"
    )
    running = [
        # Sets and dictionaries come in another order with another seed.
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / seed), str(root)], env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert [each.wait(600) for each in running] == [0, 0]
    first, second = (
        {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        for out in (tmp_path / "1", tmp_path / "2")
    )
    assert first == second
    assert len(first) > 200


def test_a_site_replaces_a_site_and_nothing_else(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html", "about.html"])
    out = tmp_path / "site"
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html", "about.html", "submit.html"])
    build(out)
    assert (out / "submit.html").exists()
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html", "about.html"])
    build(out)
    assert not (out / "submit.html").exists()
    for name in ("CNAME", "boards/mine.html"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("by hand")
        with pytest.raises(InputError, match=f"holds '{name}', which is of no site built here; move it away"):
            build(out)
        assert (out / name).read_text() == "by hand"
        (out / name).unlink()
    build(out)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex', which is of no site"):
        build(mine)
    assert (mine / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "new", root=tmp_path / "nowhere")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine", "site"]


def test_a_site_never_replaces_the_board_that_it_is_built_from(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html", "about.html"])
    site = tmp_path / "site"
    build(site)
    board = site / "board"
    file = add_claims(board, "own", [])
    linked = tmp_path / "linked"
    linked.symlink_to(board, target_is_directory=True)
    for root, out in ((board, site), (linked, site), (board, board)):
        with pytest.raises(InputError, match=r"lies in .*, which is replaced as a whole"):
            build(out, root=root)
        assert file.is_file()
    # A site in the board's folder is nothing of the board, beside an archive either.
    root = tmp_path / "root"
    add_claims(root, "own", [])
    archive = write_archive(tmp_path / "t.json")
    for _ in range(2):
        build(root / "site", root=root, archive=archive)
    assert (root / "site" / "index.html").is_file()
    assert sorted(each.name for each in root.iterdir() if not each.name.startswith(".")) == ["claims", "site"]


def test_further_measures_are_those_of_the_same_result(tmp_path: pathlib.Path) -> None:
    def line(name: str, metric: str, value: str, **more: object) -> dict[str, object]:
        said = {"metric": metric, "value": value, "quote": value, "source": "A paper", "locator": "Table 1"}
        return {"id": name, "method": "Ours", "dataset": "digits-lt-if-100", **said, **more}

    add_claims(
        tmp_path,
        "own",
        [
            line("deep", "Accuracy", "71.0", backbone="R-110"),
            line("flat", "Accuracy", "61.0", backbone="R-32"),
            line("gone", "Accuracy", "99.9", backbone="R-110"),
            line("f1-flat", "Macro F1", "32.32", backbone="R-32"),
            line("f1-slip", "Macro F1", "55.5", backbone="R-110"),
            line("f1-deep", "Macro F1", "66.6", backbone="R-110", supersedes="f1-slip"),
        ],
    )
    (tmp_path / "claims" / "gone.toml").write_text('[[withdraw]]\nid = "gone"\nreason = "trained on test"\n')
    with build_index(tmp_path) as index:
        board = index.board("digits-lt-if-100")
        assert board is not None
        (column,) = (each for each in _other_measures(index, board, index.entries(board.slug)) if "F1" in each["name"])
    assert column["shown"] == {"deep": "66.60", "flat": "32.32"}


def test_what_no_longer_stands_is_marked_wherever_it_is_shown(tmp_path: pathlib.Path) -> None:
    common = {"dataset": "cifar-100-lt-if-100", "metric": "Accuracy", "source": "Made up", "locator": "Table 1",
              "method": "DRO-LT", "method_id": "dro-lt", "paper": "dro-lt", "backbone": "R"}  # fmt: skip
    given = [("gone", "61.11"), ("slip", "62.22"), ("right", "63.33")]
    lines = [{**common, "id": name, "value": value, "quote": value} for name, value in given]
    lines[2]["supersedes"] = "slip"
    add_claims(tmp_path, "own", lines)
    (tmp_path / "claims" / "gone.toml").write_text('[[withdraw]]\nid = "gone"\nreason = "trained on test"\n')
    with build_index(tmp_path) as index:
        pages = ["papers/dro-lt.html", "methods/dro-lt.html", next(p for p in paths(index) if "--dro-lt" in p)]
        for path in pages:
            found = render(index, path)
            assert found is not None
            rows = re.findall(r"<tr[^>]*>.*?</tr>", found[1], re.DOTALL)
            for value, told in (("61.11", "withdrawn: trained on test"), ("62.22", "superseded by right")):
                held = [row for row in rows if value in row]
                assert held, path
                assert all(told in row and row.startswith('<tr class="old"') for row in held), (path, held)
            assert all("superseded" not in row for row in rows if "63.33" in row)
        board = index.board("cifar-100-lt-if-100")
        assert board is not None
        cells = {row["id"]: row for row in csv.DictReader(io.StringIO(as_csv(index, board)))}
    assert cells["gone"]["withdrawn"] == "trained on test"
    assert cells["slip"]["superseded_by"] == "right"
    assert cells["right"]["withdrawn"] == cells["right"]["superseded_by"] == ""


def test_hostile_text_in_every_field_stays_text(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    tables = dirty_archive()
    for i, evil in enumerate(EVIL):
        tables[0]["datasets"][0]["sota"]["rows"].append(
            row(
                f"{evil} {i}", f"{20 + i}{evil[:3]}", paper_title=evil + str(i), paper_url=evil,
                code_links=[{"title": evil, "url": evil}, {"title": evil, "url": "https://example.org/" + str(i)}],
            )
        )  # fmt: skip
    for i, evil in enumerate(EVIL[::2]):
        planted = dataset(f"{evil} set {i}", [evil], [row(evil, "44", metrics={evil: "44"})])
        tables.append(task(f"{evil} {i}", [planted], description=evil, categories=[evil], synonyms=[evil]))
    import_archive(write_archive(tmp_path / "t.json", tables), root=root)
    claims = []
    for i, evil in enumerate(EVIL):
        claims.append(
            {"id": f"evil-{i}", "method": evil, "dataset": f"{evil} data", "metric": evil, "value": "40.0",
             "quote": evil + "40.0", "source": evil, "locator": evil, "backbone": evil, "augmentation": evil,
             "selection": evil, "extra_data": evil, "note": evil, "tasks": [evil, f"{evil} {i}"], "date": "2024-01-01"}
        )  # fmt: skip
    add_claims(root, "evil", claims)
    for i, evil in enumerate(EVIL):
        said = {"on": "papers/dro-lt", "text": evil, "by": evil[:100], "date": "2026-01-01"}
        (root / "notes").mkdir(exist_ok=True)
        (root / "notes" / f"{i}.json").write_text(json.dumps(said))
        compared = {"id": f"evil-{i}", "better": "ce", "than": "dro-lt", "dataset": "cifar-100-lt-if-100",
                    "metric": evil,
                    "gap": "2", "quote": f"{evil} 5 or 3", "source": evil, "locator": evil, "protocol": evil,
                    "note": evil, "paper": evil, "added": "2026-01-01"}  # fmt: skip
        (root / "claims" / f"relation-{i}.json").write_text(json.dumps({"relation": [compared]}))
    named = json.dumps('<script>alert(1)</script>" onload="alert(1)')
    (root / "board.toml").write_text(
        f'name = {named}\nbuilder = {named}\nurl = "https://example.org/b/"\nissues = "https://example.org/new?a=1"\n'
    )
    evil = "".join(EVIL)
    folders = runs(
        tmp_path / "runs", (0.8,), recipe=evil[:90], revision={}, hardware={evil: evil, "items": [1]},
        packages={evil: {"a": evil}}, data={"name": evil, "fingerprint": evil, "class_names": [evil] * 10},
        model={"name": evil, "parameters": 1, "multiply_adds": 1, "widths": []},
        numerics={"version": 1, "device": evil, "precision": evil, "threads": 1},
        config={"stages": [{"epochs": evil, "augmentation": [{"type": evil}]}], evil: evil},
    )  # fmt: skip
    submit(folders, root=root, submitter=evil[:100])
    with build_index(root) as index:
        assert len(index.notes("papers/dro-lt")) == len(EVIL)
        assert len(index.relations(method="ce")) == len(EVIL)
        with build_index() as shipped:
            known = set(paths(shipped))
        looked_at = [path for path in paths(index) if "/" not in path or path not in known]
        assert crawl(index, looked_at) == []
        text = render(index, "about.html")
        assert text is not None
        assert "49" not in re.findall(r"\b49\b", text[1])


def test_importing_the_board_is_light() -> None:
    script = (
        "import sys, longtail.board; "
        "print([m for m in ('fastapi', 'pydantic', 'jinja2', 'torch', 'numpy', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_about_explains_every_badge(index: Index) -> None:
    read = page(index, "about.html")
    for badge in BADGES:
        assert f"badge-{badge.id}" in read.ids
        assert badge.does_not_prove in " ".join(read.text)
    text = " ".join(read.text)
    assert "CC-BY-SA 4.0" in text
    assert "below report" in text
    assert "0.85, 1.16, 1.54" in text


def contrast(first: str, second: str) -> float:
    """The WCAG contrast ratio of two colours."""

    def light(colour: str) -> float:
        colour = colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:])
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast_in_light_and_dark() -> None:
    with build_index() as index:
        found = render(index, "static/style.css")
    assert found is not None
    blocks = re.findall(r":root[^{]*\{(--paper[^}]*)\}", found[1])
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})\b", block))
        for name in ("ink", "soft", "accent", "good", "bad", "scratch", "imagenet", "foundation", "unstated"):
            for ground in ("paper", "sheet", "tint"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground, block[:20])
        assert contrast(colours["accent-ink"], colours["accent"]) >= 4.5
        assert contrast(colours["accent-ink"], colours["scratch"]) >= 4.5


def test_a_long_board_is_filtered_and_sorted_as_a_whole_without_a_server(tmp_path: pathlib.Path) -> None:
    rows = [row(f"M{i} </script>", 0, metrics={"Accuracy": f"{20 + i / 10:.1f}"}, paper_url=None) for i in range(230)]
    import_archive(
        write_archive(tmp_path / "t.json", [task("T", [dataset("Mine", ["Accuracy"], rows)])]), root=tmp_path
    )
    with build_index(tmp_path) as index:
        first, script = render(index, "boards/mine.html"), render(index, "boards/mine.rows.js")
        every = set(paths(index))
        assert first is not None
        assert script is not None
        assert 'data-rows="mine.rows.js"' in first[1]
        assert "</script" not in script[1]
        found = json.loads(script[1].removeprefix("window.LONGTAIL_ROWS = ").removesuffix(";\n"))
        assert len(found) == 230
        assert found[0]["value"] == 42.9
        for each in (found[0], found[150], found[229]):
            page, _, anchor = each["path"].partition("#")
            assert f"boards/{page}" in every
            shown = render(index, f"boards/{page}")
            assert shown is not None
            assert f'id="{anchor}"' in shown[1]
        # A server filters by itself.
        live = render(index, "boards/mine.html", live=True)
        assert live is not None
        assert "data-rows" not in live[1]
