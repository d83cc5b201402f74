"""Du, You, Li, Wu, Wang, Qian, Zhang: agree to disagree."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, softened_kls, stack_logits
from tutelage.utils.options import Number, Temperature


class AEKD(Response):
    r"""Match several teachers' softened class probabilities, weighted so that the gradient is one they agree on.

    g_m = the batch's mean gradient of KL_m in s, of unit length;  a = argmin ‖Σ_m a_m g_m‖², Σ a = 1, 0 ≤ a ≤ 1/(Mν);
    w_m ∝ a_m/‖g_m‖, Σ w = 1;  L = Σ_m w_m · T² · KL(softmax(t_m/T) ‖ softmax(s/T)), w without gradient.
    ν, clipped to [1/M, 1], bounds the weights: at 1/M (or any smaller number, such as −1) they are free, at 1 equal.
    normalise=False leaves the gradients as they are, and w = a.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; returns (B, …). The weights are
    computed on the CPU by scikit-learn's one-class support vector machine, whose dual problem this is.
    Paper: Du, You, Li, Wu, Wang, Qian, Zhang. NeurIPS 2020; normalised gradients, averaged over the batch first, as
    in the authors' code.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "Du, You, Li, Wu, Wang, Qian, Zhang. NeurIPS 2020"
    list_inputs = ("teacher",)
    ignores = ("shift of logits",)
    compiles = False

    temperature: Temperature = 4.0
    nu: Number = -1.0
    normalise: bool = True

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def forward(self, student: Tensor, teacher: ModelLogits) -> Tensor:
        teachers = stack_logits(teacher)
        divergences = softened_kls(student, teachers, self.temperature)
        return torch.tensordot(self.weights(student, teachers), divergences, dims=1)

    @torch.no_grad()
    def weights(self, student: Tensor, teachers: Tensor) -> Tensor:
        """Return w, (M,)."""
        errors = (student / self.temperature).softmax(1) - (teachers / self.temperature).softmax(2)
        gradients = self.temperature / student.shape[0] * errors.movedim(2, -1).flatten(1, -2).double().mean(1)
        directions = F.normalize(gradients, dim=1) if self.normalise else gradients
        weights = minimum_norm_weights(directions, min(max(self.nu, 1 / len(teachers)), 1.0))
        if self.normalise:
            weights = weights / gradients.norm(dim=1).clamp_min(1e-12)
        return (weights / weights.sum()).to(student.dtype)


def minimum_norm_weights(directions: Tensor, nu: float) -> Tensor:
    """Return argmin ‖Σ_m a_m g_m‖² of directions (M, D), up to a factor; Σ a = 1, 0 ≤ a ≤ 1/(Mν), 1/M ≤ ν ≤ 1."""
    from sklearn.svm import OneClassSVM

    if nu == 1:
        return directions.new_ones(len(directions))  # the only weights within the bounds
    svm = OneClassSVM(kernel="precomputed", nu=nu, tol=1e-6)
    svm.fit((directions @ directions.T).nan_to_num().cpu().numpy())
    weights = torch.zeros(len(directions), dtype=torch.float64)
    weights[torch.as_tensor(svm.support_).long()] = torch.as_tensor(svm.dual_coef_[0].copy())
    return weights.to(directions.device)
