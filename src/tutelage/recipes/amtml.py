"""Several teachers with weights that are learned per sample, together with the student (adaptive teachers).

Paper: Liu, Zhang, Wang. Neurocomputing 2020. arXiv:2103.04062 (AMTML-KD), its logit loss without its angle loss and
hints.
Name your own: teacher=[a, b, c].
"""

from __future__ import annotations

from typing import Any

from tutelage.recipes._defaults import small_teachers


def recipe(data: str = "digits", teacher: Any = None) -> dict[str, Any]:
    """Set weight 0.3 for cross-entropy, and 1.4 for the divergence from the teachers' weighted mean."""
    return small_teachers(data, teacher) | {"scheme": "last_feature", "method": [{"name": "amtml"}]}
