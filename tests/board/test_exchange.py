"""Exports that others read: each is held against the schema of the version that it names."""

from __future__ import annotations

import json
import pathlib
import re
import uuid
from typing import Any

import pytest

from longtail.board import export_records, export_statements, submit
from longtail.board.content import shipped
from longtail.board.exchange import EVERY_EVAL_EVER, PREDICATE, STATEMENT
from longtail.board.submissions import read_submission
from longtail.errors import InputError
from oracles.board import runs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exchange")
    submit(runs(folder / "runs", (0.9, 0.91, 0.92)), root=folder / "root", submitter="Ada")
    return folder / "root"


@pytest.fixture(scope="module")
def records(root: pathlib.Path) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    made = export_records(root, root.parent / "records")
    found = [(path, json.loads(path.read_text())) for path in sorted((root.parent / "records").rglob("*.json"))]
    assert made["records"] == len(found) > 100
    return found


@pytest.fixture(scope="module")
def statements(root: pathlib.Path) -> list[dict[str, Any]]:
    made = export_statements(root, root.parent / "statements")
    found = [json.loads(path.read_text()) for path in sorted((root.parent / "statements").glob("*.json"))]
    assert made["statements"] == len(found) > 10
    return found


# What the schema of Every Eval Ever 0.3.0 (eval.schema.json) asks of an aggregate record, restated.
_TOP = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library",
        "evaluation_results"}  # fmt: skip
_OPTIONAL = {"evaluation_timestamp", "detailed_evaluation_results"}


def faults(record: dict[str, Any]) -> list[str]:
    """What the schema would find wrong."""
    out = [f"missing {name}" for name in _TOP - set(record)]
    out += [f"unknown {name}" for name in set(record) - _TOP - _OPTIONAL]
    source = record["source_metadata"]
    out += [] if source.get("source_type") in ("documentation", "evaluation_run") else ["source_type"]
    relations = ("first_party", "third_party", "collaborative", "other")
    out += [] if source.get("evaluator_relationship") in relations else ["evaluator_relationship"]
    out += [] if isinstance(source.get("source_organization_name"), str) else ["source_organization_name"]
    model = record["model_info"]
    out += [] if isinstance(model.get("name"), str) and isinstance(model.get("id"), str) else ["model_info"]
    more = model["additional_details"]
    out += [] if more["deployment_type"] in ("self_deployed", "externally_managed", "unknown") else ["deployment"]
    out += [] if more["model_availability"] in ("open_weights", "closed_weights", "unknown") else ["availability"]
    out += [] if {"name", "version"} <= set(record["eval_library"]) else ["eval_library"]
    for result in record["evaluation_results"]:
        data, metric, score = result["source_data"], result["metric_config"], result["score_details"]
        fine = data["source_type"] == "other" or (data["source_type"] == "url" and data["url"])
        out += [] if isinstance(data["dataset_name"], str) and fine else ["source_data"]
        out += [] if isinstance(metric.get("lower_is_better"), bool) else ["lower_is_better"]
        bounds = metric.get("score_type") != "continuous" or {"min_score", "max_score"} <= set(metric)
        out += [] if bounds else ["bounds"]
        out += [] if isinstance(score["score"], int | float) and not isinstance(score["score"], bool) else ["score"]
        interval = score.get("uncertainty", {}).get("confidence_interval")
        out += [] if interval is None or interval["lower"] <= interval["upper"] else ["interval"]
        for details in (data["additional_details"], score["details"]):
            out += [f"{name} is no text" for name, value in details.items() if not isinstance(value, str)]
    for details in (source["additional_details"], more):
        out += [f"{name} is no text" for name, value in details.items() if not isinstance(value, str)]
    return out


def test_records_pass_the_schema_of_their_version(records: list[tuple[pathlib.Path, dict[str, Any]]]) -> None:
    assert EVERY_EVAL_EVER == "0.3.0"
    for path, record in records:
        assert faults(record) == [], path
        assert record["schema_version"] == EVERY_EVAL_EVER
        assert record["retrieved_timestamp"].isdecimal()
        parts = path.parts[-5:]
        assert parts[0] == "data"
        assert f"{parts[2]}/{parts[3]}" == record["model_info"]["id"]
        assert uuid.UUID(path.stem).version == 4
    # The mutants: each is noticed.
    sample = records[0][1]
    assert faults({**sample, "extra": 1})
    assert faults({**sample, "source_metadata": {**sample["source_metadata"], "source_type": "rumour"}})
    wrong = {**sample["evaluation_results"][0], "metric_config": {"lower_is_better": "no"}}
    assert faults({**sample, "evaluation_results": [wrong]})


def test_records_pass_the_package_itself(records: list[tuple[pathlib.Path, dict[str, Any]]]) -> None:
    types = pytest.importorskip("every_eval_ever.eval_types", reason="every-eval-ever needs Python 3.12")
    for _, record in records:
        types.EvaluationLog.model_validate(record)


def test_a_record_holds_what_the_board_shows(records: list[tuple[pathlib.Path, dict[str, Any]]]) -> None:
    by_id = {record["evaluation_results"][0]["evaluation_result_id"]: record for _, record in records}
    claim = by_id["dro-lt-cifar-100-lt-if-100"]
    result = claim["evaluation_results"][0]
    assert claim["source_metadata"]["source_type"] == "documentation"
    assert result["score_details"]["score"] == pytest.approx(47.33)
    assert result["score_details"]["details"]["value_as_printed"] == "52.67"
    assert result["metric_config"]["lower_is_better"] is False
    scored = next(record for record in by_id.values() if record["source_metadata"]["source_type"] == "evaluation_run")
    assert scored["eval_library"]["name"] == "longtail"
    assert scored["evaluation_results"][0]["source_data"]["additional_details"]["test_set_sha256"]


def test_statements_pin_the_predictions_and_every_figure(root: pathlib.Path, statements: list[dict[str, Any]]) -> None:
    keys = {key.sha256 for key in shipped().keys.values()}
    for each in statements:
        assert (each["_type"], each["predicateType"]) == (STATEMENT, PREDICATE)
        predicate = each["predicate"]
        assert {"verifier", "evaluatedAt", "suite", "claims", "sampleSize", "commitments", "assuranceLevel",
                "subjectProfile"} <= set(predicate)  # fmt: skip
        assert all(re.fullmatch(r"[0-9a-f]{64}", one["digest"]["sha256"]) for one in each["subject"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", predicate["evaluatedAt"])
        assert predicate["commitments"]["dataset"]["value"] in keys
        for claim in predicate["claims"]:
            assert set(claim) == {"metric", "comparator", "threshold", "passed"}
            assert isinstance(claim["threshold"], str)
            assert claim["comparator"] in (">=", "<=")
            assert claim["passed"] is True
    mine = next(each for each in statements if each["predicate"]["suite"]["name"] == "digits-lt-if-100")
    name = mine["subject"][0]["name"].split("/")[0]
    score = read_submission(root / "submissions" / name, shipped()).score
    assert [one["digest"]["sha256"] for one in mine["subject"]] == [run["sha256"] for run in score["runs"]]
    pinned = {claim["metric"]: claim["threshold"] for claim in mine["predicate"]["claims"]}
    assert pinned["accuracy, seed 0"] == f"{score['runs'][0]['accuracy']:.6f}"


def test_statements_pass_the_package_itself(statements: list[dict[str, Any]]) -> None:
    statement = pytest.importorskip("in_toto_attestation.v1.statement", reason="pip install in-toto-attestation")
    json_format = pytest.importorskip("google.protobuf.json_format")
    pb = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    for each in statements:
        message = json_format.ParseDict(each, pb.Statement())
        statement.Statement.copy_from_pb(message).validate()
        assert json_format.MessageToDict(message)["predicate"]["suite"] == each["predicate"]["suite"]


def test_nothing_is_overwritten_and_a_missing_board_is_an_error(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="exists"):
        export_records(root, root)
    with pytest.raises(InputError, match="no folder"):
        export_statements(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
