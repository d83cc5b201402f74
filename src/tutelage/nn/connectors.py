"""Connectors, modules that map a student feature to the shape of a teacher feature, and conversions of features.

regressor   FitNet's: convolution to the teacher's size and channels, batch norm, ReLU
conv1x1     1×1 convolution and batch norm, resized where sizes differ
linear      linear layer between pooled or flat vectors, D → D'
identity    no change
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, unknown
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import (
    adaptive_avg_pool,
    average_positions,
    conv,
    conv_transpose,
    dimensions_of,
    interpolate,
    is_pointwise,
)
from tutelage.nn.token_grid import Grid

ConnectorFactory = Callable[[Tensor, Tensor], nn.Module]
"""A callable that builds a connector from an example student feature and an example teacher feature."""


def build_connector(connector: str | ConnectorFactory, student: Tensor, teacher: Tensor) -> nn.Module:
    """Build a connector on the device and in the dtype of the student feature.

    Args:
        connector: A name (`regressor`, `conv1x1`, `linear`, `identity`), or a callable (student, teacher) → module.
        student: An example of the student's feature: a map (B, C, …), tokens (B, N, C) or a vector (B, C).
        teacher: An example of the teacher's feature, in one of these shapes.

    Raises: ConfigError if the name is unknown or the connector can't map one shape to the other.
    """
    maker = FACTORIES[require_known(connector)] if isinstance(connector, str) else connector
    return maker(student, teacher).to(student)


def require_known(connector: str) -> str:
    """Return the name of a connector unchanged.

    Raises: ConfigError if no connector has that name.
    """
    if connector not in FACTORIES:
        raise ConfigError(unknown("connector", connector, FACTORIES))
    return connector


def as_map(feature: Tensor, grid: Grid | None = None) -> Tensor:
    """Convert tokens (B, N, C) to a map (B, C, H, W) of the grid's patches.

    Without a grid, maps (B, C, …) are returned unchanged: a layer named in form "map" gives such.
    Raises: ConfigError if tokens don't match the grid in number, or if the feature is no map.
    """
    if feature.dim() == 3 and grid is not None:
        return grid.map(feature)
    if feature.dim() not in (3, 4, 5):
        raise ConfigError(
            f"a feature {format_shape(feature)} isn't a map: expected (B, C, T), (B, C, H, W) or (B, C, D, H, W)."
        )
    return feature


def as_vector(feature: Tensor) -> Tensor:
    """Average a map or tokens (B, N, C) over all positions to (B, C); vectors are returned unchanged.

    The map of a series is averaged as tokens (B, T, C), to which `:patches` at the end of a layer's name converts it.
    Raises: ConfigError if the feature has another number of dimensions.
    """
    if feature.dim() in (4, 5):
        return average_positions(feature)
    if feature.dim() == 3:
        return feature.mean(1)
    if feature.dim() == 2:
        return feature
    raise ConfigError(f"a feature {format_shape(feature)} isn't a vector: expected (B, C), a map or tokens (B, N, C).")


class Regressor(nn.Module):
    """FitNet's regressor: a convolution to the teacher's size and channels, batch norm, ReLU.

    The convolution is 1×1 for equal sizes, 3×3 of stride 2 from twice the size, transposed 4×4 of stride 2 from half
    the size, and of kernel size 1 + s − t (at most 7) from a slightly larger size; otherwise the map is resized before
    a 1×1 convolution. Maps of one and three dimensions have convolutions of as many. Vectors (B, D) go through a linear
    layer instead.

    Args:
        student: An example of the student's feature, (B, C, …) or (B, D).
        teacher: An example of the teacher's feature, (B, C', …) or (B, D').
        use_relu: Whether a ReLU follows the batch norm.
    """

    def __init__(self, student: Tensor, teacher: Tensor, use_relu: bool = True) -> None:
        super().__init__()
        self.conv = build_convolution(student, teacher)
        self.bn = BatchNorm(teacher.shape[1])
        self.use_relu = use_relu
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, …) → (B, C', …) of the teacher's size, or (B, D) → (B, D')."""
        if is_pointwise(self.conv):
            feature = resize(feature, self.size)
        feature = self.bn(self.conv(feature))
        return F.relu(feature) if self.use_relu else feature


class Conv1x1(nn.Module):
    """A 1×1 convolution and batch norm on the map, average-pooled or linearly resized to the teacher's size."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        require_maps("conv1x1", student, teacher)
        self.conv = conv(dimensions_of(student), student.shape[1], teacher.shape[1], bias=False)
        self.bn = BatchNorm(teacher.shape[1])
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, …) → (B, C', …) of the teacher's size."""
        return self.bn(self.conv(resize(feature, self.size)))


class Linear(nn.Module):
    """A linear layer between the features as vectors (see `as_vector`)."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(as_vector(student).shape[1], as_vector(teacher).shape[1])

    def forward(self, feature: Tensor) -> Tensor:
        """(B, D), a map (B, D, …) or tokens (B, N, D) → (B, D')."""
        return self.linear(as_vector(feature))


FACTORIES: dict[str, ConnectorFactory] = {
    "regressor": Regressor,
    "conv1x1": Conv1x1,
    "linear": Linear,
    "identity": lambda student, teacher: nn.Identity(),
}


def build_convolution(student: Tensor, teacher: Tensor) -> nn.Module:
    """Build the convolution of `Regressor`, or its linear layer for vectors."""
    if student.dim() == teacher.dim() == 2:
        return nn.Linear(student.shape[1], teacher.shape[1])
    require_maps("regressor", student, teacher)
    sides = list(zip(student.shape[2:], teacher.shape[2:], strict=True))
    like = dimensions_of(student), student.shape[1], teacher.shape[1]
    if all(s == 2 * t for s, t in sides):
        return conv(*like, 3, stride=2, padding=1)
    if all(2 * s == t for s, t in sides):
        return conv_transpose(*like, 4, stride=2, padding=1)
    if all(0 <= s - t < 7 for s, t in sides):
        return conv(*like, tuple(1 + s - t for s, t in sides))
    return conv(*like)


def resize(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a map: by average pooling if no side grows, otherwise linearly."""
    if feature.shape[2:] == size:
        return feature
    if all(side >= target for side, target in zip(feature.shape[2:], size, strict=True)):
        return adaptive_avg_pool(feature, size)
    return interpolate(feature, size)


def head_logits(features: Sequence[Tensor], heads: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Apply one linear classifier to each feature as a vector, and return the logits, (B, K) each.

    Args:
        features: Features as `as_vector` takes them.
        heads: For each feature, the weight (K, D) and the bias (K,) of its classifier.

    Raises: ConfigError if a feature's width differs from its classifier's input width.
    """
    vectors = [as_vector(feature) for feature in features]
    for vector, (weight, _) in zip(vectors, heads, strict=True):
        if vector.shape[1] != weight.shape[1]:
            raise ConfigError(
                f"a teacher's classifier expects {weight.shape[1]} values, and the layer has {vector.shape[1]} "
                "channels; name the layer before the classifier (`tutelage layers MODEL`)."
            )
    return [F.linear(vector, *head) for vector, head in zip(vectors, heads, strict=True)]


def require_maps(name: str, student: Tensor, teacher: Tensor) -> None:
    """Raise ConfigError unless both features are maps of one number of dimensions."""
    if student.dim() != teacher.dim() or student.dim() not in (3, 4, 5):
        raise ConfigError(
            f"connector {name!r} from the student's {format_shape(student)} to the teacher's "
            f"{format_shape(teacher)}: expected "
            "two maps of as many dimensions; turn tokens into maps (form 'map'), or use connector 'linear' between "
            "vectors."
        )


def format_shape(feature: Tensor) -> str:
    """Format a feature's shape for a message."""
    return str(tuple(feature.shape))
