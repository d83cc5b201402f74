"""Online label smoothing: labels softened by the student's mean correct predictions of each class, an epoch ago.

Paper: Zhang, Jiang, Hou, Wei, Han, Li, Cheng. IEEE TIP 2021. arXiv:2011.12562. α = 0.5.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train without a teacher."""
    return {"teacher": None, "method": [{"name": "online_label_smoothing"}]}
