"""Kang, Hwang, Kweon, Yu: experts that reconstruct the teacher's embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_vectors
from tutelage.utils.options import Epochs, SmallCount, Temperature


class DE(Feature):
    r"""Reconstruct the teacher's embedding from the student's by experts, which the teacher's embedding chooses.

    L = ‖t − Σ_k a_k·E_k(s)‖², a = softmax((log softmax(S(t)) + g)/τ), g Gumbel noise in training, else 0. S is
    linear, and each of the K experts E_k is Linear, ReLU, Linear; its hidden width is the mean of both sides' (half of
    it if they are equal). τ falls exponentially from `temperature` to `final_temperature` within `anneal_epochs`, and
    is constant within an epoch.

    Shapes: student (B, D), teacher (B, D'); epoch (float). Returns (B,).
    Paper: Kang, Hwang, Kweon, Yu. CIKM 2020 (DE-RRD). arXiv:2012.04357, which sums over the batch, and has experts of
    their own for users and items. No published numbers were compared.
    Raises: ConfigError if features aren't vectors.
    """

    name = "de"
    paper = "Kang, Hwang, Kweon, Yu. CIKM 2020. arXiv:2012.04357"
    compares = "embedding"
    feature_format = "vector"
    zero_at_equal = False
    permutation_invariant = False

    experts: SmallCount = 10
    temperature: Temperature = 1.0
    final_temperature: Temperature = 1e-10
    anneal_epochs: Epochs = 100.0

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        require_vectors(self, student, teacher)
        width, teacher_width = student.shape[1], teacher.shape[1]
        hidden = max(1, width // 2 if width == teacher_width else (width + teacher_width) // 2)
        self.selection = nn.Linear(teacher_width, self.experts)
        self.reconstructions = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, teacher_width))
            for _ in range(self.experts)
        )
        self.to(dtype=student.dtype, device=student.device)

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float) -> Tensor:
        require_vectors(self, student, teacher)
        log_choice = self.selection(teacher).log_softmax(1)
        if self.training:
            log_choice = log_choice - torch.empty_like(log_choice).exponential_().log()
        choice = (log_choice / self.annealed(epoch)).softmax(1)
        outputs = torch.stack([reconstruct(student) for reconstruct in self.reconstructions], dim=1)
        return (teacher - (choice.unsqueeze(2) * outputs).sum(1)).pow(2).sum(1)

    def annealed(self, epoch: float) -> float:
        """Return τ of an epoch."""
        progress = min(int(epoch) / self.anneal_epochs, 1.0)
        return float(self.temperature * (self.final_temperature / self.temperature) ** progress)
