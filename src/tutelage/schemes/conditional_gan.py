"""Image translation: a student and a discriminator of pairs of input and image take turns (pix2pix)."""

from __future__ import annotations

from tutelage.errors import ConfigError
from tutelage.objective.terms import Terms
from tutelage.schemes.adversarial import Adversarial
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.discriminator import ConditionalDiscriminator, GameName
from tutelage.tasks.base import Task
from tutelage.tasks.restoration import Restoration
from tutelage.teachers.base import Teacher
from tutelage.utils.options import LearningRate, Positive, Width


class ConditionalGan(Adversarial):
    """A student deceives a discriminator, which tells its images from true ones, and sees their input beside them.

    L_student = |G(x) − y| + terms(G(x), G_t(x)) + w·deceive(D(x, G(x))), then
    L_D = discriminate(D(x, y), D(x, G(x))), means over patches. Without a teacher it is the training of a network
    alone, by which teacher and baseline of a run are trained too, unless `teacher_scheme` names another.

    Args:
        weight: w; the papers' 1 beside 100 times the absolute error.
        loss: non_saturating (−log σ(D)), hinge or least_squares.
        width: of the discriminator's first convolution.
        lr: the learning rate of the discriminator's AdamW.
    Paper: Isola, Zhu, Zhou, Efros. CVPR 2017. arXiv:1611.07004; with a teacher: Li, Lin, Ding, Liu, Zhu, Han. CVPR
    2020. arXiv:2003.08936, which has 10 to 100 times the outputs' or features' term.
    Raises: ConfigError for another task than restoration.
    """

    name = "conditional_gan"
    alone = "conditional_gan"
    discriminator = ConditionalDiscriminator

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        weight: Positive = 0.01,
        loss: GameName = "non_saturating",
        width: Width = 32,
        lr: LearningRate = 0.0004,
    ) -> ConditionalGan:
        """Build the student, the teacher and the discriminator."""
        return cls.build(context, weight, loss, width, lr)

    @classmethod
    def refuse_task(cls, task: Task, name: str) -> None:
        """Refuse another task than restoration."""
        if not isinstance(task, Restoration):
            raise ConfigError(
                f"scheme={name} trains networks whose input and output are images: use task=restoration (of latents, "
                "task=generation with scheme=gan)."
            )

    @classmethod
    def terms_of(cls, context: SchemeContext, teacher: Teacher | None) -> Terms:
        """Return the method's terms with the absolute error."""
        return context.terms()
