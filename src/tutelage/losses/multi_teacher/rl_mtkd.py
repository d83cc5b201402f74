"""Yuan, Shou, Pei, Lin, Gong, Fu, Jiang: the choice of teachers for each sample, learned by reinforcement."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.utils.options import Temperature

MEMORY = 0.9
"""The momentum of the reward's moving average, which is the baseline."""


class RLMTKD(Response):
    r"""Match the class probabilities of the teachers that a policy, learned by REINFORCE, draws for each sample.

    a_m ~ Bernoulli(π_m), π_m = σ(w_m · state_m), state_m = (softmax(t_m), CE(t_m, y), softmax(s), 1);
    L = Σ_m a_m · T² · KL(softmax(t_m/T) ‖ softmax(s/T)) / Σ_m a_m, 0 where none is drawn: only the labels train it.
    The reward of a batch's draws is −CE(s, y), averaged, on the next batch, which the student sees after training
    on them, less the moving average of such rewards; the policy's w gets the gradient of −reward · log Π π, in a part
    whose value is 0. Only that gradient, without the reward, is stored from one batch for the next.

    Shapes: student (B, C) logits; teacher M of them, stacked (M, B, C) or a list; targets (B,) int64; returns (B,) and
    a number. Initially π = ½. The draws come from torch's generator, whose state checkpoints contain.
    Paper: Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021. arXiv:2012.06048, whose state also has the sample's
    embedding; here it is softmax(s). The baseline and the batch as an episode are Tutelage's. No published numbers were
    compared.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "rl_mtkd"
    paper = "Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021. arXiv:2012.06048"
    list_inputs = ("teacher",)
    permutation_invariant = False

    temperature: Temperature = 4.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {"targets": torch.randint(5, (6,))}

    def build(self, student: Tensor, teacher: ModelLogits, samples: int) -> None:
        zeros = student.new_zeros(len(teacher), 2 * student.shape[1] + 2)
        self.w = nn.Parameter(zeros)
        self.before = nn.Buffer(zeros.clone())  # ∇ log Π π of the previous batch
        self.baseline, self.seen = nn.Buffer(zeros[0, 0].clone()), nn.Buffer(zeros[0, 0].clone())

    def states(self, student: Tensor, teachers: Tensor, targets: Tensor) -> Tensor:
        """Return the policy's states, (M, B, 2C + 2)."""
        errors = ce_of_each(teachers, targets).unsqueeze(2)
        probabilities = student.detach().softmax(1).expand_as(teachers)
        return torch.cat([teachers.softmax(2), errors, probabilities, torch.ones_like(errors)], 2)

    def forward(self, student: Tensor, teacher: ModelLogits, *, targets: Tensor) -> dict[str, Tensor]:
        teachers = stack_logits(teacher)
        divergences = softened_kls(student, teachers, self.temperature)
        states = self.states(student, teachers, targets)
        with torch.no_grad():
            probabilities = torch.einsum("mf,mbf->mb", self.w, states).sigmoid()
            drawn = (torch.rand_like(probabilities) < probabilities).to(probabilities)
            reward = -F.cross_entropy(student, targets)
            advantage = (reward - self.baseline) * self.seen
        policy_loss = -(advantage * self.before.clone() * self.w).sum()
        if self.training:
            self.store(reward, torch.einsum("mb,mbf->mf", drawn - probabilities, states) / len(student))
        return {
            "kd": (drawn * divergences).sum(0) / drawn.sum(0).clamp_min(1),
            "policy": policy_loss - policy_loss.detach(),
        }

    @torch.no_grad()
    def store(self, reward: Tensor, gradient: Tensor) -> None:
        """Store the baseline and the gradient that the next batch needs."""
        self.baseline.copy_(torch.where(self.seen > 0, torch.lerp(reward, self.baseline, MEMORY), reward))
        self.seen.fill_(1)
        self.before.copy_(gradient)
