"""The published numbers of segmentation's losses, through the task's own path from a network's layers to the loss."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.objective.reduction import mean
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.objective.wiring import Wiring
from tutelage.structures import Batch, Outputs
from tutelage.tasks.segmentation import Segmentation
from tutelage.verify.checker import VectorCheck
from tutelage.verify.reference import Reference
from tutelage.verify.vector import read

VECTORS = Path(__file__).parents[1] / "vectors"
RESPONSES = ("cwd", "skd_pixelwise")
LAYERS = ("cirkd_memory", "cirkd_minibatch", "dsd", "fakd", "ifvd", "skd_pairwise", "skd_pairwise_cirkd")


class Layers(nn.Module):
    """A segmentation network whose layers output these maps; its response is torchvision's mapping."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = nn.ParameterList(x.detach().clone() for x in maps)
        self.layers = nn.ModuleList(nn.Identity() for _ in maps)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        outputs = [layer(x * 1) for layer, x in zip(self.layers, self.maps, strict=True)]
        return {"out": outputs[-1], "aux": outputs[0]}


@pytest.mark.parametrize("name", [*RESPONSES, *LAYERS])
def test_the_loss_of_a_networks_maps_is_the_published_one(name):
    check = VectorCheck(read(VECTORS / f"{name}__case0.json"))
    ((_, part),) = check.parts
    ((student, teacher),) = part._pairs()
    students, teachers = ([x] if isinstance(x, Tensor) else list(x) for x in (student, teacher))
    expected = mean(copy.deepcopy(part.loss)(student, teacher, **part.loss_kwargs))
    term, task, network = Term(part.loss), Segmentation(), Layers([x.double() for x in students])
    extras = {key: x for key, x in part.loss_kwargs.items() if key != "targets"}
    batch = Batch(
        torch.zeros(len(students[0]), 3, *students[-1].shape[2:]), part.loss_kwargs.get("targets"), extras=extras
    )
    player = Player(network, Terms.from_method(term), task)
    player.terms.fit_kind(task.response_kind)
    names = tuple(f"layers.{k}" for k in range(len(students)))
    term.wiring = Wiring("response") if name in RESPONSES else Wiring(
        part.loss.compares, student_layers=names, teacher_layers=names
    )  # fmt: skip
    term.connectors = nn.ModuleList()
    player.set_captured_layers()
    outputs = Outputs(task.response(teachers[-1], batch), dict(zip(names, teachers, strict=True)))
    values = player(batch, outputs)
    value = torch.stack([*values.values()]).sum()

    torch.testing.assert_close(value, term.weight * expected, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(value, [*network.maps])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    if part.reference.reduce is Reference().reduce and part.reference.scale is Reference.scale:
        assert abs(float(expected.detach()) - check.vector.loss) <= 1e-6 * max(abs(check.vector.loss), 1e-6)
