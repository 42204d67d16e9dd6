"""A model card: what a network was trained on, how good it is where, and what it must not be trusted with."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from longtail.counts import imbalance
from longtail.files import write_atomically
from longtail.results import tables
from longtail.results.comparison import GROUPS, compare_records
from longtail.results.formats import escaped
from longtail.results.record import budget_note
from longtail.use.export import Agreement, timm_settings, transform
from longtail.use.network import Trained
from longtail.wording import counted

SHOWN = 12
"""Classes that are named in a card where a sentence speaks of several."""
NAME = "README.md"


def card(run: Trained, kind: str, file: str, agreement: Agreement | None) -> str:
    """Write the model card of an export, Markdown with the metadata that the Hugging Face hub reads.

    Args:
        run: that was exported.
        kind: of the export, as ``longtail.use.export.export`` names it; ``hub`` for a folder.
        file: name of the exported file beside the card.
        agreement: what the check of the export found.

    Returns:
        The card. Its numbers come from the run's record.
    """
    record = run.loaded.record
    data = record.data
    drawn = "" if data["split_seed"] is None else f", drawn with imbalance {data['imbalance']:g}"
    counts = data["counts"]
    parts = [
        _metadata(run),
        f"# {_code(record.recipe)} on {_code(data['name'])}",
        f"An image classifier of {len(counts):,} classes, trained on a long-tailed data set with longtail: method "
        f"{_code(record.recipe)}, network {_code(record.model['name'])} "
        f"({record.model['parameters']:,} parameters), seed {record.seed}.",
        "## How good it is",
        *_rates(run),
        "## Data",
        f"* {data['num_train']:,} training images{drawn}, {max(counts):,} of the largest class and {min(counts):,} of "
        f"the smallest (imbalance {imbalance(counts):,.4g}); {data['num_test']:,} test images.\n"
        f"* Fingerprint of images, labels and splits: `{data['fingerprint']}`.\n"
        + "".join(f"* {escaped(note)}.\n" for note in (data.get("hygiene", ""), *data.get("notes", ())) if note),
        "## Use",
        *_use(run, kind, file, agreement),
        "## Limits",
        _limits(run),
        "## Evidence",
        f"The record of the run (`record.json` and `predictions.npz`, run `{str(record.digests.get('run', ''))[:16]}`) "
        f"holds the answer to every test image; `longtail rescore` computes the numbers above from it. Computed with "
        f"{', '.join(f'{name} {version}' for name, version in record.packages.items())}.",
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def write_card(text: str, out: pathlib.Path) -> pathlib.Path:
    """Write the card beside an export: as README.md, or under the export's name where somebody has a README already.

    Args:
        text: of the card.
        out: the exported file.

    Returns:
        The card's path.
    """
    path = out.with_name(NAME)
    if path.exists():
        path = out.with_name(f"{out.name}.md")
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return path


def _metadata(run: Trained) -> str:
    """What the hub shows and searches; JSON is YAML, so no name can break it."""
    record = run.loaded.record
    report = record.report
    metrics = [
        {"type": "accuracy", "name": name.replace("_", " "), "value": round(100 * report[name], 2)}
        for name in ("accuracy", "balanced_accuracy", *GROUPS)
        if report[name] is not None
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": record.data["name"], "type": "image-folder"},
        "metrics": metrics,
    }
    found = {
        "pipeline_tag": "image-classification",
        "tags": ["longtail", "long-tailed-recognition"],
        "model-index": [{"name": record.recipe, "results": [result]}],
    }
    return "---\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in found.items()) + "\n---"


def _rates(run: Trained) -> list[str]:
    record = run.loaded.record
    (method,) = compare_records({record.recipe: [run.loaded]}).methods
    data, sizes = record.data, record.report["group_sizes"]
    what = {
        "accuracy": "all test images",
        "balanced_accuracy": "all classes alike",
        "many": f"many: more than {data['many']} training images ({counted(sizes['many'], 'class')})",
        "medium": f"medium ({counted(sizes['medium'], 'class')})",
        "few": f"few: fewer than {data['few']} training images ({counted(sizes['few'], 'class')})",
    }
    rows = [
        f"| {words} | {tables.percent(found)} | {tables.interval(found) or tables.DASH} |"
        for words, found in ((words, method.estimates[rate]) for rate, words in what.items())
    ]
    lines = ["| accuracy over | % | 95 % interval |\n| --- | ---: | ---: |\n" + "\n".join(rows)]
    lines.append(
        "The intervals allow for the choice of test images; they say nothing of another seed. Selection of the epoch: "
        f"{record.selection}."
    )
    calibration = record.report["calibration"]
    if calibration is not None:
        lines.append(
            f"Its probabilities are off by {100 * calibration['ece']:.1f} points on average (expected calibration "
            f"error, {calibration['bins']} bins)."
        )
    return lines


def _use(run: Trained, kind: str, file: str, agreement: Agreement | None) -> list[str]:
    prepared = transform(run)
    height, width = prepared["size"]
    cropped = f", {100 * prepared['crop']:g} % of the shorter side kept" if "crop" in prepared else ""
    steps = (
        f"Pictures: {prepared['colours']}, upright, transparency on white, scaled so that the shorter side fits and "
        f"cropped around the centre to {width} x {height} pixels ({prepared['interpolation']}{cropped})"
    )
    then = prepared.get("then_resized")
    steps += f", then resized to {then[0]} x {then[0]} ({then[1]})" if then else ""
    inside = f"{steps}; then `uint8` of shape (N, {', '.join(map(str, run.shape))}). The rest is in the file."
    outside = f"{steps}; levels / 255, minus {prepared['mean']}, over {prepared['std']}."
    names = "Class names, counts and the preparation of pictures are in the file's metadata."
    settings = ", ".join(f"{key}={value!r}" for key, value in timm_settings(run).items()) if kind == "timm" else ""
    told = {
        "onnx": [
            f'```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("{file}")\n'
            'logits, probabilities = session.run(None, {"images": images})\n```',
            f"{inside} {names}",
        ],
        "pt2": [
            f'```python\nimport torch\n\nlogits, probabilities = torch.export.load("{file}").module()(images)\n```',
            f"{inside} Class names, counts and the preparation of pictures are in the extra file `longtail.json`.",
        ],
        "timm": [
            f'```python\nimport timm\n\nmodel = timm.create_model({settings}, checkpoint_path="{file}").eval()\n```',
            f"{outside} {names}",
        ],
        "safetensors": [
            f"`{file}` holds the weights by the names of longtail's network `{run.loaded.record.model['name']}`. "
            f"{outside} {names}"
        ],
        "hub": ["`longtail predict . PICTURES` in this folder prints a line for each picture.", outside],
        "hub-timm": [
            '```python\nimport timm\n\nmodel = timm.create_model("local-dir:.", pretrained=True).eval()\n```',
            f"{outside} The class names are in `config.json`.",
        ],
    }[kind]
    return [*told, *([] if agreement is None else [f"The export {agreement.line()}."])]


def _limits(run: Trained) -> str:
    record = run.loaded.record
    names, recalls, counts = run.class_names, record.report["per_class"], record.data["counts"]
    never = [k for k, recall in enumerate(recalls) if recall == 0]
    untested = [k for k, recall in enumerate(recalls) if recall is None]
    least = sorted(range(len(counts)), key=lambda k: counts[k])[: min(SHOWN, max(1, len(counts) // 3))]
    lines = [
        "It knows these classes and no others: a picture of anything else is given one of them all the same. "
        "`longtail predict --abstain-below` leaves answers below a probability open.",
        "The test images come from the same source as the training images. Pictures from another camera, place or year "
        "may do worse, and these numbers do not tell by how much.",
        f"Seen least in training: {_named(least, names, [f'{counts[k]:,}' for k in least])}.",
    ]
    if never:
        lines.append(f"Never recognised in the test: {_named(never, names)}.")
    if untested:
        lines.append(f"Without a single test image, so nobody knows: {_named(untested, names)}.")
    if budget_note(record):
        lines.append(f"Trained for less than its method states ({budget_note(record)}).")
    lines += [f"{escaped(note).rstrip('.')}." for note in record.notes]
    return "\n".join(f"* {line}" for line in lines)


def _named(classes: list[int], names: tuple[str, ...], further: list[str] | None = None) -> str:
    shown = [
        escaped(names[k]) + ("" if further is None else f" ({further[place]})")
        for place, k in enumerate(classes[:SHOWN])
    ]
    more = f" and {len(classes) - SHOWN:,} more" if len(classes) > SHOWN else ""
    return ", ".join(shown) + more


def _code(text: str) -> str:
    """A name as code, whatever signs it holds."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def about(run: Trained) -> dict[str, Any]:
    """Return the part of a hub folder's configuration that is longtail's own."""
    record = run.loaded.record
    return {
        "class_names": list(run.class_names),
        "counts": record.data["counts"],
        "fingerprint": record.data["fingerprint"],
        "recipe": record.recipe,
        "transform": transform(run),
    }
