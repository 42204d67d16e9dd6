"""The tables of README, docs and records are those of the records that they name (benchmarks/tables.py)."""

from __future__ import annotations

import json
import pathlib
import re
import types

import pytest

from programs import loaded

ROOT = pathlib.Path(__file__).parents[2]


def program() -> types.ModuleType:
    return loaded("benchmarks/tables.py")


@pytest.mark.slow
def test_every_table_of_a_page_is_as_its_records() -> None:
    tables = program()
    assert len(tables.pages()) >= 1
    for path in tables.pages():
        text = path.read_text()
        marks = re.findall(r"<!-- (?:table|claims|tally|published|relations|across|power|cost): ", text)
        assert len(marks) == len(list(tables.MARK.finditer(text))), f"{path}: a table without an end"
        assert tables.filled(text) == text, path


def test_the_table_of_the_readme_comes_from_its_records() -> None:
    tables, text = program(), (ROOT / "README.md").read_text()
    assert tables.filled(text) == text
    (place,) = re.findall(r"longtail report (records/\S+) --against ce", text)
    assert f"<!-- table: {place} against=ce -->" in text
    assert len(re.findall(r"(?m)^\| `[\w-]+` \| \d", text)) == 5


def test_a_number_that_is_not_of_the_records_is_found() -> None:
    tables = program()
    what = "records/cifar100-lt-if100-frozen/cosine against=ce"
    page = tables.filled(f"Before.\n\n<!-- table: {what} -->\n<!-- end of table -->\n\nAfter.\n")
    assert page.startswith("Before.")
    assert page.endswith("After.\n")
    assert "| `ce` | 37.6 ± 0.1 (5) [36.9, 38.4] | 67.0 | 33.9 | 7.8 |" in page
    assert (
        "| `logit-adjustment` | 47.4 ± 0.1 (5) [46.5, 48.3] | 58.3 | 50.5 | 30.9 | +9.7 [+8.7, +10.8] better |" in page
    )
    forged = page.replace("37.6", "39.6")
    assert tables.filled(forged) == page != forged


def test_what_a_set_took_is_the_sum_of_its_records_and_a_shared_stage_counts_once() -> None:
    folder = "records/cifar100-lt-if100-resnet32/plain"
    held = {path.parts[-3]: json.loads(path.read_text()) for path in (ROOT / folder).rglob("record.json")}
    (row,) = [line for line in program().cost(folder).splitlines() if folder in line]
    shared = sum(epoch["seconds"] for epoch in held["ce"]["history"])  # all but balanced softmax begin with it
    own = [record["seconds"] - shared for name, record in held.items() if name not in ("ce", "balanced-softmax")]
    seconds = [record["seconds"] for record in held.values()]
    hours = (held["ce"]["seconds"] + held["balanced-softmax"]["seconds"] + sum(own)) / 3600
    assert f"| {len(held)} | {hours:.2f} | | {2 * hours:.2f} | {min(seconds):.0f} to {max(seconds):.0f} | 2 |" in row
    assert 0 < sum(own) < 0.2 * held["ce"]["seconds"]


def test_a_stage_that_two_sets_share_counts_once_in_a_table() -> None:
    folder = "records/cifar100-lt-if100-resnet32/first-stage-again"
    first, second, total = program().cost(f"+x {folder} {folder}").splitlines()[2:]
    hours = [float(line.split("|")[3]) for line in (first, second, total)]
    assert hours[0] > 4
    assert hours[1] < 0.1
    assert hours[2] == pytest.approx(hours[0] + hours[1], abs=0.011)


def test_what_a_block_took_is_the_sum_of_its_sets_with_the_trials_of_tuned_rows() -> None:
    one, other = (f"records/{name}" for name in ("cifar100-lt-if100-frozen/cosine", "sections"))
    tables = program()
    lines = tables.cost(f"+x {one} {other} records/not/there").splitlines()
    total = next(line for line in lines if line.startswith("| **block x** |"))
    _, runs, hours, trials, work = (cell.strip() for cell in total.split("|")[1:6])
    tuned = [json.loads(path.read_text()) for path in (ROOT / other / "tuned@of=ce").rglob("record.json")]
    assert float(trials) == pytest.approx(sum(8 * held["seconds"] for held in tuned) / 3600, abs=0.005)
    assert float(work) == pytest.approx(float(hours) + float(trials), abs=0.011)
    assert int(runs) == sum(len(list((ROOT / each).rglob("record.json"))) for each in (one, other))
    assert "| `records/not/there` | not run yet |" in "\n".join(lines)
    held = tables.results.read(ROOT / next(iter((ROOT / other / "ce").glob("seed-*")))).record
    held.budget["trial_seconds"] = 7.0
    assert tables._trial_seconds(held) == 7.0


def test_more_seeds_show_smaller_differences_and_every_contrast_is_counted() -> None:
    folder = "records/cifar100-lt-if100-frozen/heads"
    (row,) = [line for line in program().power(f"{folder};ce records/none;ce").splitlines() if folder in line]
    cells = [cell.strip() for cell in row.split("|")[4:-1]]
    contrasts, three, five, ten, *reached = map(float, cells)
    methods = [path for path in (ROOT / folder).iterdir() if len(list(path.glob("seed-*"))) >= 3]
    assert contrasts == sum(reached) == len(methods) - 1  # of ncm and los fewer runs are kept
    assert three > five > ten > 0


def test_every_test_of_a_claim_is_counted_once() -> None:
    tables = program()
    (row,) = [line for line in tables.tally("dro-lt bns-ipdpp").splitlines() if line.startswith("| dro-lt |")]
    claims, tests, *verdicts = map(int, row.split("|")[2:-1])
    lines, counts = [], False
    for line in filter(str.strip, tables.claims("dro-lt").splitlines()[2:]):
        counts = counts if line.startswith("| |") else "([our question" not in line
        lines += [line] if counts else []
    assert claims == sum(not line.startswith("| |") for line in lines)
    assert len(lines) < len(tables.claims("dro-lt").splitlines()[2:])  # of learned against fixed radii no paper speaks
    assert tests == sum(verdicts) == len(lines)
    assert verdicts[2] == sum(line.split("|")[4].strip() == "below" for line in lines) > 0


def test_a_claim_has_the_verdict_of_its_records() -> None:
    tables = program()
    test = {"folder": "cifar100-lt-if100-frozen/cosine", "method": "crt", "against": "ce"}
    assert tables.tested(test) == ("+7.31 [+6.45, +8.18] better (5 seeds)", "agrees", "")
    turned = {**test, "method": "ce", "against": "crt", "measure": "few"}
    assert tables.tested(turned)[1:] == ("below", "")
    assert tables.tested({**test, "claimed": 7.3})[1:] == ("agrees", "halved: undecided")
    assert tables.tested({**test, "claimed": 12.0})[1] == "below"
    number = {"folder": test["folder"], "method": "crt", "value": 40.3}
    assert tables.tested(number) == ("45.0 ± 0.1 (5) [44.1, 45.8]", "above", "")
    single = {"folder": "cifar100-lt-if100", "method": "dro-lt@steps=30", "against": "ce"}
    assert tables.tested(single)[1:] == ("undecided", "")
    assert tables.tested({**test, "method": "not there"}) == ("", "not tested", "")
    assert tables.tested({**test, "folder": "not/there"}) == ("", "not tested", "")


def test_methods_of_several_sets_stand_beside_each_other_in_the_order_of_their_mean() -> None:
    cosine, larger = ("records/cifar100-lt-if100-frozen/" + name for name in ("cosine", "cosine-224"))
    head, _, *rows = program().across(f"ce {cosine} {larger}@few records/not/there").splitlines()
    assert head.count("](../records/cifar100-lt-if100-frozen/README.md)") == 2
    assert head.endswith(", few |")
    assert [row.split("`")[1] for row in rows] == ["logit-adjustment-post-hoc", "logit-adjustment", "ldam-drw", "crt"]
    assert "| `crt` | +7.3 [+6.5, +8.2] better | +16.0" in rows[-1]


def test_every_number_of_a_paper_on_the_board_has_a_row_and_error_rates_are_turned_round() -> None:
    tables = program()
    rows = tables.published("dro-lt").splitlines()[2:]
    held = (ROOT / "src/longtail/board/content/claims/dro-lt.toml").read_text()
    assert len(rows) == held.count("[[claim]]")
    assert any(row.startswith("| 47.33, best on test | cifar-100-lt-if-100 |") for row in rows)  # printed: error 52.67
    assert all("not tested" in row for row in rows if "imagenet" in row)


def test_of_baselines_only_numbers_that_a_set_could_reproduce_have_a_row() -> None:
    rows = program().published("bag-of-tricks").splitlines()[2:]
    assert len(rows) == 5
    assert all("(https://github.com/zhangyongshun/BagofTricks-LT/blob/" in row for row in rows)
    (crt,) = (row for row in rows if row.startswith("| cRT 40.26 |"))  # printed: error 59.74
    assert "| 40.8" in crt
