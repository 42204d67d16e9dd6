"""A finished run as a folder of the kind that the Hugging Face hub holds: weights, configuration and model card."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
from typing import Any

from torch import nn

from longtail.errors import InputError
from longtail.models.bridge import timm_model
from longtail.results.predictions import PREDICTIONS
from longtail.results.record import RECORD
from longtail.shapes import UInt8
from longtail.training.run import MODEL
from longtail.use.card import NAME, about, card
from longtail.use.export import Agreement, compared, plain_timm, timm_answers, timm_tensors, transform
from longtail.use.network import Trained, trained
from longtail.use.predict import logits_of

CONFIG = "config.json"
EVIDENCE = "record"
"""Folder of the record beside weights by timm's names, to which the record's own digest does not apply."""


def hub_folder(run: Trained, out: pathlib.Path, pictures: UInt8[Any, "N C H W"]) -> Agreement:
    """Write a folder that can be uploaded to the Hugging Face hub as it is, and keep it only if it answers as the run.

    A network of timm is written as timm writes it, so that ``timm.create_model("local-dir:DIR", pretrained=True)``, or
    ``hf-hub:OWNER/NAME`` after the upload, loads it. Any other folder is a run of longtail, which ``longtail predict``
    takes. Both hold the record and its predictions. Upload it with ``hf upload OWNER/NAME DIR``.

    Args:
        run: what ``longtail.use.network.trained`` returns.
        out: a new folder.
        pictures: (N, C, H, W) uint8, real ones, on which both are compared.

    Returns:
        How well they agree.

    Raises:
        InputError: a folder that is there already or cannot be written, or other answers than the run's.
    """
    if out.exists():
        raise InputError(f"{out} is there already; name a new folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InputError(f"cannot write to {out.parent}: {error.strerror}; choose another folder") from None
    try:
        found = _timm(run, folder, pictures) if run.part.function is timm_model else _own(run, folder, pictures)
        folder.chmod(0o755)
        folder.replace(out)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; choose another folder") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _own(run: Trained, folder: pathlib.Path, pictures: Any) -> Agreement:
    source = pathlib.Path(run.loaded.folder)
    for name in (MODEL, RECORD, PREDICTIONS):
        shutil.copyfile(source / name, folder / name)
    again = trained(folder, run.part if run.part.foreign else None)
    found = compared(lambda held: logits_of(again.classifier, held), run, pictures, folder)
    _write(folder, {"library_name": "longtail", "longtail": about(run)}, card(run, "hub", MODEL, found))
    return found


def _timm(run: Trained, folder: pathlib.Path, pictures: Any) -> Agreement:
    import timm
    from timm.models import save_for_hf

    model: Any = plain_timm(run)
    model.load_state_dict(timm_tensors(run))
    size = run.shape[1] if run.classifier.resized is None else run.classifier.resized[0]
    told = transform(run)
    prepared = {
        "input_size": (run.shape[0], size, size),
        "interpolation": told["interpolation"],
        "crop_pct": told.get("crop", 1.0),
        "crop_mode": "center",
        "mean": run.classifier.mean,
        "std": run.classifier.std,
    }
    config = {"label_names": list(run.class_names), "longtail": about(run)}
    save_for_hf(model, str(folder), model_config=config, safe_serialization=True, data_config=prepared)
    loaded: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    found = compared(timm_answers(run, loaded), run, pictures, folder)
    if not run.loaded.record.model["name"].endswith("(pretrained)"):
        _forget_origin(folder / CONFIG)
    (folder / MODEL).chmod(0o644)
    (folder / EVIDENCE).mkdir()
    for name in (RECORD, PREDICTIONS):
        shutil.copyfile(pathlib.Path(run.loaded.folder) / name, folder / EVIDENCE / name)
    _write(folder, None, card(run, "hub-timm", MODEL, found))
    return found


def _forget_origin(path: pathlib.Path) -> None:
    """Take out of a configuration where timm's own weights are from, which these are not."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("tag", "license", "origin_url", "paper_ids", "paper_name"):
        config["pretrained_cfg"].pop(key, None)
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")


def _write(folder: pathlib.Path, config: dict[str, Any] | None, text: str) -> None:
    if config is not None:
        (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / NAME).write_text(text, encoding="utf-8")
