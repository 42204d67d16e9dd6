"""What ``fit`` chooses, always by the validation split, and what the test split then says of it."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from longtail import metrics
from longtail.errors import InputError
from longtail.rebalance.classifiers import TAUS
from longtail.recipes.stages import changes_head
from longtail.results import Difference, Loaded
from longtail.training.many import compare_rows
from longtail.training.restore import adjustment_of
from longtail.training.run import LOGITS
from longtail.use.planning import BASE
from longtail.wording import counted


def _held(run: Loaded) -> tuple[Any, Any, Any]:
    """Logits (N, K) on the validation split before any adjustment, its classes (N,) and the training counts (K,)."""
    import torch
    from safetensors.torch import load as tensors_of

    path = run.folder / LOGITS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; remove {run.folder} and the run is trained again") from None
    if hashlib.sha256(content).hexdigest() != run.record.digests.get("logits"):
        raise InputError(f"{path} is damaged; remove {run.folder} and the run is trained again")
    kept = tensors_of(content)
    counts = torch.tensor(run.record.data["counts"])
    return kept["validation.logits"].float(), kept["validation.target"], counts


def _score(logits: Any, target: Any, counts: Any) -> float:
    return metrics.evaluate(target, logits.argmax(dim=1), counts=counts).balanced_accuracy


def validation_score(run: Loaded) -> float:
    """Balanced accuracy of a run on the validation split."""
    logits, target, counts = _held(run)
    adjustment = adjustment_of(run)
    if adjustment is not None and not changes_head(adjustment):
        logits = adjustment.build().fit(counts=counts).adjust(logits)
    return _score(logits, target, counts)


def strength(runs: Sequence[Loaded]) -> float:
    """The strength of post-hoc logit adjustment that is best on validation over all runs; of equal ones the least."""
    held = [_held(run) for run in runs]
    found: dict[float, float] = {}
    for tau in TAUS:
        if tau > 0:
            found[tau] = statistics.fmean(
                _score(logits - tau * (counts / counts.sum()).log(), target, counts) for logits, target, counts in held
            )
    return max(found, key=lambda tau: (found[tau], -tau))


def judged(
    rows: Mapping[str, Sequence[Loaded]], best: str, level: Sequence[str] = ()
) -> tuple[Difference | None, bool, str]:
    """Say whether the method that validation chose is above untuned cross-entropy on the test split.

    It is one contrast, chosen before the test split was looked at, so its interval allows for no others.

    Args:
        rows: runs by method, ``ce`` among them.
        best: the method.
        level: others with the same mean on validation.

    Returns:
        The difference of balanced accuracy and all else; whether it is above; and the line that says so.
    """
    if best == BASE and level:
        told = f"untuned ce and {counted(len(level), 'other method')} are level on validation"
        return None, False, f"Nothing was chosen: {told} ({', '.join(level)}), so ce is kept"
    if best == BASE:
        return None, False, "Nothing helped: untuned ce is the best on validation, and it is kept"
    comparison = compare_rows({BASE: rows[BASE], best: rows[best]}, against=BASE)
    found = comparison.methods[1].difference
    assert found is not None
    gap = found.rates["balanced_accuracy"]
    assert gap is not None  # every test split has some class
    told = f"{best} minus untuned ce, balanced accuracy on the held-out test: {100 * gap.value:+.1f} points"
    if gap.low is None or gap.high is None:
        return found, False, f"Not shown to help: {told}; two seeds give no interval"
    told += f", 95 % interval [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    alone = "; one seed, so it speaks of this run alone" if len(rows[best]) == 1 else ""
    if gap.low > 0:
        return found, True, f"Above untuned ce: {told}{alone}"
    if gap.high < 0:
        return found, False, f"Nothing helped, and what validation chose is below untuned ce: {told}{alone}"
    return found, False, f"Nothing is shown to help: {told}, which holds 0{alone}"
