"""One student of several tasks, of which each has its own teacher, without annealing (data=digits-tasks).

Paper: Clark, Luong, Khandelwal, Manning, Le. ACL 2019. arXiv:1907.04829, whose teachers' place the truth takes step by
step (bam); here both weigh as much as there on average. With one label there is one task.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Cross-entropy ½, divergence ½ at T = 1."""
    return {"method": [{"name": "ce", "weight": 0.5}, {"name": "kd", "temperature": 1.0, "weight": 0.5}]}
