"""The published numbers of a kind, from models' raw outputs through a task's own path to the loss."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tutelage.nn.feature_extractor import compute_response
from tutelage.objective.player import Player
from tutelage.objective.reduction import mean
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.objective.wiring import Wiring
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.tasks.embedding import Embedding
from tutelage.tasks.ranking import Ranking
from tutelage.tasks.regression import Regression
from tutelage.verify.checker import VectorCheck
from tutelage.verify.reference import Reference
from tutelage.verify.vector import read

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))
RANKING = {"listmle", "listnet", "ranknet", "margin_mse", "ranking_distillation", "rrd"}
SEVERAL = {"irg", "minilm_relation", "sskd", "dino"}
"""The methods that compare several layers, or views that a scheme makes: tests of terms and schemes have these."""


def kind_of(path: Path) -> str:
    vector = json.loads(path.read_text(encoding="utf-8"))
    return "ranking" if vector["method"] in RANKING else str(vector["kind"])


TASKS: dict[str, Task] = {
    "regression": Regression.__new__(Regression),
    "relation": Embedding(8, "triplet", {}, 2),
    "ranking": Ranking.__new__(Ranking),
}
PATHS = [path for path in VECTORS if kind_of(path) in TASKS and path.stem.partition("__")[0] not in SEVERAL]


class Raw(nn.Module):
    """A model whose raw output is a mapping, with the response beside other things."""

    def __init__(self, response: Tensor) -> None:
        super().__init__()
        self.response = nn.Parameter(response.detach().clone())

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"loss": self.response.new_zeros(()), "logits": self.response}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_loss_of_raw_outputs_is_the_published_one(path):
    check, task = VectorCheck(read(path)), TASKS[kind_of(path)]
    ((_, part),) = check.parts
    ((student, teacher),) = part._pairs()
    student.requires_grad_()
    expected = mean(copy.deepcopy(part.loss)(part.connector(student), teacher, **part.loss_kwargs))

    term = Term(part.loss)
    known = {name: part.loss_kwargs[name] for name in ("targets", "index") if name in part.loss_kwargs}
    extras = {name: x for name, x in part.loss_kwargs.items() if name not in known}
    batch = Batch(torch.zeros(len(student), 1), **known, extras=extras)
    player = Player(Raw(student.double()), Terms.from_method(term), task)
    player.terms.fit_kind(task.response_kind)
    term.wiring = Wiring("response")  # with the vector's connector and learned parts in place of new ones
    term.connectors = nn.ModuleList([part.connector] if part.reference.connector else [])
    response = None if teacher is None else task.response(compute_response(Raw(teacher), batch.inputs), batch)
    (value,) = player(batch, None if response is None else Outputs(response)).values()

    torch.testing.assert_close(value, term.weight * expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(value, player.student.model.response)
    (direct,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(gradient, term.weight * direct, rtol=1e-9, atol=1e-12)
    if part.reference.reduce is Reference().reduce and part.reference.scale is Reference.scale:
        assert abs(float(expected.detach()) - check.vector.loss) <= 1e-6 * max(abs(check.vector.loss), 1e-6)


def test_each_kind_has_vectors():
    assert {kind_of(path) for path in PATHS} == {*TASKS}
