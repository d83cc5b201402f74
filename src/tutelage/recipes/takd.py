"""Teacher assistant: a network of a size between them learns from the teacher, then teaches the student.

Paper: Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh. AAAI 2020. arXiv:1902.03393, with the weights and
temperature of KD. The assistant is `cnn8`, which fits the digits; name yours on other data.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """One assistant; for more, write the stages out, each with the stage before as its teacher."""
    return {
        "method": "kd",
        "stages": [{"name": "assistant", "student": "cnn8"}, {"name": "student", "teacher": "stage:assistant"}],
    }
