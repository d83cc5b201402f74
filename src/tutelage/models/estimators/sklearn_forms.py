"""scikit-learn's fitted estimators as modules: their trees' and weights' arrays are copied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.estimators.cores import LinearCore, TreesCore
from tutelage.models.estimators.module import EstimatorCard, FittedEstimator
from tutelage.utils import compat

LINEAR = (
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "ElasticNet",
    "ElasticNetCV",
    "BayesianRidge",
    "HuberRegressor",
    "LogisticRegression",
    "LogisticRegressionCV",
)
SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")

Fitted = tuple[TreesCore | LinearCore, str, str]
"""A core, the name of its link, and the type of its inputs."""


def from_sklearn(estimator: Any, columns: Sequence[str] | None = None) -> FittedEstimator:
    """Return a fitted scikit-learn estimator as a module whose tensors are copies of its arrays.

    Known are decision trees, forests, both kinds of gradient boosting, linear and logistic regression, and pipelines
    of a StandardScaler and one of these.

    Args:
        estimator: a fitted estimator.
        columns: the names of its inputs; None: those with which it was fitted, or x0, x1, …

    Raises: ModelError if it isn't fitted, or isn't one of these.
    """
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    final = steps[-1]
    name = type(final).__name__
    if not type(final).__module__.startswith("sklearn.") or name not in KNOWN:
        raise ModelError(f"{type(final).__module__}.{name} has no form of its own: expected {', '.join(KNOWN)}.")
    if not hasattr(final, "n_features_in_"):
        raise ModelError(f"{name} isn't fitted: call its fit(x, y) first.")
    mean, scale = _standardisation(steps[:-1])
    core, link, dtype = KNOWN[name](final)
    first = steps[0]
    default = getattr(first, "feature_names_in_", [f"x{k}" for k in range(first.n_features_in_)])
    names = tuple(str(column) for column in (default if columns is None else columns))
    classes = tuple(str(label) for label in final.classes_) if hasattr(final, "classes_") else ()
    card = EstimatorCard(link, f"{type(final).__module__.split('.')[0]}.{name}", names, classes, dtype)
    return FittedEstimator(core, card, mean, scale)


def _standardisation(steps: Sequence[Any]) -> tuple[Tensor | None, Tensor | None]:
    """Return the mean and the scale of the only step before the last.

    Raises: ModelError for any other steps.
    """
    if not steps:
        return None, None
    if len(steps) > 1 or type(steps[0]).__name__ != "StandardScaler":
        names = ", ".join(type(step).__name__ for step in steps)
        raise ModelError(f"a pipeline with {names} has no form of its own: expected one StandardScaler.")
    mean, scale = (getattr(steps[0], name) for name in ("mean_", "scale_"))
    return (None if mean is None else torch.tensor(mean), None if scale is None else torch.tensor(scale))


def _linear(estimator: Any) -> Fitted:
    weight = torch.tensor(np.atleast_2d(estimator.coef_)).double()
    bias = torch.tensor(np.broadcast_to(estimator.intercept_, len(weight)).copy()).double()
    link = "values" if not hasattr(estimator, "classes_") else "margin" if len(weight) == 1 else "scores"
    return LinearCore(weight, bias), link, "float64"


def averaged_trees(trees: Sequence[Any]) -> TreesCore:
    """Return the core whose output is the mean of scikit-learn's fitted decision trees."""
    parts = [_nodes(tree.tree_) for tree in trees]
    return joined(parts, np.zeros(parts[0]["value"].shape[1]), divisor=len(parts))


def _single(estimator: Any) -> Fitted:
    return _averaged(estimator, [estimator])


def _forest(estimator: Any) -> Fitted:
    return _averaged(estimator, estimator.estimators_)


def _averaged(estimator: Any, trees: Sequence[Any]) -> Fitted:
    classifies = hasattr(estimator, "classes_")
    if classifies and estimator.n_outputs_ > 1:
        raise ModelError(f"a classifier of {estimator.n_outputs_} outputs has no form of its own: expected one.")
    return averaged_trees(trees), "probabilities" if classifies else "values", "float32"


def _boosted(estimator: Any) -> Fitted:
    if estimator.loss == "exponential" or type(estimator.init_).__name__ not in ("str", *DUMMIES):
        raise ModelError(
            f"gradient boosting with loss {estimator.loss!r} and init {estimator.init!r} has no form of its own: "
            "expected loss='log_loss' or a regression's, and init=None or 'zero'."
        )
    base = compat.initial_prediction(estimator, np.zeros((1, estimator.n_features_in_), np.float32))
    parts = [_nodes(tree.tree_) for of_round in estimator.estimators_ for tree in of_round]
    for part in parts:
        part["value"] = estimator.learning_rate * part["value"]
    link = "values" if not hasattr(estimator, "classes_") else "margin" if len(base[0]) == 1 else "scores"
    return joined(parts, base[0]), link, "float32"


DUMMIES = ("DummyClassifier", "DummyRegressor")
"""The initial estimators of gradient boosting whose prediction is the same for all inputs."""


def _histogram(estimator: Any) -> Fitted:
    base, rounds = compat.histogram_boosting(estimator)
    nodes = [tree.nodes for of_round in rounds for tree in of_round]
    if any(tree["is_categorical"].any() for tree in nodes) or estimator.is_categorical_ is not None:
        raise ModelError("histogram gradient boosting with categorical_features has no form of its own: encode them.")
    parts = []
    for tree in nodes:
        numbers, leaf = np.arange(len(tree)), tree["is_leaf"].astype(bool)
        parts.append(
            {
                "feature": np.where(leaf, 0, tree["feature_idx"]),
                "threshold": np.where(leaf, 0.0, tree["num_threshold"]),
                "left": np.where(leaf, numbers, tree["left"]),
                "right": np.where(leaf, numbers, tree["right"]),
                "missing_left": tree["missing_go_to_left"].astype(bool),
                "value": tree["value"][:, None],
                "share": tree["count"] / tree["count"][0],
                "column_count": np.int64(estimator.n_features_in_),
            }
        )
    if hasattr(estimator, "classes_"):
        link = "margin" if base.size == 1 else "scores"
    else:
        link = "logarithms" if estimator.loss in ("poisson", "gamma") else "values"
    return joined(parts, base.reshape(-1)), link, "float64"


def _nodes(tree: Any) -> dict[str, Any]:
    """Return the arrays of one of scikit-learn's trees; a leaf's own number is in place of its −1."""
    numbers, leaf = np.arange(tree.node_count), tree.children_left < 0
    return {
        "feature": np.where(leaf, 0, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "left": np.where(leaf, numbers, tree.children_left),
        "right": np.where(leaf, numbers, tree.children_right),
        "missing_left": tree.missing_go_to_left.astype(bool),
        "value": tree.value.reshape(tree.node_count, -1),
        "share": tree.weighted_n_node_samples / tree.weighted_n_node_samples[0],
        "column_count": np.int64(tree.n_features),
    }


def joined(parts: Sequence[dict[str, Any]], base: Any, divisor: float = 1) -> TreesCore:
    """Return one core of several trees, whose arrays are numbered from 0 in each."""
    counts = [len(part["left"]) for part in parts]
    roots = np.cumsum([0, *counts[:-1]])
    arrays = {
        name: np.concatenate(
            [part[name] + (root if name in ("left", "right") else 0) for part, root in zip(parts, roots, strict=True)]
        )
        for name in ("feature", "threshold", "left", "right", "value", "share")
    }
    whole = {name: torch.tensor(arrays[name].astype(np.int64)) for name in ("feature", "left", "right")}
    floats = {name: torch.tensor(arrays[name].astype(np.float64)) for name in ("threshold", "value", "share")}
    return TreesCore(
        **whole,
        **floats,
        missing_left=torch.tensor(np.concatenate([part["missing_left"] for part in parts])),
        roots=torch.tensor(roots.astype(np.int64)),
        base=torch.tensor(np.asarray(base, np.float64)),
        column_count=torch.tensor(int(parts[0]["column_count"])),
        divisor=torch.tensor(float(divisor), dtype=torch.float64),
    )


KNOWN: dict[str, Callable[[Any], Fitted]] = {
    **dict.fromkeys(SINGLE, _single),
    **dict.fromkeys(FORESTS, _forest),
    **dict.fromkeys(BOOSTED, _boosted),
    **dict.fromkeys(HISTOGRAM, _histogram),
    **dict.fromkeys(LINEAR, _linear),
}
"""The estimators whose arrays are copied, by the name of their class."""
