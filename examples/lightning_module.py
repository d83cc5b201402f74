"""A LightningModule that trains a player: Lightning runs the loop, Tutelage computes the losses."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tutelage import AT, KD, Batch, Classification, Frozen, Player, Terms, data, models


class Distilled(LightningModule):
    """A student that learns from a trained teacher.

    Args:
        student: network to train.
        teacher: trained network.
        method: a loss or a sum of terms.
        example: one batch (x, y), from which the connectors are built.
        samples: size of the training set.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, method: Any, example: Any, samples: int) -> None:
        super().__init__()
        task, batch = Classification(), Batch(*example)
        self.teacher = Frozen(teacher, task)
        self.player = Player(student, Terms.from_method(method, task.task_loss()), task)
        self.player.wire(self.teacher.profile(batch), batch, samples)

    def training_step(self, batch: Any, number: int) -> Tensor:
        batch = Batch(*batch)
        losses = self.player(batch, self.teacher(batch, self.player.terms.layers("teacher")))
        self.log_dict(losses)
        return sum(losses.values())

    def validation_step(self, batch: Any, number: int) -> None:
        x, y = batch
        right = self.player.student(x).response.argmax(1) == y
        self.log("accuracy", right.float().mean(), batch_size=len(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.player.parameters(), lr=0.05, momentum=0.9)


def loader(split: str, shuffle: bool = False) -> DataLoader:
    batch = next(data.load("digits").batches(split, 2000, train=False))
    return DataLoader(TensorDataset(batch.inputs, batch.targets), batch_size=64, shuffle=shuffle)


def main(teacher: nn.Module, epochs: int = 5) -> dict[str, float]:
    """Return the accuracy before and after the training; teacher: a network trained on the digits."""
    seed_everything(0, verbose=False)
    train, test = loader("train", shuffle=True), loader("test")
    student = models.create("cnn4", classes=10, channels=1).model
    module = Distilled(student, teacher, KD() + 10 * AT(), next(iter(train)), len(train.dataset))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", enable_model_summary=False, **quiet)
    before = trainer.validate(module, test, verbose=False)[0]["accuracy"]
    trainer.fit(module, train, test)
    after = trainer.validate(module, test, verbose=False)[0]["accuracy"]
    return {"before": before, "after": after}


if __name__ == "__main__":
    import tutelage

    print(main(tutelage.train("cnn16", epochs=10).student, epochs=20))
