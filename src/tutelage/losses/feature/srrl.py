"""Yang, Martinez, Bulat, Tzimiropoulos: softmax regression of representations."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.nn.blocks import conv_bn
from tutelage.nn.maps import average_positions, dimensions_of
from tutelage.utils.options import NonNegative


class SRRL(Feature):
    r"""Match the last feature, and the teacher's classifier's logits for it.

    x = mean_hw relu(BN(W·s)), W a 1×1 convolution;  L = (x − mean_hw t)² + w·(H(x) − z)²: the parts "feature" and
    "response"; H is the teacher's frozen classifier, and z its logits.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the parts are (B, C') and (B, K). head: the weight (K, C')
    and bias (K,) of the teacher's classifier. z is teacher_response (B, K), or H(mean_hw t) if the batch has none.
    Paper: Yang, Martinez, Bulat, Tzimiropoulos. Knowledge distillation via softmax regression representation learning.
    ICLR 2021, eq. 3–6, the variant with a squared distance of logits.
    """

    paper = "Yang, Martinez, Bulat, Tzimiropoulos. ICLR 2021"
    compares = "last"
    zero_at_equal = False

    response_weight: NonNegative = 1.0

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        embed = conv_bn(dimensions_of(student), student.shape[1], teacher.shape[1])
        self.embed = nn.Sequential(*embed, nn.ReLU()).to(student)

    def forward(
        self, student: Tensor, teacher: Tensor, *, head: tuple[Tensor, Tensor], teacher_response: Tensor | None = None
    ) -> dict[str, Tensor]:
        x, t = average_positions(self.embed(student)), average_positions(teacher)
        z = F.linear(t, *head) if teacher_response is None else teacher_response
        return {"feature": (x - t).pow(2), "response": self.response_weight * (F.linear(x, *head) - z).pow(2)}
