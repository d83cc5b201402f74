"""KD by a curriculum: at first only on the samples that are easiest for the teacher, in the end on all.

Paper: Bengio, Louradour, Collobert, Weston. ICML 2009, the idea; the measure and the pace are ours.
"""

from __future__ import annotations

from typing import Any


def recipe(epochs: int = 30) -> dict[str, Any]:
    """Increase the samples from half to all within 0.7 of the epochs, in both terms."""
    samples = {"name": "easiest", "start": 0.5, "epochs": 0.7 * epochs}
    return {"method": [{"name": "ce", "weight": 0.1, "samples": samples}, {"name": "kd", "samples": samples}]}
