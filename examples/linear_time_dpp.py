"""Exact determinantal sampling alone: a hundred thousand items, no matrix, no labels, no training.

python examples/linear_time_dpp.py
"""

import time

import torch

from longtail import dpp


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(100_000, dtype=torch.float64, generator=generator)
    kernel = dpp.information_kernel(probability)
    start = time.perf_counter()
    items = dpp.sample(kernel, k=10_000, generator=generator)
    seconds = time.perf_counter() - start
    print(f"{len(items)} of {len(probability)} items in {seconds:.3f} s, exactly from det(S_Y)")
    print(f"mean probability: all {probability.mean():.3f}, drawn {probability[items].mean():.3f}")
    assert probability[items].mean() < probability.mean()  # doubtful items are drawn more often
    print(f"log-probability of this set: {float(dpp.log_prob(kernel, items, k=10_000)):.1f} nats")
    print(f"expected size without k: {float(dpp.expected_size(kernel)):.0f}")


if __name__ == "__main__":
    main()
