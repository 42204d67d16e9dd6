"""Our loss and our report in PyTorch Lightning: the report as a torchmetrics metric, right under several ranks too."""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat as joined

import longtail
from longtail import losses, metrics


class ShotAccuracy(Metric):
    """Accuracy of the many-, medium- and few-shot classes; every process adds its images, none twice."""

    def __init__(self, counts: torch.Tensor) -> None:
        super().__init__()
        self.counts = counts
        self.add_state("prediction", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, logits: torch.Tensor, target: torch.Tensor) -> None:
        self.prediction.append(logits.argmax(dim=1))
        self.target.append(target)

    def compute(self) -> dict[str, torch.Tensor]:
        report = metrics.evaluate(joined(self.target), joined(self.prediction), counts=self.counts)
        rates = {name: getattr(report, name) for name in ("accuracy", "medium", "few")}
        return {name: torch.tensor(value) for name, value in rates.items() if value is not None}


class Classifier(lightning.LightningModule):
    def __init__(self, counts: torch.Tensor) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU())
        self.head, self.counts, self.shots = torch.nn.Linear(64, 10), counts, ShotAccuracy(counts)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return losses.balanced_softmax(self.head(self.network(batch[0])), batch[1], counts=self.counts).mean()

    def test_step(self, batch: list[torch.Tensor]) -> None:
        self.shots.update(self.head(self.network(batch[0])), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


if __name__ == "__main__":
    lightning.seed_everything(0, verbose=False)
    data = longtail.load("digits-lt")
    sets = [TensorDataset(split.images / 255, split.target) for split in (data.train, data.test)]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer, model = lightning.Trainer(max_epochs=30, accelerator="cpu", **quiet), Classifier(data.counts)
    trainer.fit(model, DataLoader(sets[0], batch_size=32, shuffle=True))
    trainer.test(model, DataLoader(sets[1], batch_size=256), verbose=False)
    report = model.shots.compute()
    print("\n".join(f"{name:10}{100 * float(value):6.1f} %" for name, value in report.items()))
    assert report["few"] > 0.4
