"""Srinivas, Fleuret: matching of the response's gradient with respect to the input."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, require_same_shape


class JacobianMatching(Loss):
    r"""Match the gradient of the teacher's response with respect to the input.

    g = ∇_x z_y, of the true class's logit for instance;  L = (g_s/‖g_s‖ − g_t/‖g_t‖)², one value for each input value;
    with normalise=False, L = (g_s − g_t)²: Sobolev training's and, of g = ∇_x CE, gradient-based attention transfer's.

    Shapes: student, teacher (B, …): their gradients as `input_gradient` computes them, of the inputs' shape; inputs (B,
    …); returns (B, …). The gradients need a graph from the inputs to both responses, so a custom training loop computes
    them: this loss doesn't run models, and rejects responses.
    Paper: Srinivas, Fleuret. ICML 2018. arXiv:1803.00443; Czarnecki, Osindero, Jaderberg, Świrszcz, Pascanu. NIPS 2017.
    arXiv:1706.04859 (Sobolev); Zagoruyko, Komodakis. ICLR 2017. arXiv:1612.03928, section 3.2 (the gradient of the
    loss). No published numbers were compared.
    Raises: ConfigError if the three shapes differ.
    """

    name = "jacobian_matching"
    paper = "Srinivas, Fleuret. ICML 2018. arXiv:1803.00443"
    only_for = "gradients with respect to the inputs"
    class_dim = None
    ignores = ("scale of each sample", "swapped sides")

    normalise: bool = True

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4), {"inputs": torch.randn(6, 3, 4, 4)}

    def forward(self, student: Tensor, teacher: Tensor, *, inputs: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        if student.shape != inputs.shape:
            raise ConfigError(
                f"JacobianMatching got {tuple(student.shape)} for inputs {tuple(inputs.shape)}, expected gradients "
                "with respect to the inputs, of their shape; compute them with input_gradient in your training loop."
            )
        if not self.normalise:
            return (student - teacher).pow(2)
        s, t = (F.normalize(x.flatten(1), dim=1) for x in (student, teacher))
        return (s - t).pow(2).view_as(student)


def input_gradient(values: Tensor, inputs: Tensor) -> Tensor:
    """Return ∇_x of the sum of `values`, of the inputs' shape (B, …), with a graph, so that it can be trained through.

    Args:
        values: the values to differentiate, of a model that was run with gradients on `inputs.requires_grad_()`: for
            instance logits.gather(1, targets[:, None]), or the cross-entropy of each sample.
        inputs: (B, …), requiring gradients.

    Raises: ConfigError if there is no graph from the inputs to the values.
    """
    if not inputs.requires_grad or not values.requires_grad:
        raise ConfigError(
            "input_gradient: no graph leads from the inputs to the values; call inputs.requires_grad_() and run the "
            "model on them with gradients on (not under torch.no_grad)."
        )
    (gradient,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
    return gradient
