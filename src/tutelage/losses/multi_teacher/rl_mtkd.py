"""Yuan, Shou, Pei, Lin, Gong, Fu, Jiang: which teachers teach which sample is learned by reinforcement."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.functional.stacked_logits import Several, every_ce, softened_kls, stacked
from tutelage.utils.options import Temperature

MEMORY = 0.9
"""Of the reward's moving average, the baseline."""


class RLMTKD(Response):
    r"""Match the class probabilities of those teachers that a policy, learned by REINFORCE, draws for each sample.

    a_m ~ Bernoulli(π_m), π_m = σ(w_m · state_m), state_m = (softmax(t_m), CE(t_m, y), softmax(s), 1);
    L = Σ_m a_m · T² · KL(softmax(t_m/T) ‖ softmax(s/T)) / Σ_m a_m, 0 where none is drawn: the labels alone teach it.
    The reward of a batch's draws is −CE(s, y), averaged, on the batch after it, which the student meets having learned
    from them, less the moving average of such rewards; the policy's w gets the gradient of −reward · log Π π, in a part
    whose value is 0. Only what the policy needs of a batch is kept for the next one: that gradient without the reward.

    Shapes: student (B, C) logits; teacher M of them, stacked (M, B, C) or a list; targets (B,) int64; returns (B,) and
    a number. The policy begins at π = ½. Draws come from torch's own generator, which checkpoints keep.
    Paper: Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021. arXiv:2012.06048, whose state also has the sample's
    embedding; here it is softmax(s). The baseline and the batch as an episode are ours. No published numbers were
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

    def build(self, student: Tensor, teacher: Several, samples: int) -> None:
        zeros = student.new_zeros(len(teacher), 2 * student.shape[1] + 2)
        self.w = nn.Parameter(zeros)
        self.before = nn.Buffer(zeros.clone())  # ∇ log Π π of the batch before
        self.baseline, self.seen = nn.Buffer(zeros[0, 0].clone()), nn.Buffer(zeros[0, 0].clone())

    def states(self, student: Tensor, teachers: Tensor, targets: Tensor) -> Tensor:
        """(M, B, 2C + 2)."""
        errors = every_ce(teachers, targets).unsqueeze(2)
        own = student.detach().softmax(1).expand_as(teachers)
        return torch.cat([teachers.softmax(2), errors, own, torch.ones_like(errors)], 2)

    def forward(self, student: Tensor, teacher: Several, *, targets: Tensor) -> dict[str, Tensor]:
        teachers = stacked(teacher)
        divergences = softened_kls(student, teachers, self.temperature)
        states = self.states(student, teachers, targets)
        with torch.no_grad():
            chances = torch.einsum("mf,mbf->mb", self.w, states).sigmoid()
            drawn = (torch.rand_like(chances) < chances).to(chances)
            reward = -F.cross_entropy(student, targets)
            advantage = (reward - self.baseline) * self.seen
        learned = -(advantage * self.before.clone() * self.w).sum()
        if self.training:
            self.remember(reward, torch.einsum("mb,mbf->mf", drawn - chances, states) / len(student))
        return {"kd": (drawn * divergences).sum(0) / drawn.sum(0).clamp_min(1), "policy": learned - learned.detach()}

    @torch.no_grad()
    def remember(self, reward: Tensor, gradient: Tensor) -> None:
        """What the next batch needs."""
        self.baseline.copy_(torch.where(self.seen > 0, torch.lerp(reward, self.baseline, MEMORY), reward))
        self.seen.fill_(1)
        self.before.copy_(gradient)
