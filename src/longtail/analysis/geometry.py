"""The geometry of learned features: distances within and between classes by shot group, and figures to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from longtail.counts import shot_groups
from longtail.errors import InputError
from longtail.shapes import Bool, Float, Int
from longtail.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ByGroup", "ClassDistances", "Points", "class_distances", "feature_figure", "projection", "radii_figure"]


@dataclasses.dataclass(frozen=True)
class ByGroup:
    """One quantity as a mean over classes; None where no class of the group has it, never 0."""

    all: float | None
    many: float | None
    medium: float | None
    few: float | None


@dataclasses.dataclass(frozen=True)
class ClassDistances:
    """How tight classes are and how far apart, in the units of the features.

    Args:
        intra: distance of a class's features to their centroid.
        inter: distance of a class's centroid to the centroids of the other classes.
        group_sizes: number of classes of each group that occur in the features.
        thresholds: bounds of the groups, in training images.
    """

    intra: ByGroup
    inter: ByGroup
    group_sizes: dict[str, int]
    thresholds: dict[str, int]

    @property
    def ratio(self) -> ByGroup:
        """Intra / inter, which does not depend on the scale of the features: what to compare methods by."""
        pairs = zip(dataclasses.astuple(self.intra), dataclasses.astuple(self.inter), strict=True)
        return ByGroup(*(intra / inter if intra is not None and inter else None for intra, inter in pairs))


def class_distances(
    features: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    counts: Int[Tensor, " K"],
    many: int = 100,
    few: int = 20,
) -> ClassDistances:
    r"""Intra- and inter-class distances, averaged over the classes of each shot group.

    .. math:: \text{intra}_c = \frac{1}{n_c} \sum_{i:\, y_i = c} \lVert z_i - \mu_c \rVert, \quad
        \text{inter}_c = \frac{1}{C - 1} \sum_{c' \neq c} \lVert \mu_c - \mu_{c'} \rVert

    with :math:`\mu_c` the mean of the class's features here and C the classes that occur. The other classes of the
    inter-class distance are those of all groups. A class with one feature has no intra-class distance. The centroid
    of n features follows them, which shrinks squared distances by about (n - 1) / n: rare classes look tighter than
    they are on training features, so compare groups on a test set.

    Args:
        features: (N, D). Scale rows to length 1 first, or use the ratio, when methods are compared.
        target: (N,) labels.
        counts: (K,) *training* images per class, which define the groups.
        many: classes with more training images are many-shot.
        few: classes with fewer training images are few-shot.

    Returns:
        The distances, with the thresholds they hold for.

    Raises:
        InputError: for a label that has no count.

    Example:
        >>> features = torch.tensor([[0.0, 1.0], [0.0, -1.0], [4.0, 2.0], [4.0, -2.0]])
        >>> found = class_distances(features, torch.tensor([0, 0, 1, 1]), counts=torch.tensor([500, 5]))
        >>> found.intra
        ByGroup(all=1.5, many=1.0, medium=None, few=2.0)
        >>> found.inter
        ByGroup(all=4.0, many=4.0, medium=None, few=4.0)
    """
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < len(counts):
        raise InputError(
            f"target holds labels {int(target.min())} to {int(target.max())}, but counts has {len(counts)} classes: "
            "give the training counts of every class"
        )
    features, target, counts = features.detach().cpu().double(), target.cpu(), counts.cpu()
    size = torch.bincount(target, minlength=len(counts))
    sums = torch.zeros(len(counts), features.shape[1], dtype=torch.float64).index_add(0, target, features)
    centroids = sums / size[:, None]
    distance = (features - centroids[target]).norm(dim=1)
    intra = torch.zeros(len(counts), dtype=torch.float64).index_add(0, target, distance) / size

    seen = size > 0
    # The default of cdist subtracts squares, which loses the distances of centroids that lie close together.
    between = torch.cdist(centroids[seen], centroids[seen], compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    inter = torch.zeros(len(counts), dtype=torch.float64)
    inter[seen] = between / max(int(seen.sum()) - 1, 1)

    groups = shot_groups(counts, many, few)
    return ClassDistances(
        intra=_by_group(intra, size > 1, groups),
        inter=_by_group(inter, seen if int(seen.sum()) > 1 else torch.zeros_like(seen), groups),
        group_sizes={name: int((mask & seen).sum()) for name, mask in groups.items()},
        thresholds={"many": many, "few": few},
    )


def _by_group(
    value: Float[Tensor, " K"], known: Bool[Tensor, " K"], groups: Mapping[str, Bool[Tensor, " K"]]
) -> ByGroup:
    def mean(mask: Tensor) -> float | None:
        return float(value[mask & known].mean()) if (mask & known).any() else None

    return ByGroup(mean(torch.ones_like(known)), mean(groups["many"]), mean(groups["medium"]), mean(groups["few"]))


def projection(
    features: Float[Tensor, "N D"], *, generator: torch.Generator, perplexity: float = 30.0
) -> Float[Tensor, "N 2"]:
    """A map of the features in the plane by t-SNE: who is near whom survives, distances and densities do not.

    Points of two calls cannot be compared. Project train and test features together, and split the result.

    Args:
        features: (N, D).
        generator: where the seed of t-SNE comes from.
        perplexity: about the number of neighbours that each point keeps; below N.

    Returns:
        (N, 2) positions, in float32.

    Raises:
        InputError: for a perplexity that is not between 1 and N.

    Example:
        >>> features = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
        >>> projection(features, generator=torch.Generator().manual_seed(0), perplexity=5.0).shape
        torch.Size([20, 2])

    References:
        van der Maaten & Hinton, Visualizing Data using t-SNE, JMLR 2008; scikit-learn's implementation.
    """
    if not 1 <= perplexity < len(features):
        raise InputError(
            f"perplexity is {perplexity:g} for {len(features)} features: it must be at least 1 and below their number"
        )
    from sklearn.manifold import TSNE

    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    method = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    return torch.from_numpy(method.fit_transform(features.detach().cpu().float().numpy())).float()


@dataclasses.dataclass(frozen=True)
class Points:
    """Projected features and their classes.

    Args:
        position: (N, 2).
        target: (N,) labels.
    """

    position: Float[Tensor, "N 2"]
    target: Int[Tensor, " N"]


# Okabe and Ito's colours, made to be told apart with every kind of colour vision; each has a shape of its own too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_SHAPES = ("o", "s", "^", "D", "P", "v", "X", "*")
_GREYS = {"many": "#d4d4d4", "medium": "#b0b0b0", "few": "#808080"}


def feature_figure(
    methods: Mapping[str, tuple[Points, Points]],
    *,
    counts: Int[Tensor, " K"],
    many: int = 100,
    few: int = 20,
    class_names: Sequence[str] | None = None,
    highlighted: int = 6,
) -> Figure:
    """Projected features: one row per method, train left and test right, the rarest few-shot classes highlighted.

    All other classes are grey, the rarer the darker. A highlighted class has the same colour and shape in every panel.

    Args:
        methods: projected train and test features of each name.
        counts: (K,) training images per class.
        many: classes with more training images are many-shot.
        few: classes with fewer training images are few-shot.
        class_names: K names for the legend; absent: the numbers.
        highlighted: how many few-shot classes to highlight at most, from the rarest on; 0 to 8.

    Returns:
        A figure that belongs to no window: ``figure.savefig(path)`` writes it.

    Raises:
        InputError: without a method, or for more highlighted classes than there are colours.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not methods:
        raise InputError("no method to draw: give the projected train and test features of at least one")
    if not 0 <= highlighted <= len(_COLOURS):
        raise InputError(f"highlighted is {highlighted}: at most {len(_COLOURS)} classes can be told apart")
    counts = counts.cpu()
    sizes = counts.tolist()
    groups = shot_groups(counts, many, few)
    rarest = sorted(groups["few"].nonzero().flatten().tolist(), key=lambda c: (sizes[c], c))[:highlighted]
    plain = {name: mask.clone() for name, mask in groups.items()}
    plain["few"][rarest] = False
    styles = dict(zip(rarest, zip(_COLOURS, _SHAPES, strict=True), strict=False))

    figure = Figure(figsize=(8.0, 3.7 * len(methods) + 0.8), layout="constrained")
    rows = figure.subplots(len(methods), 2, squeeze=False)
    for row, (name, halves) in zip(rows, methods.items(), strict=True):
        row[0].set_ylabel(name, fontsize=12)
        corners = torch.cat([points.position.detach().cpu() for points in halves]).aminmax(dim=0)
        middle, reach = (corners.min + corners.max) / 2, 0.53 * float((corners.max - corners.min).max())
        for axes, points in zip(row, halves, strict=True):
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.set_xlim(float(middle[0]) - reach, float(middle[0]) + reach)
            axes.set_ylim(float(middle[1]) - reach, float(middle[1]) + reach)
            position, target = points.position.detach().cpu(), points.target.cpu()
            for group, mask in plain.items():
                axes.scatter(*position[mask[target]].T.numpy(), s=7, color=_GREYS[group], linewidths=0)
            for c, (colour, shape) in styles.items():
                found = position[target == c].T.numpy()
                axes.scatter(*found, s=24, color=colour, marker=shape, edgecolors="black", linewidths=0.5)
    for axes, title in zip(rows[0], ("train", "test"), strict=True):
        axes.set_title(title, fontsize=12)

    def entry(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **style)

    handles = [
        entry(f"{'other ' if group == 'few' and rarest else ''}{group}-shot", marker="o", markersize=5, color=colour)
        for group, colour in _GREYS.items()
        if plain[group].any()
    ]
    for c, (colour, shape) in styles.items():
        named = class_names[c] if class_names is not None else f"class {c}"
        label = f"{named}, {counted(sizes[c], 'training image')}"
        handles.append(entry(label, marker=shape, markersize=7, color=colour, markeredgecolor="black"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def radii_figure(history: Sequence[Mapping[str, Any]], *, counts: Int[Tensor, " K"]) -> Figure:
    """The learned radius of every class over the epochs, coloured by the class's training images.

    Args:
        history: of a record; entries without "radii" (stages that have none) are left out.
        counts: (K,) training images per class.

    Returns:
        A figure that belongs to no window: ``figure.savefig(path)`` writes it.

    Raises:
        InputError: for a history without radii, or with radii of another number of classes.
    """
    epochs = [place for place, entry in enumerate(history, start=1) if "radii" in entry]
    if not epochs:
        raise InputError("the history holds no radii: only a run with learned radii has them")
    radii = [history[place - 1]["radii"] for place in epochs]
    lengths = {len(row) for row in radii}
    if lengths != {len(counts)}:
        raise InputError(f"the history holds radii of {sorted(lengths)} classes, but counts has {len(counts)}")
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    sizes = [max(size, 1) for size in counts.tolist()]
    # Cividis changes in lightness throughout, so that every kind of colour vision can read it. Rare classes are dark.
    # A norm has two different ends, also where all classes have the same size.
    colour = ScalarMappable(LogNorm(min(sizes), max(*sizes, min(sizes) + 1)), colormaps["cividis"])
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    # Rare classes last, and so on top.
    for c in sorted(range(len(sizes)), key=lambda c: -sizes[c]):
        values = [row[c] for row in radii]
        axes.plot(epochs, values, color=colour.to_rgba(sizes[c]), marker="o" if len(epochs) == 1 else "", linewidth=1.2)
    axes.set(xlabel="epoch, all stages", ylabel="radius, in units of the features")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(colour, ax=axes, label="training images of the class")
    return figure
