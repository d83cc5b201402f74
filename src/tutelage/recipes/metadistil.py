"""MetaDistil: the teacher learns to teach, from how the student does on samples held out after a step by what it says.

Paper: Zhou, Xu, McAuley. ACL 2022. arXiv:2106.04570. KD as usual; the teacher's learning rate is ours.
"""

from __future__ import annotations

from typing import Any


def recipe() -> dict[str, Any]:
    """KD at T = 4, a tenth of the training samples as the quiz."""
    return {"scheme": "metadistil", "method": [{"name": "kd"}]}
