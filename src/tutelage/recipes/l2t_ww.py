"""Learning what and where to transfer: networks weight layer pairs and channels to lower the student's loss.

Paper: Jang, Lee, Hwang, Shin. ICML 2019. arXiv:1905.05901. As in the authors' code: weight 0.5, two inner steps with
momentum 0.9 and decay 10⁻⁴, and μ = 10⁻⁴; that the initial weights of all pairs sum to 1 is ours, and was better on the
digits than 1 each (begin: 1.0).
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Compare every pair of stages."""
    return {"scheme": "l2t_ww", "method": [{"name": "l2t_ww"}]}
