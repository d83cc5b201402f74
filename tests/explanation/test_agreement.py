import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.explanation import agreement


def test_divergence_is_kl_of_the_probabilities():
    s, t = torch.randn(20, 7, dtype=torch.float64), torch.randn(20, 7, dtype=torch.float64)
    p, q = t.softmax(1), s.softmax(1)
    assert torch.allclose(agreement.divergence(s, t), (p * (p / q).log()).sum(1))
    assert agreement.divergence(t, t).abs().max() < 1e-12


def test_fidelity_separates_where_the_teacher_errs():
    targets = torch.tensor([0, 0, 1, 1])
    teacher, student = (F.one_hot(torch.tensor(x), 2).float() for x in ([0, 1, 1, 0], [0, 1, 0, 1]))
    values = agreement.fidelity(student, teacher, targets)
    assert values["accuracy"] == 0.5
    assert values["agreement"] == 0.5
    assert values["agreement where the teacher is right"] == 0.5
    assert values["agreement where it is wrong"] == 0.5
    perfect = agreement.fidelity(teacher, F.one_hot(targets, 2).float(), targets)
    assert np.isnan(perfect["agreement where it is wrong"])


def test_groups_are_of_equal_size_and_ascend():
    values = torch.randn(23)
    groups = agreement.equal_groups(values, 5)
    assert sorted(torch.cat(groups).tolist()) == [*range(23)]
    assert {len(group) for group in groups} == {4, 5}
    assert all(values[a].max() <= values[b].min() for a, b in pairwise(groups))
    assert len(agreement.equal_groups(values[:3], 5)) == 3


def test_figures_agree_with_the_run_s_own_predictions(figures, run_folder):
    made = figures(agreement)
    result = json.loads((run_folder / "result.json").read_text())
    values = made["fidelity"].values
    for role in ("baseline", "student"):
        assert list(values[role]["accuracy"].values) == pytest.approx(result[role]["values"], abs=1e-6)
    stored = [np.load(run_folder / phase / "predictions.npz") for phase in ("teacher", "student-1")]
    t, s = (x["probabilities"][np.argsort(x["index"])].argmax(1) for x in stored)
    assert values["student"]["agreement"].values[1] == pytest.approx((s == t).mean(), abs=1e-6)


def test_difficulty_covers_all_rows(figures, opened):
    of_role = figures(agreement)["difficulty"].values["student"]
    rows = opened.responses("test").targets
    mean = sum(group["agreement"].mean for group in of_role) / len(of_role)
    whole = figures(agreement)["fidelity"].values["student"]["agreement"].mean
    assert mean == pytest.approx(whole, abs=2 / len(rows))
    assert of_role[0]["accuracy"].mean >= of_role[-1]["accuracy"].mean - 0.2
