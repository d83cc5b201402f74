"""Students that are fitted to a teacher's outputs, their quality and their rules."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tutelage.errors import ConfigError
from tutelage.models.estimators import fit_boosting, fit_linear, fit_tree, from_sklearn, quality, rules
from tutelage.models.estimators.fitting import soft_targets
from tutelage.models.estimators.pseudo_data import sample_between


def table(source):
    x, y = source(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def taught():
    x, y = table(load_breast_cancer)
    teacher = from_sklearn(HistGradientBoostingClassifier(max_iter=20).fit(x.numpy(), y.numpy()))
    return x, y, teacher(x)


def test_soft_targets_mix_the_teacher_and_the_targets():
    teacher, y = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([1, -1])
    assert soft_targets(teacher, y, 0.5, 2).tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert soft_targets(None, torch.tensor([1]), 0.5, 2).tolist() == [[0.0, 1.0]]
    assert soft_targets(teacher, None, 0.5, 2).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    values = soft_targets(torch.tensor([[2.0], [2.0]]), torch.tensor([4.0, torch.nan]), 0.25, 0)
    assert values.tolist() == [[3.5], [2.0]]
    hot = soft_targets(torch.tensor([[0.0, np.log(9.0)]]), None, 1.0, 2, temperature=2.0)
    assert hot[0].tolist() == pytest.approx([0.25, 0.75])
    for wrong in ({"alpha": 2.0}, {"alpha": 0.5, "temperature": 0.0}):
        with pytest.raises(ConfigError):
            soft_targets(teacher, y, classes=2, **wrong)
    with pytest.raises(ConfigError, match="neither"):
        soft_targets(None, y, 0.5, 2)
    with pytest.raises(ConfigError, match="neither"):
        soft_targets(None, None, 0.5, 2)


@pytest.mark.parametrize("fit", [fit_tree, fit_boosting, fit_linear])
def test_a_student_follows_its_teacher(fit):
    x, y, outputs = taught()
    alone, student = fit(x, None, y), fit(x, outputs, y, 1.0)
    assert (student.predict(x).sum(1) - 1).abs().max() < 1e-9
    figures = quality.fidelity(student, x, outputs)
    assert figures["agreement"] > 0.95
    assert figures["kl"] < quality.fidelity(alone, x, outputs)["kl"]
    assert student.facts.classes == ("0", "1")


@pytest.mark.parametrize("fit", [fit_tree, fit_boosting, fit_linear])
def test_a_student_without_a_teacher_learns_the_targets(fit):
    x, y = table(load_iris)
    student = fit(x, None, y, classes=["setosa", "versicolor", "virginica"], columns=["a", "b", "c", "d"])
    assert (student(x).argmax(1) == y).double().mean() > 0.95
    assert student.facts.classes[2] == "virginica"
    assert student.facts.columns == ("a", "b", "c", "d")


@pytest.mark.parametrize("fit", [fit_tree, fit_boosting, fit_linear])
def test_values_are_fitted(fit):
    x, y = table(load_diabetes)
    teacher = fit_boosting(x, None, y.float(), trees=30)(x)
    student = fit(x, teacher, y.float(), 0.5)
    assert not student.facts.is_classifier
    figures = quality.fidelity(student, x, teacher)
    assert figures["r2"] > 0.5
    assert figures["rmse"] == pytest.approx(float((student(x) - teacher).square().mean().sqrt()), rel=1e-5)


def test_hard_labels_give_the_logistic_regression_of_scikit_learn():
    x, y = table(load_iris)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=1000)).fit(x.double(), y)
    assert fit_linear(x, None, y).predict(x).numpy() == pytest.approx(pipeline.predict_proba(x.double()), abs=2e-3)


def test_leaves_hold_the_mean_of_the_soft_targets():
    x = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    outputs = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.0001, 0.9999]]).log()
    tree = fit_tree(x, outputs, None, depth=1, min_leaf=1, classes=("a", "b"))
    assert tree.predict(x)[:, 0].tolist() == pytest.approx([0.8, 0.8, 0.10005, 0.10005])


def test_several_values_and_boosting():
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    assert fit_tree(x, None, x * 3).predict(x).shape == (50, 2)
    assert fit_linear(x, None, x * 3).predict(x).shape == (50, 2)
    with pytest.raises(ConfigError, match="2 targets"):
        fit_boosting(x, None, x * 3)
    with pytest.raises(ConfigError, match=r"\(N, F\)"):
        fit_tree(torch.zeros(4, 1, 2), None, torch.zeros(4))


def test_the_same_seed_gives_the_same_student():
    x, y, outputs = taught()
    for fit in (fit_tree, fit_boosting):
        assert torch.equal(fit(x, outputs, y, seed=3)(x), fit(x, outputs, y, seed=3)(x))


def test_size():
    x, y = table(load_iris)
    assert quality.size(fit_tree(x, None, y, depth=2)) == {"trees": 1, "depth": 2, "leaves": 3}
    assert quality.size(fit_boosting(x, None, y, trees=3))["trees"] == 9
    assert quality.size(fit_linear(x, None, y)) == {"weights": 12}


def test_a_certain_split_is_stable_and_a_tie_is_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 3, generator=generator)
    y = (x[:, 1] > 0.5).long()
    result = quality.stability(lambda rows: fit_tree(x[rows], None, y[rows], depth=2, columns="abc"), len(x))
    assert result[0].place == "root"
    assert (result[0].column, result[0].share) == ("b", 1.0)
    assert 0.45 < result[0].low <= result[0].middle <= result[0].high < 0.55
    noise = torch.rand(300, generator=generator)
    ties = quality.stability(lambda rows: fit_tree(x[rows], None, noise[rows], depth=2, columns="abc"), len(x))
    assert ties[0].share < 1
    assert [s.place for s in ties[:3]] == ["root", "root left", "root right"]
    again = quality.stability(lambda rows: fit_tree(x[rows], None, noise[rows], depth=2, columns="abc"), len(x))
    assert again == ties
    with pytest.raises(ConfigError, match="isn't a single tree"):
        quality.stability(lambda rows: fit_linear(x[rows], None, y[rows]), len(x))


def test_pseudo_samples_lie_between_neighbours():
    x, _ = table(load_iris)
    x = torch.cat([x, (torch.arange(len(x)) % 3)[:, None].float()], 1)
    pseudo, origin = sample_between(x, 500, seed=1)
    assert torch.equal(pseudo[:, 4], x[origin, 4])
    assert pseudo.shape == (500, 5)
    assert (pseudo.amin(0) >= x.amin(0)).all()
    assert (pseudo.amax(0) <= x.amax(0)).all()
    assert set(pseudo[:, 4].tolist()) == {0.0, 1.0, 2.0}
    assert len(pseudo[:, 0].unique()) > len(x[:, 0].unique())
    assert torch.equal(pseudo, sample_between(x, 500, seed=1)[0])
    assert sample_between(x[:1], 3)[0].equal(x[:1].expand(3, -1))


NAMES = ["<script>alert(1)</script>", "a\x1b[31m\nb", "x" * 300, "a&\"'"]


def test_rules_name_columns_and_classes_safely():
    x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long() + 2 * (x[:, 1] > 0.5).long()
    tree = fit_tree(x, None, y, depth=2, classes=NAMES, columns=NAMES)
    text = rules.write_rules(tree)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 10
    drawing = str(rules.draw_tree(tree))
    root = ElementTree.fromstring(drawing)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "g", "title", "rect", "text", "path"}
    assert "<script" not in drawing
    assert not re.search(r"\b(style|href|on\w+)=", drawing)
    boxes = [element for element in root.iter() if element.tag.endswith("rect")]
    assert len(boxes) == 7
    assert len({(box.get("x"), box.get("y")) for box in boxes}) == 7


def test_drawings_and_rules_have_a_bound():
    x = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))
    tree = fit_tree(x, None, torch.rand(3000), depth=12, min_leaf=1)
    assert str(rules.draw_tree(tree, levels=3)).count("<rect") == 15
    lines = rules.write_rules(tree).splitlines()
    assert len(lines) == rules.LINES + 1
    assert lines[-1].endswith("more lines")


def test_rules_of_other_students():
    x, y = table(load_iris)
    linear = rules.write_rules(fit_linear(x, None, y, columns=["a", "b", "c", "d"]))
    assert len(linear.splitlines()) == 15
    assert "(standardised)" in linear
    boosted = rules.write_rules(fit_boosting(x, None, y, trees=5, columns=["a", "b", "c", "d"]))
    assert boosted.startswith("15 trees")
    with pytest.raises(ConfigError, match="isn't a single tree"):
        rules.draw_tree(fit_linear(x, None, y))
