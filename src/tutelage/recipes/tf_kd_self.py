"""Teacher-free distillation by self-training: a copy of the student, trained first, teaches it.

Paper: Yuan, Tay, Li, Wang, Feng. CVPR 2020. arXiv:1909.11723 (Tf-KD_self). 0.1 CE + 0.9 T²·KL, T = 6: of the authors'
range, α 0.9 to 0.95 and T 6 to 20. The copy is the baseline, if that is trained.
"""

from __future__ import annotations

from typing import Any


def recipe(baseline: bool = True) -> dict[str, Any]:
    """Train the student from the copy; without a baseline, the copy is an additional stage."""
    method = [{"name": "ce", "weight": 0.1}, {"name": "kd", "temperature": 6.0, "weight": 0.9}]
    copy = "baseline" if baseline else "copy"
    student = {"name": "student", "teacher": f"stage:{copy}", "method": method}
    return {"teacher": None, "method": None, "stages": [student] if baseline else [{"name": "copy"}, student]}
