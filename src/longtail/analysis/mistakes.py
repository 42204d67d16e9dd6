"""What a person should see of a finished run: its worst mistakes, its rarest classes, and doubts about the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longtail import metrics
from longtail.analysis.suspects import FOLDS, LIMIT, Suspects, contradicted
from longtail.counts import shot_groups
from longtail.data import Data, Split, hygiene
from longtail.recipes import Part
from longtail.recipes.stages import changes_head
from longtail.results import Estimate, Loaded, compare_records, estimate
from longtail.results.report.looked import Looked, Pair, Picture, Rare, Row, Trust, address_of, matrix_svg
from longtail.shapes import Float, Int
from longtail.training.restore import adjustment_of, features_of
from longtail.wording import counted

MISTAKES, RARE, IN_ROW, PAIRS, NEAR, DOUBTS = 36, 10, 5, 20, 18, 36
"""Pictures and rows at most: worst mistakes, rare classes, pictures of one, confusions, near duplicates, suspects."""
OF_PAIR = 3
"""Worst mistakes that are shown of one class taken for one other, so that one confusion does not fill the page."""
MANY = 0.2
"""From this share of suspects on, the page says that the features and not the labels are the likely reason."""
STEPS = 4


def look(
    loaded: Loaded, data: Data, model: Part | None = None, notify: Callable[[int, int], object] | None = None
) -> Looked:
    """Collect what the page of a run shows.

    Args:
        loaded: the finished run.
        data: its data set.
        model: the run's own network, where that is in a file of somebody's own and so must be named.
        notify: called with how many steps are done and how many there are.

    Returns:
        What ``longtail.results.report.looked.looked_html`` lays out.

    Raises:
        InputError: other data than the run's, or a network that does not give the record's answers.
    """
    tell = notify or (lambda done, total: None)
    tell(0, STEPS)
    learned, seen = features_of(loaded, data, model)
    tell(1, STEPS)
    logits, counts = seen.logits, data.counts.cpu()
    adjustment = adjustment_of(loaded)
    if adjustment is not None and not changes_head(adjustment):
        logits = adjustment.build().fit(counts=counts).adjust(logits)
    probability = logits.double().softmax(dim=1)
    target, (sure, answer) = data.test.target.cpu(), probability.max(dim=1)
    near, near_told = _near(data)
    tell(2, STEPS)
    suspects, suspects_told = _suspects(learned.features, data, loaded.record.seed)
    tell(3, STEPS)
    confused = Counter(zip(target[answer != target].tolist(), answer[answer != target].tolist(), strict=True))
    found = Looked(
        recipe=loaded.record.recipe,
        seed=loaded.record.seed,
        data=loaded.record.data,
        rates=_rates(loaded),
        mistakes=_mistakes(data, target, answer, probability),
        wrong=int((answer != target).sum()),
        rare=_rare(data, target, answer, sure),
        pairs=_pairs(data, confused, target),
        matrix=matrix_svg(target, answer, counts.tolist(), data.class_names),
        rows=_rows(data, confused, target, answer),
        trust=_trust(data, target, answer, probability),
        priors=priors(target, answer, counts),
        near=near,
        near_told=near_told,
        suspects=suspects,
        suspects_told=suspects_told,
        notes=tuple(note for note in (*data.notes, *loaded.record.notes) if note),
    )
    tell(STEPS, STEPS)
    return found


def priors(
    target: Int[Tensor, " N"], answer: Int[Tensor, " N"], counts: Int[Tensor, " K"]
) -> tuple[tuple[str, str, Estimate], ...]:
    r"""Return the accuracy under the training set's class frequencies, equal ones, and the reversed ones.

    .. math:: \sum_k \pi_k \, \mathrm{recall}_k

    In the reversed prior the rarest class has the frequency of the most frequent one, the second rarest that of the
    second, and so on. Classes without test images have no recall: the others share their weight.

    Args:
        target: (N,) true classes.
        answer: (N,) predicted classes.
        counts: (K,) training images per class.

    Returns:
        Name, explanation and estimate of each.

    Example:
        >>> target, answer = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0])
        >>> [round(found.value, 3) for _, _, found in priors(target, answer, torch.tensor([9, 1]))]
        [0.95, 0.75, 0.55]

    References:
        Hong et al., *Disentangling Label Distribution for Long-tailed Visual Recognition*, CVPR 2021 (test sets with
        forward and backward imbalance).
    """
    order = torch.argsort(counts, stable=True)
    reverse = torch.empty_like(counts)
    reverse[order] = counts[order.flip(0)]
    named = {
        "forward prior": ("as in the training set", counts),
        "uniform prior": ("alike", torch.ones_like(counts)),
        "backward prior": ("as in the training set turned round: the rarest class most", reverse),
    }
    tested = torch.bincount(target, minlength=len(counts)) > 0
    weights = torch.stack([torch.where(tested, prior, 0).double() for _, prior in named.values()])
    found = estimate((answer == target)[None], target, weights=weights / weights.sum(dim=1, keepdim=True))
    return tuple((name, words, one) for (name, (words, _)), one in zip(named.items(), found, strict=True))


def _rates(loaded: Loaded) -> tuple[tuple[str, Estimate | None], ...]:
    (method,) = compare_records({loaded.record.recipe: [loaded]}).methods
    data, sizes = loaded.record.data, loaded.record.report["group_sizes"]
    named = {
        "accuracy": "all test images",
        "many": f"many: more than {data['many']} training images ({counted(sizes['many'], 'class')})",
        "medium": f"medium ({counted(sizes['medium'], 'class')})",
        "few": f"few: fewer than {data['few']} training images ({counted(sizes['few'], 'class')})",
    }
    return tuple((words, method.estimates[rate]) for rate, words in named.items())


def thumbnail(split: Split, position: int) -> str:
    """Return one image of a split as a data address, in memory or in a file; nothing for rows of features."""
    images: Any = split.images
    if len(images.shape) != 4:
        return ""
    return address_of(images.read(position) if hasattr(images, "read") else images[position])


def _class(data: Data, k: int) -> str:
    return f"{data.class_names[k]} ({int(data.counts[k]):,})"


def _mistakes(data: Data, target: Tensor, answer: Tensor, probability: Tensor) -> tuple[Picture, ...]:
    wrong = torch.nonzero(answer != target).flatten()
    sure = probability[wrong, answer[wrong]]
    chosen: list[int] = []
    times: Counter[tuple[int, int]] = Counter()
    for i in wrong[torch.argsort(sure, descending=True, stable=True)].tolist():
        pair = int(target[i]), int(answer[i])
        times[pair] += 1
        if times[pair] <= OF_PAIR and len(chosen) < MISTAKES:
            chosen.append(i)
    return tuple(
        Picture(
            thumbnail(data.test, i),
            data.test.name(i),
            (
                f"taken for {_class(data, int(answer[i]))}",
                f"is {_class(data, int(target[i]))}",
                f"{100 * float(probability[i, answer[i]]):.0f} % sure, {100 * float(probability[i, target[i]]):.1f} % "
                "for its own",
            ),
            False,
        )
        for i in chosen
    )


def _rare(data: Data, target: Tensor, answer: Tensor, sure: Tensor) -> tuple[Rare, ...]:
    tested = torch.bincount(target, minlength=data.num_classes)
    order = [k for k in torch.argsort(data.counts.cpu(), stable=True).tolist() if tested[k]][:RARE]
    found = []
    for k in order:
        test = torch.nonzero(target == k).flatten()
        right = int((answer[test] == k).sum())
        # Wrong ones first: they are what one wants to see.
        shown = test[torch.argsort((answer[test] == k).int(), stable=True)][:IN_ROW].tolist()
        train = torch.nonzero(data.train.target.cpu() == k).flatten()[:IN_ROW].tolist()
        taken = tuple(
            Picture(
                thumbnail(data.test, i),
                data.test.name(i),
                (data.class_names[int(answer[i])], f"{100 * float(sure[i]):.0f} %"),
                bool(answer[i] == k),
            )
            for i in shown
        )
        learned = tuple(Picture(thumbnail(data.train, i), data.train.name(i), ()) for i in train)
        found.append(Rare(data.class_names[k], int(data.counts[k]), right, len(test), learned, taken))
    return tuple(found)


def _pairs(data: Data, confused: Counter[tuple[int, int]], target: Tensor) -> tuple[Pair, ...]:
    tested = torch.bincount(target, minlength=data.num_classes)
    ranked = sorted(confused.items(), key=lambda item: (-item[1], -item[1] / int(tested[item[0][0]]), item[0]))
    return tuple(
        Pair(
            data.class_names[true],
            data.class_names[taken],
            times,
            times / int(tested[true]),
            confused[taken, true],
            (int(data.counts[true]), int(data.counts[taken])),
        )
        for (true, taken), times in ranked[:PAIRS]
    )


def _rows(data: Data, confused: Counter[tuple[int, int]], target: Tensor, answer: Tensor) -> tuple[Row, ...]:
    size = data.num_classes
    tested, said = (torch.bincount(held, minlength=size).tolist() for held in (target, answer))
    right = torch.bincount(target[answer == target], minlength=size).tolist()
    most: dict[int, tuple[int, int]] = {}
    for (true, taken), times in sorted(confused.items()):
        if times > most.get(true, (0, 0))[1]:
            most[true] = (taken, times)
    rows = []
    for k in torch.argsort(data.counts.cpu(), descending=True, stable=True).tolist():
        usual = f"{data.class_names[most[k][0]]} ({most[k][1]})" if k in most else ""
        recall = right[k] / tested[k] if tested[k] else None
        precision = right[k] / said[k] if said[k] else None
        rows.append(Row(data.class_names[k], int(data.counts[k]), tested[k], recall, precision, usual))
    return tuple(rows)


def _trust(data: Data, target: Tensor, answer: Tensor, probability: Tensor) -> tuple[Trust, ...]:
    groups = shot_groups(data.counts.cpu(), many=data.many, few=data.few)
    whole = {"all": torch.ones(data.num_classes, dtype=torch.bool), **groups}
    found = []
    for name, classes in whole.items():
        held = classes[target]
        if bool(held.any()):
            measured = metrics.calibration(target[held], probability[held])
            confidence = float(probability[held].max(dim=1).values.mean())
            accuracy = float((answer == target)[held].double().mean())
            found.append(Trust(name, int(held.sum()), accuracy, confidence, measured.ece, measured.nll))
    return tuple(found)


def _near(data: Data) -> tuple[tuple[tuple[Picture, Picture], ...], str]:
    """Pairs of different splits that show nearly the same, exact copies included."""
    splits = hygiene.splits_of(data)
    alike = hygiene.near(splits)
    if isinstance(alike, str):
        return (), f"Not looked for: {alike}."
    equal = [
        (group[0], other) for group in hygiene.copies(splits) for other in group[1:] if other.split != group[0].split
    ]
    across = [pair for pair in alike if pair[0].split != pair[1].split]
    pairs = [(True, *pair) for pair in equal] + [(False, *pair) for pair in across]
    if not pairs:
        return (), "None between one split and another."
    shown = tuple(
        tuple(
            Picture(
                thumbnail(splits[one.split], one.position),
                one.name,
                (one.split, data.class_names[one.target], "equal" if same else "nearly equal"),
                None if first.target == second.target else False,
            )
            for one in (first, second)
        )
        for same, first, second in pairs[:NEAR]
    )
    told = (
        f"{counted(len(equal), 'pair')} of equal pictures and {len(across):,} of nearly equal ones stand in two splits"
        + (f"; {len(shown)} are shown" if len(pairs) > len(shown) else "")
        + ". A test picture that was trained on says nothing. Pairs of two classes are marked red."
    )
    return shown, told  # type: ignore[return-value]


def _suspects(features: Float[Tensor, "N D"], data: Data, seed: int) -> tuple[tuple[Picture, ...], str]:
    if features.numel() * data.num_classes > LIMIT:
        return (), f"Not looked for: {len(features):,} images are too many to fit {FOLDS} linear models in minutes."
    found = contradicted(
        features, data.train.target.cpu(), counts=data.counts.cpu(), many=data.many, few=data.few, seed=seed
    )
    shown = tuple(_doubt(data, found, place) for place in range(min(DOUBTS, len(found.position))))
    told = (
        f"{len(found.position):,} of {found.judged:,} training images were put into another class by a linear model on "
        f"this network's features that was fitted without them ({FOLDS} folds, confident learning)"
        + (f"; {len(shown)} are shown, the rarest group first" if shown else "")
        + ". A question, not an answer: nothing was left out. The network has seen these labels, so some wrong ones "
        "will not show."
    )
    if len(found.position) > MANY * found.judged:
        told += " With so many, these features tell the classes apart too badly for the list to say much of the labels."
    if found.small:
        small = counted(len(found.small), "class was", "classes were")
        told += f" {small} not judged, with fewer than {FOLDS} images."
    return shown, told


def _doubt(data: Data, found: Suspects, place: int) -> Picture:
    i, other = int(found.position[place]), int(found.other[place])
    return Picture(
        thumbnail(data.train, i),
        data.train.name(i),
        (
            f"labelled {_class(data, int(data.train.target[i]))}",
            f"folds say {_class(data, other)}",
            f"{100 * float(found.other_probability[place]):.0f} % against "
            f"{100 * float(found.own_probability[place]):.0f} %",
        ),
    )
