"""Names in a board's own files that mean nothing, things that stand twice, and files that nobody reads."""

from __future__ import annotations

import pathlib
import time

import pytest

from longtail.board.content import load
from longtail.board.index import build_index
from longtail.errors import InputError

METHOD = 'id = "{0}"\nname = "{0}"\nfamily = "Losses"\nsummary = "One of ours."\n'
KEY = '[[key]]\nid = "{}"\nsha256 = "{}"\nnum_test = 6\nnum_classes = 3\n'
DATA = 'id = "birds"\nname = "Birds"\nfull_name = "Birds"\nsummary = "Birds."\nmodality = "Images"\nsource = "us"\n'
CLAIM = """[[claim]]
id = "ours"
method = "Ours"
dataset = "cifar-100-lt-if-100"
metric = "Accuracy"
value = "50.0"
source = "a paper"
locator = "Table 1"
quote = "50.0"
"""


def write(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


def test_names_that_are_not_there_are_told_where_the_board_is_built(tmp_path: pathlib.Path) -> None:
    files = {
        "papers/one.toml": 'id = "one"\ntitle = "One"\nmethods = ["ours", "nobody-s"]\nrelated = ["dro-lt", "two"]\n',
        "methods/ours.toml": METHOD.format("ours") + 'paper = "three"\n',
        "datasets/birds.toml": DATA + '[[variant]]\nid = "birds-1"\nname = "Birds 1"\nkey = "birds-1"\n',
        "claims/a.toml": CLAIM + 'method_id = "our"\npaper = "four"\nsupersedes = "archive-1"\n',
        "claims/b.toml": '[[withdraw]]\nid = "our"\nreason = "slip"\n[[withdraw]]\nid = "ours"\nreason = "wrong"\n',
        "tasks.toml": '[[task]]\nname = "Bird watching"\nparent = "Watching"\n[[task]]\nname = "Watching birds"\n',
        "notes/a.toml": "".join(
            f'[[note]]\non = "{on}"\ntext = "t"\nby = "me"\ndate = "2026-01-01"\n'
            for on in ("papers/one", "papers/five", "tasks/bird-watching", "tasks/watching", "boards/none-here")
        ),
    }
    with build_index(write(tmp_path, files)) as index:
        assert index.warnings == [
            "paper 'one': its method 'nobody-s' is not known",
            "paper 'one': its related paper 'two' is not known",
            "method 'ours': its paper 'three' is not known",
            "data set 'birds-1': its test set 'birds-1' is not known, so no labels are checked by it",
            "claim 'ours': its method 'our' is not known",
            "claim 'ours': its paper 'four' is not known",
            "claim 'ours': it supersedes 'archive-1', which is no row here",
            "task 'Bird watching': the task 'Watching', which it is a part of, is not known",
            "withdrawal of 'our': no row has this identifier, so nothing is withdrawn",
            "note on 'papers/five': there is no such page, so nobody reads it",
            "note on 'tasks/watching': there is no such page, so nobody reads it",
            "note on 'boards/none-here': there is no such page, so nobody reads it",
        ]
        found = index.entry("ours")
        assert found is not None
        assert found.withdrawn == "wrong"


def test_files_that_nobody_reads_are_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "papers" / "2026").mkdir(parents=True)
    files = {"papers/one.yaml": "id: one", "papers/.one.toml.swp": "", "claim/a.toml": CLAIM, "methods.toml": "",
             "README.md": "Ours.", "pyproject.toml": "", "figures/a.png": "", "task.toml": "",
             "papers.json": "[]", "tasks.json": "{}"}  # fmt: skip
    with build_index(write(tmp_path, files)) as index:
        assert index.warnings == [
            "papers/2026: not read; only .toml and .json files are",
            "papers/one.yaml: not read; only .toml and .json files are",
            "claim: not read; did you mean claims/?",
            "methods.toml: not read; did you mean methods/?",
            "task.toml: not read; did you mean tasks.toml?",
            "tasks.json: not read; did you mean tasks.toml?",
        ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("methods/a.toml", f"[[method]]\n{METHOD.format('a')}[[methd]]\n{METHOD.format('b')}", "unknown field 'methd'"),
        ("papers/a.json", '{"paper": [], "papers": []}', "unknown field 'papers'"),
        ("tasks.toml", '[[tasks]]\nname = "A"\n', "unknown field 'tasks'"),
        ("tasks.toml", '[[task]]\nname = "A b"\n[[task]]\nname = "A-B"\n', "two tasks have the name 'A-B'"),
        ("keys.toml", KEY.format("a", "0" * 64).replace("[[key]]", "[[keys]]"), "unknown field 'keys'"),
        ("keys.toml", KEY.format("a", "0" * 64) * 2, "two test sets have the id 'a'"),
        ("keys.toml", KEY.format("cifar-10", "0" * 64), "two test sets have the id 'cifar-10'"),
        ("keys.toml", KEY.format("a", "0" * 63), "'sha256' must be 64 hexadecimal digits"),
        ("keys.toml", KEY.format("a", "0" * 64).replace("num_test = 6", ""), "'num_test' must be stated"),
        ("methods/a.toml", METHOD.format("a") + 'aliases = ["DRO-LT"]\n', "two methods have the name"),
        ("datasets/a.toml", DATA + '[[variant]]\nid = "b"\nname = "cifar 100 LT if 100"\n', "two variants have"),
        ("datasets/a.toml", DATA + 'homepage = "javascript:1"\n', "is no http or https address"),
        ("claims/a.toml", '[[withdraw]]\nid = "a"\nreason = "r"\n' * 2, "withdraw 2: 'a' is withdrawn twice"),
        ("claims/a.toml", "defaults = 3\n" + CLAIM, "expected a table named 'defaults'"),
        ("papers/a.toml", 'id = "a"\ntitle = "A"\n' + 2 * '[[facet]]\nname = "novelty"\nquick = "q"\npoints = []\n'
         'where = "1"\nwritten_by = "me"\n', "the facet 'novelty' stands twice"),
    ],
)  # fmt: skip
def test_what_stands_twice_or_in_no_known_list_is_refused(
    tmp_path: pathlib.Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(InputError) as refused:
        load(write(tmp_path, {name: text}))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_logs_what_it_leaves_out_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    from longtail.board import server

    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "one.yaml").write_text("id: one")
    said = "papers/one.yaml: not read; only .toml and .json files are"
    current = server.Current(tmp_path)
    try:
        with current.reading() as index:
            assert index.warnings == [said]
        (tmp_path / "papers" / "two.toml").write_text("id = 2")
        for _ in range(600):
            if len(caplog.messages) > 1:
                break
            time.sleep(0.1)
    finally:
        current.stop()
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == said
    assert caplog.messages[1].startswith("papers/two.toml: skipped")
