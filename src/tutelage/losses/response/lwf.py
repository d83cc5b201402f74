"""Li, Hoiem: learning new classes without forgetting the old ones."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import soft_ce
from tutelage.utils.options import Temperature


class LwF(Response):
    r"""Match the old model's softened probabilities of its own classes, which are the student's first outputs.

    L = −Σ_{c≤C'} softmax(t/T)_c · log softmax(s_{1…C'}/T)_c, with C' the teacher's number of classes.

    Shapes: student (B, C, …) logits, teacher (B, C', …) with C' ≤ C, the old model's logits; returns (B, …).
    Paper: Li, Hoiem. ECCV 2016. arXiv:1606.09282, section 3, T = 2: a cross-entropy, without T².
    Raises: ConfigError if the temperature isn't above 0, or the teacher has more classes than the student.
    """

    name = "lwf"
    paper = "Li, Hoiem. ECCV 2016. arXiv:1606.09282"
    class_dim = None
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 2.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        old = student[:, : teacher.shape[1]]
        if old.shape != teacher.shape:
            raise ConfigError(
                f"LwF: the student's tensor is {tuple(student.shape)} and the old model's is {tuple(teacher.shape)}, "
                "expected the old classes first among the student's, and other dimensions to be equal."
            )
        return soft_ce(old, teacher, self.temperature)
