"""L1 between the outputs, mostly for images."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape


class OutputL1(Response):
    r"""Match the teacher's output by the absolute difference.

    L = |s − t|, one value per output value.

    Shapes: student, teacher (B, …), for instance super-resolved or generated images; returns (B, …).
    Paper: He, Dai, Lu, Jiang, Xia. ICIP 2020 (FAKD): half of this in addition to half of L1 with the true image, and
    the features' affinities (`fakd`); Li, Lin, Ding, Liu, Zhu, Han. CVPR 2020. arXiv:2003.08936 (GAN compression, for
    unpaired images).
    Raises: ConfigError if the shapes differ.
    """

    name = "output_l1"
    paper = "He, Dai, Lu, Jiang, Xia. ICIP 2020"
    response_kinds = ()
    harmed_on = "digits, Fashion-MNIST and CIFAR-100"
    default_weight = 0.5
    task_loss_weight = 0.5
    ignores = ("order of channels", "swapped sides")

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (student - teacher).abs()
