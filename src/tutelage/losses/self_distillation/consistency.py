"""Tarvainen, Valpola: a student consistent with its own moving average."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape


class Consistency(Response):
    r"""Match the class probabilities of the student's own moving average on another view.

    L = (softmax(s) − softmax(t))², one value per class.

    Shapes: student, teacher (B, C, …) logits; returns (B, C, …).
    Paper: Tarvainen, Valpola. Mean teachers are better role models. NIPS 2017. arXiv:1703.01780, section 2, with a
    weight of up to 100. Its alternative, the KL divergence, is KD at T = 1.
    Raises: ConfigError if the two differ in shape.
    """

    paper = "Tarvainen, Valpola. NIPS 2017. arXiv:1703.01780"
    ignores = ("shift of logits", "swapped sides")
    default_weight = 100.0
    task_loss_weight = 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (student.softmax(1) - teacher.softmax(1)).pow(2)
