"""Exact determinantal sampling alone, in linear time: no matrix, no labels, no training.

python examples/linear_time_dpp.py
"""

import time

import torch

from longtail import dpp


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    dpp.sample(dpp.information_kernel(torch.full((10,), 0.5)), k=2, generator=generator)  # the first call is slower
    print(f"{'items':>9}{'drawn':>9}{'ms':>7}{'mean probability: of all':>26}{'of the drawn':>14}")
    for number in (250_000, 500_000, 1_000_000, 2_000_000):
        probability = torch.rand(number, dtype=torch.float64, generator=generator)
        kernel = dpp.information_kernel(probability)
        start = time.perf_counter()
        items = dpp.sample(kernel, k=number // 10, generator=generator)
        seconds = time.perf_counter() - start
        drawn = probability[items].mean()
        print(f"{number:9,}{len(items):9,}{1000 * seconds:7.1f}{probability.mean():26.3f}{drawn:14.3f}")
        assert drawn < probability.mean()  # doubtful items are drawn more often
    print(f"\nlog-probability of the last set: {float(dpp.log_prob(kernel, items, k=len(items))):.1f} nats")
    print(f"expected size of a set whose size is not given: {float(dpp.expected_size(kernel)):,.0f}")


if __name__ == "__main__":
    main()
