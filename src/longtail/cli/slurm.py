"""A comparison as an array of jobs for Slurm: a script to be printed and submitted, one run a job."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

LEFT_OUT = ("--seeds", "--against", "--report", "--jobs", "--on")
"""Options of the whole comparison, which a job of one run does not have."""
ALONE = ("--json", "--quiet")
"""Likewise, those without a value."""


def array_script(words: Sequence[str], recipes: Sequence[str], seeds: Sequence[int], *, gpu: bool) -> str:
    """Return the script of an array job that trains every recipe from every seed, and how to compare them then.

    A job that is interrupted and queued again goes on from its last checkpoint, and a beginning that runs share is
    trained by one of them while the others wait for it.

    Args:
        words: the command line after ``longtail compare``.
        recipes: its recipes, as they were typed.
        seeds: random seeds.
        gpu: whether each job wants a GPU.

    Example:
        >>> script = array_script(["ce", "focal", "--on", "slurm", "--epochs", "9"], ["ce", "focal"], [0, 1], gpu=False)
        >>> print(script.splitlines()[2], script.splitlines()[-3], sep="; ")
        #SBATCH --array=0-3; longtail compare "$recipe" --seeds "$seed," --quiet --epochs 9
    """
    options = _options(words, recipes)
    shared = " ".join(map(shlex.quote, options))
    number = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
    whole = shlex.join(["longtail", "compare", *recipes, "--seeds", number, *options])
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=longtail",
        f"#SBATCH --array=0-{len(recipes) * len(seeds) - 1}",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --requeue",
        *(["#SBATCH --gres=gpu:1"] if gpu else []),
        "",
        f"recipes=({' '.join(map(shlex.quote, recipes))})",
        f"seeds=({' '.join(map(str, seeds))})",
        'recipe="${recipes[$((SLURM_ARRAY_TASK_ID / ${#seeds[@]}))]}"',
        'seed="${seeds[$((SLURM_ARRAY_TASK_ID % ${#seeds[@]}))]}"',
        f'longtail compare "$recipe" --seeds "$seed," --quiet {shared}'.rstrip(),
        "",
        f"# When all jobs are done, this trains nothing and prints the comparison: {whole}",
    ]
    return "\n".join(lines)


def _options(words: Sequence[str], recipes: Sequence[str]) -> list[str]:
    """The words that every job has: neither recipes nor options of the whole comparison."""
    waiting, kept, left = list(words), list[str](), list(recipes)
    while waiting:
        word = waiting.pop(0)
        name, equals, _ = word.partition("=")
        if name in LEFT_OUT:
            if not equals and waiting:
                waiting.pop(0)
        elif word in left:
            left.remove(word)
        elif word not in ALONE:
            kept.append(word)
    return kept
