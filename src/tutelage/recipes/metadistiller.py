"""MetaDistiller: a generator makes targets for a student's exits, and learns how they make it do on samples held out.

Paper: Liu, Rao, Lu, Zhou, Hsieh. ECCV 2020. arXiv:2008.12094. T = 4, the terms' weights of 1 and μ are ours.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Exits on all stages but the last; each, and the last, matches its target; a tenth of the samples is the quiz."""
    return {"scheme": "metadistiller", "method": [{"name": "ce"}, {"name": "hydra"}]}
