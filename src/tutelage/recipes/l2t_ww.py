"""Learning what and where to transfer: networks weigh the teacher's layers and channels, and learn from the student.

Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901. As in the authors' code: weight 0.5, two inner steps with
momentum 0.9 and decay 10⁻⁴, and μ = 10⁻⁴; that the weights of all pairs begin as their mean is ours, and did better on
the digits than 1 each (begin: 1.0).
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Every pair of stages."""
    return {"scheme": "l2t_ww", "method": [{"name": "l2t_ww"}]}
