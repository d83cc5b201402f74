"""Feature refinement by self-distillation: a pyramid on the student's stages teaches it, and isn't exported.

Paper: Ji, Shin, Hwang, Park, Moon. CVPR 2021. arXiv:2103.08273. CE of student and pyramid, 2·T²·KL at T = 4, and 100
times the distance of attention maps. As in the authors' code the pyramid's own CE trains the student too. The
distance is a mean over positions, and 100 suits stages from 32 × 32 to 4 × 4 positions; on images of 8 × 8 it dominates
the other terms, and 1 is better (scheme=self_teacher method=ce+2*kd+1*at).
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Build a pyramid twice as wide as the stages."""
    kd = {"name": "kd", "temperature": 4.0, "weight": 2.0}
    return {"scheme": "self_teacher", "method": [{"name": "ce"}, kd, {"name": "at", "weight": 100.0}]}
