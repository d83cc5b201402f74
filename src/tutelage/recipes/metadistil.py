"""MetaDistil: the teacher is trained to lower the student's loss on held-out samples after a lookahead step.

Paper: Zhou, Xu, McAuley. ACL 2022. arXiv:2106.04570. KD as usual; the teacher's learning rate is ours.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """Set KD at T = 4, with a tenth of the training samples as the quiz."""
    return {"scheme": "metadistil", "method": [{"name": "kd"}]}
