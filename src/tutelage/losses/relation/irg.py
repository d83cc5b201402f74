"""Liu, Cao, Li, Yuan, Hu, Li, Duan: the graph of a batch's samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, Relation
from tutelage.losses.functional.distances import squared_distance
from tutelage.losses.functional.pairwise import squared_distances
from tutelage.nn.maps import adaptive_avg_pool


class IRGEdge(Relation):
    r"""Match the squared distances between the samples of a batch, relative to the largest: the graph's edges.

    A_ij = ‖x_i − x_j‖² / max of these;  L = (A(s)_ij − A(t)_ij)², averaged over j, of each pair of layers.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,), 0 for a batch of one.
    Paper: Liu, Cao, Li, Yuan, Hu, Li, Duan. CVPR 2019. Three layers count a third each; the full method is
    0.1·logit_mse + 5·irg_edge + 5·irg_transformation, vertices, edges and transformations.
    """

    paper = "Liu, Cao, Li, Yuan, Hu, Li, Duan. CVPR 2019"
    compares = "stages"
    feature_format = ""
    ignores = ("scale", "translation", "rotation", "swapped sides")
    default_weight = 5 / 3

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (edges(student) - edges(teacher)).pow(2).mean(1)


class IRGTransformation(Feature):
    r"""Match the change of each sample from one layer to the next, relative to the largest change.

    a_i = ‖f_i − f'_i‖² / max_i of these, f and f' maps of neighbouring layers averaged to the smaller size and the
    smaller number of channels;  L = (a(s)_i − a(t)_i)², averaged over the neighbouring layers.

    Shapes: student and teacher lists of maps (B, C, H, W), shallow to deep, two or more; returns (B,).
    Paper: Liu, Cao, Li, Yuan, Hu, Li, Duan. CVPR 2019. See irg_edge for the full method.
    Raises: ConfigError for fewer than two layers.
    """

    paper = "Liu, Cao, Li, Yuan, Hu, Li, Duan. CVPR 2019"
    compares = "review"
    ignores = ("swapped sides",)
    default_weight = 5.0

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return (transformations(student) - transformations(teacher)).pow(2).mean(0)


def edges(x: Tensor) -> Tensor:
    """The edge matrix A: (B, …) → (B, B)."""
    squared = squared_distances(x.flatten(1))
    return squared / squared.max().clamp_min(1e-12)


def transformations(layers: list[Tensor]) -> Tensor:
    """The changes a between neighbouring layers: L maps (B, C, H, W) → (L − 1, B)."""
    if len(layers) < 2:
        raise ConfigError(f"IRGTransformation: {len(layers)} layers, expected two or more; name them, shallow to deep.")
    changes = torch.stack([change(*pair) for pair in pairwise(layers)])
    return changes / changes.amax(1, keepdim=True)


def change(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x − y‖² of each sample of two maps, average-pooled to the smaller of each dimension."""
    sizes = [min(pair) for pair in zip(x.shape[1:], y.shape[1:], strict=True)]
    x, y = (pool_channels_too(z, sizes) for z in (x, y))
    return squared_distance(x, y).clamp_min(1e-12)


def pool_channels_too(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Average-pool (B, C, …) to these numbers of channels and positions."""
    if x.dim() < 5:  # channels are pooled as one more dimension
        return adaptive_avg_pool(x[:, None], sizes)[:, 0]
    x = adaptive_avg_pool(x, sizes[1:])
    return adaptive_avg_pool(x.flatten(2).mT, sizes[:1]).mT.unflatten(2, x.shape[2:])
