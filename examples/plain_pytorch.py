"""Our loss, our sampler and our report in a training loop of your own: they are functions and torch samplers.

python examples/plain_pytorch.py
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from longtail import losses, metrics, samplers
from longtail.counts import class_counts
from longtail.data import exponential_profile


def main() -> None:
    digits = load_digits()
    x, x_test, y, y_test = train_test_split(digits.data / 16, digits.target, test_size=0.4, random_state=0)
    tail = [i for label, n in enumerate(exponential_profile(10, 100, 50)) for i in (y == label).nonzero()[0][: int(n)]]
    images, target = torch.tensor(x[tail]).float(), torch.tensor(y[tail])
    counts = class_counts(target, 10)

    reports = {}
    for name in ("cross-entropy", "balanced softmax"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        sampler = samplers.InstanceBalanced(target, seed=0)  # or ClassBalanced, SquareRoot, RepeatFactor, ...
        loader = DataLoader(TensorDataset(images, target), batch_size=32, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for batch, label in loader:
                logits = model(batch)
                if name == "cross-entropy":
                    loss = losses.cross_entropy(logits, label)  # (N,), one value an image
                else:
                    loss = losses.balanced_softmax(logits, label, counts=counts)
                optimizer.zero_grad()
                loss.mean().backward()
                optimizer.step()
        prediction = model(torch.tensor(x_test).float()).argmax(dim=1)
        reports[name] = metrics.evaluate(y_test, prediction, counts=counts)

    print(f"{'':18}{'accuracy':>10}{'medium':>10}{'few':>10}")
    for name, report in reports.items():
        print(f"{name:18}{report.accuracy:10.3f}{report.medium:10.3f}{report.few:10.3f}")
    assert reports["balanced softmax"].few > reports["cross-entropy"].few


if __name__ == "__main__":
    main()
