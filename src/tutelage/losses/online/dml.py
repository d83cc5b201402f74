"""Zhang, Xiang, Hospedales, Lu: peers teach each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import log_plus
from tutelage.losses.functional.stacked_logits import ModelLogits, ce_of_each, softened_kls, stack_logits
from tutelage.utils.options import Fraction, Temperature


class DML(Response):
    r"""Match the class probabilities of every other peer, without gradient to it.

    L = Σ_c p_j · log(ε + p_j/(p_i + ε)) with p = softmax(z), one value per other peer j and position: its mean is the
    paper's sum over peers divided by K − 1.

    Shapes: student (B, C, …) logits, this peer's; teacher the K − 1 other peers', stacked (K−1, B, C, …) or a list;
    returns (K−1, B, …). The cross-entropy with the labels is added to it.
    Paper: Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384, ε = 0. The authors' code has ε = 10⁻⁸ and
    sums over peers.
    Raises: ConfigError if shapes differ.
    """

    paper = "Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384"
    list_inputs = ("teacher",)
    ignores = ("shift of logits",)

    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(2)], {}

    def forward(self, student: Tensor, teacher: ModelLogits) -> Tensor:
        peers = stack_logits(teacher)
        require_same_shape(self, student, peers[0])
        log_s, log_t = F.log_softmax(student, dim=1), F.log_softmax(peers, dim=2)
        ratio = log_plus(log_t - log_plus(log_s, self.eps), self.eps)
        return (log_t.exp() * ratio).sum(2)


class DMLJoint(Response):
    r"""Train all peers at once: on the labels, and each to match the others, to which the gradient flows too.

    L = Σ_i CE(z_i, y) + Σ_i T² · mean_{j≠i} KL(softmax(z_j/T) + ε ‖ softmax(z_i/T)): the parts "truth" and "peers".
    pairwise=False: KL from the softmax of the others' mean logits instead of the mean of the KLs.

    Shapes: student the M ≥ 2 peers' logits, stacked (M, B, C, …) or a list; no teacher; targets (B, …) int64; each part
    is (B, …), summed over peers.
    Paper: Chen, Mei, Wang, Feng, Chen. AAAI 2020 (OKDDip). arXiv:1912.00350, as its code runs DML, with ε = 10⁻⁷.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "dml_joint"
    paper = "Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350"
    list_inputs = ("student",)
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    temperature: Temperature = 3.0
    pairwise: bool = True
    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5) for _ in range(3)], None, {"targets": torch.randint(5, (6,))}

    def forward(self, student: ModelLogits, teacher: None = None, *, targets: Tensor) -> dict[str, Tensor]:
        peers = stack_logits(student, least=2)
        matched = [self.match(peer, torch.cat([peers[:i], peers[i + 1 :]])) for i, peer in enumerate(peers)]
        return {"truth": ce_of_each(peers, targets).sum(0), "peers": torch.stack(matched).sum(0)}

    def match(self, peer: Tensor, others: Tensor) -> Tensor:
        """Return the divergence of one peer from the others, (B, …)."""
        teachers = others if self.pairwise else others.mean(0, keepdim=True)
        return softened_kls(peer, teachers, self.temperature, self.eps).mean(0)
