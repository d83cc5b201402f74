"""Gu, Dong, Wei, Huang: reverse KL by policy gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence, require_same_shape
from tutelage.losses.functional.divergence import kl
from tutelage.utils.options import Fraction

LARGEST = 60.0  # the largest log ratio: exp would overflow beyond it


class MiniLLM(Sequence):
    r"""Minimise the reverse KL of the student's sequences: by policy gradient, and exactly for each single step.

    R_t = Σ_{k≥t} γ^{k−t}·r_k / (tokens from t on), whitened over the batch to A, without gradient;
    ρ = w·exp(log s(y_t) − log s_old(y_t));  L = max(−A·ρ, −A·clip(ρ, 1−ε, 1+ε)) + KL(s ‖ t): the parts "policy" and
    "single_step", with s, t = softmax(z).

    Shapes: student, teacher (B, T, V) logits of the responses, targets (B, T) int64 their tokens; old_logprobs, rewards
    (B, T): log s_old(y) at generation, and the rewards, usually log t(y) − log s_old(y); w (B, T): importance weights,
    default 1; mask (B, T): tokens that count, by default those whose target isn't −100.
    The parts are (N,).
    Paper: Gu, Dong, Wei, Huang. ICLR 2024. arXiv:2306.08543, section 2.2. As in the authors' code the returns of all
    positions, including padding, are whitened, and w multiplies before the clip.
    Raises: ConfigError if γ or the clip range isn't in [0, 1], or the shapes differ.
    """

    name = "minillm"
    paper = "Gu, Dong, Wei, Huang. ICLR 2024. arXiv:2306.08543"
    only_for = "language models"
    zero_at_equal = False
    ignores = ("shift of logits",)

    gamma: Fraction = 0.95
    cliprange: Fraction = 0.2

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        old_logprobs: Tensor,
        rewards: Tensor,
        w: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        tokens = self.tokens(student, targets) if mask is None else mask != 0
        s, t = (F.log_softmax(x[tokens], dim=1) for x in (student, teacher))
        log_s = s.gather(1, self.align_targets(targets)[tokens][:, None])[:, 0]
        ratio = (log_s - old_logprobs[tokens]).clamp(max=LARGEST).exp()
        ratio = ratio if w is None else ratio * w[tokens]
        advantage = whiten(self.returns(rewards, tokens.to(rewards.dtype))).detach()[tokens]
        clipped = ratio.clamp(1 - self.cliprange, 1 + self.cliprange)
        return {"policy": torch.maximum(-advantage * ratio, -advantage * clipped), "single_step": kl(s, t)}

    def returns(self, rewards: Tensor, tokens: Tensor) -> Tensor:
        """Return the discounted sum of the rewards from each token on, over the number of tokens from it on, (B, T)."""
        total, returns = torch.zeros_like(rewards[:, 0]), []
        for reward in reversed(rewards.unbind(1)):
            total = reward + self.gamma * total
            returns.append(total)
        remaining = tokens - tokens.cumsum(1) + tokens.sum(1, keepdim=True)
        return torch.stack(returns[::-1], dim=1) / remaining.masked_fill(remaining == 0, 1)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Responses of 5 tokens, with their log-probabilities at generation and rewards."""
        inputs = {"targets": torch.randint(7, (6, 5)), "old_logprobs": -torch.rand(6, 5), "rewards": torch.randn(6, 5)}
        return torch.randn(6, 5, 7), torch.randn(6, 5, 7), inputs


def whiten(x: Tensor) -> Tensor:
    """Scale to mean 0 and variance 1 over all values; a single value becomes 0."""
    return (x - x.mean()) * (x.var(correction=min(1, x.numel() - 1)) + 1e-8).rsqrt()
