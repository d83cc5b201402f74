"""Modules that make the student's feature fit the teacher's, and the forms a feature can take.

regressor   FitNet's: convolution to the teacher's size and channels, batch norm, ReLU
conv1x1     1×1 convolution and batch norm, resized where sizes differ
linear      pooled or flat vectors, D → D'
identity    as it comes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, unknown
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.token_grid import MEND, Grid

Maker = Callable[[Tensor, Tensor], nn.Module]
"""Makes a connector from an example of the student's feature and one of the teacher's."""


def make(connector: str | Maker, student: Tensor, teacher: Tensor) -> nn.Module:
    """The connector of that name, or made by that callable, on the student's device and in its type.

    Raises: ConfigError if the name isn't known or the two shapes can't be made to meet.
    """
    maker = MAKERS[known(connector)] if isinstance(connector, str) else connector
    return maker(student, teacher).to(student)


def known(connector: str) -> str:
    """The same name.

    Raises: ConfigError if no connector has it.
    """
    if connector not in MAKERS:
        raise ConfigError(unknown("connector", connector, MAKERS))
    return connector


def as_map(feature: Tensor, grid: Grid | None = None) -> Tensor:
    """Tokens (B, N, C) as a map (B, C, H, W) of the grid's patches; maps as they are.

    Raises: ConfigError for tokens without a grid, or not as many as it has, and for a vector.
    """
    if feature.dim() == 4:
        return feature
    if feature.dim() != 3:
        raise ConfigError(f"a feature {shape_of(feature)} isn't a map: expected (B, C, H, W) or tokens (B, N, C).")
    if grid is None:
        raise ConfigError(
            f"tokens {shape_of(feature)} are no map: name the layer as LAYER:map, which takes the grid that the "
            f"network states, or {MEND}."
        )
    return grid.map(feature)


def as_vector(feature: Tensor) -> Tensor:
    """A map (B, C, H, W) or tokens (B, N, C) averaged over all positions, (B, C); vectors as they are.

    Raises: ConfigError if it is none of these.
    """
    if feature.dim() == 4:
        return feature.mean((2, 3))
    if feature.dim() == 3:
        return feature.mean(1)
    if feature.dim() == 2:
        return feature
    raise ConfigError(f"a feature {shape_of(feature)} isn't a vector: expected (B, C), (B, C, H, W) or (B, N, C).")


class Regressor(nn.Module):
    """FitNet's regressor: a convolution to the teacher's size and channels, batch norm, ReLU.

    The convolution is 1×1 for equal sizes, 3×3 of stride 2 from twice the size, transposed 4×4 of stride 2 from half
    the size, of width 1 + s − t (at most 7) from a slightly larger size; else the map is resized before a 1×1.
    Vectors (B, D) go through a linear layer instead.
    """

    def __init__(self, student: Tensor, teacher: Tensor, use_relu: bool = True) -> None:
        super().__init__()
        self.conv = convolution(student, teacher)
        self.bn = BatchNorm(teacher.shape[1])
        self.use_relu = use_relu
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W'), or (B, D) → (B, D')."""
        if isinstance(self.conv, nn.Conv2d) and self.conv.kernel_size == (1, 1):
            feature = resized(feature, self.size)
        feature = self.bn(self.conv(feature))
        return F.relu(feature) if self.use_relu else feature


class Conv1x1(nn.Module):
    """1×1 convolution and batch norm, average-pooled or bilinearly resized to the teacher's size."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        maps("conv1x1", student, teacher)
        self.conv = nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
        self.bn = BatchNorm(teacher.shape[1])
        self.size = teacher.shape[2:]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W')."""
        return self.bn(self.conv(resized(feature, self.size)))


class Linear(nn.Module):
    """A linear layer between the features as vectors (see as_vector)."""

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(as_vector(student).shape[1], as_vector(teacher).shape[1])

    def forward(self, feature: Tensor) -> Tensor:
        """(B, D), (B, D, H, W) or (B, N, D) → (B, D')."""
        return self.linear(as_vector(feature))


MAKERS: dict[str, Maker] = {
    "regressor": Regressor,
    "conv1x1": Conv1x1,
    "linear": Linear,
    "identity": lambda student, teacher: nn.Identity(),
}


def convolution(student: Tensor, teacher: Tensor) -> nn.Module:
    """The regressor's learned layer."""
    if student.dim() == teacher.dim() == 2:
        return nn.Linear(student.shape[1], teacher.shape[1])
    maps("regressor", student, teacher)
    sides = list(zip(student.shape[2:], teacher.shape[2:], strict=True))
    channels = student.shape[1], teacher.shape[1]
    if all(s == 2 * t for s, t in sides):
        return nn.Conv2d(*channels, 3, stride=2, padding=1)
    if all(2 * s == t for s, t in sides):
        return nn.ConvTranspose2d(*channels, 4, stride=2, padding=1)
    if all(0 <= s - t < 7 for s, t in sides):
        return nn.Conv2d(*channels, kernel_size=(1 + sides[0][0] - sides[0][1], 1 + sides[1][0] - sides[1][1]))
    return nn.Conv2d(*channels, 1)


def resized(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map in another size: average-pooled if no side grows, else bilinear."""
    if feature.shape[2:] == size:
        return feature
    if all(side >= wanted for side, wanted in zip(feature.shape[2:], size, strict=True)):
        return F.adaptive_avg_pool2d(feature, (size[0], size[1]))
    return F.interpolate(feature, size, mode="bilinear", align_corners=False)


def head_logits(features: Sequence[Tensor], heads: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """What linear classifiers, weight (K, D) and bias (K,), make of features (B, D, …), one each, as vectors: (B, K).

    Raises: ConfigError if a feature has another width than its classifier reads.
    """
    vectors = [as_vector(feature) for feature in features]
    for vector, (weight, _) in zip(vectors, heads, strict=True):
        if vector.shape[1] != weight.shape[1]:
            raise ConfigError(
                f"a teacher's classifier reads {weight.shape[1]} values and the layer has {vector.shape[1]} channels; "
                "name the layer before the classifier (`tutelage layers MODEL`)."
            )
    return [F.linear(vector, *head) for vector, head in zip(vectors, heads, strict=True)]


def maps(name: str, student: Tensor, teacher: Tensor) -> None:
    """Refuse what isn't two maps."""
    if not student.dim() == teacher.dim() == 4:
        raise ConfigError(
            f"connector {name!r} from the student's {shape_of(student)} to the teacher's {shape_of(teacher)}: expected "
            "two maps (B, C, H, W); turn tokens into maps (form 'map'), or use connector 'linear' between vectors."
        )


def shape_of(feature: Tensor) -> str:
    """The shape in words of a message."""
    return str(tuple(feature.shape))
