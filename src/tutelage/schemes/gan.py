"""A generator and a discriminator take turns, with a teacher or without (GAN)."""

from __future__ import annotations

from tutelage.errors import ConfigError
from tutelage.objective.terms import Terms
from tutelage.schemes.adversarial import Adversarial
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.discriminator import GameName
from tutelage.tasks.base import Task
from tutelage.tasks.generation import Generation
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, Positive, Width


class Gan(Adversarial):
    """A generator deceives a discriminator, which learns to tell its images from the data's; a teacher may help.

    L_student = terms(G(z), G_t(z)) + w·deceive(D(G(z))), then L_D = discriminate(D(x), D(G(z))), means over patches.
    The task loss isn't added: the discriminator takes its place. Without a teacher it is the training of a generator
    alone, by which teacher and baseline of a run are trained too, unless `teacher_scheme` names another.

    Args:
        weight: w.
        loss: non_saturating (−log σ(D)), hinge or least_squares.
        width: of the discriminator's first convolution.
        lr: the learning rate of the discriminator's AdamW.
    Paper: Goodfellow et al. NeurIPS 2014. arXiv:1406.2661; with a teacher: Aguinaldo, Chiang, Gain, Patil, Pearson,
    Feizi. 2019. arXiv:1902.00159.
    Raises: ConfigError for another task than generation.
    """

    name = "gan"
    alone = "gan"

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        weight: Positive = 1.0,
        loss: GameName = "non_saturating",
        width: Width = 32,
        lr: LearningRate = 0.0004,
    ) -> Gan:
        """Build the generator, the teacher and the discriminator."""
        return cls.build(context, weight, loss, width, lr)

    @classmethod
    def refuse_task(cls, task: Task, name: str) -> None:
        """Refuse another task than generation."""
        if not isinstance(task, Generation):
            raise ConfigError(
                f"scheme={name} trains networks that make images of latents: use task=generation (of inputs that are "
                "images, scheme=conditional_gan)."
            )

    @classmethod
    def terms_of(cls, context: SchemeContext, teacher: Teacher | None) -> Terms:
        """Return the method's terms; none without a teacher and a method."""
        return Terms() if teacher is None and context.method is None else context.terms(add_task_loss=False)
