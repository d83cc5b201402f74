"""One student for several tasks, each with its own teacher, without annealing (data=digits-tasks).

Paper: Clark, Luong, Khandelwal, Manning, Le. ACL 2019. arXiv:1907.04829, in which the labels gradually replace the
teachers (bam); here both have the average of those weights. One label column is one task.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set weight ½ for cross-entropy, and ½ for the divergence at T = 1."""
    return {"method": [{"name": "ce", "weight": 0.5}, {"name": "kd", "temperature": 1.0, "weight": 0.5}]}
