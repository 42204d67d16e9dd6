from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import zipfile

import numpy as np
import pytest
import torch

from longtail.errors import InputError
from longtail.results import predictions
from longtail.results import record as records
from longtail.results.predictions import read_predictions
from longtail.results.record import Record, budget_note, numerics_note, parse, read, signature, stage_epochs, write
from oracles.runs import made_up_record, made_up_run, rewrite


def replace_predictions(folder: pathlib.Path, content: bytes) -> None:
    """Other predictions, with the record's checksum made to fit them."""
    (folder / "predictions.npz").write_bytes(content)
    rewrite(folder, predictions__sha256=hashlib.sha256(content).hexdigest())


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_round_trip_changes_nothing(tmp_path: pathlib.Path) -> None:
    target = torch.arange(50) % 10
    prediction = target.roll(1)
    given = made_up_record(target=target, prediction=prediction, epochs=(2, 3))
    written = write(given, tmp_path / "run", index=torch.arange(50) + 100, target=target, prediction=prediction)
    assert dataclasses.replace(written, predictions={}) == given
    for path in (tmp_path / "run", tmp_path / "run" / "record.json"):
        loaded = read(path)
        assert loaded.record == written
        assert loaded.folder == tmp_path / "run"
        assert torch.equal(loaded.index, torch.arange(50) + 100)
        assert torch.equal(loaded.target, target)
        assert torch.equal(loaded.prediction, prediction)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["predictions.npz", "record.json"]


def test_the_same_run_makes_the_same_bytes(tmp_path: pathlib.Path) -> None:
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b")
    for name in ("record.json", "predictions.npz"):
        assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes()


def test_others_may_read_it(tmp_path: pathlib.Path) -> None:
    made_up_run(tmp_path)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


def test_it_never_overwrites(tmp_path: pathlib.Path) -> None:
    before = made_up_run(tmp_path, recipe="ce")
    content = (tmp_path / "record.json").read_bytes(), (tmp_path / "predictions.npz").read_bytes()
    with pytest.raises(InputError, match="holds a record already; records are never overwritten"):
        write(before.record, tmp_path, index=before.index, target=before.target, prediction=before.target)
    assert content == ((tmp_path / "record.json").read_bytes(), (tmp_path / "predictions.npz").read_bytes())


def test_a_write_that_fails_leaves_no_record(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_up_run(tmp_path / "good")
    arrays = {"index": run.index, "target": run.target, "prediction": run.prediction}

    def full_disk(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(InputError, match="No space left on device"):
            write(run.record, tmp_path / "new", **arrays)
    assert list((tmp_path / "new").iterdir()) == []
    # Killed between the two files: the predictions alone are no record, and writing again succeeds.
    (tmp_path / "new" / "predictions.npz").write_bytes(b"half")
    write(run.record, tmp_path / "new", **arrays)
    assert read(tmp_path / "new").record == run.record


def test_a_folder_that_cannot_be_written_to(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path / "good")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file.*; choose another folder"):
        write(run.record, tmp_path / "file" / "x", index=run.index, target=run.target, prediction=run.prediction)


def test_what_is_written_must_be_sound(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path / "good")
    arrays = {"index": run.index, "target": run.target, "prediction": run.prediction}
    broken = dataclasses.replace(run.record, seconds=float("nan"))
    with pytest.raises(InputError, match="'seconds' must be a number, not NaN"):
        write(broken, tmp_path / "x", **arrays)
    with pytest.raises(InputError, match="index has 499 items, the record 500"):
        write(run.record, tmp_path / "x", **{name: array[1:] for name, array in arrays.items()})
    with pytest.raises(InputError, match="target holds a class outside 0 to 9"):
        write(run.record, tmp_path / "x", **{**arrays, "target": run.target + 1})
    with pytest.raises(InputError, match="index names a test image twice"):
        write(run.record, tmp_path / "x", **{**arrays, "index": run.index // 2})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": ...}, "field 'seed' is missing"),
        ({"seed": -1}, "'seed' must be a whole number, not -1"),
        ({"seed": True}, "'seed' must be a whole"),
        ({"schema": 2}, "has schema 2; this version of longtail reads schema 1"),
        ({"schema": "1"}, "'schema' must be"),
        ({"surprise": 1}, "field 'surprise' is not known"),
        ({"recipe": 3}, "'recipe' must be a text, not 3"),
        ({"recipe": "half \ud800"}, "half of a character"),
        ({"notes": [1]}, "'notes' must be a list of texts"),
        ({"revision__commit": 5}, "'revision.commit' must be a text or null, not 5"),
        ({"config__stages": 5}, "config.stages must be a list of objects"),
        ({"config__stages": [{"batch_size": "8"}]}, "'config.stages.0.batch_size' must be a whole number"),
        ({"data__profile": {}}, r"'data.profile' must be a text or null, not \{\}"),
        ({"data__validation_share": "x"}, "'data.validation_share' must be a number"),
        ({"data__shape": 3}, "'data.shape' must be a list of whole numbers, not 3"),
        ({"data__mean": ["x"]}, "'data.mean' must be a list of numbers"),
        ({"data__hygiene": []}, "'data.hygiene' must be a text"),
        ({"numerics__compiled": "no"}, "'numerics.compiled' must be a truth value"),
        ({"digests__model": 1}, "'digests.model' must be a text"),
        ({"budget": {"epochs": 1, "stated": 1, "steps": 1, "trials": []}}, "'budget.trials' must be a whole number"),
        ({"data__imbalance": 10**400}, "'data.imbalance' must be a number"),
        ({"seconds": 10**400}, "'seconds' must be a number"),
        ({"config": []}, r"'config' must be an object, not \[\]"),
        ({"data__fingerprint": ...}, "'data.fingerprint' is missing"),
        ({"data__counts": [1, 2]}, "data.class_names must be 2 texts"),
        ({"data__counts": []}, "data.counts names no class"),
        ({"data__counts__0": "many"}, "'data.counts' must be a list of whole numbers"),
        ({"data__num_train": 5}, "data.counts sum to .*, but data.num_train is 5"),
        ({"data__num_test": 5}, "report and data disagree"),
        ({"data__class_names__0": 0}, "'data.class_names' must be a list of texts"),
        ({"data__split_seed": "x"}, "'data.split_seed' must be a whole"),
        ({"model__parameters": 0.5}, "'model.parameters' must be a whole"),
        ({"model__widths__0": "x"}, "'model.widths' must be a list of whole numbers"),
        ({"numerics__precision": None}, "'numerics.precision' must be a text"),
        ({"selection": "best on test"}, "selection is 'best on test'; it is one of last epoch, best on validation"),
        ({"history__0": 3}, "history.0 must be an object"),
        ({"history__0__loss": "low"}, "'history.0.loss' must be a number or null"),
        ({"history__1__epoch": 7}, "history.1.epoch is 7 after 1"),
        ({"history__0__epoch": 0}, "history.0.epoch is 0 after 0"),
        ({"history__1__radius": "x"}, "'history.1.radius' must be a number or null"),
        ({"history__1__radii": [1.0, None]}, "'history.1.radii' must hold numbers only"),
        ({"report__accuracy": 7}, "'accuracy' must be a number from 0 to 1"),
        ({"report__per_class": []}, "report and data disagree"),
        ({"started": "yesterday"}, "started is 'yesterday', which is no ISO 8601 time"),
        ({"predictions__file": "../../secret"}, "it is always 'predictions.npz'"),
        ({"predictions__sha256": "x"}, "64 hexadecimal digits"),
    ],
)
def test_a_damaged_field_is_named(tmp_path: pathlib.Path, changes: dict[str, object], message: str) -> None:
    made_up_run(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "record.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged or is no record: it is not JSON"),
        (b'{"schema": 1', "it is not JSON"),
        (b"\x80\x81", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "is no record: it holds no JSON object"),
        (b'{"name": "something-else"}', "is no record: field 'schema' is missing"),
        (b'{"schema": 1, "seconds": NaN}', "it holds NaN, which is no number"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "is damaged or is no record"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_what_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"record.json does not exist; give the folder of a finished run"):
        read(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "nowhere")
    made_up_run(tmp_path / "run")
    (tmp_path / "run" / "predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions.npz does not exist; a record is useless without it"):
        read(tmp_path / "run")


def test_a_file_too_large_is_not_opened(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(records, "MAX_RECORD_BYTES", 100)
        with pytest.raises(InputError, match="this belongs to no record"):
            read(tmp_path)
        with pytest.raises(InputError, match="this is no record"):
            parse((tmp_path / "record.json").read_bytes(), b"", "upload")
    content = (tmp_path / "predictions.npz").read_bytes()
    for module in (records, predictions):
        monkeypatch.setattr(module, "MAX_PREDICTIONS_BYTES", 10)
    with pytest.raises(InputError, match="this belongs to no record"):
        read(tmp_path)
    with pytest.raises(InputError, match="more than predictions can be"):
        read_predictions(content, "upload")


def test_other_predictions_are_noticed(tmp_path: pathlib.Path) -> None:
    made_up_run(tmp_path)
    content = bytearray((tmp_path / "predictions.npz").read_bytes())
    content[-30] ^= 1
    (tmp_path / "predictions.npz").write_bytes(bytes(content))
    with pytest.raises(InputError, match="SHA-256 differs"):
        read(tmp_path)


def test_predictions_are_never_unpickled(tmp_path: pathlib.Path) -> None:
    ran = []

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return ran.append, ("x",)

    run = made_up_run(tmp_path)
    trapped = npz(index=run.index.numpy(), target=run.target.numpy(), prediction=np.array([Trap()] * 500, dtype=object))
    ran.clear()
    replace_predictions(tmp_path, trapped)
    with pytest.raises(InputError, match=r"prediction.npy must be one vector of integers"):
        read(tmp_path)
    assert ran == []


def test_hostile_predictions_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_up_run(tmp_path)
    good = {name: getattr(run, name).numpy() for name in ("index", "target", "prediction")}
    for wrong in (good["target"].astype(float), good["target"][None], good["target"] > 3):
        replace_predictions(tmp_path, npz(**{**good, "target": wrong}))
        with pytest.raises(InputError, match=r"target.npy must be one vector of integers"):
            read(tmp_path)
    replace_predictions(tmp_path, npz(**good, more=good["index"]))
    with pytest.raises(InputError, match="exactly the arrays index, target, prediction"):
        read(tmp_path)
    replace_predictions(tmp_path, b"PK\x03\x04 but no more")
    with pytest.raises(InputError, match="is damaged"):
        read(tmp_path)
    replace_predictions(tmp_path, npz(**{**good, "prediction": good["prediction"][:-1]}))
    with pytest.raises(InputError, match="the arrays must have one length"):
        read(tmp_path)

    # A header that promises 10^12 items over a few bytes, and a member that unpacks to far more than its file.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in good.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", header.getvalue() if name == "target" else stream.getvalue())
    replace_predictions(tmp_path, buffer.getvalue())
    with pytest.raises(InputError, match=r"target.npy must be one vector"):
        read(tmp_path)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**good, "target": np.zeros(1_000_000, dtype=np.int64)})
    replace_predictions(tmp_path, buffer.getvalue())
    monkeypatch.setattr(predictions, "MAX_ITEMS", 1000)
    with pytest.raises(InputError, match=r"target.npy declares more than 1,000 items"):
        read(tmp_path)


def test_the_signature_is_of_the_protocol_and_not_of_the_method(tmp_path: pathlib.Path) -> None:
    base = made_up_run(tmp_path / "a").record
    same = made_up_run(tmp_path / "b", recipe="balanced-softmax", seed=4, accuracy=0.8).record
    assert signature(base) == signature(same)
    expected = "data:made-up-lt/100/aaaaaaaaaaaaaaaa|model:small/1234/5678|epochs:3|selection:last epoch"
    assert signature(base) == expected + "|precision:float32"
    others: list[Record] = [
        made_up_run(tmp_path / "c", fingerprint="b" * 64).record,
        made_up_run(tmp_path / "d", epochs=(4,)).record,
        made_up_run(tmp_path / "e", epochs=(2, 1)).record,
        dataclasses.replace(base, selection="best on validation"),
        dataclasses.replace(base, model={**base.model, "parameters": 1}),
        dataclasses.replace(base, numerics={**base.numerics, "precision": "bfloat16"}),
    ]
    assert len({signature(base), *map(signature, others)}) == 7


def test_a_row_may_hold_a_number_for_each_class(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    rewrite(tmp_path, history__0__radii=[0.5] * 10)
    assert read(tmp_path).record.history == [{**run.record.history[0], "radii": [0.5] * 10}, *run.record.history[1:]]


def test_stages_of_one_epoch_are_told_apart(tmp_path: pathlib.Path) -> None:
    assert stage_epochs(made_up_run(tmp_path, epochs=(1, 1, 3)).record) == (1, 1, 3)


def test_bytes_are_read_like_files(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    files = [(tmp_path / name).read_bytes() for name in ("record.json", "predictions.npz")]
    parsed = parse(*files, "upload")
    assert parsed.record == run.record
    assert torch.equal(parsed.prediction, run.prediction)
    with pytest.raises(InputError, match=r"upload, predictions.npz is not the file"):
        parse(files[0], files[1] + b" ", "upload")
    with pytest.raises(InputError, match="upload is damaged or is no record"):
        parse(b"{", files[1], "upload")


def test_unsigned_and_large_numbers(tmp_path: pathlib.Path) -> None:
    run = made_up_run(tmp_path)
    good = {name: getattr(run, name).numpy() for name in ("index", "target", "prediction")}
    found = read_predictions(npz(**{**good, "prediction": good["prediction"].astype(np.uint8)}), "upload")
    assert torch.equal(found["prediction"], run.prediction)
    large = np.full(500, 2**63, dtype=np.uint64)
    with pytest.raises(InputError, match=r"index.npy holds a number that is no 64-bit integer"):
        read_predictions(npz(**{**good, "index": large}), "upload")
    empty = {name: values[:0] for name, values in good.items()}
    with pytest.raises(InputError, match="hold something"):
        read_predictions(npz(**empty), "upload")


def test_an_encrypted_or_broken_archive_is_refused(tmp_path: pathlib.Path) -> None:
    made_up_run(tmp_path)
    content = bytearray((tmp_path / "predictions.npz").read_bytes())
    place = content.rindex(b"PK\x01\x02")  # entry of the last array in the directory: its flags
    locked = bytearray(content)
    locked[place + 8] |= 1
    with pytest.raises(InputError, match="is encrypted"):
        read_predictions(bytes(locked), "upload")
    for start in range(40, len(content), 97):
        broken = bytearray(content)
        broken[start : start + 8] = bytes(8)
        try:
            read_predictions(bytes(broken), "upload")
        except InputError as error:
            assert "upload" in str(error)  # noqa: PT017


def test_a_short_run_and_earlier_numerics_are_named(tmp_path: pathlib.Path) -> None:
    record = made_up_run(tmp_path).record
    assert (record.budget, record.digests, record.plan) == ({}, {}, {})
    assert budget_note(record) == ""
    whole = {**record.to_json(), "budget": {"epochs": 3, "stated": 3, "steps": 40}}
    assert budget_note(Record.from_json(whole)) == ""
    stated = {**record.config, "stated": 1000}
    short = {**whole, "config": stated, "budget": {"epochs": 3, "stated": 1000, "steps": 40}}
    assert budget_note(Record.from_json(short)) == "short: 3 of 1000 epochs"
    for other, message in (
        ({**short, "budget": {"epochs": 1000, "stated": 1000, "steps": 40}}, "has 1000 epochs, .* history 3"),
        ({**short, "budget": {"epochs": 3, "stated": 3, "steps": 40}}, "its budget has 3 stated, .* history 1000"),
        ({**whole, "history": [{**row, "steps": 13} for row in record.history]}, "has 40 steps, .* history 39"),
        ({**whole, "budget": {"epochs": 3, "steps": 40}}, r"budget.stated"),
    ):
        with pytest.raises(InputError, match=message):
            Record.from_json(other)
    assert numerics_note(record, 2) == "numerics 1 (now 2)"
    assert numerics_note(record, 1) == numerics_note(record, None) == ""


def test_a_record_from_before_the_later_fields_is_read(tmp_path: pathlib.Path) -> None:
    record = made_up_run(tmp_path).record
    early = {name: value for name, value in record.to_json().items() if name not in ("budget", "digests", "plan")}
    assert Record.from_json(early) == record
