"""Your own scheme: a min-max game with a critic that distinguishes the teacher's logits from the student's.

The student minimises its terms and an adversarial loss; the critic learns to distinguish the two. The trainer needs no
change: it takes a step for each turn that the scheme yields.
Paper: Xu, Hsu, Huang. ICLR Workshop 2018. arXiv:1709.00513 (conditional adversarial networks), simplified.
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
    """A player that scores the teacher's logits (B, classes) high and the student's low."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(classes, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {"real": F.softplus(-self.score(real)).mean(), "fake": F.softplus(self.score(fake)).mean()}

    def optimised_modules(self) -> dict[str, nn.Module]:
        return {"": self}

    def students(self) -> dict[str, nn.Module]:
        return {}


class AdversarialPlayer(nn.Module):
    """A player: a student with its terms, and an adversarial loss against the critic."""

    def __init__(self, player: Player, critic: Critic) -> None:
        super().__init__()
        self.player = player
        self.critic = [
            critic
        ]  # in a list, so that the critic is not a submodule and is not trained in this player's turn

    def forward(self, batch: Batch, teacher_outputs: Outputs) -> tuple[dict[str, Tensor], Tensor]:
        outputs = self.player.forward_student(batch)
        adversarial = F.softplus(-self.critic[0].score(outputs.response)).mean()
        losses = self.player.terms(outputs, teacher_outputs, batch) | {"critic": 0.1 * adversarial}
        return losses, outputs.response.detach()

    def optimised_modules(self) -> dict[str, nn.Module]:
        return {"": self}

    def students(self) -> dict[str, nn.Module]:
        return self.player.students()


class Adversarial(Scheme):
    """The student and the critic take turns on each batch."""

    def __init__(self, player: Player, teacher: Frozen, classes: int) -> None:
        super().__init__()
        critic = Critic(classes)
        self.player, self.teacher = player, teacher
        self.players = nn.ModuleDict({"student": AdversarialPlayer(player, critic), "critic": critic})

    def wire(self, batch: Batch, samples: int) -> None:
        self.player.wire(self.teacher.profile(batch), batch, samples)

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
        teacher_outputs = self.teacher(batch, self.player.terms.layers("teacher"))
        losses, student_logits = self.players["student"](batch, teacher_outputs)
        yield "student", losses
        yield "critic", self.players["critic"](teacher_outputs.response, student_logits)


def main(teacher: nn.Module, epochs: int = 5) -> dict[str, Any]:
    """Train a small network with the scheme; teacher: a network trained on the digits."""
    torch.manual_seed(0)
    task, digits = Classification(), data.load("digits")
    student = models.create("cnn4", classes=10, channels=1).model
    scheme = Adversarial(
        Player(student, Terms.from_method(KD(), task.task_loss()), task), Frozen(teacher, task), classes=10
    )
    trainer = Trainer(TrainerSettings(epochs=epochs, lr=0.05), task)
    trained = trainer.fit(scheme, digits)["student"]
    return evaluate(trained, digits.batches("test", 256), task, 10).values | {"steps": trainer.progress.step}


if __name__ == "__main__":
    import tutelage

    print(main(tutelage.train("cnn16", epochs=10).student, epochs=20))
