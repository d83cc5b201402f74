"""KD with a momentum for what the teacher says that is greater than the one for what the labels say.

Paper: Zhao, Cui, Song, Liang. ICCV 2023. arXiv:2307.08436: 0.9 ± 0.075 on CIFAR-100, ± 0.09 on ImageNet.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """KD with the gap of CIFAR-100; `dot=0.09` sets another, and any method goes with it."""
    return {"method": [{"name": "kd"}], "dot": 0.075}
