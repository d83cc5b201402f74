"""The teacher's weight per sample is learned from the geometry of student, teacher and label, on held-out samples.

Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112 (TGeo-KD), in two levels: the student is
trained by the weighted sum, the weights by the student's loss after a lookahead step. T = 4; μ and a tenth of the
samples as the quiz are ours.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set the term a·KD + (1 − a)·CE."""
    return {"scheme": "bilevel", "method": [{"name": "tgeo_kd"}]}
