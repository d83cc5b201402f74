"""`teacher_mean` and `teacher_std`: the normalisation of a teacher that doesn't say its own."""

from __future__ import annotations

import pytest
import torch
from runs.test_normalised import MEAN, STD, normalised, split
from small import Plain

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.runs import preflight
from tutelage.runs.builder import RunBuilder
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.plan import RunPlan
from tutelage.runs.scheme_context import build_scheme
from tutelage.runs.storage import DryStorage

OWN = ((0.9,), (0.05,))
KEYS = {"student": "cnn2", "device": "cpu", "limit": 200, "augment": "none", "teacher_epochs": 0}
SAID = {"teacher_mean": list(OWN[0]), "teacher_std": list(OWN[1])}


def teacher_of(keys, given=None):
    """The frozen teacher of a configuration, and the student's data."""
    inputs = RunInputs.load(check(keys), given or Provided())
    plan = RunPlan(inputs)
    scheme, context = build_scheme(RunBuilder(NetworkLoader(inputs, plan, DryStorage())), plan.phases()[-1])
    return scheme.teacher, context.data


@pytest.fixture
def weights(tmp_path):
    path = str(tmp_path / "teacher.pt")
    torch.save(tutelage.models.create("cnn4", classes=10, channels=1).model.state_dict(), path)
    return path


def keys_of(kind, weights):
    """A teacher of each kind that says no normalisation, as keys and as what was given."""
    named = {"by name": {"teacher": "cnn4"}, "a file's": {"teacher": "cnn4", "teacher_weights": weights}}
    named |= {"several": {"teacher": ["cnn4", "cnn2"]}, "an object": {"teacher": "object:Plain"}}
    return KEYS | named[kind], Provided(teacher=Plain()) if kind == "an object" else Provided()


@pytest.mark.parametrize("kind", ["by name", "a file's", "several", "an object"])
def test_a_teacher_gets_its_images_as_it_is_said(kind, weights):
    keys, given = keys_of(kind, weights)
    teacher, data = teacher_of(keys | SAID, given)
    batch = next(data.batches("val", 8))
    pixels = batch.inputs * torch.tensor(data.std) + torch.tensor(data.mean)
    frozen = next(m for m in teacher.modules() if hasattr(m, "adapt_inputs"))
    assert torch.allclose(frozen.adapt_inputs(batch).inputs, (pixels - OWN[0][0]) / OWN[1][0], atol=1e-4)


def test_it_is_part_of_a_caches_identity(weights):
    keys, given = keys_of("a file's", weights)
    plain, other = (teacher_of(k, given)[0].identity() for k in (keys, keys | SAID))
    assert plain != other
    assert plain["weights"] == other["weights"]


def test_a_normalised_teacher_is_right_where_it_is_said_and_check_says_ok(tmp_path):
    """A module trained on floats normalised otherwise than the student's data."""
    done = tutelage.train(
        "cnn8", (split("train", normalised), split("val", normalised)), normalised=(OWN[0], OWN[1]), mean=OWN[0],
        std=OWN[1], classes=10, epochs=6, lr=0.1, device="cpu", out=str(tmp_path / "t"),
    )  # fmt: skip
    assert serialization.card(done.folder).mean == OWN[0]
    module = tutelage.load(done.folder)
    del module.card
    keys = KEYS | {"teacher": "cnn8", "teacher_weights": str(tmp_path / "w.pt"), "method": "kd"}
    torch.save(module.state_dict(), tmp_path / "w.pt")
    found = {x.what: x.level for x in preflight.check(check(keys | SAID)).findings}
    assert found["teacher and student expect different normalisations: converted"] == "ok"
    same = KEYS | {"teacher_mean": list(MEAN), "teacher_std": list(STD), "teacher": "cnn4", "method": "at"}
    found = {x.what: x.level for x in preflight.check(check(same)).findings}
    assert found["teacher and student expect the same normalisation"] == "ok"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"teacher_mean": [0.5]}, "teacher_std=None: expected both, or neither"),
        ({"teacher_std": [0.5]}, "teacher_mean=None, .* expected both, or neither"),
        ({"teacher_mean": [0.5], "teacher_std": [0.0]}, r"teacher_std.0=0.0: .*greater than 0"),
        ({"teacher_mean": 0.5, "teacher_std": [1.0]}, "teacher_mean=0.5: .*list"),
        ({"teacher_mean": [float("inf")], "teacher_std": [1.0]}, r"teacher_mean.0=inf: .*finite"),
        ({"teacher_mean": [0.5] * 3, "teacher_std": [0.5]}, "teacher_mean=.*: expected 1 finite numbers"),
        (SAID | {"teacher": "none", "method": None}, "of a teacher that came trained, and none is named"),
        (
            SAID | {"teacher": "moving_average", "teacher_epochs": None},
            "of a teacher that came trained, and none is named",
        ),
        (SAID | {"teacher_epochs": 2}, "trained in this run gets its images normalised as the data is"),
        (SAID | {"teacher_epochs": None, "teacher": ["cnn2", "cnn4"]}, "trained in this run gets its images"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_mend(words, message):
    with pytest.raises(ConfigError, match=message):
        teacher_of({key: x for key, x in (KEYS | {"teacher": "cnn4"} | words).items() if x != {}})


@pytest.mark.parametrize("several", [False, True])
def test_a_teacher_that_says_its_own_is_not_told_otherwise(several, tmp_path):
    run = tutelage.train("cnn2", limit=64, epochs=1, device="cpu", out=str(tmp_path / "big"))
    card = serialization.card(run.folder)
    named = [str(run.folder), "cnn2"] if several else str(run.folder)
    with pytest.raises(ConfigError, match=r"comes with another normalisation, \(.*: leave both out"):
        teacher_of(KEYS | SAID | {"teacher": named})
    same = {"teacher_mean": list(card.mean), "teacher_std": list(card.std)}
    assert teacher_of(KEYS | same | {"teacher": named})[0] is not None


def test_data_that_cannot_be_converted_is_refused():
    data = tutelage.data.from_datasets(split("train", normalised), classes=10, normalised=True)
    with pytest.raises(ConfigError, match=r"come normalised by unknown values: set normalised=\(mean, std\)"):
        teacher_of(KEYS | SAID | {"teacher": "cnn4", "data": "datasets", "limit": None}, Provided(data=data))


def test_a_stage_with_a_teacher_of_its_own_says_its_own(weights):
    stages = [{"name": "first", "teacher": "none", "method": None}, {"name": "student", "teacher": "stage:first"}]
    keys = KEYS | SAID | {"teacher": "cnn4", "teacher_weights": weights, "stages": stages}
    plan = RunPlan(RunInputs.load(check(keys), Provided()))
    told = {phase.name: plan.config_for(phase).teacher_mean for phase in plan.phases()}
    assert told == {"baseline-0": None, "first-0": None, "student-0": None}
