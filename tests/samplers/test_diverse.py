"""Diverse and greedy subsets of each class, and selections kept as lists."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch

from longtail import dpp, samplers
from longtail.data import selection
from longtail.errors import InputError
from longtail.samplers import informative
from longtail.samplers import selection as ways
from oracles import law
from oracles.dpp import p_value

TIMES = 2500


@pytest.mark.parametrize("quality", [None, [1.0, 0.5, 2.0, 0.1, 1.0]])
def test_every_class_is_one_exact_k_dpp(quality: list[float] | None, generator: torch.Generator) -> None:
    features = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    index = samplers.diverse(
        features.repeat(TIMES, 1) * (1.0 + torch.rand(5 * TIMES, 1, generator=generator)),
        torch.arange(TIMES).repeat_interleave(5),
        k=2,
        quality=None if quality is None else quality * TIMES,
        generator=generator,
    )
    masks = torch.zeros(5 * TIMES, dtype=torch.bool).index_fill(0, index, True).view(TIMES, 5)
    directions = torch.nn.functional.normalize(features, dim=1)
    kernel = dpp.LowRank(directions if quality is None else directions * torch.tensor(quality)[:, None])
    expected = law.enumeration(kernel, k=2)
    assert p_value(masks, *expected) > 1e-5
    # Mutants: the rows' lengths count, or quality comes in without the square.
    assert p_value(masks, *law.enumeration(dpp.LowRank(features), k=2)) < 1e-6
    if quality is not None:
        root = dpp.LowRank(directions * torch.tensor(quality).sqrt()[:, None])
        assert p_value(masks, *law.enumeration(root, k=2)) < 1e-6


def long_tail(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.repeat_interleave(torch.tensor([120, 40, 12, 5, 0, 3]))
    target = target[torch.randperm(len(target), generator=generator)]
    return torch.randn(len(target), 16, generator=generator), target


def test_sizes_small_classes_whole_and_indices_ascending(generator: torch.Generator) -> None:
    features, target = long_tail(generator)
    for index in (
        samplers.diverse(features, target, k=10, generator=generator),
        samplers.diverse(features.numpy(), target.tolist(), k=np.int64(10), generator=generator),
        samplers.greedy(features, target, k=10),
        samplers.select("diverse", target, k=10, features=features, generator=generator),
        samplers.select("greedy", target, k=10, features=features, generator=generator),
        samplers.select("uniform", target, k=10, generator=generator),
        samplers.select("ip-dpp", target, k=10, probability=torch.rand(180, generator=generator), generator=generator),
    ):
        assert torch.bincount(target[index], minlength=6).tolist() == [10, 10, 10, 5, 0, 3]
        assert bool((index.diff() > 0).all())
    per_class = torch.tensor([3, 0, 12, 9, 4, 1])
    index = samplers.diverse(features, target, k=per_class, generator=generator)
    assert torch.bincount(target[index], minlength=6).tolist() == [3, 0, 12, 5, 0, 1]
    assert samplers.diverse(torch.zeros(0, 2), [], k=3, generator=generator).tolist() == []
    assert samplers.greedy(torch.zeros(0, 2), [], k=3).tolist() == []


def test_a_diverse_subset_reaches_more_clusters_than_a_uniform_one(generator: torch.Generator) -> None:
    """Of 12 clusters of falling size, 12 items reach more when they are spread out, and the greedy ones reach all."""
    cluster = torch.repeat_interleave(torch.tensor([60, 40, 30, 20, 10, 8, 6, 5, 4, 4, 3, 2]))
    features = torch.eye(12)[cluster] + 0.02 * torch.randn(len(cluster), 12, generator=generator)
    target = torch.zeros(len(cluster), dtype=torch.int64)

    def reached(index: torch.Tensor) -> int:
        return len(cluster[index].unique())

    spread = [reached(samplers.diverse(features, target, k=12, generator=generator)) for _ in range(40)]
    control = [reached(informative.uniform(None, target, k=12, generator=generator)) for _ in range(40)]
    assert sum(spread) / 40 > 11.5
    assert sum(control) / 40 < 8.0
    assert reached(samplers.greedy(features, target, k=12)) == 12


def test_greedy_is_the_greedy_set_of_each_class(generator: torch.Generator) -> None:
    features, target = long_tail(generator)
    quality = torch.rand(len(target), generator=generator)
    index = samplers.greedy(features, target, k=7, quality=quality)
    for name in (0, 1, 2):
        members = (target == name).nonzero().squeeze(1)
        rows = torch.nn.functional.normalize(features[members].double(), dim=1) * quality[members, None]
        wanted = members[dpp.greedy(dpp.Dense(rows @ rows.T), k=7)].sort().values
        assert torch.equal(index[target[index] == name], wanted)


def test_the_generator_alone_decides() -> None:
    features, target = long_tail(torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    first, again, other = (
        samplers.diverse(features, target, k=9, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bad_input_is_named(generator: torch.Generator) -> None:
    features, target = torch.eye(6, 2), [0, 0, 0, 2, 2, 2]
    for change, message in (
        ({"k": 2}, r"class 0 wants 2 items.*rank 1.*class 2 wants 2 items.*rank 0.*k at most 0"),
        ({"features": torch.ones(5, 2)}, "features has 5 rows and target 6"),
        ({"quality": [1.0, 1.0]}, "quality has 2 rows"),
        ({"quality": [1.0, 1.0, -2.0, 1.0, 1.0, 1.0]}, r"quality\[2\] is -2"),
        ({"features": torch.full((6, 2), float("nan"))}, r"features\[0\] has an entry"),
        ({"k": -1}, "k is -1"),
        ({"k": [1]}, "k has 1 entries"),
        ({"k": [0.5, 1.0, 1.0]}, "torch.float32: give whole numbers, a whole number of items, or one for each class"),
        ({"k": torch.tensor(0.5)}, "give a whole number of items"),
        ({"target": [0, 1, 2, 3, 4, -5]}, "label -5"),
    ):
        given = {"features": features[[0, 2, 3, 2, 3, 4]], "target": target, "k": 1, "generator": generator} | change
        with pytest.raises(InputError, match=message):
            samplers.diverse(**given)
    with pytest.raises(InputError, match="class 0: k is 2, and after 1 items"):
        samplers.greedy(torch.ones(4, 2), [0, 0, 0, 0], k=2)
    with pytest.raises(InputError, match="unknown way to select 'gredy': did you mean 'greedy'"):
        samplers.select("gredy", target, k=1, generator=generator)
    for way in ("diverse", "greedy", "ip-dpp"):
        with pytest.raises(InputError, match=r"by features|by the probability"):
            samplers.select(way, target, k=1, generator=generator)


def test_a_selection_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    path, target = tmp_path / "chosen.txt", torch.tensor([1, 0, 1, 2])
    names = ["a b/1.png", "x.png", "é.png", "y.png"]
    mark = selection.write_selection(path, torch.tensor([0, 2, 3]), target, names=names, about={"by": "diverse"})
    found, classes, head = selection.read_selection(path)
    assert found == ["a b/1.png", "é.png", "y.png"]
    assert classes.tolist() == [1, 1, 2]
    assert head == {"fingerprint": mark, "by": "diverse"}
    assert mark == selection.write_selection(tmp_path / "same.txt", [0, 2, 3], target.tolist(), names=names)
    assert mark != selection.write_selection(tmp_path / "other.txt", [0, 3, 2], target, names=names)
    # Changed, cut short, or something else.
    text = path.read_text(encoding="utf-8")
    for broken, message in (
        (text.replace("y.png 2", "y.png 1"), "was changed since"),
        (text.rsplit("\n", 2)[0] + "\n", "was changed since"),
        ("a.png 1\n", "is no selection"),
    ):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            selection.read_selection(path)
    with pytest.raises(InputError, match="cannot read"):
        selection.read_selection(tmp_path / "nothing.txt")
    for name in ("#1.png", "a\nb.png"):
        with pytest.raises(InputError, match="cannot stand in a list"):
            selection.write_selection(path, [0], [0], names=[name])


def test_every_way_is_known() -> None:
    assert set(ways.WAYS) == {"diverse", "greedy", "ip-dpp", "uniform"}
