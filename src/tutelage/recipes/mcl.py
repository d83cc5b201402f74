"""Mutual contrastive learning: peers contrast each sample with the others', and agree on which samples are alike.

Paper: Yang, An, Cai, Xu. AAAI 2022. arXiv:2104.12565. CE + 0.1·VCL + Soft-VCL + 0.1·ICL + Soft-ICL, τ = 0.1, T = 3, 128
dimensions; one other sample of its class accompanies each sample. For logit distillation add {name: kd, temperature:
3}.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Train two peers on samples that are paired by class."""
    return {"scheme": {"name": "together", "others": 1}, "method": [{"name": "ce"}, {"name": "mcl"}]}
