"""The teacher's share in each sample is learned from where student, teacher and truth lie, on samples held out.

Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112 (TGeo-KD), by its two levels: the student by
the weighted sum, the weights by the student's error a step later. T = 4; μ and a tenth of the samples as the quiz are
ours.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """a·KD + (1 − a)·CE."""
    return {"scheme": "bilevel", "method": [{"name": "tgeo_kd"}]}
