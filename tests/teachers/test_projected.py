"""Features that are projected to fewer channels."""

from __future__ import annotations

import pytest
import torch
from small import net

import tutelage
from tutelage.errors import ConfigError
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.projected import Projected, project_feature


@pytest.mark.parametrize("shape", [(5, 64, 3, 4), (5, 7, 64), (5, 64)])
def test_distances_are_kept_on_the_average(shape):
    x, y = torch.randn(2, *shape).double()
    narrow = project_feature(x, 16)
    dim = 2 if len(shape) == 3 else 1
    assert narrow.shape[dim] == 16
    assert torch.equal(project_feature(x, 64), x)
    before, after = (x - y).pow(2).sum(dim), (project_feature(x, 16) - project_feature(y, 16)).pow(2).sum(dim)
    assert after.sum() == pytest.approx(before.sum().item(), rel=0.35)
    assert torch.equal(narrow, project_feature(x, 16))


def test_it_is_linear_position_by_position_and_orthogonal():
    x = torch.eye(32).double()
    q = project_feature(x, 8)
    assert torch.allclose(q.T @ q, 4 * torch.eye(8).double())
    maps = torch.randn(2, 32, 3, 3).double()
    assert torch.allclose(project_feature(maps, 8)[:, :, 1, 2], maps[:, :, 1, 2] @ q)


def test_the_response_is_unchanged_and_features_are_projected():
    teacher = Frozen(net("cnn16"), Classification())
    batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4), torch.arange(4))
    outputs, narrow = teacher(batch, ["layer3"]), Projected(teacher, 5)(batch, ["layer3"])
    assert torch.equal(outputs.response, narrow.response)
    assert torch.equal(narrow["layer3"], project_feature(outputs["layer3"], 5))
    profile = Projected(teacher, 5).profile(batch)
    assert profile.feature("layer3").shape[1] == 5
    assert profile.metadata == {}


def test_a_width_of_0_and_a_changing_teacher_are_refused():
    student = net("cnn2")
    with pytest.raises(ConfigError, match="width=0"):
        Projected(Frozen(net("cnn4"), Classification()), 0)
    with pytest.raises(ConfigError, match="changes in training"):
        Projected(MovingAverage(student, Classification()), 4)


def test_a_run_with_narrow_features_is_the_same_cached_and_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = str(tutelage.train("cnn16", epochs=1, limit=200, out="teacher").folder)
    keys = {"method": "kd+fitnet", "teacher_width": 6, "views": 2, "epochs": 2, "limit": 200, "baseline": False}
    live = tutelage.distill("cnn2", teacher, out="live", **keys)
    cached = tutelage.distill("cnn2", teacher, out="cached", cache=True, cache_storage="exact", **keys)
    expected, actual = (run.folder / "student.safetensors" for run in (live, cached))
    assert expected.read_bytes() == actual.read_bytes()


def test_a_loss_of_the_teachers_classifier_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="head"):
        tutelage.distill("cnn2", "cnn4", method="srrl", teacher_width=2, out=str(tmp_path / "run"))
