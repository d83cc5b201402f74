import pytest
import torch
from scipy import stats

import tutelage
from tutelage.explanation import outputs


def test_value_agreement_is_scipy_s():
    s, t, y = (torch.randn(40, 2) for _ in range(3))
    values = outputs.value_agreement(s, t, y)
    each = [stats.pearsonr(s[:, c], t[:, c]).statistic for c in range(2)]
    assert values["Pearson"] == pytest.approx(sum(each) / 2, abs=1e-6)
    ranks = [stats.spearmanr(s[:, c], t[:, c]).statistic for c in range(2)]
    assert values["Spearman"] == pytest.approx(sum(ranks) / 2, abs=1e-6)
    errors = [stats.pearsonr((s - y)[:, c], (t - y)[:, c]).statistic for c in range(2)]
    assert values["correlation of errors"] == pytest.approx(sum(errors) / 2, abs=1e-6)


def test_explained_is_one_of_a_copy_and_zero_of_the_mean():
    t = torch.randn(30, 3)
    assert outputs.explained(t, t) == 1
    assert outputs.explained(t.mean(0).expand_as(t), t) == pytest.approx(0, abs=1e-6)


def test_unknown_targets_count_for_the_agreement_alone():
    s, t, y = (torch.randn(40, 2) for _ in range(3))
    y[:, 1] = float("nan")
    values = outputs.value_agreement(s, t, y)
    error = stats.pearsonr((s - y)[:, 0], (t - y)[:, 0]).statistic
    assert values["correlation of errors"] == pytest.approx(error, abs=1e-6)
    assert "correlation of errors" not in outputs.value_agreement(s, t, None)


def test_labels_agree_on_one_side_of_one_half():
    s, t = torch.tensor([[2.0, -1.0]] * 3), torch.tensor([[0.1, 5.0]] * 3)
    assert outputs.label_agreement(s, t, None)["same label"] == 0.5


def test_vectors_of_other_sizes_have_a_cka_and_no_cosine():
    s = torch.randn(20, 4)
    assert set(outputs.vector_agreement(s, torch.randn(20, 6))) == {"CKA"}
    assert outputs.vector_agreement(s, s)["cosine"] == pytest.approx(1)


def test_a_regression_is_explained(tmp_path):
    rows = torch.randn(120, 3)
    prices = rows[:, 0] * rows[:, 1]
    lines = [
        "a,b,c,price",
        *(",".join(f"{x:.4f}" for x in (*row, price)) for row, price in zip(rows, prices, strict=True)),
    ]
    (tmp_path / "houses.csv").write_text("\n".join(lines))
    keys = {"data": f"csv:{tmp_path / 'houses.csv'}", "target": "price", "method": "logit_mse", "epochs": 1}
    run = tutelage.distill("mlp-4", "mlp-16", teacher_epochs=1, device="cpu", out=str(tmp_path / "run"), **keys)
    groups = tutelage.explain(run)["groups"]
    assert set(groups["outputs"]["values"]["values"]) == {"baseline", "student"}
    assert set(groups["layers"]) == {"cka_baseline", "cka_student"}
    assert "outputs are values" in groups["calibration"]["left out"]
    assert not [name for name, group in groups.items() if "it failed" in str(group.get("left out"))]
