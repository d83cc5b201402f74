"""The arithmetic of fitted estimators in torch: trees that are evaluated level by level, and linear functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError


class EstimatorCore(nn.Module):
    """Abstract: maps (B, F) to raw outputs (B, K), in float64.

    Its tensors are the parameters and buffers that `arrays` returns; the constructor accepts them by the same names.
    """

    features: int
    outputs: int

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors from which the core can be made again."""
        return {name: x.detach().cpu() for name, x in self.state_dict().items()}

    def _freeze(self, name: str, x: Tensor) -> None:
        self.register_parameter(name, nn.Parameter(x.double(), requires_grad=False))


class LinearCore(EstimatorCore):
    """x W' + b; weight: (K, F), bias: (K,)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        if weight.dim() != 2 or bias.shape != weight.shape[:1] or not (weight.isfinite().all() & bias.isfinite().all()):
            raise ModelError(
                f"a linear model with weight {tuple(weight.shape)} and bias {tuple(bias.shape)}: expected finite "
                "(K, F) and (K,)."
            )
        self._freeze("weight", weight)
        self._freeze("bias", bias)
        self.outputs, self.features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw outputs."""
        weight, bias = self.get_parameter("weight"), self.get_parameter("bias")
        return x.double() @ weight.T + bias


class TreesCore(EstimatorCore):
    """A sum of trees, whose nodes lie in flat arrays of length M.

    Each leaf has V values. If V is smaller than the number K of outputs, K / V consecutive trees form a round, in which
    each tree adds to its own outputs, as in the boosting of several classes.

    Args:
        feature: (M,) int64, the column that a node compares; 0 in a leaf.
        threshold: (M,), a sample goes left if its value is at most this.
        left, right: (M,) int64, the next nodes, which have larger numbers; a leaf's own number in a leaf.
        missing_left: (M,) bool, whether a sample whose value is NaN goes left.
        value: (M, V).
        share: (M,), the fraction of the training samples that reached the node.
        roots: (T,) int64, the first node of each tree.
        base: (K,), to which the trees are added.
        column_count: (), the number of columns.
        divisor: (), by which the sum is divided: the number of trees if they are averaged.
    """

    FLOATS: ClassVar[tuple[str, ...]] = ("threshold", "value", "base")

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        check_trees(arrays)
        for name, x in arrays.items():
            if name in self.FLOATS:
                self._freeze(name, x)
            else:
                self.register_buffer(name, x)
        self.features, self.outputs = int(arrays["column_count"]), len(arrays["base"])
        self.depth = depth(arrays)

    def leaves(self, x: Tensor) -> Tensor:
        """Return the number of the node (B, T) in which each sample ends in each tree."""
        roots, feature, threshold = (
            self.get_buffer("roots"),
            self.get_buffer("feature"),
            self.get_parameter("threshold"),
        )
        left, right, missing_left = (self.get_buffer(name) for name in ("left", "right", "missing_left"))
        ends = roots.repeat(len(x))
        pending = torch.arange(len(ends), device=x.device)  # of all pairs of a sample and a tree, those not in a leaf
        node = ends
        for _ in range(self.depth):
            inner = left[node] != node
            pending, node = pending[inner], node[inner]
            value = x[pending // len(roots), feature[node]]
            goes_left = torch.where(value.isnan(), missing_left[node], value.double() <= threshold[node])
            node = torch.where(goes_left, left[node], right[node])
            ends[pending] = node
        return ends.view(len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw outputs; the trees are added one after the other, as scikit-learn adds them."""
        values = self.get_parameter("value")[self.leaves(x)]
        total = self.get_parameter("base").expand(len(x), -1)
        for of_round in values.reshape(len(x), -1, self.outputs).unbind(1):
            total = total + of_round
        return total / self.get_buffer("divisor")

    @property
    def leaf_count(self) -> int:
        """The number of leaves of all trees."""
        left = self.get_buffer("left")
        return int((left == torch.arange(len(left), device=left.device)).sum())

    @property
    def tree_count(self) -> int:
        """The number of trees."""
        return len(self.get_buffer("roots"))


SHAPES: Mapping[str, tuple[int, torch.dtype]] = {
    "feature": (1, torch.int64),
    "threshold": (1, torch.float64),
    "left": (1, torch.int64),
    "right": (1, torch.int64),
    "missing_left": (1, torch.bool),
    "value": (2, torch.float64),
    "share": (1, torch.float64),
    "roots": (1, torch.int64),
    "base": (1, torch.float64),
    "column_count": (0, torch.int64),
    "divisor": (0, torch.float64),
}
"""The number of dimensions and the type of each array of `TreesCore`."""


def check_trees(arrays: Mapping[str, Tensor]) -> None:
    """Reject arrays that aren't trees, so that a file can't lead outside them or in circles.

    Raises: ModelError that names the array.
    """
    kinds = {name: (x.dim(), x.dtype) for name, x in arrays.items()}
    if kinds != dict(SHAPES):
        wrong = sorted(name for name in {*kinds, *SHAPES} if kinds.get(name) != SHAPES.get(name))
        raise ModelError(f"trees with unexpected arrays {', '.join(wrong)}: expected {', '.join(SHAPES)}.")
    left, right, value, roots = (arrays[name] for name in ("left", "right", "value", "roots"))
    count, outputs = len(left), len(arrays["base"])
    numbers = torch.arange(count)
    inner = left != numbers
    faults = {
        "feature": (arrays["feature"] < 0) | (arrays["feature"] >= arrays["column_count"]),
        "threshold": arrays["threshold"].isnan(),
        "left": (left >= count) | (left < numbers),
        "right": (right >= count) | torch.where(inner, right <= numbers, right != numbers),
        "value": ~value.isfinite(),
        "roots": (roots < 0) | (roots >= count),
        "base": ~arrays["base"].isfinite(),
        "divisor": ~(arrays["divisor"] > 0),
    }
    lengths = {name for name, (dim, _) in SHAPES.items() if dim and name not in ("roots", "base")}
    wrong = [name for name, fault in faults.items() if bool(fault.any())]
    wrong += sorted(name for name in lengths if len(arrays[name]) != count)
    width = value.shape[1]
    if wrong or not count or not len(roots) or not width or outputs % width or len(roots) % (outputs // width):
        raise ModelError(f"trees with wrong values in {', '.join(wrong) or 'value or roots'}: the file isn't of trees.")


def depth(arrays: Mapping[str, Tensor]) -> int:
    """Return the number of comparisons on the longest way from a root to a leaf."""
    levels, node = 0, arrays["roots"]
    while len(node := node[arrays["left"][node] != node]):
        node = torch.cat([arrays["left"][node], arrays["right"][node]]).unique()
        levels += 1
    return levels
