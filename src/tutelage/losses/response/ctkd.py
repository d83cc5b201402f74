"""Li, Li, Yang, Zhao, Song, Luo, Li, Yang: a learned temperature that makes the task gradually harder."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.policies.temperature.learned import LearnedTemperature
from tutelage.utils.options import EpochsOrZero, NonNegative, Number, Temperature


class CTKD(Response):
    r"""KD at a learned temperature that is trained to maximise the loss that the student minimises.

    L = τ²·KL(softmax(t/τ) ‖ softmax(s/τ)), one value per position, τ = t_start + t_end·σ(θ) as in the policy `Learned`,
    which works with other losses too.

    Shapes: student, teacher (B, C, …) logits; θ (1,), learned, 1 at first;
    epoch (float); returns (B, …).
    Paper: Li, Li, Yang, Zhao, Song, Luo, Li, Yang. AAAI 2023. arXiv:2211.16231, the global temperature: λ_end = −1 over
    10 epochs.
    Raises: ConfigError if t_start isn't above 0, or t_end or ramp is below 0.
    """

    paper = "Li, Li, Yang, Zhao, Song, Luo, Li, Yang. AAAI 2023. arXiv:2211.16231"
    ignores = ("shift of logits",)
    default_weight = 0.9
    task_loss_weight = 0.1

    t_start: Temperature = 1.0
    t_end: NonNegative = 20.0
    lambda_end: Number = -1.0
    ramp: EpochsOrZero = 10.0
    by_sample: bool = False

    def __post_init__(self) -> None:
        self.temperature = LearnedTemperature(**self.options())

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.temperature.build(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        s, t, square = self.temperature.soften(student, teacher, epoch=epoch)
        return square * softened_kl(s, t)
