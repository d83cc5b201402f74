"""Fang, Song, Shen, Wang, Chen, Song: student and teacher as one discriminator."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, same_shape


class DFAD(Response):
    r"""Match the teacher's logits, whatever images a generator finds on which they differ.

    L = |s − t|, one value per logit. The student minimises it on made images, their generator maximises it (weight −1),
    through the teacher too.

    Shapes: student, teacher (B, C, …) logits of made images; returns (B, C, …).
    Paper: Fang, Song, Shen, Wang, Chen, Song. Data-free adversarial distillation. 2019. arXiv:1912.11006.
    Raises: ConfigError if the two differ in shape.
    """

    name = "dfad"
    paper = "Fang, Song, Shen, Wang, Chen, Song. 2019. arXiv:1912.11006"
    ignores = ("swapped sides",)
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        same_shape(self, student, teacher)
        return (student - teacher).abs()
