"""Jin, Wang, Lin: matching of samples, batch and classes, at several temperatures."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Temperatures

Keep = Literal["all", "doubtful", "share"]


class MLKD(Response):
    r"""Match the predictions of each sample, the similarities of the samples, and the correlations of the classes.

    P = softmax(z/T) (B, C) for each T in `temperatures`, over which L is summed:
    L = T²·mean_b KL(P_t ‖ P_s) + ‖P_s P_sᵀ − P_t P_tᵀ‖²/B + ‖P_sᵀ P_s − P_tᵀ P_t‖²/C.
    The parts are "instance", "batch" and "class".
    keep: "all"; "doubtful": instance and batch terms only of the samples whose highest teacher probability is at most
    the batch's median, class terms only of the classes whose sum over the batch is at most the classes' median, the
    rest counting as 0; "share": all of them, times the fraction of those that "doubtful" keeps.

    Shapes: student, teacher (B, C, …) logits, each position being a sample; the parts are (N,), (N,) and (C,) for N =
    B·… positions. Memory: N² numbers.
    Paper: Jin, Wang, Lin. CVPR 2023: this on a weakly and a strongly augmented view. The authors' code computes "share"
    on the weak view, where its masks are meant as "doubtful", and on the strong view only the instance part, at T = 4,
    3, 5 (T = 2 and 6 use the weak view again).
    Raises: ConfigError if a temperature isn't above 0, `keep` is another value, or the shapes differ.
    """

    paper = "Jin, Wang, Lin. CVPR 2023"
    ignores = ("shift of logits",)
    default_weight = 0.9
    task_loss_weight = 0.1

    temperatures: Temperatures = (2.0, 3.0, 4.0, 5.0, 6.0)
    keep: Keep = "all"

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        student, teacher = (z.movedim(1, -1).flatten(0, -2) for z in (student, teacher))
        samples, classes = self.keep_factors(teacher)
        levels = [
            (softened_kl(student, teacher, T), *correlations(student / T, teacher / T)) for T in self.temperatures
        ]
        instance, batch, each_class = (torch.stack(level).sum(0) for level in zip(*levels, strict=True))
        return {"instance": instance * samples, "batch": batch * samples, "class": each_class * classes}

    def keep_factors(self, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors of the samples (N,) and of the classes (C,)."""
        probabilities = teacher.softmax(1)
        factors = []
        for confidence in (probabilities.amax(1), probabilities.sum(0)):
            doubtful = (confidence <= confidence.median()).to(teacher.dtype)
            ones = torch.ones_like(confidence)
            factors.append({"all": ones, "doubtful": doubtful, "share": ones * doubtful.mean()}[self.keep])
        return factors[0], factors[1]


def correlations(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared differences of PPᵀ and of PᵀP, summed along rows: (N,) and (C,)."""
    s, t = student.softmax(1), teacher.softmax(1)
    return (s @ s.T - t @ t.T).pow(2).sum(1), (s.T @ s - t.T @ t).pow(2).sum(1)
