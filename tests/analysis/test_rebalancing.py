"""Before and after: choices on validation alone, intervals that agree with the board's, heads that predict the same."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import torch
from torch import Tensor

from longtail.analysis import rebalancing
from longtail.analysis.rebalancing import Part, load_head, rebalanced, save_head
from longtail.errors import InputError
from longtail.rebalance import LogitAdjustment
from longtail.results.statistics import mcnemar

COUNTS = [200, 60, 10]
WEIGHT = torch.tensor([[3.0, 0.5, -1.0], [0.4, 1.2, 0.3], [-0.3, 0.1, 0.5]])


def split(counts: list[int], seed: int) -> Part:
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(3).repeat_interleave(torch.tensor(counts))
    centres = 1.2 * torch.randn(3, 3, generator=torch.Generator().manual_seed(9))
    features = centres[target] + torch.randn(len(target), 3, generator=generator)
    return Part(features @ WEIGHT.T, target, features)


TRAIN, HELD, TEST = split(COUNTS, 0), split([40, 20, 5], 1), split([60, 60, 60], 2)
GIVEN = {"counts": COUNTS, "many": 100, "few": 20}


def test_rows_are_those_of_the_estimators_with_intervals() -> None:
    rows = rebalanced(
        TEST, train=TRAIN, validation=HELD, weight=WEIGHT, bias=torch.zeros(3), **GIVEN, methods=("logit-adjustment",)
    )
    before, after = rows
    assert [row.method for row in rows] == ["before", "logit-adjustment"]
    model = LogitAdjustment(tau=None).fit(HELD.logits, HELD.target, counts=COUNTS)
    assert after.chosen == f"tau {model.tau_:g}"
    right = model.predict(TEST.logits) == TEST.target
    was = TEST.logits.argmax(dim=1) == TEST.target
    assert after.rates["accuracy"].value == pytest.approx(float(right.double().mean()))
    assert after.changes["accuracy"].value == pytest.approx(float(right.double().mean() - was.double().mean()))
    assert after.changes["accuracy"].p == pytest.approx(mcnemar(right, was))
    assert before.changes == {}
    assert set(after.rates) == {"accuracy", "balanced_accuracy", "many", "medium", "few"}


def test_the_test_split_decides_nothing() -> None:
    """The mutant that chooses on test would choose otherwise when the test labels are turned round."""
    turned = Part(TEST.logits, 2 - TEST.target, TEST.features)
    chosen = []
    for test in (TEST, turned):
        rows = rebalanced(test, train=TRAIN, validation=HELD, weight=WEIGHT, bias=torch.zeros(3), **GIVEN)
        chosen.append([(row.method, row.chosen, row.validation) for row in rows])
    assert chosen[0] == chosen[1]
    other = Part(HELD.logits, 2 - HELD.target, HELD.features)
    rows = rebalanced(TEST, train=TRAIN, validation=other, weight=WEIGHT, bias=torch.zeros(3), **GIVEN)
    assert [(row.method, row.chosen, row.validation) for row in rows] != chosen[0]
    alone = rebalanced(TEST, train=TRAIN, weight=WEIGHT, bias=torch.zeros(3), **GIVEN)
    assert {row.validation for row in alone} == {None}
    assert alone[1].chosen == "tau 1"


def test_saved_heads_predict_what_their_method_does(tmp_path: pathlib.Path) -> None:
    every = (*rebalancing.ON_LOGITS, *rebalancing.ON_FEATURES)
    rows = rebalanced(TEST, train=TRAIN, validation=HELD, weight=WEIGHT, bias=torch.zeros(3), **GIVEN, methods=every)
    assert TEST.features is not None
    for row in rows[1:]:
        path = tmp_path / f"{row.method}.safetensors"
        if row.method == "disalign":
            with pytest.raises(InputError, match="is no linear head"):
                save_head(path, row, unit=False, facts={})
            continue
        save_head(path, row, unit=False, facts={"seed": 0})
        prediction = load_head(path, TEST.features).argmax(dim=1)
        assert float((prediction == TEST.target).double().mean()) == pytest.approx(row.rates["accuracy"].value)
    with pytest.raises(InputError, match=r"reads features \(N, 3\)"):
        load_head(path, torch.zeros(2, 4))


def test_what_cannot_be_done_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="unknown method 'taunorm': one of"):
        rebalanced(TEST, **GIVEN, methods=("taunorm",))
    with pytest.raises(InputError, match="tau-norm works on features: name the data set of the run with --data"):
        rebalanced(TEST, **GIVEN, methods=("tau-norm",))
    with pytest.raises(InputError, match="kept no logits: name its data set with --data"):
        rebalancing.logits_of(tmp_path / "logits.safetensors", None, TEST.target)


def test_from_the_command_line_with_and_without_data(tmp_path: pathlib.Path) -> None:
    from typer.testing import CliRunner

    from longtail.cli.app import app
    from longtail.data import load
    from longtail.methods import recipe
    from longtail.training.compute import Compute
    from longtail.training.run import LOGITS, train

    data = load("digits-lt", imbalance=20, validation=0.2)
    run = tmp_path / "run"
    record = train(recipe("ce", data, epochs=2), data, seed=0, out=run, compute=Compute("cpu", "float32", False))
    found = CliRunner().invoke(app, ["rebalance", str(run), "--data", "digits-lt", "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    rows = {row["method"]: row for row in told["rows"]}
    assert set(rows) == {"before", *rebalancing.QUICK}
    assert rows["before"]["rates"]["accuracy"]["value"] == pytest.approx(record.report["accuracy"])
    assert told["best_on_validation"] in rows
    assert (run / "rebalanced" / "tau-norm.safetensors").is_file()
    # The logits that the run kept, in half precision, say the same without data or network.
    loaded = rebalancing.logits_of(run / LOGITS, record.digests["logits"], Tensor([0]))[0]
    assert loaded.logits.shape == (len(data.test), 10)
    content = bytearray((run / LOGITS).read_bytes())
    content[-1] ^= 1
    (run / LOGITS).write_bytes(content)
    with pytest.raises(InputError, match="is not the file that its record was written with"):
        rebalancing.logits_of(run / LOGITS, record.digests["logits"], Tensor([0]))


def test_logits_of_somebodys_own(tmp_path: pathlib.Path) -> None:
    from longtail.cli.rebalance import _file

    path = tmp_path / "mine.npz"
    np.savez(path, test_logits=TEST.logits, test_target=TEST.target, counts=COUNTS)
    rows = rebalanced(**_file(path), methods=())
    assert [row.method for row in rows] == ["before", "logit-adjustment"]
    np.savez(path, test_logits=TEST.logits, test_target=TEST.target)
    with pytest.raises(InputError, match="lacks counts"):
        _file(path)
    np.savez(path, test_logits=TEST.logits[:, :2], test_target=TEST.target, counts=COUNTS)
    with pytest.raises(InputError, match=r"test_logits must be \(180, 3\)"):
        _file(path)
