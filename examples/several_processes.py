"""A class-balanced sampler under several processes: each takes its part, together they are the one epoch.

python examples/several_processes.py
"""

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from longtail.counts import class_counts
from longtail.samplers import ClassBalanced

TARGET = torch.repeat_interleave(torch.arange(5), torch.tensor([500, 200, 50, 10, 5]))


def work(rank: int, world: int, where: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=world)
    sampler = ClassBalanced(TARGET, seed=0, rank=rank, world_size=world)
    sampler.set_epoch(3)
    seen = class_counts(TARGET[torch.tensor(list(sampler))], 5)
    dist.all_reduce(seen)
    if rank == 0:
        alone = ClassBalanced(TARGET, seed=0)
        alone.set_epoch(3)
        whole = class_counts(TARGET[torch.tensor(list(alone))], 5)
        print(f"{'class':>18}" + "".join(f"{c:6}" for c in range(5)))
        print(f"{'training images':>18}" + "".join(f"{int(n):6}" for n in class_counts(TARGET, 5)))
        print(f"{f'seen by {world} ranks':>18}" + "".join(f"{int(n):6}" for n in seen))
        assert int((seen - whole).abs().max()) <= 1  # a last draw evens out the lengths
    dist.destroy_process_group()


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(work, args=(2, os.path.join(folder, "meet")), nprocs=2)
