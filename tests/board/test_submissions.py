from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch

from longtail.board import build, submit, submit_predictions, verify
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.intake import body_of
from longtail.board.pages import render
from longtail.board.ranking import published_against_measured
from longtail.board.statement import check_statement, json_schema, template
from longtail.board.submissions import SCHEMA, check, read_submission
from longtail.board.verification import fingerprint
from longtail.errors import InputError
from longtail.results.comparison import compare_records
from longtail.results.record import read
from oracles.board import add_claims, digits, run, runs


def change(file: pathlib.Path, *steps: Any, value: Any) -> None:
    """Change one place of a JSON file by hand, as nobody should."""
    body = json.loads(file.read_text())
    at = body
    for step in steps[:-1]:
        at = at[step]
    at[steps[-1]] = value
    file.write_text(json.dumps(body))


def rewrite_predictions(folder: pathlib.Path, **arrays: np.ndarray) -> None:
    """Other predictions, with the checksum in the record made to fit them."""
    old = dict(np.load(folder / "predictions.npz"))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**old, **arrays})
    (folder / "predictions.npz").write_bytes(buffer.getvalue())
    change(folder / "record.json", "predictions", "sha256", value=hashlib.sha256(buffer.getvalue()).hexdigest())


def files(root: pathlib.Path) -> dict[str, bytes]:
    return {str(each.relative_to(root)): each.read_bytes() for each in sorted(root.rglob("*")) if each.is_file()}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "board"


def test_runs_become_one_re_scored_submission(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.80, 0.81, 0.82)), root=root, submitter="Ada")
    assert made["trusted"]
    assert made["board"] == "digits-lt-if-100"
    assert made["seeds"] == [0, 1, 2]
    assert made["accuracy"] == [592 / 740, 599 / 740, 607 / 740]
    assert verify(root) == []
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.badge == "re-scored-seeds"
        assert entry.value == pytest.approx(100 * made["mean_accuracy"])
        assert entry.sd == pytest.approx(100 * np.std(made["accuracy"], ddof=1))
        assert entry.low is not None
        assert entry.high is not None
        assert entry.low < entry.value < entry.high
        assert entry.many is not None
        assert entry.method == "CE"
        assert (entry.epochs, entry.augmentation, entry.track) == (60, "crop", "scratch")
        assert entry.submitter == "Ada"


@pytest.mark.parametrize(("seeds", "selection", "badge"), [
    (1, "last epoch", "re-scored"),
    (2, "last epoch", "re-scored"),
    (3, "last epoch", "re-scored-seeds"),
    (3, "best on validation", "re-scored"),
])  # fmt: skip
def test_the_badge_follows_from_the_evidence(
    tmp_path: pathlib.Path, root: pathlib.Path, seeds: int, selection: str, badge: str
) -> None:
    (made,) = submit(runs(tmp_path, (0.8,) * seeds, selection=selection), root=root)
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.badge == badge


def test_tampered_predictions_are_refused_at_every_step(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folder = run(tmp_path / "run", accuracy=0.8)
    old = dict(np.load(folder / "predictions.npz"))
    # The file alone: its checksum tells.
    content = (folder / "predictions.npz").read_bytes()
    (folder / "predictions.npz").write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match="SHA-256 differs"):
        submit([folder], root=root)
    # The checksum too: the claimed numbers tell, and both are shown.
    rewrite_predictions(folder, prediction=old["target"])
    with pytest.raises(InputError, match=r"claims accuracy 0\.8, its own predictions give 1\.0"):
        submit([folder], root=root)
    # The labels, so that more predictions look right: the known test set tells.
    rewrite_predictions(folder, prediction=old["prediction"], target=old["prediction"])
    with pytest.raises(InputError, match="not those of the test set"):
        submit([folder], root=root)
    assert not root.exists() or files(root) == {}


def test_consistent_records_of_false_labels_are_refused_by_the_known_test_set_alone(
    tmp_path: pathlib.Path, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Everything fits together, but the true classes are not those of the test set.
    folder = run(tmp_path / "run", target=digits().test.target.roll(1), accuracy=0.99)
    with pytest.raises(InputError, match="not those of the test set"):
        submit([folder], root=root)
    # A scorer without that check, which this test thereby shows to be what refuses, would take it in.
    monkeypatch.setattr("longtail.board.scorer.is_trusted", lambda *given: True)
    assert submit([folder], root=root)[0]["mean_accuracy"] > 0.98


def test_a_wrong_id_set_is_refused(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    index = digits().test.index.clone()
    index[3] = 1_000_000
    with pytest.raises(InputError, match="ids or true classes"):
        submit([run(tmp_path / "a", index=index)], root=root)
    few = slice(0, 700)
    with pytest.raises(InputError, match="700 predictions; the test set 'digits' has 740"):
        submit([run(tmp_path / "b", index=digits().test.index[few], target=digits().test.target[few])], root=root)


@pytest.mark.parametrize("field", ["accuracy", "balanced_accuracy", "many", "medium", "few", "macro_f1"])
def test_a_claim_that_disagrees_with_its_own_predictions_is_refused(
    tmp_path: pathlib.Path, root: pathlib.Path, field: str
) -> None:
    folder = run(tmp_path / "run")
    change(folder / "record.json", "report", field, value=0.999)
    with pytest.raises(InputError, match=rf"claims {field} 0\.999, its own predictions give 0\.\d"):
        submit([folder], root=root)


def test_training_counts_other_than_the_boards_are_refused(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    counts = digits().counts.clone()
    counts[9] = 60
    with pytest.raises(InputError, match="are not those of Digits-LT"):
        submit([run(tmp_path / "a", counts=counts, data={"fingerprint": "b" * 64})], root=root)
    # Fewer, as with a validation split held out, are allowed; groups are still the board's.
    counts = (digits().counts * 0.9).long().clamp(min=1)
    (made,) = submit([run(tmp_path / "b", counts=counts, data={"fingerprint": "c" * 64})], root=root)
    score = json.loads((root / "scores" / f"{made['id']}.json").read_text())
    assert score["runs"][0]["group_sizes"] == {"many": 3, "medium": 3, "few": 4}


def test_an_unknown_test_set_gets_no_badge_and_no_rank(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    target = torch.arange(200) % 5
    folder = run(
        tmp_path / "run", index=torch.arange(200), target=target, counts=torch.tensor([90, 40, 12, 6, 3]),
        data={"name": "folder:birds", "fingerprint": "d" * 64},
    )  # fmt: skip
    (made,) = submit([folder], root=root)
    assert not made["trusted"]
    assert made["board"] is None
    assert verify(root) == []
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.badge is None
        assert entry.rank is None


def test_a_tampered_score_is_found(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8, 0.81)), root=root)
    file = root / "scores" / f"{made['id']}.json"
    honest = file.read_bytes()
    change(file, "runs", 0, "accuracy", value=0.99)
    (finding,) = verify(root)
    assert "seed 0: accuracy is 0.99, re-scored 0.8" in finding
    # It is not shown either: the index scores again, and a site is not built.
    with build_index(root) as index:
        assert index.entry(made["id"]) is None
        said = f"submission {made['id']}: left out, scores/{file.name} is not what scoring it gives"
        assert index.warnings == [said]
    with pytest.raises(InputError, match=r"re-scored 0\.8"):
        build(tmp_path / "site", root=root)
    assert not (tmp_path / "site").exists()
    file.write_bytes(honest)
    assert verify(root) == []
    change(file, "trusted", value=False)
    assert len(verify(root)) == 1
    file.unlink()
    assert verify(root) == [f"scores/{made['id']}.json is missing"]
    file.write_bytes(honest)
    (root / "scores" / "invented-0123456789ab.json").write_bytes(honest)
    assert verify(root) == ["scores/invented-0123456789ab.json: there is no such submission"]


def test_a_score_of_another_processor_stands(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8, 0.81)), root=root)
    file = root / "scores" / f"{made['id']}.json"
    mean = json.loads(file.read_bytes())["runs"][0]["geometric_mean"]
    change(file, "runs", 0, "geometric_mean", value=float(np.nextafter(mean, 1)))  # its logarithms round differently
    assert verify(root) == []
    with build_index(root) as index:
        assert index.entry(made["id"]) is not None
        assert index.warnings == []
    change(file, "runs", 0, "worst_decile", value=0.99)
    (finding,) = verify(root)
    assert "worst_decile is 0.99" in finding  # and not the mean, which is rounded otherwise and stands before it
    change(file, "runs", 0, "geometric_mean", value=mean + 1e-6)
    (finding,) = verify(root)
    assert "geometric_mean" in finding


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (("records", 0, "seed"), 7),
        (("records", 0, "recipe"), "my-method"),
        (("records", 0, "report", "accuracy"), 0.9),
        (("records", 0, "predictions", "sha256"), "0" * 64),
        (("submitter",), "Somebody else"),
        (("records", 0, "selection"), "best on test"),
        (("records", 0, "config", "stages"), []),
    ],
)
def test_a_tampered_submission_is_found(
    tmp_path: pathlib.Path, root: pathlib.Path, steps: tuple[Any, ...], value: Any
) -> None:
    (made,) = submit(runs(tmp_path, (0.8, 0.81)), root=root, submitter="Ada")
    change(root / "submissions" / made["id"] / "submission.json", *steps, value=value)
    assert len(verify(root)) >= 1


def test_tampered_predictions_in_place_are_found(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8, 0.81)), root=root)
    folder = root / "submissions" / made["id"]
    other = dict(np.load(folder / "predictions-seed-0.npz"))
    np.savez_compressed(folder / "predictions-seed-0.npz", **{**other, "prediction": other["target"]})
    (finding,) = verify(root)
    assert "SHA-256 differs" in finding


def test_two_submissions_at_once_lose_nothing(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders = [run(tmp_path / f"m{i}", recipe=f"method-{i}", stream=i) for i in range(8)]
    same = run(tmp_path / "same", recipe="same", stream=99)

    def send(folder: pathlib.Path) -> str:
        try:
            return str(submit([folder], root=root)[0]["id"])
        except InputError as error:
            assert "submitted already" in str(error)  # noqa: PT017
            return "refused"

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, [*folders, *[same] * 6]))
    # Whoever comes second is told, or finds it done; it is there once.
    assert len(set(answers[8:]) - {"refused"}) == 1
    names = {each.name for each in (root / "submissions").iterdir()}
    assert names == set(answers) - {"refused"}
    assert len(names) == 9
    assert verify(root) == []


def test_a_folder_of_runs_may_be_given_again_with_more_in_it(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folder = tmp_path / "runs"
    runs(folder / "ce", (0.8, 0.81))
    (first,) = submit([folder], root=root)
    assert not first["already"]
    runs(folder / "other", (0.7,), recipe="other", stream=4)
    made = {each["method"]: each for each in submit([folder, folder / "ce"], root=root)}
    assert made["CE"]["already"]
    assert made["CE"]["id"] == first["id"]
    assert not made["other"]["already"]
    assert len(list((root / "submissions").iterdir())) == 2
    assert verify(root) == []


def test_a_probe_stands_on_a_board_of_its_own(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    stages = [
        {"type": "Stage", "epochs": 4, "trains": "backbone"},
        {"type": "Stage", "epochs": 3, "trains": "classifier"},
    ]
    (made,) = submit(runs(tmp_path / "a", (0.7,), recipe="bns-probe", config={"stages": stages}), root=root)
    # The stages say so, not the name.
    (named,) = submit(runs(tmp_path / "b", (0.71,), recipe="my-probe", stream=3), root=root)
    (crt,) = submit(
        runs(tmp_path / "c", (0.72,), recipe="crt", config={"stages": [{"trains": "all"}, stages[1]]}, stream=4),
        root=root,
    )
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.board == "digits-lt-if-100--linear-probe"
        assert entry.method_id == "bns"
        assert {index.entry(each["id"]).board for each in (named, crt)} == {"digits-lt-if-100"}  # type: ignore[union-attr]


def test_one_bad_run_among_good_ones_writes_nothing(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    bad = run(tmp_path / "bad", recipe="bad")
    change(bad / "record.json", "report", "accuracy", value=0.9)
    with pytest.raises(InputError):
        submit([run(tmp_path / "good", recipe="good"), bad], root=root)
    assert not (root / "submissions").exists()


def test_a_second_run_of_a_seed_is_an_entry_of_its_own(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    seeds = runs(tmp_path / "z", (0.8, 0.81))
    again = run(tmp_path / "a", seed=1, stream=5)
    # The earlier runs stay together, wherever the folders lie.
    change(again / "record.json", "started", value="2031-01-01T00:00:00+00:00")
    (first, second) = submit([tmp_path], root=root)
    assert (first["seeds"], second["seeds"]) == ([0, 1], [1])
    assert first["accuracy"] == [read(each).record.report["accuracy"] for each in seeds]
    assert second["accuracy"] == [read(again).record.report["accuracy"]]
    assert verify(root) == []
    with build_index(root) as index:
        for made in (first, second):
            entry = index.entry(made["id"])
            assert entry is not None
            assert "another run of seed 1 is an entry of its own" in entry.marks
    # A superseded entry says nothing of it: its runs stand in the one that took its place.
    (more,) = submit([again, run(tmp_path / "b", seed=0, stream=6)], root=root)
    assert more["seeds"] == [0, 1]
    both = "other runs of seeds 0, 1 are entries of their own"
    with build_index(root) as index:
        entries = [index.entry(made["id"]) for made in (first, second, more)]
        assert [both in entry.marks for entry in entries if entry is not None] == [True, False, True]
        assert not any("another run" in mark for mark in entries[1].marks)  # type: ignore[union-attr]


def on_machine(folder: pathlib.Path, processor: str, minute: int, *, seed: int, stream: int) -> pathlib.Path:
    made = run(folder, seed=seed, stream=stream)
    change(made / "record.json", "hardware", "processor", value=processor)
    change(made / "record.json", "started", value=f"2031-01-01T00:{minute:02}:00+00:00")
    return made


def machines_of(paths: list[pathlib.Path]) -> list[list[tuple[str, int]]]:
    return [
        [(record["hardware"]["processor"], record["seed"]) for record in body["records"]] for body, _ in body_of(paths)
    ]


def test_an_entry_holds_the_runs_of_one_machine_where_two_have_the_same_seeds(tmp_path: pathlib.Path) -> None:
    """However their runs came one after the other; the second machine began with another seed than the first."""
    order = [("one", 0), ("other", 1), ("one", 1), ("other", 0), ("one", 2)]
    paths = [
        on_machine(tmp_path / str(minute), name, minute, seed=seed, stream={"one": 1, "other": 2}[name])
        for minute, (name, seed) in enumerate(order)
    ]
    expected = [[("one", 0), ("one", 1), ("one", 2)], [("other", 0), ("other", 1)]]
    assert machines_of(paths) == machines_of(paths[::-1]) == expected


def test_machines_that_share_the_seeds_make_one_entry(tmp_path: pathlib.Path) -> None:
    paths = [
        on_machine(tmp_path / str(seed), f"machine {seed}", 9 - seed, seed=seed, stream=seed + 1) for seed in range(3)
    ]
    assert machines_of(paths) == [[("machine 0", 0), ("machine 1", 1), ("machine 2", 2)]]
    # One more run of a seed on one of them stands alone, and does not part the others.
    again = on_machine(tmp_path / "again", "machine 1", 30, seed=1, stream=7)
    assert [len(entry) for entry in machines_of([*paths, again])] == [3, 1]


def test_runs_have_a_note_and_an_address_of_their_code(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders, code = runs(tmp_path, (0.8, 0.81)), "https://example.org/code"
    (made,) = submit(folders, root=root, note="On one <thread>.", code=code)
    body = json.loads((pathlib.Path(made["path"]) / "submission.json").read_text())
    assert (body["note"], body["code"]) == ("On one <thread>.", code)
    with build_index(root) as index:
        _, page = render(index, f"submissions/{made['id']}.html")
    assert "On one &lt;thread&gt;." in page
    assert code in page
    (again,) = submit(folders, root=root, note="Otherwise.", code=code)
    assert again["already"]
    assert again["differs from what is there in"] == ["note"]
    with pytest.raises(InputError, match="is a submission with a note of its own: leave note out"):
        submit([pathlib.Path(made["path"])], root=root, note="Otherwise.")


def test_one_submission_holds_each_seed_once(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    first = run(tmp_path / "a", seed=0)
    again = run(tmp_path / "b", seed=0, stream=5)
    bodies = body_of([first, again])
    both = {**bodies[0][0], "records": [each["records"][0] for each, _ in bodies]}
    with pytest.raises(InputError, match="same seed"):
        check(both, bodies[0][1], "submission", load(root, []))


def test_runs_that_are_no_seeds_of_one_method(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    first = run(tmp_path / "a", seed=0)
    copied = tmp_path / "copied"
    shutil.copytree(first, copied)
    (once,) = submit([first, copied], root=root)
    assert once["seeds"] == [0]
    change(copied / "record.json", "seed", value=1)
    with pytest.raises(InputError, match=r"seeds 0 and 1 have the very same predictions.* give one of them"):
        submit([first, copied], root=root)
    with pytest.raises(InputError, match=r"no record\.json"):
        submit([tmp_path / "nowhere"], root=root)
    with pytest.raises(InputError, match="nothing to submit"):
        submit([], root=root)


def test_the_same_predictions_in_another_order_are_one_run(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    first, again = run(tmp_path / "a", seed=0), run(tmp_path / "b", seed=1)
    held = dict(np.load(first / "predictions.npz"))
    turned = np.random.default_rng(0).permutation(len(held["index"]))
    rewrite_predictions(again, **{name: values[turned] for name, values in held.items()})
    change(again / "record.json", "report", value=json.loads((first / "record.json").read_text())["report"])
    with pytest.raises(InputError, match=r"seeds 0 and 1 have the very same predictions.* give one of them"):
        submit([first, again], root=root)
    held["prediction"][0] = (held["prediction"][0] + 1) % 10
    named = []
    for seed in (0, 1):
        order = turned if seed else np.arange(len(turned))
        file = tmp_path / f"predictions-{seed}.npz"
        np.savez_compressed(file, **{name: values[order] for name, values in held.items()})
        named.append(file)
    statement = {"method": "NCM", "data": "digits-lt", "imbalance": 100, "selection": "last epoch"}
    with pytest.raises(InputError, match="seeds 0 and 1 have the very same predictions"):
        submit_predictions(named, root=root, statement=statement)


def test_more_seeds_supersede_fewer(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders = runs(tmp_path, (0.8, 0.81, 0.82))
    (first,) = submit(folders[:1], root=root)
    (second,) = submit(folders, root=root)
    assert verify(root) == []
    with build_index(root) as index:
        old, new = index.entry(first["id"]), index.entry(second["id"])
        assert old is not None
        assert new is not None
        assert (old.superseded_by, old.rank) == (second["id"], None)
        assert new.rank == 1


@pytest.mark.parametrize("order", [("a", "ab", "abc"), ("ab", "bc", "abc"), ("abc", "a", "ab"), ("ab", "abc", "a")])
def test_of_all_that_share_runs_the_largest_stands(
    tmp_path: pathlib.Path, root: pathlib.Path, order: tuple[str, ...]
) -> None:
    folders = dict(zip("abc", runs(tmp_path, (0.8, 0.81, 0.82)), strict=True))
    made = {names: submit([folders[name] for name in names], root=root)[0]["id"] for names in order}
    assert verify(root) == []
    with build_index(root) as index:
        found = {names: index.entry(name) for names, name in made.items()}
    for names, entry in found.items():
        assert entry is not None
        # "a" was superseded by the word of "ab" where that came first.
        after = {made["abc"], made.get("ab")} if names == "a" else {made["abc"]}
        assert entry.superseded_by is None if names == "abc" else entry.superseded_by in after
        assert entry.rank == (1 if names == "abc" else None)
        assert not any("also in" in mark for mark in entry.marks)


def test_runs_that_two_people_send_are_marked(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders = runs(tmp_path / "a", (0.8, 0.81, 0.82))
    (hers,) = submit(folders, root=root, submitter="Ada")
    (his,) = submit(folders[:2], root=root, submitter="Bob")
    (other,) = submit(runs(tmp_path / "b", (0.8,), recipe="focal"), root=root, submitter="Bob")  # the same answers
    with build_index(root) as index:
        marks = {name: index.entry(name).marks for name in (hers["id"], his["id"], other["id"])}  # type: ignore[union-attr]
    assert f"2 runs of it are also in {his['id']}" in marks[hers["id"]]
    assert f"2 runs of it are also in {hers['id']}" in marks[his["id"]]
    assert not any("also in" in mark for mark in marks[other["id"]])


def test_a_submission_can_be_withdrawn(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders = runs(tmp_path, (0.8, 0.81, 0.82))
    (part,) = submit(folders[:1], root=root)
    (made,) = submit(folders, root=root)
    (root / "claims").mkdir()
    (root / "claims" / "gone.toml").write_text(
        f'[[withdraw]]\nid = "{made["id"]}"\nreason = "trained on test"\nby = "its author"\n'
    )
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert (entry.withdrawn, entry.rank) == ("trained on test, its author", None)
        page = render(index, f"submissions/{made['id']}.html")
        assert page is not None
        assert "Withdrawn: trained on test, its author" in page[1]
        # The one that it superseded by its own word stays superseded.
        before = index.entry(part["id"])
        assert before is not None
        assert before.superseded_by == made["id"]
        assert index.warnings == []


def test_nothing_is_taken_if_one_of_several_cannot_be(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    waiting = []
    for name, stream in (("one", 0), ("two", 5)):
        (made,) = submit(runs(tmp_path / name, (0.8,), stream=stream), root=tmp_path / name / "board")
        waiting.append(tmp_path / name / "board" / "submissions" / made["id"])
    change(waiting[1] / "submission.json", "supersedes", value="no-such-entry")
    with pytest.raises(InputError, match="cannot supersede 'no-such-entry', which is not on this board"):
        submit(waiting, root=root)
    assert not (root / "submissions").exists()
    change(waiting[1] / "submission.json", "supersedes", value="../../one")
    with pytest.raises(InputError, match="which is not on this board"):
        submit(waiting, root=root)


def test_a_submission_without_a_score_is_named(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8,)), root=root)
    (root / "scores" / f"{made['id']}.json").unlink()
    with build_index(root) as index:
        assert index.entry(made["id"]) is None
        assert index.warnings == [f"submission {made['id']}: left out, it has no score; board verify tells why"]


def test_a_waiting_submission_is_taken_from_the_queue(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8,)), root=tmp_path / "elsewhere")
    waiting = root / "queue" / made["id"]
    shutil.copytree(tmp_path / "elsewhere" / "submissions" / made["id"], waiting)
    with build_index(root) as index:
        assert index.entry(made["id"]) is None
    (taken,) = submit([waiting], root=root)
    assert taken["id"] == made["id"]
    assert not waiting.exists()
    assert verify(root) == []


def test_links_in_a_submission_are_not_followed(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8,)), root=root)
    folder = root / "submissions" / made["id"]
    secret = tmp_path / "secret.npz"
    (folder / "predictions-seed-0.npz").rename(secret)
    (folder / "predictions-seed-0.npz").symlink_to(secret)
    with pytest.raises(InputError, match="is no file"):
        read_submission(folder, load(root))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("schema", SCHEMA + 1, "schema"),
        ("more", 1, "unknown field"),
        ("submitter", 3, "'submitter' must be a text"),
        ("submitter", "x" * 121, "at most 120"),
        ("code", "javascript:alert(1)", "http or https"),
        ("created", "yesterday", "ISO 8601"),
        ("records", [], "one record for each seed"),
        ("records", [{}], "schema"),
        ("records", "x", "must be a list"),
    ],
)
def test_a_submission_of_another_shape_is_refused(
    tmp_path: pathlib.Path, root: pathlib.Path, name: str, value: Any, message: str
) -> None:
    (made,) = submit(runs(tmp_path, (0.8,)), root=root)
    folder = root / "submissions" / made["id"]
    change(folder / "submission.json", name, value=value)
    with pytest.raises(InputError, match=message):
        read_submission(folder, load(root))


CLAIM = {
    "id": "ce-digits", "method": "CE", "method_id": "ce", "dataset": "digits-lt-if-100", "metric": "Accuracy",
    "value": "81.0", "quote": "81.0", "source": "A made-up paper", "locator": "Table 1", "track": "scratch",
    "backbone": "small", "epochs": 60, "augmentation": "crop", "selection": "last epoch",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({}, "agrees", "gap"),
        ({"value": "90.0", "quote": "90.0"}, "below", "gap"),
        ({"value": "70.0", "quote": "70.0"}, "above", "gap"),
        ({"backbone": "ResNet-18"}, "not comparable", "backbone: ResNet-18 against small"),
        ({"epochs": 200}, "not comparable", "epochs: 200 against 60"),
        ({"selection": "best on test"}, "not comparable", "selection: best on test against last epoch"),
        ({"backbone": None}, "not comparable", "does not state: backbone"),
        ({"selection": None}, "agrees", "gap"),
    ],
)
def test_published_against_measured(
    tmp_path: pathlib.Path, root: pathlib.Path, changes: dict[str, Any], word: str, reason: str
) -> None:
    given = {name: value for name, value in {**CLAIM, **changes}.items() if value is not None}
    add_claims(root, "claims", [given])
    submit(runs(tmp_path, (0.808, 0.81, 0.812)), root=root)
    with build_index(root) as index:
        ((claim, measured, verdict, unstated),) = published_against_measured(index.entries("digits-lt-if-100"))
    assert claim.id == "ce-digits"
    assert measured.n == 3
    assert verdict.word == word
    assert reason in verdict.reason
    assert unstated == [name for name in changes if changes[name] is None]


def test_two_seeds_decide_nothing(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    add_claims(root, "claims", [CLAIM])
    submit(runs(tmp_path, (0.805, 0.81)), root=root)
    with build_index(root) as index:
        ((_, _, verdict, _),) = published_against_measured(index.entries("digits-lt-if-100"))
    assert verdict.word == "undecided"


def test_a_second_submitter_makes_it_independent(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (first,) = submit(runs(tmp_path / "a", (0.808, 0.81, 0.812)), root=root, submitter="Ada")
    (second,) = submit(runs(tmp_path / "b", (0.811, 0.812, 0.809), stream=7), root=root, submitter="Grace")
    (third,) = submit(runs(tmp_path / "c", (0.6, 0.61, 0.62), stream=9), root=root, submitter="ada ")
    with build_index(root) as index:
        badges = {entry.id: entry.badge for entry in index.entries("digits-lt-if-100")}
    assert badges[first["id"]] == badges[second["id"]] == "independent"
    # Her own second try is nobody else's, and it does not agree.
    assert badges[third["id"]] == "re-scored-seeds"


@pytest.mark.parametrize("missing", ["backbone", "epochs", "track"])
def test_what_states_no_protocol_is_not_found_again(tmp_path: pathlib.Path, root: pathlib.Path, missing: str) -> None:
    stated = {"method": "CE", "data": "digits-lt", "imbalance": 100, "selection": "last epoch", "track": "scratch",
              "epochs": 60, "backbone": "small"}  # fmt: skip
    for name, statement in (("Ada", stated), ("Grace", {**stated, missing: None})):
        folders = runs(tmp_path / name, (0.808, 0.81, 0.812), stream=len(name))
        files = [folder / "predictions.npz" for folder in folders]
        submit_predictions(files, root=root, statement=statement, submitter=name)
    with build_index(root) as index:
        badges = [entry.badge for entry in index.entries("digits-lt-if-100") if entry.kind == "scored"]
    assert badges == ["re-scored-seeds"] * 2


@pytest.mark.parametrize("copied", [3, 1])
def test_copies_of_runs_are_not_found_again(tmp_path: pathlib.Path, root: pathlib.Path, copied: int) -> None:
    """Neither the same files, nor some of them under other seeds beside runs of one's own."""
    own = runs(tmp_path / "a", (0.808, 0.81, 0.812, 0.809, 0.811))
    submit(own, root=root, submitter="Ada")
    taken = own[:copied]
    for seed, folder in enumerate(taken, 7):
        change(folder / "record.json", "seed", value=seed)
    more = runs(tmp_path / "b", (0.811, 0.812, 0.809)[copied:], stream=7)
    submit([*taken, *more], root=root, submitter="Grace")
    with build_index(root) as index:
        badges = [entry.badge for entry in index.entries("digits-lt-if-100") if entry.kind == "scored"]
    assert badges == ["re-scored-seeds"] * 2


def test_a_variants_run_belongs_to_its_method_and_paper(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    add_claims(root, "claims", [{**CLAIM, "id": "dro-digits", "method": "DRO-LT", "method_id": "dro-lt"}])
    (made,) = submit(runs(tmp_path / "a", (0.8, 0.81, 0.82), recipe="dro-lt@robust=0,steps=30"), root=root)
    (own,) = submit(runs(tmp_path / "b", (0.7,), recipe="lab/mine.py:vs_loss@gamma=0.3", stream=5), root=root)
    with build_index(root) as index:
        entry, other = index.entry(made["id"]), index.entry(own["id"])
        assert entry is not None
        assert other is not None
        assert (entry.method, entry.method_id, entry.paper) == ("DRO-LT", "dro-lt", "dro-lt")
        assert entry.options == ("robust 0", "steps 30")
        assert (other.method, other.options, other.method_id) == ("vs_loss", ("gamma 0.3",), None)
        # A control of a method is not its reproduction.
        ((_, _, verdict, _),) = published_against_measured(index.entries("digits-lt-if-100"))
        assert verdict.word == "not comparable"
        assert verdict.reason == "options: as published against robust 0, steps 30"
        for path in ("papers/dro-lt.html", "methods/dro-lt.html"):
            page = render(index, path)
            assert page is not None
            assert f"submissions/{made['id']}.html" in page[1]
            assert "robust 0, steps 30" in page[1]


def test_zero_is_a_value(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    known = digits()
    few = known.counts < 5
    right = ~few[known.test.target]
    target = known.test.target
    from oracles.runs import made_up_predictions

    prediction = made_up_predictions(target, right, 10)
    (made,) = submit([run(tmp_path / "run", prediction=prediction)], root=root)
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert entry.few == 0.0
        for path in ("boards/digits-lt-if-100.csv", "boards/digits-lt-if-100.json", "boards/digits-lt-if-100.html"):
            page = render(index, path)
            assert page is not None
            assert "0.0" in page[1]
        assert json.loads(render(index, "boards/digits-lt-if-100.json")[1])["rows"][0]["few"] == 0.0  # type: ignore[index]


def test_the_board_and_compare_agree(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    arms = {"ce": runs(tmp_path / "ce", (0.80, 0.81, 0.82)), "balanced-softmax": runs(
        tmp_path / "bs", (0.86, 0.85, 0.86), recipe="balanced-softmax", stream=3)}  # fmt: skip
    compared = compare_records({name: [read(folder) for folder in folders] for name, folders in arms.items()})
    for folders in arms.values():
        submit(folders, root=root)
    with build_index(root) as index:
        entries = {entry.method_id: entry for entry in index.entries("digits-lt-if-100")}
        page = render(index, "compare/balanced-softmax--ce.html")
    for method in compared.methods:
        estimate, entry = method.estimates["accuracy"], entries[method.name]
        assert estimate is not None
        assert (entry.low, entry.high) == pytest.approx((100 * estimate.low, 100 * estimate.high))  # type: ignore[operator]
    difference = compared.methods[1].difference
    assert difference is not None
    told = difference.verdict in ("better", "worse")
    assert (len({entry.rank for entry in entries.values()}) == 2) == told
    assert page is not None
    assert difference.verdict in page[1]


def test_a_submission_supersedes_its_own_submitters_only(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folders = runs(tmp_path, (0.8, 0.81, 0.82))
    (first,) = submit(folders[:1], root=root, submitter="Ada")
    (second,) = submit(folders, root=root, submitter="Mallory")
    with build_index(root) as index:
        old = index.entry(first["id"])
        assert old is not None
        assert old.superseded_by is None
    # Nor by saying so.
    (made,) = submit(
        [run(tmp_path / "other", recipe="other", stream=8)], root=tmp_path / "elsewhere", submitter="Mallory"
    )
    waiting = root / "queue" / made["id"]
    shutil.copytree(tmp_path / "elsewhere" / "submissions" / made["id"], waiting)
    change(waiting / "submission.json", "supersedes", value=first["id"])
    with pytest.raises(InputError, match="which is somebody else's"):
        submit([waiting], root=root)
    change(waiting / "submission.json", "supersedes", value="nothing")
    with pytest.raises(InputError, match="which is not on this board"):
        submit([waiting], root=root)
    assert second["id"] in {each.name for each in (root / "submissions").iterdir()}


def test_all_problems_come_in_one_answer(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path, (0.8, 0.81)), root=root)
    file = root / "submissions" / made["id"] / "submission.json"
    for steps, value in ((("submitter",), 3), (("code",), "ftp://x"), (("created",), "now"), (("more",), 1),
                         (("records", 0, "selection"), "best on test"), (("records", 1, "seed"), "x")):  # fmt: skip
        change(file, *steps, value=value)
    with pytest.raises(InputError) as refusal:
        read_submission(file.parent, load(root))
    text = str(refusal.value)
    assert "\n" not in text
    for part in ("'more'", "'submitter'", "'code'", "'created'", "selection", "seed"):
        assert part in text


@pytest.mark.usefixtures("one_page")
def test_a_crash_between_the_two_writes_is_repaired_by_the_next_command(
    tmp_path: pathlib.Path, root: pathlib.Path
) -> None:
    (made,) = submit(runs(tmp_path / "a", (0.8,)), root=root)
    score = root / "scores" / f"{made['id']}.json"
    honest = score.read_bytes()
    score.unlink()
    assert verify(root) == [f"scores/{made['id']}.json is missing"]
    submit(runs(tmp_path / "b", (0.7,), recipe="other", stream=2), root=root)
    assert score.read_bytes() == honest
    score.unlink()
    build(tmp_path / "site", root=root)
    assert verify(root) == []


def test_one_hash_holds_the_whole_board(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path / "a", (0.8,)), root=root)
    published = fingerprint(root)
    assert verify(root, published) == []
    # A forgery that fits together in itself, as only the folder's own owner can make it.
    shutil.rmtree(root / "submissions" / made["id"])
    (root / "scores" / f"{made['id']}.json").unlink()
    submit(runs(tmp_path / "b", (0.99,)), root=root)
    assert verify(root) == []
    assert "expected was" in verify(root, published)[0]


def outsider(folder: pathlib.Path, accuracy: float, seed: int = 0, kind: str = "npz") -> pathlib.Path:
    """Predictions without a record, in the order of the test set or with an index."""
    made = dict(np.load(run(folder / f"run-{seed}", accuracy=accuracy, seed=seed) / "predictions.npz"))
    file = folder / f"mine-{seed}.{kind}"
    if kind == "npz":
        np.savez(file, **made)
    else:
        rows = zip(*(made[name] for name in ("index", "target", "prediction")), strict=True)
        file.write_text("index,target,prediction\n" + "".join(f"{i},{t},{p}\n" for i, t, p in rows))
    return file


STATED = {"method": "Nearest neighbours", "data": "digits-lt", "imbalance": 100, "selection": "last epoch"}


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_predictions_of_any_framework(tmp_path: pathlib.Path, root: pathlib.Path, kind: str) -> None:
    given = [outsider(tmp_path, accuracy, seed, kind) for seed, accuracy in enumerate((0.8, 0.81, 0.82))]
    made = submit_predictions(given, root=root, statement={**STATED, "framework": "scikit-learn"}, submitter="Ada")
    assert made["trusted"]
    assert made["board"] == "digits-lt-if-100"
    assert made["accuracy"] == [592 / 740, 599 / 740, 607 / 740]
    assert verify(root) == []
    again = submit_predictions(given, root=root, statement={**STATED, "framework": "scikit-learn"}, submitter="Ada")
    assert again["already"]
    with build_index(root) as index:
        entry = index.entry(made["id"])
        assert entry is not None
        assert (entry.badge, entry.rank, entry.track) == ("re-scored-seeds", 1, "unstated")
        assert entry.low is not None
        assert entry.few is not None
        page = render(index, f"submissions/{made['id']}.html")
        assert page is not None
        assert "scikit-learn" in page[1]


def test_a_statements_problems_come_in_one_answer(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    bad = {"method": "", "data": "digit-lt", "selection": "best", "epochs": 1.5, "trak": "scratch", "track": "nothing"}
    with pytest.raises(InputError) as refusal:
        submit_predictions([outsider(tmp_path, 0.8)], root=root, statement=bad)
    text = str(refusal.value)
    for part in ("'method'", "did you mean 'digits-lt'", "'best'", "'epochs'", "did you mean 'track'", "unknown track"):
        assert part in text
    assert not (root / "submissions").exists()
    with pytest.raises(InputError, match="the imbalance of 'digits-lt' is not stated; known are 100, 50, 20, 10"):
        submit_predictions([outsider(tmp_path / "b", 0.8)], root=root, statement={**STATED, "imbalance": None})
    with pytest.raises(InputError, match="'digits-lt-if-100' has an imbalance of 100, not 50"):
        submit_predictions(
            [outsider(tmp_path / "d", 0.8)],
            root=root,
            statement={**STATED, "data": "digits-lt-if-100", "imbalance": 50},
        )
    with pytest.raises(InputError, match="'selection' is missing: which epoch counts"):
        submit_predictions([outsider(tmp_path / "c", 0.8)], root=root, statement={"method": "x", "data": "digits-lt"})


def test_the_template_is_a_statement_that_passes() -> None:
    kept, variant, problems = check_statement(template(), load(None))
    assert problems == []
    assert variant is not None
    assert set(kept) == set(json_schema()["properties"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target,prediction\n0,1\n", "1 predictions; the test set"),
        ("target,prediction\n0,x\n", "no table of whole numbers"),
        ("target,guess\n0,1\n", "column 'guess'"),
        ("target\n0\n", "'prediction' is missing"),
        ("", "is missing"),
    ],
)
def test_tables_that_are_no_predictions(tmp_path: pathlib.Path, root: pathlib.Path, text: str, message: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        submit_predictions([file], root=root, statement=STATED)


def test_too_many_classes_are_refused_before_they_cost_memory(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    folder = run(tmp_path / "run", data={"name": "folder:x", "fingerprint": "d" * 64})
    body = json.loads((folder / "record.json").read_text())
    body["data"] |= {"counts": [1] * 60_000, "class_names": ["x"] * 60_000, "num_train": 60_000}
    body["report"]["per_class"] = [None] * 60_000
    (folder / "record.json").write_text(json.dumps(body))
    with pytest.raises(InputError, match="60000 classes; at most 2,000 are taken"):
        submit([folder], root=root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "schema": 1}', "twice"),
        ('{"a": {"b": 1, "b": 2}}', "twice"),
        ("[" * 100_000, "JSON"),
        ('{"a": NaN}', "no number"),
        ('{"a": ' + "9" * 5000 + "}", "JSON"),
        ('{"a": "\\ud800"', "JSON"),
    ],
)
def test_json_of_a_stranger_that_means_two_things_is_refused(text: str, message: str) -> None:
    from longtail.board.submissions import parse_json

    with pytest.raises(InputError, match=message):
        parse_json(text.encode(), "upload")
    assert parse_json(b'{"a": {"b": 1}, "b": 2}', "upload") == {"a": {"b": 1}, "b": 2}


def test_an_older_record_is_marked_wherever_it_is_shown(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    submit(runs(tmp_path / "runs", (0.8,)), root=root)
    with build_index(root, numerics=9) as index:
        (entry,) = [each for each in index.entries("digits-lt-if-100") if each.kind == "scored"]
        (mark,) = [each for each in entry.marks if each.startswith("numerics")]
        assert mark.endswith("(now 9)")
        page = render(index, "boards/digits-lt-if-100.html")
    assert page is not None
    assert mark in page[1]
    with build_index(root, numerics=None) as index:
        current = next(each for each in index.entries("digits-lt-if-100") if each.kind == "scored")
    assert not any("now 9" in each for each in current.marks)


def test_the_plan_of_runs_is_shown_and_what_of_it_is_missing(tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    cited = {
        "name": "a-plan",
        "sha256": "5" * 64,
        "arm": "ce",
        "question": "Which <b>helps</b>?",
        "arms": ["ce", "focal"],
        "seeds": [0, 1, 2],
    }
    planned, stray = runs(tmp_path / "planned", (0.8, 0.81)), run(tmp_path / "stray", accuracy=0.7)
    for folder in planned:
        change(folder / "record.json", "plan", value=cited)
    (made,) = submit(planned, root=root)
    (other,) = submit([stray], root=root)
    departed = run(tmp_path / "departed", recipe="focal", accuracy=0.6, stream=5)  # its seed is not in the plan
    change(departed / "record.json", "plan", value={**cited, "arm": "focal", "seeds": [7, 8]})
    submit([departed], root=root)
    twice = runs(tmp_path / "twice", (0.5, 0.51))
    for number, folder in enumerate(twice):  # three seeds of one plan were announced, later two more by another
        more = {**cited, "name": "more", "sha256": "6" * 64, "seeds": [1, 3]} if number else cited
        change(folder / "record.json", "plan", value=more)
    (both,) = submit(twice, root=root)
    change(stray / "record.json", "plan", value=cited)
    (again,) = submit([stray], root=root)  # what is there stays as it was, and that is said
    assert again["already"]
    assert again["differs from what is there in"] == ["records: plan"]
    assert submit(planned, root=root)[0]["differs from what is there in"] == []
    change(stray / "record.json", "plan", value={})
    with build_index(root) as index:
        entry, unplanned, of_two = index.entry(made["id"]), index.entry(other["id"]), index.entry(both["id"])
        page_of_two = render(index, f"submissions/{both['id']}.html")
        page, page_of_stray, board = (
            render(index, path)
            for path in (
                f"submissions/{made['id']}.html",
                f"submissions/{other['id']}.html",
                "boards/digits-lt-if-100.html",
            )
        )
    assert entry is not None
    assert unplanned is not None
    assert entry.marks[0] == "2 of 3 planned seeds"
    assert unplanned.marks[0] == "unplanned"
    assert page is not None
    assert "Which &lt;b&gt;helps&lt;/b&gt;? Announced: 3 seeds of 2 arms; not on this board: focal." in page[1]
    assert of_two is not None
    assert of_two.marks[0] == "2 of 4 planned seeds"
    assert page_of_two is not None
    assert "<dd>a-plan, " in page_of_two[1]
    assert "<dd>more, " in page_of_two[1]
    assert "Announced: 2 seeds of 2 arms" in page_of_two[1]
    assert page_of_stray is not None
    assert "none announced these runs" in page_of_stray[1]
    assert board is not None
    assert "2 of 3 planned seeds" in board[1]
