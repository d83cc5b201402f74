"""A diffusion student that predicts the same image from all points of the teacher's path."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tutelage.nn.diffusion import split_velocity
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.few_steps import FewSteps, build_teacher, noisy_and_time
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher
from tutelage.teachers.moving_average import MovingAverage
from tutelage.utils.options import FractionBelowOne, Iterations


class ConsistencyDistillation(FewSteps):
    """The student's image at a time equals its moving average's, one DDIM step of the teacher earlier.

    At t = i/N: z' = the teacher's DDIM step from z to t − 1/N; the student's image f(z, t) learns from f⁻(z', t − 1/N),
    f⁻ being the moving average's. With v the image at time 0 is z itself, the boundary condition. The error of v is
    that of images, weighted by 1/σ². The task loss isn't added. The student makes an image in one step; more steps
    are DDIM's.

    Args:
        steps: N.
        decay: the decay of the average.
    Paper: Song, Dhariwal, Chen, Sutskever. ICML 2023. arXiv:2303.01469, with Heun's steps, N = 18 and other times.
    Raises: ConfigError if there is no teacher that predicts v.
    """

    name = "consistency"

    def __init__(self, student: Player, teacher: Teacher, average: MovingAverage, steps: int) -> None:
        super().__init__(student, teacher, steps)
        self.average = average

    @classmethod
    def from_context(
        cls, context: SchemeContext, steps: Iterations = 18, decay: FractionBelowOne = 0.95
    ) -> ConsistencyDistillation:
        """Build the student, its average and the teacher."""
        network = context.network()
        teacher = build_teacher(context, network, cls)
        average = MovingAverage(network, context.task, decay)
        return cls(Player(network, context.terms(add_task_loss=False), context.task), teacher, average, steps)

    def image(self, batch: Batch, response: Tensor) -> Tensor:
        """Return the average's image one step of the teacher's earlier."""
        noisy, time = noisy_and_time(batch)
        end = time - 1 / self.steps
        later = self.denoise(noisy, response, time, end)
        return split_velocity(later, self.respond(self.average, batch, later, end), end)[0]

    def after_step(self) -> None:
        """Update the average."""
        super().after_step()
        self.average.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the states of the teacher and of the average."""
        return {"teacher": super().checkpoint_state(), "average": self.average.checkpoint_state()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore both."""
        super().load_checkpoint_state(state["teacher"])
        self.average.load_checkpoint_state(state["average"])
