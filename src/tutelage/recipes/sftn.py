"""Student-friendly teacher: it is trained with branches of its student, then teaches by KD.

Paper: Park, Cha, Jeong, Kim, Han. NeurIPS 2021. arXiv:2102.07650. Cross-entropy 1, agreement 3, the branches'
cross-entropy 1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train the teacher by its own scheme, for `teacher_epochs`; then train the student by KD."""
    return {"method": "kd", "teacher_scheme": "student_friendly"}
