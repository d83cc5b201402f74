"""Your own loss: a class with a formula, used like any other."""

from __future__ import annotations

from torch import Tensor

import tutelage
from tutelage import AT
from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.dataclass_module import require_positive


class TopKD(Response):
    r"""Match the probabilities of the teacher's k most likely classes.

    L = T² · KL(softmax(t_K/T) ‖ softmax(s_K/T)), K = the teacher's k largest logits, one value per position.

    Shapes: student, teacher (B, C, …) logits; returns (B, …).
    """

    default_weight = 0.9
    task_loss_weight = 0.1

    k: int = 5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        require_positive(self, "k", "temperature")

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        top = teacher.topk(self.k, dim=1).indices
        return softened_kl(student.gather(1, top), teacher.gather(1, top), self.temperature)


def main(epochs: int = 15, **keys: object) -> tutelage.FinishedRun:
    """Train the default teacher and student on the digits, with this loss and attention transfer."""
    return tutelage.distill(data="digits", method=TopKD(k=5) + 10 * AT(), epochs=epochs, **keys)


if __name__ == "__main__":
    run = main()
    print(run.result["gain"], run.report)
