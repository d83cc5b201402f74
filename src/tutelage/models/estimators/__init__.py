"""Fitted estimators as modules: decision trees, forests, boosted trees and linear models, as teachers and students.

>>> from sklearn.datasets import load_iris
>>> from sklearn.ensemble import RandomForestClassifier
>>> import torch
>>> x, y = load_iris(return_X_y=True)
>>> x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
>>> teacher = from_sklearn(RandomForestClassifier(20, random_state=0).fit(x.numpy(), y.numpy()))
>>> student = fit_tree(x, teacher(x), y, alpha=0.9, depth=3)
>>> student.core.depth
3
"""

from tutelage.models.estimators.files import load, save
from tutelage.models.estimators.fitting import fit_boosting, fit_forest, fit_linear, fit_tree
from tutelage.models.estimators.module import EstimatorCard, FittedEstimator
from tutelage.models.estimators.sklearn_forms import from_sklearn

__all__ = [
    "EstimatorCard",
    "FittedEstimator",
    "fit_boosting",
    "fit_forest",
    "fit_linear",
    "fit_tree",
    "from_sklearn",
    "load",
    "save",
]
