"""What optimisers train."""

import torch
from small import net

from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.ce import CE
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


def player(seed: int, method, name: str = "cnn2") -> Player:
    return Player(net(name, seed), Terms.from_method(method, CE()), Classification())


def test_a_player_alone_says_its_weighted_losses():
    made = player(1, None)
    made.wire(None, BATCH, 6)
    assert made(BATCH).keys() == {"ce"}
    assert torch.allclose(
        made(BATCH)["ce"], torch.nn.functional.cross_entropy(made.student.model(BATCH.inputs), BATCH.targets)
    )


def test_only_the_student_and_its_connectors_are_optimised():
    made = player(1, FitNet())
    teacher = net("cnn4", 2)
    made.wire(Frozen(teacher, Classification()).profile(BATCH), BATCH, 6)
    mine = {id(p) for p in made.optimised_modules()[""].parameters()}
    assert mine.isdisjoint(id(p) for p in teacher.parameters())
    assert mine.issuperset(id(p) for p in made.student.model.parameters())
    assert len(mine) > len(list(made.student.model.parameters()))
