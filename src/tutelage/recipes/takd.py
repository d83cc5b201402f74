"""Teacher assistant: a network of intermediate size learns from the teacher, then teaches the student.

Paper: Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh. AAAI 2020. arXiv:1902.03393, with the weights and
temperature of KD. The assistant belongs to the family of teacher and student with a size between theirs, such as
`resnet20` between `resnet56` and `resnet8`.
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import assistants_between


def recipe(teacher: Any = "cnn32", student: Any = "cnn2", stages: Any = None) -> dict[str, Any]:
    """Train one assistant; for more, write the stages, each with the previous stage as its teacher."""
    if stages:
        return {"method": "kd"}
    (assistant,) = assistants_between(teacher, student, 1)
    return {
        "method": "kd",
        "stages": [{"name": "assistant", "student": assistant}, {"name": "student", "teacher": "stage:assistant"}],
    }
