import math
import shutil

import pytest
import torch

from tutelage.explanation import gradients
from tutelage.explanation.base import NotApplicable
from tutelage.explanation.opened_run import open_finished
from tutelage.runs.inputs import Provided


def test_cosine_is_over_the_parameters_that_both_reach():
    a, b = [torch.tensor([1.0, 0.0]), torch.ones(2, 2)], [torch.tensor([1.0, 1.0]), None]
    assert gradients.cosine(a, b) == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(gradients.cosine([None, torch.ones(1)], [torch.ones(1), None]))
    assert gradients.cosine(a, [-2 * x for x in a]) == pytest.approx(-1)


def test_a_sum_has_what_either_reaches():
    first, second, third = gradients.add([torch.ones(1), None, None], [torch.ones(1), torch.ones(2), None])
    assert first == torch.tensor([2.0])
    assert torch.equal(second, torch.ones(2))
    assert third is None


def test_the_terms_of_the_run(figures):
    values = figures(gradients)["conflict"].values
    assert values["terms"] == ["ce", "kd", "at"]
    assert all(norm > 0 for norm in values["norms"].values())
    table = torch.tensor(values["cosines"])
    assert torch.allclose(table, table.T)
    assert torch.allclose(table.diag(), torch.ones(3))
    assert table.abs().max() <= 1 + 1e-6


def test_without_its_checkpoint_the_run_has_no_such_figure(run_folder, tmp_path):
    copy = shutil.copytree(run_folder, tmp_path / "run")
    shutil.rmtree(copy / "student-0" / "checkpoints")
    with pytest.raises(NotApplicable, match="checkpoint"):
        gradients.figures(open_finished(copy, Provided(), 100, None))
