"""Label smoothing: a fraction of each label is spread evenly over all classes; a baseline without a teacher.

Paper: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016. arXiv:1512.00567. ε = 0.1.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set smoothed cross-entropy as the only term."""
    return {"teacher": None, "method": [{"name": "ce", "smoothing": 0.1}]}
