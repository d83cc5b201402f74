"""Several teachers in shares that are learned sample by sample, with the student (adaptive teachers).

Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062 (AMTML-KD), its answers without its angles and hints.
Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Cross-entropy 0.3, the divergence from the mixed answer 1.4."""
    return small(data, teacher) | {"scheme": "last_feature", "method": [{"name": "amtml"}]}
