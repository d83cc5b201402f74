"""Self-distillation from mixup: the outputs for mixed samples and the mixed outputs of the samples teach each other.

Paper: Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang. ECCV 2022. arXiv:2208.05768. CE of samples and mixtures, T²·KL at
T = 3, the mean square between features and a discriminator between them, each at weight 1; λ ~ Beta(0.4, 0.4). The
mixtures' CE is included, as in the paper and the authors' script for ImageNet; their script for CIFAR omits it, so that
its self-teacher isn't trained.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Put heads on all stages except the last, and add a self-teacher."""
    kd = {"name": "kd", "temperature": 3.0, "weight": 1.0}
    squared_error, discriminator = (
        {"name": name, "weight": 1.0, "connector": "identity"} for name in ("fitnet", "mixskd_discriminator")
    )
    return {"scheme": {"name": "mixed", "alpha": 0.4}, "method": [{"name": "ce"}, kd, squared_error, discriminator]}
