"""Learning what and where to transfer: networks weigh the teacher's layers and channels, and learn from the student.

Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901. Weight 0.5, two inner steps; μ is ours, and that
the weights of all pairs begin as their mean, which did better on the digits than 1 each.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Every pair of stages."""
    return {"scheme": "l2t_ww", "method": [{"name": "l2t_ww"}]}
