"""Models by name that are fitted, not trained by steps: tree, forest, boosting and linear, with their options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml
from torch import Tensor

from tutelage.errors import ConfigError, shown
from tutelage.models.estimators.fitting import fit_boosting, fit_forest, fit_linear, fit_tree
from tutelage.models.estimators.module import FittedEstimator
from tutelage.utils.options import CheckedArguments, Count, CountOrZero, Fraction, LearningRate, Positive, Temperature


@dataclass(frozen=True)
class FittedModel(CheckedArguments, ABC):
    """Abstract: the kind and the options of a model that is fitted.

    Args:
        alpha: the share of the teacher's outputs in the soft targets.
        temperature: by which a teacher's logits are divided.
        pseudo: the number of pseudo-samples between the training samples, which the teacher labels.
    """

    name: ClassVar[str]
    alpha: Fraction = 0.9
    temperature: Temperature = 1.0
    pseudo: CountOrZero = 0

    @abstractmethod
    def fit(
        self,
        x: Tensor,
        teacher_outputs: Tensor | None,
        targets: Tensor | None,
        *,
        classes: Sequence[str],
        columns: Sequence[str],
        seed: int,
    ) -> FittedEstimator:
        """Return the estimator that is fitted to x (N, F), a teacher's outputs and the targets."""

    @property
    def common(self) -> dict[str, Any]:
        """The options that all functions of `fitting` have."""
        return {"alpha": self.alpha, "temperature": self.temperature}


@dataclass(frozen=True)
class TreeModel(FittedModel):
    """A decision tree: of this depth, and with this many samples in each leaf."""

    name = "tree"
    depth: Count = 4
    min_leaf: Count = 5

    def fit(self, x: Tensor, teacher_outputs: Tensor | None, targets: Tensor | None, **names: Any) -> FittedEstimator:
        """Return the fitted tree."""
        return fit_tree(
            x, teacher_outputs, targets, **self.common, depth=self.depth, min_leaf=self.min_leaf, **names
        )  # fmt: skip


@dataclass(frozen=True)
class ForestModel(FittedModel):
    """A random forest of this many trees."""

    name = "forest"
    trees: Count = 100
    depth: Count = 64
    min_leaf: Count = 1

    def fit(self, x: Tensor, teacher_outputs: Tensor | None, targets: Tensor | None, **names: Any) -> FittedEstimator:
        """Return the fitted forest."""
        size: dict[str, Any] = {"trees": self.trees, "depth": self.depth, "min_leaf": self.min_leaf}
        return fit_forest(x, teacher_outputs, targets, **self.common, **size, **names)


@dataclass(frozen=True)
class BoostingModel(FittedModel):
    """Boosted trees, in this many rounds."""

    name = "boosting"
    trees: Count = 100
    depth: Count = 4
    learning_rate: LearningRate = 0.1
    min_leaf: Count = 20

    def fit(self, x: Tensor, teacher_outputs: Tensor | None, targets: Tensor | None, **names: Any) -> FittedEstimator:
        """Return the fitted trees."""
        size: dict[str, Any] = {"trees": self.trees, "depth": self.depth, "min_leaf": self.min_leaf}
        return fit_boosting(
            x, teacher_outputs, targets, **self.common, **size, learning_rate=self.learning_rate, **names
        )


@dataclass(frozen=True)
class LinearModel(FittedModel):
    """A linear model with a penalty on its squared weights; of classes, a logistic regression."""

    name = "linear"
    penalty: Positive = 1.0

    def fit(self, x: Tensor, teacher_outputs: Tensor | None, targets: Tensor | None, **names: Any) -> FittedEstimator:
        """Return the fitted model."""
        names = {key: value for key, value in names.items() if key != "seed"}
        return fit_linear(x, teacher_outputs, targets, **self.common, penalty=self.penalty, **names)


KINDS: dict[str, type[FittedModel]] = {
    kind.name: kind for kind in (TreeModel, ForestModel, BoostingModel, LinearModel)
}  # fmt: skip


def is_fitted(name: object) -> bool:
    """Return True if a model's name is that of one that is fitted."""
    return isinstance(name, str) and name.partition(":")[0] in KINDS


def parse(name: str) -> FittedModel:
    """Return the model of a name for which `is_fitted` is True.

    Raises: ConfigError for unknown options, or values out of range.

    >>> parse("tree:depth=3,alpha=0.5")
    TreeModel(alpha=0.5, temperature=1.0, pseudo=0, depth=3, min_leaf=5)
    """
    kind, colon, text = name.partition(":")
    options: dict[str, Any] = {}
    for part in text.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or key.strip() in options:
            raise ConfigError(f"{shown(name)!r}: {shown(part)!r}; expected options as in {kind}:alpha=0.5,pseudo=1000.")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{shown(name)!r}: {shown(value)!r} is no value; expected a number.") from error
    return KINDS[kind](**options)
