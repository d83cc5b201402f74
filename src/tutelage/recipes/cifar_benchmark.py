"""The CIFAR protocol of the offline benchmarks: 240 epochs, SGD 0.05, steps at 150, 180 and 210, with KD.

Paper: Tian, Krishnan, Isola. ICLR 2020. arXiv:1910.10699, appendix. Use lr=0.01 for MobileNetV2 and ShuffleNet.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set the protocol's numbers; data, teacher and student are left to the user."""
    return {
        "epochs": 240,
        "batch_size": 64,
        "optimizer": "sgd",
        "lr": 0.05,
        "nesterov": False,
        "lr_warmup": 0,
        "clip": None,
        "weight_decay": 5e-4,
        "schedule": "step",
        "milestones": [0.625, 0.75, 0.875],
        "method": "kd",
        "weight": "paper",
    }
