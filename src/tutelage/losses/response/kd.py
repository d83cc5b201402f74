"""Hinton, Vinyals, Dean: softened class probabilities."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import soft_ce, softened_kl
from tutelage.policies.base import broadcast_by_position
from tutelage.utils.options import Temperature


class KD(Response):
    r"""Match the teacher's softened class probabilities.

    L = T² · KL(softmax(t/T) ‖ softmax(s/T)), one value per position.

    Shapes: student, teacher (B, C, …) logits; returns (B, …).
    Paper: Hinton, Vinyals, Dean. NIPS-W 2014. arXiv:1503.02531, section 2. As in the published benchmarks T = 4, 0.9 of
    this is added to 0.1 of the task loss, and the divergence is summed over classes and averaged over samples.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    paper = "Hinton, Vinyals, Dean. NIPS-W 2014. arXiv:1503.02531"
    by_position = True
    ignores = ("shift of logits",)
    default_weight = 0.9
    task_loss_weight = 0.1

    temperature: Temperature = 4.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return softened_kl(student, teacher, self.temperature)


class SoftCE(Response):
    r"""Cross-entropy with the teacher's softened class probabilities: KD's gradient, without T².

    L = −Σ_c softmax(t/T)_c · log softmax(s/T)_c, one value per position.

    Shapes: student, teacher (B, C, …) logits; temperatures, which replaces T if passed, is a number, (B,) or (B, …):
    one for each sample or position; returns (B, …).
    Paper: Yang, Cui, Chen, Che, Liu, Wang, Hu. ACL 2020 (TextBrewer). arXiv:2002.12620; Jiao et al. Findings of EMNLP
    2020 (TinyBERT). arXiv:1909.10351, eq. 10, whose code also divides by the number of classes.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    name = "soft_ce"
    paper = "Yang, Cui, Chen, Che, Liu, Wang, Hu. ACL 2020. arXiv:2002.12620"
    by_position = True
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0

    def forward(self, student: Tensor, teacher: Tensor, *, temperatures: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        temperature = broadcast_by_position(self.temperature if temperatures is None else temperatures, student)
        return soft_ce(student, teacher, temperature)
