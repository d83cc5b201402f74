"""A diffusion student that takes one step where its teacher takes two."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.diffusion import image_through
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.few_steps import FewSteps, build_teacher, is_power_of_two, noisy_and_time
from tutelage.structures import Batch
from tutelage.tasks.denoising import Denoising
from tutelage.utils.options import Iterations


class Progressive(FewSteps):
    """A student of N DDIM steps learns from a teacher of 2N: one step reaches where two of the teacher's lead.

    At t = i/N: w = the teacher's DDIM steps from z at t to t − 1/(2N) to t − 1/N; the teacher's response becomes the
    v of the image that takes z to w in one step. The error of v is the paper's error of images, weighted by SNR + 1.
    The task loss isn't added. In stages, each with half the steps of the one before, the student becomes the teacher
    (`teacher: stage:…`) and its weights the next student's (`student_weights: stage:…`).

    Args:
        steps: N; `steps` of the task times a power of two, since each stage halves them.
    Paper: Salimans, Ho. ICLR 2022. arXiv:2202.00512.
    Raises: ConfigError if the steps aren't such a multiple, or there is no teacher that predicts v.
    """

    name = "progressive"

    @classmethod
    def from_context(cls, context: SchemeContext, steps: Iterations = 4) -> Progressive:
        """Build the student and the teacher."""
        network = context.network()
        teacher = build_teacher(context, network, cls)
        assert isinstance(context.task, Denoising)
        if not is_power_of_two(steps / context.task.steps):
            raise ConfigError(
                f"scheme=progressive: steps={steps}: halving them doesn't lead to the task's steps="
                f"{context.task.steps}: use that number times 1, 2, 4 …"
            )
        return cls(Player(network, context.terms(add_task_loss=False), context.task), teacher, steps)

    def image(self, batch: Batch, response: Tensor) -> Tensor:
        """Return the image whose prediction takes one step to where two of the teacher's lead."""
        assert self.teacher is not None
        noisy, time = noisy_and_time(batch)
        middle, end = time - 0.5 / self.steps, time - 1 / self.steps
        half_way = self.denoise(noisy, response, time, middle)
        later = self.denoise(half_way, self.respond(self.teacher, batch, half_way, middle), middle, end)
        return image_through(noisy, time, later, end)
