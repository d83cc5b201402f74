"""Students that are fitted, not trained by steps: trees, boosted trees and linear models on a teacher's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.models.estimators.module import EstimatorCard, FittedEstimator
from tutelage.models.estimators.sklearn_forms import averaged_trees, from_sklearn

LEAST = 1e-9
"""The smallest weight of a class in a sample's soft label, so that every class is in the training samples."""

Array = np.ndarray[Any, np.dtype[Any]]


def soft_targets(
    teacher_outputs: Tensor | None,
    targets: Tensor | None,
    alpha: float,
    classes: int,
    temperature: float = 1.0,
) -> Tensor:
    """Return alpha · the teacher's probabilities or values + (1 − alpha) · the targets, in float64.

    Args:
        teacher_outputs: (N, C) logits, or (N, K) values; None: the targets alone.
        targets: (N,) classes, negative where unknown, or (N,) or (N, K) values, NaN where unknown; a sample whose
            target is unknown has the teacher's outputs alone. None: the teacher's outputs alone.
        alpha: the share of the teacher.
        classes: the number of classes; 0 for regression.
        temperature: by which a teacher's logits are divided.

    Raises: ConfigError if there is neither of both, or a sample has neither.
    """
    if not 0 <= alpha <= 1 or temperature <= 0:
        raise ConfigError(f"alpha={alpha}, temperature={temperature}: expected 0 … 1, and more than 0.")
    taught = None if teacher_outputs is None else teacher_outputs.detach().double()
    if taught is not None and classes:
        taught = (taught / temperature).softmax(1)
    known = None if targets is None else _as_rows(targets, classes)
    if known is None or taught is None:
        soft = known if taught is None else taught
    else:
        soft = torch.where(known.isnan(), taught, alpha * taught + (1 - alpha) * known)
    if soft is None or bool(soft.isnan().any()):
        raise ConfigError("a sample has neither a target nor a teacher's outputs: give a teacher, or leave it out.")
    return soft


def _as_rows(targets: Tensor, classes: int) -> Tensor:
    """Return targets as (N, K) in float64, NaN where unknown."""
    if not classes:
        return targets.double().reshape(len(targets), -1)
    rows = torch.nn.functional.one_hot(targets.clamp_min(0), classes).double()
    return torch.where((targets < 0)[:, None], torch.nan, rows)


def fit_tree(
    x: Tensor,
    teacher_outputs: Tensor | None,
    targets: Tensor | None,
    alpha: float = 0.9,
    *,
    depth: int = 4,
    min_leaf: int = 5,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> FittedEstimator:
    """Return a decision tree fitted to soft targets; a leaf holds the mean probabilities or values of its samples.

    Args:
        x: (N, F).
        teacher_outputs, targets, alpha, temperature: as in `soft_targets`.
        depth: the largest number of comparisons.
        min_leaf: the smallest number of samples in a leaf.
        classes: the names of the classes, () for regression; None: numbers, if the targets are integers.
        columns: the names of the columns; None: x0, x1, …
        seed: chooses among equally good splits.

    Example:
        >>> import torch
        >>> x = torch.linspace(0, 1, 100)[:, None]
        >>> tree = fit_tree(x, torch.cat([x - 0.3, 0.3 - x], 1) * 50, None, depth=1, classes=("high", "low"))
        >>> tree.predict(torch.tensor([[0.0], [1.0]])).argmax(1).tolist()
        [1, 0]
    """
    from sklearn.tree import DecisionTreeRegressor

    names = class_names(teacher_outputs, targets, classes)
    soft = soft_targets(teacher_outputs, targets, alpha, len(names), temperature)
    tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=min_leaf, random_state=seed)
    tree.fit(_array(x), soft.numpy())
    return _from_trees([tree], "DecisionTreeRegressor", names, _columns(x, columns))


def _from_trees(trees: Sequence[Any], kind: str, names: tuple[str, ...], columns: tuple[str, ...]) -> FittedEstimator:
    """Return fitted trees, whose outputs are averaged; kind: the name of scikit-learn's class."""
    link = "probabilities" if names else "values"
    return FittedEstimator(averaged_trees(trees), EstimatorCard(link, f"sklearn.{kind}", columns, names, "float32"))


def fit_forest(
    x: Tensor,
    teacher_outputs: Tensor | None,
    targets: Tensor | None,
    alpha: float = 0.9,
    *,
    trees: int = 100,
    depth: int = 64,
    min_leaf: int = 1,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> FittedEstimator:
    """Return a random forest of trees as `fit_tree` fits them, each to a bootstrap sample and a part of the columns.

    Args:
        x: (N, F).
        teacher_outputs, targets, alpha, temperature: as in `soft_targets`.
        trees: the number of trees, whose outputs are averaged.
        depth, min_leaf, classes, columns, seed: as in `fit_tree`.
    """
    from sklearn.ensemble import RandomForestRegressor

    names = class_names(teacher_outputs, targets, classes)
    soft = soft_targets(teacher_outputs, targets, alpha, len(names), temperature).numpy()
    forest = RandomForestRegressor(
        trees, max_depth=depth, min_samples_leaf=min_leaf, max_features="sqrt" if names else 1 / 3, random_state=seed
    )
    forest.fit(_array(x), soft[:, 0] if soft.shape[1] == 1 else soft)
    return _from_trees(forest.estimators_, "RandomForestRegressor", names, _columns(x, columns))


def fit_boosting(
    x: Tensor,
    teacher_outputs: Tensor | None,
    targets: Tensor | None,
    alpha: float = 0.9,
    *,
    trees: int = 100,
    depth: int = 4,
    learning_rate: float = 0.1,
    min_leaf: int = 20,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> FittedEstimator:
    """Return boosted trees that minimise the cross entropy with the soft targets, or the squared error.

    Args:
        x: (N, F).
        teacher_outputs, targets, alpha, temperature: as in `soft_targets`.
        trees: the number of rounds.
        depth, min_leaf: as in `fit_tree`.
        learning_rate: the factor of each round.
        classes, columns, seed: as in `fit_tree`.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    names = class_names(teacher_outputs, targets, classes)
    soft = soft_targets(teacher_outputs, targets, alpha, len(names), temperature)
    options = {"max_iter": trees, "max_depth": depth, "learning_rate": learning_rate, "random_state": seed}
    if names:
        rows = _repeated(x, soft)
        boosting = HistGradientBoostingClassifier(
            **options, min_samples_leaf=min_leaf * len(names), early_stopping=False
        ).fit(rows[0], rows[1], sample_weight=rows[2])
        return _named(boosting, x, columns, names)
    if soft.shape[1] > 1:
        raise ConfigError(f"boosted trees for {soft.shape[1]} targets: expected one; use a tree or a linear model.")
    regressor = HistGradientBoostingRegressor(**options, min_samples_leaf=min_leaf, early_stopping=False)
    return _named(regressor.fit(_array(x), soft[:, 0].numpy()), x, columns, ())


def fit_linear(
    x: Tensor,
    teacher_outputs: Tensor | None,
    targets: Tensor | None,
    alpha: float = 0.9,
    *,
    penalty: float = 1.0,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> FittedEstimator:
    """Return a linear model that minimises the cross entropy with the soft targets, or the squared error.

    Args:
        x: (N, F), which the model standardises.
        teacher_outputs, targets, alpha, temperature: as in `soft_targets`.
        penalty: the weight of the squared weights.
        classes, columns: as in `fit_tree`.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = class_names(teacher_outputs, targets, classes)
    soft = soft_targets(teacher_outputs, targets, alpha, len(names), temperature)
    if not names:
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=penalty))
        return _named(ridge.fit(_array(x), soft.numpy()), x, columns, ())
    rows, labels, weights = _repeated(x, soft)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=1000))
    logistic.fit(rows, labels, logisticregression__sample_weight=weights)
    return _named(logistic, x, columns, names)


def class_names(
    teacher_outputs: Tensor | None, targets: Tensor | None, classes: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the classes; () for regression."""
    if classes is not None:
        return tuple(classes)
    if targets is None or targets.is_floating_point():
        return ()
    count = int(targets.max()) + 1 if teacher_outputs is None else teacher_outputs.shape[1]
    return tuple(str(k) for k in range(count))


def _repeated(x: Tensor, soft: Tensor) -> tuple[Array, Array, Array]:
    """Return each sample once for each class, with that class's probability as its weight.

    The cross entropy with these hard labels and weights equals the cross entropy with the soft labels.
    """
    count, classes = soft.shape
    labels = np.tile(np.arange(classes), count)
    return np.repeat(_array(x), classes, 0), labels, soft.clamp_min(LEAST).reshape(-1).numpy()


def _named(estimator: Any, x: Tensor, columns: Sequence[str] | None, classes: tuple[str, ...]) -> FittedEstimator:
    """Return an estimator that was fitted to class numbers as a module with the classes' names."""
    module = from_sklearn(estimator, _columns(x, columns))
    card = module.facts
    named = EstimatorCard(card.link, card.source, card.columns, classes, card.dtype)
    return FittedEstimator(module.core, named, module.get_buffer("mean"), module.get_buffer("scale"))


def _columns(x: Tensor, columns: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(f"x{k}" for k in range(x.shape[1])) if columns is None else tuple(columns)


def _array(x: Tensor) -> Array:
    """Return the inputs for scikit-learn, whose rounding of float32 is that of the module's evaluation."""
    if x.dim() != 2:
        raise ConfigError(f"inputs of shape {tuple(x.shape)}: expected (N, F), a table's rows.")
    return x.detach().cpu().double().numpy()
