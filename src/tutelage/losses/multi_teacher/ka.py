"""Shen, Wang, Song, Sun, Song: several teachers' features, amalgamated layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts
from tutelage.losses.functional.distances import squared_distance
from tutelage.losses.functional.feature_maps import pool_to_smaller, pool_to_smallest
from tutelage.nn.maps import conv, dimensions_of


class KA(Feature):
    r"""Match a joint code of all teachers' features of a layer, learned by reconstructing them.

    f = the teachers' maps t_m concatenated, e = E f and t̂ = D e;  L = Σ_m mean (t̂_m − t_m)² + mean (S s − e)², where
    the second term has no gradient to the code e; E, D and the student's S are 1×1 convolutions; summed over layers.

    Shapes: student a list of maps (B, C, H, W), each layer's map repeated for each teacher; teacher an equally long
    list of (B, C_m, H_m, W_m); all are average-pooled to the smallest of their layer. The code has the student's
    channels. Returns two (B,).
    Paper: Shen, Wang, Song, Sun, Song. AAAI 2019. arXiv:1811.02796, which learns the code of a layer first, then the
    student's layer from it; as in the authors' later code all are trained jointly, with the weight 1, alongside
    1 of the divergence from the teachers' logits at T = 1.
    Raises: ConfigError if the lists don't pair.
    """

    name = "ka"
    paper = "Shen, Wang, Song, Sun, Song. AAAI 2019. arXiv:1811.02796"
    compares = "review"
    list_inputs = ("teacher",)
    all_stages = True
    class_dim = None
    zero_at_equal = False
    task_loss_weight = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        shallow, deep = torch.randn(6, 3, 8, 8), torch.randn(6, 5, 4, 4)
        teachers = [torch.randn(6, c, side, side) for c, side in ((3, 8), (3, 8), (5, 4), (5, 4))]
        return [shallow, shallow.clone(), deep, deep.clone()], teachers, {}

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor], samples: int) -> None:
        require_equal_counts(self, list(student), list(teacher))
        self.groups: list[list[int]] = []  # the indices of each layer of the student
        for i, feature in enumerate(student):
            group = next((g for g in self.groups if torch.equal(student[g[0]], feature)), None)
            if group is None:
                self.groups.append([i])
            else:
                group.append(i)
        sizes = [(sum(teacher[i].shape[1] for i in group), student[group[0]].shape[1]) for group in self.groups]
        dimensions = dimensions_of(student[0])
        self.encoders = nn.ModuleList(conv(dimensions, width, code) for width, code in sizes).to(student[0])
        self.aligners = nn.ModuleList(conv(dimensions, code, code) for _, code in sizes).to(student[0])
        self.decoders = nn.ModuleList(conv(dimensions, code, width) for width, code in sizes).to(student[0])

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[str, Tensor]:
        reconstruction, match = [], []
        layers = zip(self.groups, self.encoders, self.aligners, self.decoders, strict=True)
        for group, encode, align, decode in layers:
            features = pool_to_smallest([teacher[i] for i in group])
            code = encode(torch.cat(features, 1))
            decoded = decode(code).split([x.shape[1] for x in features], 1)
            reconstruction += [mean_square(x, feature) for x, feature in zip(decoded, features, strict=True)]
            match += [mean_square(*pool_to_smaller(align(student[i]), code.detach())) / len(group) for i in group]
        return {"reconstruction": torch.stack(reconstruction).sum(0), "match": torch.stack(match).sum(0)}


def mean_square(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of (x − y)² of each sample, (B,)."""
    return squared_distance(x, y) / x[0].numel()
