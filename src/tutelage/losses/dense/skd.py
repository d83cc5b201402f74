"""Liu, Chen, Liu, Qin, Luo, Wang: structured knowledge distillation, by pairs of positions."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.maps import max_pool
from tutelage.utils.options import Positive, Width


class SKDPairwise(Feature):
    r"""Match the similarities between the positions of a map.

    Positions are max-pooled by patches, a_ij = cos(f_i, f_j);  L = (a(s)_ij − a(t)_ij)², averaged over j.

    Shapes: student (B, C, H, W), teacher (B, C', H, W); the larger map is average-pooled to the smaller first. Returns
    (B, n), n the number of patches. A patch is `patch` positions wide and high or, with `scale`, that fraction of the
    map.
    Paper: Liu, Chen, Liu, Qin, Luo, Wang. CVPR 2019. arXiv:1903.04197. The authors' code takes the features' norms as
    constants in the gradient (detach_norm=True) and has scale 0.5.
    Raises: ConfigError if patch or scale isn't above 0.
    """

    paper = "Liu, Chen, Liu, Qin, Luo, Wang. CVPR 2019. arXiv:1903.04197"
    compares = "last"
    ignores = ("scale of each sample", "order of channels", "swapped sides")

    patch: Width = 2
    scale: Positive | None = None
    detach_norm: bool = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = (self.affinity(x) for x in pool_to_smaller(student, teacher))
        return (s - t).pow(2).mean(2)

    def affinity(self, x: Tensor) -> Tensor:
        """Return the cosines between patches, (B, C, H, W) → (B, n, n)."""
        patch = [self.patch if self.scale is None else max(int(side * self.scale), 1) for side in x.shape[2:]]
        nodes = max_pool(x, patch, stride=patch, ceil_mode=True).flatten(2)
        norm = nodes.norm(dim=1, keepdim=True)
        nodes = nodes / ((norm.detach() if self.detach_norm else norm) + 1e-8)
        return nodes.mT @ nodes
