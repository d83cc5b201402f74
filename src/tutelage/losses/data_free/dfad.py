"""Fang, Song, Shen, Wang, Chen, Song: student and teacher together as the discriminator."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape


class DFAD(Response):
    r"""Match the teacher's logits on images that a generator optimises for them to differ.

    L = |s − t|, one value per logit. The student minimises it on generated images, the generator maximises it (weight
    −1), through the teacher too.

    Shapes: student, teacher (B, C, …) logits of generated images; returns (B, C, …).
    Paper: Fang, Song, Shen, Wang, Chen, Song. Data-free adversarial distillation. 2019. arXiv:1912.11006.
    Raises: ConfigError if the shapes differ.
    """

    name = "dfad"
    paper = "Fang, Song, Shen, Wang, Chen, Song. 2019. arXiv:1912.11006"
    ignores = ("swapped sides",)
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (student - teacher).abs()
