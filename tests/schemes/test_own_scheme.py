"""A min-max game, as a user would write it, with the unchanged trainer."""

from __future__ import annotations

import torch
from small import Plain, digest, digits, fit
from torch import Tensor, nn

from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme, unwrap
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification


class Generator(nn.Module):
    """Generates images; the scheme passes the loss that it minimises."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(4, 64)

    def imagine(self, noise: Tensor) -> Tensor:
        return torch.tanh(self.image(noise)).view(-1, 1, 8, 8)

    def forward(self, noise: Tensor, gap) -> dict[str, Tensor]:
        return {"gap": -gap(self.imagine(noise))}

    def optimised_modules(self) -> dict[str, nn.Module]:
        return {"": self}

    def students(self) -> dict:
        return {}


class DataFree(Scheme):
    """The student minimises the gap to the teacher; the generator maximises it."""

    def __init__(self, player: Player, generator: nn.Module, teacher: nn.Module, student_turns: int = 2) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": player, "generator": generator})
        self.teacher = teacher.requires_grad_(False).eval()
        self.student_turns = student_turns

    def wire(self, batch: Batch, samples: int) -> None:
        pass

    def turns(self, batch: Batch, step: int):
        noise = torch.randn(8, 4)
        for _ in range(self.student_turns):
            with torch.no_grad():
                images = unwrap(self.players["generator"]).imagine(noise)
            yield "student", self.players["student"](Batch(images), Outputs(self.teacher(images)))
        yield "generator", self.players["generator"](noise, self.gap)

    def gap(self, images: Tensor) -> Tensor:
        student = unwrap(self.players["student"]).student
        student.requires_grad_(False)
        gap = KD(1.0)(student(images).response, self.teacher(images)).mean()
        student.requires_grad_(True)
        return gap


def game() -> DataFree:
    torch.manual_seed(0)
    player = Player(Plain(), Terms.from_method(1.0 * KD(1.0)), Classification())
    torch.manual_seed(1)
    return DataFree(player, Generator(), Plain(width=6))


def test_a_game_of_two_players_is_what_a_hand_written_loop_gives():
    data = digits(48)
    scheme, expected = game(), game()
    fit(scheme, data, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")

    torch.manual_seed(3)
    student, generator, teacher = (
        expected.players["student"].student.model,
        expected.players["generator"],
        expected.teacher,
    )
    descend = torch.optim.SGD(student.parameters(), lr=0.1), torch.optim.SGD(generator.parameters(), lr=0.1)
    for _ in range(3):
        noise = torch.randn(8, 4)
        for _ in range(2):
            images = generator.imagine(noise).detach()
            descend[0].zero_grad()
            KD(1.0)(student(images), teacher(images)).mean().backward()
            descend[0].step()
        images = generator.imagine(noise)
        descend[1].zero_grad()
        (-KD(1.0)(student(images), teacher(images)).mean()).backward()
        descend[1].step()
    assert digest(scheme.students()["student"].model) == digest(student)
    assert torch.equal(unwrap(scheme.players["generator"]).image.weight, generator.image.weight)
