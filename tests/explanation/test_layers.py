import math
from itertools import permutations

import pytest
import torch

import tutelage
from tutelage.explanation import layers
from tutelage.explanation.opened_run import open_finished
from tutelage.runs.inputs import Provided


def pair(n=30, d=5):
    x = torch.randn(n, d, dtype=torch.float64)
    return x, x @ torch.randn(d, 7, dtype=torch.float64) + torch.randn(n, 7, dtype=torch.float64)


def test_cka_is_that_of_the_centred_features():
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), Kornblith et al., equation 3."""
    x, y = (z - z.mean(0) for z in pair())
    expected = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert layers.cka(layers.gram(x), layers.gram(y), layers.hsic) == pytest.approx(float(expected), rel=1e-10)


def test_hsic_is_the_trace_with_centring_matrices():
    k, j = (z @ z.T for z in pair())
    n = len(k)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    assert float(layers.hsic(k, j)) == pytest.approx(float((k @ h @ j @ h).trace()) / (n - 1) ** 2, rel=1e-10)


def test_unbiased_hsic_is_the_mean_over_quadruples_of_samples():
    k, j = (z @ z.T for z in pair(6))
    terms = [k[a, b] * (j[a, b] + j[c, d] - 2 * j[a, c]) for a, b, c, d in permutations(range(6), 4)]
    assert float(layers.unbiased_hsic(k, j)) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-9)


def test_cka_ignores_rotation_and_scale_and_is_near_zero_of_independent_features():
    x, _ = pair(200)
    q, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    assert layers.cka(layers.gram(x), layers.gram(3 * x @ q)) == pytest.approx(1)
    wide = [layers.gram(torch.randn(50, 2000)) for _ in range(2)]
    assert abs(layers.cka(*wide)) < 0.2
    assert layers.cka(*wide, layers.hsic) > 0.9, "the biased one is inflated with fewer samples than features"


def test_cka_of_a_constant_layer_is_undefined_and_an_empty_cell(opened):
    x, _ = pair()
    grams = {"varied": layers.gram(x), "dead": layers.gram(torch.ones(30, 4))}
    assert math.isnan(layers.cka(*grams.values()))
    made = layers._similarity(opened, "student", {"teacher": grams, "student": grams})
    assert "dead, varied: undefined" in made.block.drawing
    assert made.reading.startswith("The teacher's last, dead, or every layer of taught is the same for every sample")
    turned = {"dead": grams["dead"], "varied": grams["varied"]}
    made = layers._similarity(opened, "student", {"teacher": turned, "student": turned})
    assert made.reading.startswith("The teacher's last, varied, is most like varied of taught (CKA 1.00)")


def test_heat_maps_and_quality_of_the_run(figures):
    made = figures(layers)
    assert list(made) == ["cka_student", "cka_baseline", "quality"]
    values = made["cka_student"].values
    assert len(values["cka"]) == len(values["teacher"])
    assert all(len(row) == len(values["student"]) for row in values["cka"])
    assert all(-1 <= x <= 1.001 for row in values["cka"] for x in row)
    student, teacher = made["quality"].values["chosen"]
    qualities = {name: q["Q"] for name, q in made["quality"].values["teacher"].items()}
    assert qualities[teacher] == max(qualities.values())
    assert student in made["quality"].values["student"]
    assert made["quality"].values["compared"], "at compared layers"
    assert "<svg" in made["cka_student"].block.drawing


def test_layers_that_an_earlier_stage_compared_are_named(tmp_path):
    keys = {"epochs": 1, "teacher_epochs": 1, "limit": 60, "device": "cpu", "baseline": False, "progress": False}
    run = tutelage.distill("cnn2", "cnn4", method="fitnet_stages", out=str(tmp_path / "run"), **keys)
    made = layers.figures(open_finished(run.folder, Provided(), 60, None))[-1]
    assert [x[0].split()[0] for x in made.values["compared"]] == ["layer2"]
    assert "this run compared layer2 (" in made.reading
