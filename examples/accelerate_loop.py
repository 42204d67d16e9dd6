"""A loop under Hugging Face accelerate: a sampler that knows its rank, a balanced loss, predictions gathered once.

python examples/accelerate_loop.py   # or: accelerate launch --cpu --num_processes 2 examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import longtail
from longtail import losses, metrics, samplers

if __name__ == "__main__":
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    data = longtail.load("digits-lt")
    train = TensorDataset(data.train.images.float() / 255, data.train.target)
    test = TensorDataset(data.test.images.float() / 255, data.test.target)
    # The sampler gives each process its own part, so the loader is not handed to prepare(), which would split it again.
    ranks = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    sampler = samplers.InstanceBalanced(data.train.target, seed=0, **ranks)
    loader = DataLoader(train, batch_size=32 // accelerator.num_processes, sampler=sampler)

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    net, optimizer = accelerator.prepare(net, torch.optim.Adam(net.parameters(), lr=3e-3))
    for epoch in range(30):
        sampler.set_epoch(epoch)
        for images, target in loader:
            loss = losses.balanced_softmax(net(images), target, counts=data.counts).mean()
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()

    answers, targets = [], []
    for images, target in accelerator.prepare(DataLoader(test, batch_size=100)):
        with torch.no_grad():
            prediction = net(images).argmax(dim=1)
        for kept, found in zip((answers, targets), accelerator.gather_for_metrics((prediction, target)), strict=True):
            kept.append(found)
    report = metrics.evaluate(torch.cat(targets), torch.cat(answers), counts=data.counts)
    accelerator.print(report)
    assert report.few > 0.4
