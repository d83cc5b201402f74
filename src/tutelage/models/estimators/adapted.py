"""A fitted estimator as a teacher of other data: its columns, classes and units are matched by their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, shown
from tutelage.models.estimators.module import FittedEstimator
from tutelage.models.estimators.other import OtherEstimator

ESTIMATOR = "sklearn:"
"""The beginning of the name of a teacher that is an estimator's file."""


class AdaptedEstimator(nn.Module):
    """An estimator whose inputs are chosen from a table's, and whose outputs are ordered and scaled.

    Args:
        estimator: the estimator.
        inputs: the number of the table's input that is each of the estimator's.
        outputs: the number of the estimator's output that is each of the response's.
        mean, std: the response is (output − mean) / std.
    """

    def __init__(
        self,
        estimator: FittedEstimator | OtherEstimator,
        inputs: Sequence[int],
        outputs: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.register_buffer("inputs", torch.tensor(inputs))
        self.register_buffer("outputs", torch.tensor(outputs))
        self.mean, self.std = tuple(mean), tuple(std)

    def extra_repr(self) -> str:
        """Return the scale of the outputs, of which a cache's identity is a function."""
        return f"mean={self.mean}, std={self.std}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the response (B, K)."""
        output = self.estimator(x[:, self.get_buffer("inputs")])[:, self.get_buffer("outputs")]
        mean, std = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (self.mean, self.std))
        return ((output.double() - mean) / std).float()


def adapt(
    estimator: FittedEstimator | OtherEstimator,
    columns: Sequence[str],
    classes: Sequence[str],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> AdaptedEstimator:
    """Return an estimator for a table with these inputs, in their own units, and these classes or scaled values.

    Inputs are matched by name if the estimator was fitted to named ones, else by position.

    Raises: ConfigError if the table lacks an input, or the classes or the number of values differ.
    """
    if isinstance(estimator, FittedEstimator):
        known, names = estimator.facts.classes, estimator.facts.columns
    else:
        known, names = estimator.classes, estimator.columns
    inputs = _inputs(names, columns)
    if {*known} != {*classes}:
        raise ConfigError(
            f"the estimator knows the classes {_few(known)}, and the data has {_few(classes)}: expected the same names."
        )
    if classes:
        return AdaptedEstimator(estimator, inputs, [known.index(name) for name in classes], (0.0,), (1.0,))
    return AdaptedEstimator(estimator, inputs, range(len(mean)), mean, std)


def _inputs(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    positions = {name: k for k, name in enumerate(columns)}
    if all(name in positions for name in names):
        return [positions[name] for name in names]
    if list(names) == [f"x{k}" for k in range(len(names))] and len(names) == len(columns):
        return list(range(len(columns)))
    missing = [name for name in names if name not in positions]
    raise ConfigError(
        f"the estimator was fitted to {len(names)} inputs, and the data has {len(columns)}, without {_few(missing)}: "
        f"expected them among {_few(columns)}."
    )


def _few(names: Sequence[str]) -> str:
    return shown(", ".join(names)) or "none"
