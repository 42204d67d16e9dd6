"""A long-tailed loss in the Hugging Face Trainer: its compute_loss_func gets the logits and the labels.

python examples/hugging_face_trainer.py   # needs transformers and accelerate
"""

import functools

import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.modeling_outputs import ImageClassifierOutput

import longtail
from longtail import losses, metrics


class Pictures(Dataset):
    def __init__(self, split: longtail.data.Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.split.images[i] / 255, "labels": self.split.target[i]}


class Net(torch.nn.Sequential):
    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageClassifierOutput:
        return ImageClassifierOutput(logits=super().forward(pixel_values))


def balanced(outputs, labels, num_items_in_batch=None, *, counts):
    return losses.balanced_softmax(outputs.logits, labels, counts=counts).mean()


if __name__ == "__main__":
    torch.manual_seed(0)
    data = longtail.load("digits-lt")
    net = Net(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    arguments = TrainingArguments(
        output_dir="trainer", num_train_epochs=30, per_device_train_batch_size=32, learning_rate=3e-3, use_cpu=True,
        report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, lr_scheduler_type="constant",
    )  # fmt: skip
    loss = functools.partial(balanced, counts=data.counts)
    trainer = Trainer(net, arguments, train_dataset=Pictures(data.train), compute_loss_func=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    found = trainer.predict(Pictures(data.test))
    report = metrics.evaluate(found.label_ids, found.predictions.argmax(axis=1), counts=data.counts)
    print(report)
    assert report.few > 0.4
