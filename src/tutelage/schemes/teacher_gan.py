"""A generator and a discriminator take turns, which tells the student's images from the teacher's."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.gan import Gan
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher


class TeacherGan(Gan):
    """As `gan`, with the teacher's images in the place of the data's: L_D = discriminate(D(G_t(z)), D(G(z))).

    The student then sees no image of the data; in Li et al. the teacher's images take the place of unpaired true ones.
    The baseline, and a teacher that is trained in the run, are trained by `gan`.

    Args:
        weight, loss, width, lr: as of `gan`.
    Paper: Li, Lin, Ding, Liu, Zhu, Han. CVPR 2020. arXiv:2003.08936.
    Raises: ConfigError for another task than generation, or without a teacher.
    """

    name = "teacher_gan"

    @classmethod
    def terms_of(cls, context: SchemeContext, teacher: Teacher | None) -> Terms:
        """Return the method's terms.

        Raises: ConfigError if there is no teacher.
        """
        if teacher is None:
            raise ConfigError("scheme=teacher_gan imitates a teacher's images: name one (teacher=…), or use gan.")
        return super().terms_of(context, teacher)

    def real(self, batch: Batch, teacher_outputs: Outputs | None, made: Tensor) -> Tensor:
        """Return the teacher's images."""
        assert teacher_outputs is not None
        return teacher_outputs.response
