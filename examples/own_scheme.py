"""A scheme of your own: a min-max game in which a critic tells the teacher's answers from the student's.

The student minimises its terms and what the critic holds against it; the critic learns to tell the two apart. The
trainer stays as it is: it only asks whose turn it is.
Paper: Xu, Hsu, Huang. ICLR Workshop 2018. arXiv:1709.00513 (conditional adversarial networks), much shortened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import (
    KD,
    Batch,
    Classification,
    Frozen,
    Outputs,
    Player,
    Scheme,
    Terms,
    Trainer,
    TrainerSettings,
    data,
    models,
)
from tutelage.training.evaluation import evaluate


class Critic(nn.Module):
    """A player: tells the teacher's answers (high) from the student's (low)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(classes, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {"real": F.softplus(-self.score(real)).mean(), "fake": F.softplus(self.score(fake)).mean()}

    def optimised(self) -> dict[str, nn.Module]:
        return {"": self}

    def students(self) -> dict[str, nn.Module]:
        return {}


class Challenged(nn.Module):
    """A player: a student with its terms, and one more against the critic."""

    def __init__(self, player: Player, critic: Critic) -> None:
        super().__init__()
        self.player = player
        self.critic = [critic]  # in a list: not a part of this player, so not trained in its turn

    def forward(self, batch: Batch, told: Outputs) -> tuple[dict[str, Tensor], Tensor]:
        said = self.player.forward_student(batch)
        fooled = F.softplus(-self.critic[0].score(said.response)).mean()
        return self.player.terms(said, told, batch) | {"critic": 0.1 * fooled}, said.response.detach()

    def optimised(self) -> dict[str, nn.Module]:
        return {"": self}

    def students(self) -> dict[str, nn.Module]:
        return self.player.students()


class Adversarial(Scheme):
    """Student and critic take turns on each batch."""

    def __init__(self, player: Player, teacher: Frozen, classes: int) -> None:
        super().__init__()
        critic = Critic(classes)
        self.player, self.teacher = player, teacher
        self.players = nn.ModuleDict({"student": Challenged(player, critic), "critic": critic})

    def wire(self, batch: Batch, samples: int) -> None:
        self.player.wire(self.teacher.profile(batch), batch, samples)

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
        told = self.teacher(batch, self.player.terms.layers("teacher"))
        losses, answer = self.players["student"](batch, told)
        yield "student", losses
        yield "critic", self.players["critic"](told.response, answer)


def main(teacher: nn.Module, epochs: int = 5) -> dict[str, Any]:
    """Teach a small network; teacher: a trained network of the digits."""
    torch.manual_seed(0)
    task, digits = Classification(), data.load("digits")
    student = models.create("cnn4", classes=10, channels=1).model
    scheme = Adversarial(
        Player(student, Terms.from_method(KD(), task.task_loss()), task), Frozen(teacher, task), classes=10
    )
    trainer = Trainer(TrainerSettings(epochs=epochs, lr=0.05), task)
    taught = trainer.fit(scheme, digits)["student"]
    return evaluate(taught, digits.batches("test", 256), task, 10).values | {"steps": trainer.progress.step}


if __name__ == "__main__":
    import tutelage

    print(main(tutelage.train("cnn16", epochs=10).student, epochs=20))
