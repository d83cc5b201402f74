"""Fitted estimators of scikit-learn as modules, and their files."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tutelage.errors import CheckpointError, ModelError
from tutelage.models.estimators import from_sklearn, load, save
from tutelage.models.estimators.module import FLOOR
from tutelage.models.estimators.other import OtherEstimator, load_estimator, load_other, save_other, wrap
from tutelage.utils import tensor_file

CLASSIFIERS = [
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(7, random_state=0),
    ExtraTreesClassifier(5, random_state=0),
    GradientBoostingClassifier(n_estimators=5, random_state=0),
    GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    HistGradientBoostingClassifier(max_iter=5),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
REGRESSORS = [
    DecisionTreeRegressor(random_state=0),
    RandomForestRegressor(7, random_state=0),
    GradientBoostingRegressor(n_estimators=5, random_state=0),
    GradientBoostingRegressor(n_estimators=3, loss="huber", random_state=0),
    HistGradientBoostingRegressor(max_iter=5),
    HistGradientBoostingRegressor(max_iter=5, loss="poisson"),
    Ridge(),
    make_pipeline(StandardScaler(with_mean=False), LinearRegression()),
    make_pipeline(StandardScaler(), RandomForestRegressor(3, random_state=0)),
]


def table(source, holes=False):
    x, y = source(return_X_y=True)
    x = x.astype(np.float32)
    if holes:
        x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    return x, y


def kind(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("source", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=kind)
def test_a_classifier_has_the_probabilities_of_scikit_learn(estimator, source):
    x, y = table(source)
    estimator.fit(x, y)
    module = from_sklearn(estimator)
    probabilities = module.predict(torch.from_numpy(x))
    assert probabilities.numpy() == pytest.approx(estimator.predict_proba(x), abs=3e-6)
    assert (probabilities.argmax(1).numpy() == estimator.predict(x)).all()
    logits = module(torch.from_numpy(x))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert logits.softmax(1).numpy() == pytest.approx(probabilities.numpy(), abs=5e-6)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=kind)
def test_a_regressor_has_the_values_of_scikit_learn(estimator):
    x, y = table(load_diabetes)
    module = from_sklearn(estimator.fit(x, y))
    values = module.predict(torch.from_numpy(x))
    assert values.shape == (len(x), 1)
    assert values[:, 0].numpy() == pytest.approx(estimator.predict(x), rel=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [DecisionTreeClassifier(random_state=0), RandomForestClassifier(5, random_state=0)],
    ids=kind,
)
def test_trees_and_forests_are_equal_bit_by_bit(estimator):
    x, y = table(load_iris)
    wide = x.astype(np.float64) + 1e-9
    module = from_sklearn(estimator.fit(x, y))
    assert (module.predict(torch.from_numpy(wide)).numpy() == estimator.predict_proba(wide)).all()


@pytest.mark.parametrize(
    "estimator",
    [DecisionTreeClassifier(random_state=0), RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=5)],
    ids=kind,
)
def test_missing_inputs_go_where_scikit_learn_sends_them(estimator):
    x, y = table(load_iris, holes=True)
    module = from_sklearn(estimator.fit(x, y))
    assert module.predict(torch.from_numpy(x)).numpy() == pytest.approx(estimator.predict_proba(x), abs=1e-12)


def test_several_targets_of_one_tree():
    x, y = table(load_diabetes)
    tree = DecisionTreeRegressor(max_depth=3).fit(x, np.stack([y, -y], 1))
    assert (from_sklearn(tree).predict(torch.from_numpy(x)).numpy() == tree.predict(x)).all()


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=kind)
def test_a_file_gives_the_same_outputs_bit_by_bit(estimator, tmp_path):
    x, y = table(load_iris)
    module = from_sklearn(estimator.fit(x, y), ["a", "b", "c", "d"])
    save(tmp_path / "teacher.safetensors", module)
    again = load(tmp_path / "teacher.safetensors")
    assert torch.equal(again(torch.from_numpy(x)), module(torch.from_numpy(x)))
    assert again.facts == module.facts
    assert again.facts.columns == ("a", "b", "c", "d")
    save(tmp_path / "again.safetensors", again)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "teacher.safetensors").read_bytes()


def test_outputs_do_not_change_when_the_module_is_converted():
    x, y = table(load_iris)
    module = from_sklearn(RandomForestClassifier(3, random_state=0).fit(x, y))
    first = module(torch.from_numpy(x))
    assert torch.equal(module.half().to(torch.bfloat16)(torch.from_numpy(x)), first)
    assert not any(p.requires_grad for p in module.parameters())


def test_impossible_classes_have_finite_logits():
    x, y = table(load_iris)
    module = from_sklearn(DecisionTreeClassifier(random_state=0).fit(x, y))
    assert float(module(torch.from_numpy(x)).min()) == pytest.approx(np.log(FLOOR))


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (RandomForestClassifier(), "isn't fitted"),
        (GaussianNB(), "no form of its own"),
        (make_pipeline(MinMaxScaler(), LogisticRegression()), "MinMaxScaler"),
        (HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]), "categorical_features"),
        (GradientBoostingClassifier(n_estimators=2, init=GaussianNB()), "init"),
    ],
    ids=["unfitted", "unknown", "scaler", "categorical", "init"],
)
def test_what_cannot_be_copied_is_refused(estimator, text):
    x, y = table(load_iris)
    if text != "isn't fitted":
        estimator.fit(np.abs(x).round(), y)
    with pytest.raises(ModelError, match=text):
        from_sklearn(estimator)


def test_inputs_of_another_width_are_refused():
    x, y = table(load_iris)
    module = from_sklearn(DecisionTreeClassifier().fit(x, y))
    for wrong in (torch.zeros(2, 3), torch.zeros(4), torch.zeros(1, 1, 4)):
        with pytest.raises(ModelError, match=r"expects \(B, 4\)"):
            module(wrong)


def altered(path, change):
    tensors, metadata = tensor_file.read_tensors(path)
    change(tensors, metadata)
    path.write_bytes(tensor_file.encode_tensors(tensors, metadata))


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t["core.left"].__setitem__(1, 0),
        lambda t, m: t["core.right"].__setitem__(0, 10**6),
        lambda t, m: t["core.feature"].__setitem__(0, 4),
        lambda t, m: t["core.feature"].__setitem__(0, -1),
        lambda t, m: t["core.value"].__setitem__(0, torch.nan),
        lambda t, m: t["core.roots"].__setitem__(0, -1),
        lambda t, m: t["core.divisor"].fill_(0),
        lambda t, m: t.pop("core.threshold"),
        lambda t, m: t.update({"core.left": t["core.left"].float()}),
        lambda t, m: t.update({"mean": t["mean"][:2]}),
        lambda t, m: t["scale"].fill_(0),
        lambda t, m: m.pop("estimator"),
        lambda t, m: m.update(estimator="[1"),
        lambda t, m: m.update(estimator=json.dumps(json.loads(m["estimator"]) | {"kind": "forest"})),
        lambda t, m: m.update(estimator=json.dumps(json.loads(m["estimator"]) | {"link": "eval"})),
        lambda t, m: m.update(estimator=json.dumps(json.loads(m["estimator"]) | {"classes": ["a"]})),
        lambda t, m: m.update(estimator=json.dumps(json.loads(m["estimator"]) | {"dtype": "int8"})),
    ],
)
def test_a_crafted_file_is_refused(change, tmp_path):
    x, y = table(load_iris)
    save(tmp_path / "t.safetensors", from_sklearn(RandomForestClassifier(2, random_state=0).fit(x, y)))
    altered(tmp_path / "t.safetensors", change)
    with pytest.raises(CheckpointError, match="isn't an estimator that tutelage saved"):
        load(tmp_path / "t.safetensors")


def test_a_changed_byte_is_detected(tmp_path):
    x, y = table(load_iris)
    path = tmp_path / "t.safetensors"
    save(path, from_sklearn(DecisionTreeClassifier().fit(x, y)))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was altered"):
        load(path)
    with pytest.raises(CheckpointError, match="is missing"):
        load(tmp_path / "none.safetensors")


def test_any_other_estimator_is_called_as_it_is(tmp_path):
    pytest.importorskip("skops")
    x, y = table(load_iris)
    module = wrap(GaussianNB().fit(x, y))
    assert isinstance(module, OtherEstimator)
    assert module(torch.from_numpy(x)).argmax(1).numpy() == pytest.approx(module.estimator.predict(x))
    save_other(tmp_path / "bayes.skops", module)
    again = load_estimator(tmp_path / "bayes.skops")
    assert torch.equal(again(torch.from_numpy(x)), module(torch.from_numpy(x)))
    assert again.classes == ("0", "1", "2")
    with pytest.raises(ModelError, match="rejects inputs"):
        again(torch.zeros(1, 2))
    with pytest.raises(ModelError, match="no predict_proba"):
        OtherEstimator(SVC().fit(x, y))
    with pytest.raises(ModelError, match="expected a fitted estimator"):
        OtherEstimator(GaussianNB())


class Evil(GaussianNB):
    """An estimator of a type that skops doesn't know."""


def test_types_that_are_not_trusted_are_refused(tmp_path):
    pytest.importorskip("skops")
    x, y = table(load_iris)
    path = tmp_path / "evil.skops"
    save_other(path, OtherEstimator(Evil().fit(x, y)))
    with pytest.raises(ModelError, match=r"types that aren't trusted.*Evil"):
        load_other(path)
    torn = tmp_path / "torn.skops"
    torn.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="can't be read as skops' form"):
        load_other(torn)
    with pytest.raises(CheckpointError, match="is missing"):
        load_other(tmp_path / "none.skops")


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("name", ["a.pkl", "a.joblib", "a.skops", "a.safetensors", "a.bin"])
def test_nothing_is_unpickled(name, tmp_path):
    pytest.importorskip("skops")
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises((ModelError, CheckpointError)):
        load_estimator(tmp_path / name)
