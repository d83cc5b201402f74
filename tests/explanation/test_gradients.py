import math
import re
import shutil

import pytest
import torch

from tutelage.explanation import gradients
from tutelage.explanation.base import NotApplicable
from tutelage.explanation.opened_run import open_finished
from tutelage.report.svg_charts import draw_heat_map
from tutelage.runs.inputs import Provided


def test_cosine_is_over_the_parameters_that_both_reach():
    a, b = [torch.tensor([1.0, 0.0]), torch.ones(2, 2)], [torch.tensor([1.0, 1.0]), None]
    assert gradients.cosine(a, b) == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(gradients.cosine([None, torch.ones(1)], [torch.ones(1), None]))
    assert gradients.cosine(a, [-2 * x for x in a]) == pytest.approx(-1)


def test_a_zero_gradient_has_no_direction():
    assert math.isnan(gradients.cosine([torch.ones(2)], [torch.zeros(2)]))


def test_norms_are_compared_within_a_network():
    of_peers = {"peer0/ce": 0.28, "peer0/kd": 0.11, "peer1/ce": 0.36, "peer1/kd": 0.12}
    assert gradients.compare_norms(of_peers) == ["the gradient of peer1/ce is 3 times that of peer1/kd"]
    assert gradients.compare_norms({"peer0/ce": 2.0, "peer1/ce": 1.0}) == []


def test_a_zero_norm_is_named_and_compared_with_none():
    words = gradients.compare_norms({"ce": 0.3, "kd": 0.1, "at": 0.0})
    assert words == ["the gradient of at is 0", "the gradient of ce is 3 times that of kd"]


def test_undefined_cosines_are_no_conflict_and_an_empty_cell():
    nan = float("nan")
    assert gradients.find_conflict(["a", "b"], [[1.0, nan], [nan, 1.0]]).startswith("no two terms have a gradient")
    assert "no two terms point apart" in gradients.find_conflict(["a", "b"], [[1.0, 0.2], [0.2, 1.0]])
    table = [[1.0, nan, -0.5], [nan, 1.0, nan], [-0.5, nan, 1.0]]
    assert gradients.find_conflict(["a", "b", "c"], table).endswith("a and c have cosine −0.50")
    drawing = draw_heat_map("cosines", "student", table, ["a", "b", "c"], ["a", "b", "c"])
    cell = re.search(r"<g[^>]*><title>a, b: undefined</title>.*?</g>", drawing)
    assert cell is not None
    assert "<text" not in cell[0]


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
