from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from longtail.board import build, submit, verify
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.pages import render
from longtail.board.review import accept, refuse, show, waiting
from longtail.board.writing import check_paper, new_paper
from longtail.errors import InputError
from oracles.board import runs


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "board"


def queue(tmp_path: pathlib.Path, root: pathlib.Path, name: str, accuracies: tuple[float, ...], stream: int = 0) -> str:
    """A submission that waits."""
    folder = tmp_path / name
    (made,) = submit(runs(folder / "runs", accuracies, stream=stream), root=folder / "board", submitter=name)
    shutil.copytree(folder / "board" / "submissions" / made["id"], root / "queue" / made["id"])
    return str(made["id"])


def test_what_waits_is_listed_shown_accepted_and_refused(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    assert waiting(root) == []
    good = queue(tmp_path, root, "Ada", (0.80, 0.81, 0.82))
    bad = queue(tmp_path, root, "Mallory", (1.0,), stream=3)
    assert {each["id"] for each in waiting(root)} == {good, bad}
    assert show(root, good)["submitter"] == "Ada"
    notes = " ".join(show(root, bad)["notes"])
    assert "every answer is right" in notes
    assert "1 seed;" in notes
    accept(root, good)
    copied = queue(tmp_path, root, "Eve", (0.80,))
    assert f"its answers are those of {good} on 100.0 % of the images" in show(root, copied)["notes"]
    kept = refuse(root, bad, "These are the labels.")
    assert json.loads((kept / "refusal.json").read_text())["reason"] == "These are the labels."
    assert [each["id"] for each in waiting(root)] == [copied]
    with build_index(root) as index:
        assert index.entry(good) is not None
        assert index.entry(bad) is None
    assert verify(root) == []


def test_what_was_refused_and_sent_again_can_be_refused_again(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    places = []
    for again in ("once", "twice", "thrice"):
        name = queue(tmp_path / again, root, "Mallory", (1.0,))
        places.append(refuse(root, name, f"The labels, {again}."))
    assert len(set(places)) == 3
    for place, again in zip(places, ("once", "twice", "thrice"), strict=True):
        assert json.loads((place / "refusal.json").read_text())["reason"] == f"The labels, {again}."
        assert (place / "submission.json").is_file()
    assert waiting(root) == []


def test_reviews_of_what_is_not_there(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    with pytest.raises(InputError, match="nothing waits"):
        show(root, "x")
    name = queue(tmp_path, root, "Ada", (0.8,))
    with pytest.raises(InputError, match="did you mean"):
        accept(root, name[:-1])
    with pytest.raises(InputError, match="say why"):
        refuse(root, name, " ")
    broken = root / "queue" / "broken"
    broken.mkdir()
    assert [each["problem"] for each in waiting(root) if each["id"] == "broken"]


BIBTEX = """@inproceedings{x, title = {A {Made-up} Title}, author = {Lovelace, Ada and Grace Hopper},
  booktitle = {Proceedings of Nothing}, year = {2021}, eprint = {2107.00001}}"""


def test_a_papers_file_is_begun_and_checked(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (tmp_path / "x.bib").write_text(BIBTEX)
    file = new_paper(root, bibtex=tmp_path / "x.bib")
    assert file == root / "papers" / "a-made-up-title.toml"
    findings = check_paper(file, root)
    assert "'summary' is missing" in findings
    assert sum("nothing is said" in each for each in findings) == 7
    # An empty page is shown as far as it goes, and may be filled in.
    with build_index(root) as index:
        page = render(index, "papers/a-made-up-title.html")
    assert page is not None
    assert "Ada Lovelace, Grace Hopper" in page[1]
    assert "https://arxiv.org/abs/2107.00001" in page[1]
    empty = 'points = []\nwhere = ""\nwritten_by = ""'
    filled = 'points = ["It gains 12.7 points."]\nwhere = "Table 1"\nwritten_by = "Ada"'
    text = file.read_text().replace(empty, filled, 1)
    file.write_text(text)
    findings = check_paper(file, root)
    assert "facet 'significance': 12.7 stands in no claim of this paper" in findings
    assert "facet 'significance': nobody has checked what Ada wrote" in findings
    assert sum("nothing is said" in each for each in findings) == 6
    with pytest.raises(InputError, match="exists"):
        new_paper(root, bibtex=tmp_path / "x.bib")
    with pytest.raises(InputError, match="title is not known"):
        new_paper(root, arxiv="2107.00002")
    with pytest.raises(InputError, match="no arXiv number"):
        new_paper(root, arxiv="2117.00002", title="x")


def test_a_papers_file_from_a_dump(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    dump = [{"title": "Another", "abstract": "x", "arxiv_id": "2001.00001"},
            {"title": "The One", "abstract": "x", "arxiv_id": "2001.00002", "authors": ["Emmy Noether"],
             "proceeding": "ICML 2020", "tasks": ["Long-tail Learning"], "date": "2020-01-02"}]  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(dump))
    paper = load_paper(new_paper(root, arxiv="2001.00002", dump=tmp_path / "p.json"), root)
    assert (paper.authors, paper.venue, paper.date) == (("Emmy Noether",), "ICML 2020", "2020-01-02")
    with pytest.raises(InputError, match=r"holds no paper '2001\.00009'"):
        new_paper(root, arxiv="2001.00009", dump=tmp_path / "p.json")


def load_paper(file: pathlib.Path, root: pathlib.Path):  # type: ignore[no-untyped-def]
    return load(root).papers[file.stem]


BIRDS = """
id = "birds"
name = "Birds"
full_name = "Birds of one garden"
summary = "Six of them."
modality = "Images"
source = "Ours"

[[variant]]
id = "birds-lt"
name = "Birds-LT"
num_test = 6
num_classes = 3
key = "birds"
"""


@pytest.mark.usefixtures("one_page")
def test_a_board_adds_its_own_methods_data_sets_tasks_and_keys(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    for name, text in {
        "methods/mine.toml": '[[method]]\nid = "mine"\nname = "Mine"\nfamily = "Own"\nsummary = "Ours."\n',
        "datasets/birds.toml": BIRDS,
        "tasks.toml": '[[task]]\nname = "Bird watching"\ndescription = "Watch."\ncategories = ["Biology"]\n',
        "keys.toml": f'[[key]]\nid = "birds"\nsha256 = "{"0" * 64}"\nnum_test = 6\nnum_classes = 3\nprovenance = ""\n',
        "papers/broken.toml": "title = 3\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    made = build(tmp_path / "site", root=root)
    assert len(made["warnings"]) == 1
    assert "papers/broken.toml: skipped" in made["warnings"][0]
    assert any("papers/broken.toml" in each for each in verify(root))
    with build_index(root) as index:
        for path in ("methods/mine.html", "datasets/birds.html", "tasks/bird-watching.html"):
            assert render(index, path) is not None
    assert load(root, []).keys["birds"].num_test == 6
