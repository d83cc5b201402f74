"""The base class of schemes whose students denoise in few steps, as a teacher does in more."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.diffusion import mix_noise, split_velocity, velocity, velocity_of_image
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, Turn
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.tasks.denoising import Denoising
from tutelage.teachers.base import Teacher
from tutelage.utils.registry import catalogue_name


class FewSteps(Offline):
    """Abstract: a student of N steps, at the times 1/N, 2/N … 1; the teacher's response is the v of an image.

    A batch's times are rounded up to these, with the same images and noise.

    Args:
        student: the student.
        teacher: the teacher, which predicts v.
        steps: N.
    """

    makes_inputs = True
    caches_teacher = False

    def __init__(self, student: Player, teacher: Teacher, steps: int) -> None:
        super().__init__(student, teacher)
        self.steps = steps

    @abstractmethod
    def image(self, batch: Batch, response: Tensor) -> Tensor:
        """Return the image that the student is to predict, from the teacher's response to the batch."""

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn, with the teacher's features and the v of the image."""
        assert self.teacher is not None
        batch = at_steps(batch, self.steps)
        noisy, time = noisy_and_time(batch)
        teacher_outputs = self.teacher(batch, self.layers)
        with torch.no_grad():
            v = velocity_of_image(noisy, self.image(batch, teacher_outputs.response), time)
        yield "student", self.players["student"](batch, replace(teacher_outputs, response=v))

    def denoise(self, noisy: Tensor, response: Tensor, time: Tensor, earlier: Tensor) -> Tensor:
        """Return the noisy image after a DDIM step to an earlier time."""
        image, noise = split_velocity(noisy, response, time)
        return mix_noise(image, noise, earlier)

    def respond(self, teacher: Teacher, batch: Batch, noisy: Tensor, time: Tensor) -> Tensor:
        """Return a teacher's v of other noisy images than the batch's."""
        outputs: Outputs = teacher(replace(batch, inputs={"noisy": noisy, "time": time}))
        return outputs.response


def at_steps(batch: Batch, steps: int) -> Batch:
    """Return the batch with its times rounded up to multiples of 1/steps, of the same images and noise."""
    assert batch.targets is not None
    noisy, time = noisy_and_time(batch)
    image, noise = split_velocity(noisy, batch.targets, time)
    later = (time * steps).ceil().clamp(1, steps) / steps
    inputs = {"noisy": mix_noise(image, noise, later), "time": later}
    return replace(batch, inputs=inputs, targets=velocity(image, noise, later))


def noisy_and_time(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the noisy images (B, C, H, W) and their times (B,)."""
    assert isinstance(batch.inputs, dict)
    return batch.inputs["noisy"], batch.inputs["time"]


def build_teacher(context: SchemeContext, student: torch.nn.Module, scheme: type[FewSteps]) -> Teacher:
    """Return the teacher of a scheme of few steps.

    Raises: ConfigError if there is none, it runs ahead, or the task isn't denoising that predicts v.
    """
    name = catalogue_name(scheme)
    if not isinstance(context.task, Denoising) or context.task.predict != "v":
        raise ConfigError(
            f"scheme={name} compares images that networks predict of noisy ones: use task=denoising, and predict=v, "
            "since noise determines no image at time 1."
        )
    if "teacher_ahead" in context.frozen_only:
        raise ConfigError(f"scheme={name} runs the teacher on noisy images of its own: remove teacher_ahead.")
    teacher = context.teacher(student)
    if teacher is None:
        raise ConfigError(f"scheme={name} needs a teacher: name one (teacher=…).")
    return teacher


def is_power_of_two(number: float) -> bool:
    """Return whether a number is 1, 2, 4 …"""
    return number >= 1 and float(number).is_integer() and int(number) & (int(number) - 1) == 0
