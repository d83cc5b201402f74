"""Fitted models by name, and estimators for other tables."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.naive_bayes import GaussianNB

from tutelage.errors import ConfigError
from tutelage.models.estimators import from_sklearn, kinds
from tutelage.models.estimators.adapted import adapt
from tutelage.models.estimators.other import wrap


def test_names_and_options():
    assert kinds.parse("tree") == kinds.TreeModel()
    assert kinds.parse("boosting:trees=7, learning_rate=0.5").trees == 7
    assert kinds.is_fitted("linear:penalty=2.0")
    for name in ("mlp", "treehouse", None, 3, "timm:tree"):
        assert not kinds.is_fitted(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tree:deep=3", "did you mean 'depth'"),
        ("tree:depth=0", "depth=0: expected a number of 1 or more"),
        ("tree:depth=x", "expected a whole number"),
        ("tree:3", "expected options as in tree:alpha"),
        ("tree:", "expected options"),
        ("tree:depth=1,depth=2", "expected options"),
        ("forest:alpha=[", "is no value"),
        ("linear:alpha=2", "alpha=2: expected"),
        ("linear:depth=2", "unknown option"),
    ],
)
def test_wrong_options_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        kinds.parse(name)


@pytest.mark.parametrize("name", kinds.KINDS)
@pytest.mark.parametrize("source", [load_iris, load_diabetes])
def test_each_kind_fits_classes_and_values(name, source):
    x, y = source(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    classes = ("a", "b", "c") if source is load_iris else ()
    columns = [f"c{k}" for k in range(x.shape[1])]
    model = kinds.parse(name).fit(x, None, y, classes=classes, columns=columns, seed=1)
    assert model.facts.columns == tuple(columns)
    if classes:
        assert (model(x).argmax(1) == y).double().mean() > 0.9
    else:
        assert np.corrcoef(model(x)[:, 0], y)[0, 1] > 0.6


def test_an_estimator_is_matched_by_names():
    x, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(5, random_state=0).fit(x, np.array(["b", "c", "a"])[y])
    columns = ["p", "q", "r", "s"]
    estimator = from_sklearn(forest, columns)
    more = torch.tensor(np.concatenate([x[:, ::-1], x[:, :1]], 1), dtype=torch.float32)
    adapted = adapt(estimator, ["s", "r", "q", "p", "other"], ["b", "c", "a"])
    expected = forest.predict_proba(x)[:, [1, 2, 0]]
    assert adapted(more).softmax(1).numpy() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match="without s"):
        adapt(estimator, ["p", "q", "r"], ["a", "b", "c"])
    with pytest.raises(ConfigError, match="knows the classes a, b, c, and the data has a, b"):
        adapt(estimator, columns, ["a", "b"])
    unnamed = adapt(from_sklearn(forest), columns, ["a", "b", "c"])
    assert unnamed.inputs.tolist() == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="4 inputs, and the data has 2"):
        adapt(from_sklearn(forest), ["p", "q"], ["a", "b", "c"])


def test_values_are_scaled():
    x, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(3, random_state=0).fit(x, y)
    adapted = adapt(from_sklearn(forest), [f"x{k}" for k in range(10)], [], [100.0], [20.0])
    assert adapted(torch.tensor(x))[:, 0].numpy() == pytest.approx((forest.predict(x) - 100) / 20, abs=1e-5)


def test_other_estimators_are_adapted():
    x, y = load_iris(return_X_y=True)
    adapted = adapt(wrap(GaussianNB().fit(x, y)), ["a", "b", "c", "d"], ["2", "1", "0"])
    assert (2 - adapted(torch.tensor(x)).argmax(1) == torch.tensor(y)).double().mean() > 0.9


def test_the_representation_tells_estimators_apart():
    x, y = load_iris(return_X_y=True)
    first, second = (repr(wrap(GaussianNB(var_smoothing=v).fit(x, y))) for v in (1e-9, 1e-3))
    assert first != second
    assert first == repr(wrap(GaussianNB().fit(x, y)))
    d, v = load_diabetes(return_X_y=True)
    forest = from_sklearn(RandomForestRegressor(2, random_state=0).fit(d, v))
    columns = [f"x{k}" for k in range(10)]
    assert repr(adapt(forest, columns, [], [1.0], [2.0])) != repr(adapt(forest, columns, [], [1.0], [3.0]))
