"""What a term compares, and what its loss requires."""

import pytest
import torch
from small import net

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, Response
from tutelage.losses.feature.at import AT
from tutelage.losses.online.one import ONE
from tutelage.losses.response.kd import KD
from tutelage.nn.model_profile import profile_model
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms, request_unless_named
from tutelage.objective.wiring import provided_inputs, requirements
from tutelage.structures import Batch, Outputs

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


class Voted(Response):
    """A loss that requires what only a scheme provides."""

    needs_teacher = False

    def forward(self, student, teacher=None, *, votes):
        return student * votes


def test_what_a_scheme_provides_is_there():
    student, terms = profile_model(net("cnn2"), BATCH), Terms.from_method(Voted())
    with pytest.raises(ConfigError, match=r"Voted requires votes; the batch and the teacher provide inputs, targets"):
        terms.wire(student, None, BATCH, 6)
    terms.wire(student, None, BATCH, 6, provides=("votes",))


def test_requirements_and_what_is_provided_are_in_the_same_words():
    student = profile_model(net("cnn2"), BATCH)
    assert requirements(KD()) == ["teacher outputs"]
    assert "a list of student outputs" in requirements(ONE())
    assert "teacher outputs" not in provided_inputs(student, None, BATCH)
    assert {"teacher outputs", "targets", "teacher_response", "votes"} <= {
        *provided_inputs(student, student, BATCH, ["votes"])
    }


def test_a_scheme_requests_layers_and_the_terms_options_stay():
    student = profile_model(net("cnn2"), BATCH)
    free, named = Term(AT()), Term(AT(), student="layer1", teacher="layer1")
    terms = Terms({"at": free, "at_2": named})
    terms.wire(student, student, BATCH, 6, requests=request_unless_named(["layer2"], ["layer3"]))
    assert (free.student_layers, free.teacher_layers) == (("layer2",), ("layer3",))
    assert (named.student_layers, named.teacher_layers) == (("layer1",), ("layer1",))
    assert free.request.layers == {"student": [], "teacher": []}


class Sparse(Feature):
    """The mean absolute feature of the student, whatever the teacher's is."""

    needs_teacher = False

    def forward(self, student: torch.Tensor, teacher: torch.Tensor | None = None) -> torch.Tensor:
        return student.abs().mean((1, 2, 3))


def test_a_loss_of_layers_without_a_teacher_is_refused_before_training():
    batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4))
    student, teacher = (profile_model(net("cnn2", seed), batch) for seed in (0, 1))
    term = Term(Sparse())
    with pytest.raises(ConfigError, match="Sparse compares layers, which are paired with a teacher's"):
        term.wire(student, None, batch, 4)
    term.wire(student, teacher, batch, 4)
    outputs = Outputs(student.response, {layer: student.feature(layer) for layer in term.student_layers})
    with pytest.raises(ConfigError, match="Sparse compares layers with a teacher's, and got no teacher outputs"):
        term(outputs, None, batch)
