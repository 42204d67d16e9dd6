"""A finished run as a file that others load: safetensors, timm, ONNX or PyTorch's own; checked before it is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import logging
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import InputError, unknown
from longtail.files import save_tensors, write_atomically
from longtail.models import LinearHead
from longtail.models.bridge import timm_model
from longtail.recipes.part import plain
from longtail.recipes.text import short
from longtail.shapes import UInt8
from longtail.use.network import Trained
from longtail.use.predict import logits_of

TOLERANCE = 1e-3
"""A logit of an export may differ from the run's own by this share of the largest logit, and no more."""
OPSET = 18
BATCH = 2
"""Pictures in the example that a graph is recorded with; the exported one takes any number."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well an export gives the run's own answers.

    Args:
        pictures: number of pictures that were compared.
        logit: largest difference of a logit.
        probability: largest difference of a probability.
        answers: share of the pictures with the same most probable class.
    """

    pictures: int
    logit: float
    probability: float
    answers: float

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"agrees with the run on {self.pictures:,} pictures: largest difference {self.logit:.1e} in a logit, "
            f"{self.probability:.1e} in a probability, same class on {100 * self.answers:.4g} %"
        )


def export(run: Trained, kind: str, out: pathlib.Path, pictures: UInt8[Tensor, "N C H W"]) -> Agreement:
    """Write a run's network to a file of a kind that others load, and keep the file only if it gives the same answers.

    ``onnx`` and ``pt2`` take the pixels of pictures, (N, C, H, W) uint8, and give ``logits`` and ``probabilities``:
    normalisation and the recipe's adjustment are part of them. ``timm`` and ``safetensors`` hold weights; what must be
    done to pictures stands in the file's metadata and in the model card.

    Args:
        run: what ``longtail.use.network.trained`` returns.
        kind: ``onnx``, ``safetensors``, ``timm`` or ``pt2``.
        out: a new file.
        pictures: (N, C, H, W) uint8, real ones, on which both are compared.

    Returns:
        How well they agree.

    Raises:
        InputError: another kind, a file that is there already, a library that is not installed, a network that the kind
            cannot hold, or an export that gives other answers.
    """
    if kind not in KINDS:
        raise unknown("format", kind, KINDS)
    if out.exists():
        raise InputError(f"{out} is there already; name a new file")
    if len(pictures) == 0:
        raise InputError("an export is checked on real pictures, and there is none")
    write, load = KINDS[kind]
    agreed: list[Agreement] = []

    def checked(file: pathlib.Path) -> None:
        # Loaders go by the ending of a name.
        own = file.with_name(f"{file.name}{out.suffix}")
        try:
            write(run, own)
            agreed.append(compared(load(run, own), run, pictures, out))
            own.replace(file)
        finally:
            own.unlink(missing_ok=True)

    write_atomically(out, checked)
    return agreed[0]


def facts(run: Trained) -> dict[str, str]:
    """Return what somebody who loads the weights must know, as texts: classes, counts, preparation, origin."""
    record = run.loaded.record
    return {
        "class_names": json.dumps(run.class_names, ensure_ascii=False),
        "counts": json.dumps(record.data["counts"]),
        "transform": json.dumps(transform(run)),
        "model": json.dumps(plain(run.part)),
        "logit_shift": json.dumps(run.classifier.shift.tolist()),
        "recipe": record.recipe,
        "data": record.data["fingerprint"],
        "run": str(record.digests.get("run", "")),
    }


def transform(run: Trained) -> dict[str, Any]:
    """Return how a picture becomes what the network takes, in the order of the steps."""
    channels, height, width = run.shape
    found: dict[str, Any] = {
        "colours": "grey" if channels == 1 else "RGB",
        "transparency": "on white",
        "orientation": "upright",
        "size": [height, width],
        "fit": "shorter side scaled to the size, cropped around the centre",
        "interpolation": run.loaded.record.data.get("interpolation", "bicubic"),
    }
    if "crop" in run.loaded.record.data:
        found["crop"] = run.loaded.record.data["crop"]
    if run.classifier.resized is not None and run.classifier.resized[0] != height:
        found["then_resized"] = list(run.classifier.resized)
    found |= {"scale": "levels / 255", "mean": list(run.classifier.mean), "std": list(run.classifier.std)}
    return found


def compared(answer: Callable[[Tensor], Tensor], run: Trained, pictures: Tensor, out: pathlib.Path) -> Agreement:
    """Compare the logits of an export with the run's own.

    Args:
        answer: from images (N, C, H, W) uint8 to logits (N, K).
        run: that was exported.
        pictures: (N, C, H, W) uint8.
        out: where the export was to be, for the message.

    Raises:
        InputError: they differ by more than arithmetic in another order can.
    """
    ours = logits_of(run.classifier, pictures)
    theirs = torch.cat([answer(held) for held in torch.split(pictures, 64)])
    if theirs.shape != ours.shape:
        raise InputError(f"{out} was not written: the export gives {tuple(theirs.shape)}, not {tuple(ours.shape)}")
    gap = (ours - theirs).abs().amax(dim=1)
    allowed = TOLERANCE * max(1.0, float(ours.abs().max()))
    found = Agreement(
        len(pictures),
        float(gap.max()),
        float((ours.softmax(1) - theirs.softmax(1)).abs().max()),
        float((ours.argmax(1) == theirs.argmax(1)).double().mean()),
    )
    if not found.logit <= allowed:  # nan is no agreement either
        raise InputError(
            f"{out} was not written: the export does not agree with the run on {len(pictures):,} pictures (a logit "
            f"differs by {found.logit:.3g}, more than {allowed:.3g})"
        )
    return found


# Weights, with what must be known of them in the metadata of the file.


def _save(file: pathlib.Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    save_tensors(file, {name: held.detach().contiguous().clone() for name, held in tensors.items()}, metadata)


def _write_safetensors(run: Trained, file: pathlib.Path) -> None:
    _save(file, dict(run.classifier.network.state_dict()), {"format": "pt", **facts(run)})


def _load_safetensors(run: Trained, file: pathlib.Path) -> Callable[[Tensor], Tensor]:
    from copy import deepcopy

    from safetensors import safe_open

    with safe_open(file, framework="pt") as stored:
        told = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    again = deepcopy(run.classifier)
    again.network.load_state_dict(tensors)
    again.shift.copy_(torch.tensor(json.loads(told["logit_shift"])))
    return lambda pictures: logits_of(again, pictures)


# timm.


def timm_name(run: Trained) -> str:
    """Return the name in timm of a run's network.

    Raises:
        InputError: it is no network of timm.
    """
    if run.part.function is not timm_model:
        raise InputError(
            f"{run.loaded.folder} holds {short(run.part)}, which is no network of timm, so timm cannot load it: "
            "use --format onnx, pt2 or safetensors"
        )
    return str(dict(run.part.arguments)["timm_name"])


def timm_tensors(run: Trained) -> dict[str, Tensor]:
    """Return the weights of a run by timm's own names, the classifier among them.

    Raises:
        InputError: it is no network of timm, or has a head or layers that timm's own network does not have.
    """
    name, network = timm_name(run), run.classifier.network
    if not isinstance(network.head, LinearHead):
        raise InputError(
            f"{run.loaded.folder}: timm's {name} ends in a linear layer, this one in a {type(network.head).__name__}: "
            "use --format onnx, pt2 or safetensors"
        )
    own = {key.removeprefix("stages.0."): held for key, held in network.backbone.state_dict().items()}
    empty = plain_timm(run)
    head = _classifier_of(empty)
    own[f"{head}.weight"] = network.head.weight.detach()
    own[f"{head}.bias"] = network.head.bias.detach() + run.classifier.shift
    wanted = empty.state_dict()
    if {key: held.shape for key, held in own.items()} != {key: held.shape for key, held in wanted.items()}:
        odd = sorted(own.keys() ^ wanted.keys())
        raise InputError(
            f"{run.loaded.folder}: {short(run.part)} has other layers than timm's {name} ({', '.join(odd[:3])}): "
            "use --format onnx, pt2 or safetensors"
        )
    return own


def plain_timm(run: Trained, **more: Any) -> nn.Module:
    """Return timm's own network for a run's classes and pictures, as anybody makes it."""
    import timm

    settings = timm_settings(run)
    name = settings.pop("model_name")
    made: nn.Module = timm.create_model(name, **settings, **more)
    return made


def timm_settings(run: Trained) -> dict[str, Any]:
    """Return the arguments of ``timm.create_model``, besides the file, that make a run's network."""
    import timm

    name = timm_name(run)
    found: dict[str, Any] = {"model_name": name, "num_classes": len(run.class_names), "in_chans": run.shape[0]}
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:
        found["img_size"] = run.shape[1] if run.classifier.resized is None else run.classifier.resized[0]
    return found


def _classifier_of(model: nn.Module) -> str:
    named = model.pretrained_cfg["classifier"]  # type: ignore[index]
    if not isinstance(named, str):
        raise InputError(f"this network of timm has {len(named)} classifiers; use --format onnx, pt2 or safetensors")
    return named


def _write_timm(run: Trained, file: pathlib.Path) -> None:
    _save(file, timm_tensors(run), {"format": "pt", **facts(run)})


def _load_timm(run: Trained, file: pathlib.Path) -> Callable[[Tensor], Tensor]:
    """What timm alone makes of the file."""
    return timm_answers(run, plain_timm(run, checkpoint_path=str(file)))


def timm_answers(run: Trained, loaded: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what answers pictures (N, C, H, W) uint8 by a network that timm loaded, prepared as the run does it."""
    from copy import deepcopy

    model: Any = loaded.eval().to(memory_format=torch.channels_last)
    before = deepcopy(run.classifier)
    before.shift.zero_()  # it is part of the bias
    before.network.backbone, before.network.head = model, nn.Identity()
    return lambda pictures: logits_of(before, pictures)


# Graphs, which need none of our code.


class _Answers(nn.Module):
    """Logits and probabilities."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(images)
        return logits, logits.softmax(dim=1)


def _program(run: Trained) -> Any:
    """The network as a graph of PyTorch that takes any number of pictures."""
    from copy import deepcopy

    classifier = deepcopy(run.classifier).to(memory_format=torch.contiguous_format)
    images = torch.randint(256, (BATCH, *run.shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return torch.export.export(
        _Answers(classifier).eval(), (images,), dynamic_shapes={"images": {0: torch.export.Dim("N", min=1)}}
    )


def _write_pt2(run: Trained, file: pathlib.Path) -> None:
    with _one_line(run, "pt2"), _quiet():
        held = io.BytesIO()  # Python's own write names a full disk; torch's does not
        torch.export.save(_program(run), held, extra_files={"longtail.json": json.dumps(facts(run))})
    file.write_bytes(held.getbuffer())


def _load_pt2(run: Trained, file: pathlib.Path) -> Callable[[Tensor], Tensor]:
    del run
    with _quiet():
        module = torch.export.load(file).module()
    return torch.no_grad()(lambda pictures: module(pictures)[0])


def _write_onnx(run: Trained, file: pathlib.Path) -> None:
    _needed("onnx", "onnxscript", "onnxruntime")
    onnx: Any = importlib.import_module("onnx")
    with _one_line(run, "onnx"), _quiet():
        made = torch.onnx.export(
            _program(run),
            input_names=["images"],
            output_names=["logits", "probabilities"],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        assert made is not None  # no file was named, so it is given back
        proto = made.model_proto
        for key, value in facts(run).items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(proto, file)


def _load_onnx(run: Trained, file: pathlib.Path) -> Callable[[Tensor], Tensor]:
    del run
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda pictures: torch.from_numpy(session.run(["logits"], {"images": pictures.numpy()})[0])


def _needed(*names: str) -> None:
    """Say in one line which libraries are not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format onnx needs {', '.join(missing)}: pip install 'longtail[onnx]'")


@contextlib.contextmanager
def _one_line(run: Trained, kind: str) -> Iterator[None]:
    """A network that cannot become a graph is refused in one line, whatever the exporter raises."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{run.loaded.folder}: {short(run.part)} cannot be written as {kind} ({type(error).__name__}: {reason})"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines of the exporters: what matters of them is what the check finds."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


Write = Callable[[Trained, pathlib.Path], None]
Load = Callable[[Trained, pathlib.Path], Callable[[Tensor], Tensor]]
KINDS: dict[str, tuple[Write, Load]] = {
    "onnx": (_write_onnx, _load_onnx),
    "safetensors": (_write_safetensors, _load_safetensors),
    "timm": (_write_timm, _load_timm),
    "pt2": (_write_pt2, _load_pt2),
}
"""What writes each kind, and what makes of the file again something that answers pictures."""
