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
from tutelage.nn.token_grid import GRID_SYNTAX, Grid

ConnectorFactory = Callable[[Tensor, Tensor], nn.Module]
"""A callable that builds a connector from an example student feature and an example teacher feature."""


def build_connector(connector: str | ConnectorFactory, student: Tensor, teacher: Tensor) -> nn.Module:
    """Build a connector on the device and in the dtype of the student feature.

    Args:
        connector: A name (`regressor`, `conv1x1`, `linear`, `identity`), or a callable (student, teacher) → module.
        student: An example of the student's feature, (B, C, H, W), (B, N, C) or (B, C).
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
    """Convert tokens (B, N, C) to a map (B, C, H, W) of the grid's patches; maps are returned unchanged.

    Raises: ConfigError if tokens come without a grid or don't match it in number, or if the feature is a vector.
    """
    if feature.dim() == 4:
        return feature
    if feature.dim() != 3:
        raise ConfigError(f"a feature {format_shape(feature)} isn't a map: expected (B, C, H, W) or tokens (B, N, C).")
    if grid is None:
        raise ConfigError(
            f"tokens {format_shape(feature)} aren't a map: name the layer as LAYER:map, which uses the grid that the "
            f"network declares, or as {GRID_SYNTAX}."
        )
    return grid.map(feature)


def as_vector(feature: Tensor) -> Tensor:
    """Average a map (B, C, H, W) or tokens (B, N, C) over all positions to (B, C); vectors are returned unchanged.

    Raises: ConfigError if the feature has another number of dimensions.
    """
    if feature.dim() == 4:
        return feature.mean((2, 3))
    if feature.dim() == 3:
        return feature.mean(1)
    if feature.dim() == 2:
        return feature
    raise ConfigError(f"a feature {format_shape(feature)} isn't a vector: expected (B, C), (B, C, H, W) or (B, N, C).")


class Regressor(nn.Module):
    """FitNet's regressor: a convolution to the teacher's size and channels, batch norm, ReLU.

    The convolution is 1×1 for equal sizes, 3×3 of stride 2 from twice the size, transposed 4×4 of stride 2 from half
    the size, and of kernel size 1 + s − t (at most 7) from a slightly larger size; otherwise the map is resized before
    a 1×1 convolution. Vectors (B, D) go through a linear layer instead.

    Args:
        student: An example of the student's feature, (B, C, H, W) or (B, D).
        teacher: An example of the teacher's feature, (B, C', H', W') or (B, D').
        use_relu: Whether a ReLU follows the batch norm.
    """

    def __init__(self, student: Tensor, teacher: Tensor, use_relu: bool = True) -> None:
        super().__init__()
        self.conv = build_convolution(student, teacher)
        self.bn = BatchNorm(teacher.shape[1])
        self.use_relu = use_relu
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W'), or (B, D) → (B, D')."""
        if isinstance(self.conv, nn.Conv2d) and self.conv.kernel_size == (1, 1):
            feature = resize(feature, self.size)
        feature = self.bn(self.conv(feature))
        return F.relu(feature) if self.use_relu else feature


class Conv1x1(nn.Module):
    """A 1×1 convolution and batch norm on the map, average-pooled or bilinearly resized to the teacher's size."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        require_maps("conv1x1", student, teacher)
        self.conv = nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
        self.bn = BatchNorm(teacher.shape[1])
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W')."""
        return self.bn(self.conv(resize(feature, self.size)))


class Linear(nn.Module):
    """A linear layer between the features as vectors (see `as_vector`)."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(as_vector(student).shape[1], as_vector(teacher).shape[1])

    def forward(self, feature: Tensor) -> Tensor:
        """(B, D), (B, D, H, W) or (B, N, D) → (B, D')."""
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
    channels = student.shape[1], teacher.shape[1]
    if all(s == 2 * t for s, t in sides):
        return nn.Conv2d(*channels, 3, stride=2, padding=1)
    if all(2 * s == t for s, t in sides):
        return nn.ConvTranspose2d(*channels, 4, stride=2, padding=1)
    if all(0 <= s - t < 7 for s, t in sides):
        return nn.Conv2d(*channels, kernel_size=(1 + sides[0][0] - sides[0][1], 1 + sides[1][0] - sides[1][1]))
    return nn.Conv2d(*channels, 1)


def resize(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a map: by average pooling if no side grows, otherwise bilinearly."""
    if feature.shape[2:] == size:
        return feature
    if all(side >= target for side, target in zip(feature.shape[2:], size, strict=True)):
        return F.adaptive_avg_pool2d(feature, (size[0], size[1]))
    return F.interpolate(feature, size, mode="bilinear", align_corners=False)


def head_logits(features: Sequence[Tensor], heads: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Apply one linear classifier to each feature as a vector, and return the logits, (B, K) each.

    Args:
        features: Features (B, D), (B, D, H, W) or (B, N, D).
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
    """Raise ConfigError unless both features are maps (B, C, H, W)."""
    if not student.dim() == teacher.dim() == 4:
        raise ConfigError(
            f"connector {name!r} from the student's {format_shape(student)} to the teacher's "
            f"{format_shape(teacher)}: expected "
            "two maps (B, C, H, W); turn tokens into maps (form 'map'), or use connector 'linear' between vectors."
        )


def format_shape(feature: Tensor) -> str:
    """Format a feature's shape for a message."""
    return str(tuple(feature.shape))
