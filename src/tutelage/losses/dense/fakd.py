"""He, Dai, Lu, Jiang, Xia: affinities between a map's positions, for super-resolution."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.losses.functional.pairwise import cosines


class FAKD(Feature):
    r"""Match the similarities between the positions (or the channels) of a map.

    A_ij = cos(f_i, f_j) of the channel vectors at positions i and j (affinity="channel": of the maps of channels i and
    j);  L = |A(s)_ij − A(t)_ij|, averaged over j.

    Shapes: student (B, C, H, W), teacher (B, C', H, W), C' = C for channels; the larger map is average-pooled to the
    smaller first. Returns (B, H·W), or (B, C). Positions take (H·W)² numbers per sample.
    Paper: He, Dai, Lu, Jiang, Xia. FAKD. ICIP 2020: spatial affinities, in addition to L1 with the teacher's and the
    true image (`output_l1`). Weight 1 as in the authors' code, whose scripts set 10.
    Raises: ConfigError if the affinity is unknown, or channels differ where they are compared.
    """

    paper = "He, Dai, Lu, Jiang, Xia. ICIP 2020"
    ignores = ("scale of each sample", "rotation", "order of channels", "swapped sides")

    affinity: Literal["spatial", "channel"] = "spatial"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        vectors = (x.flatten(2) for x in pool_to_smaller(student, teacher))
        s, t = (cosines(x.mT if self.affinity == "spatial" else x) for x in vectors)
        require_same_shape(self, s, t)
        return (s - t).abs().mean(2)
