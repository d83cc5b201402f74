"""FKD: from logits and from stored top classes, against the full soft label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from tutelage.errors import ConfigError
from tutelage.losses.response.fkd import FKD


@pytest.mark.parametrize("options", [{"top": 3}, {"top": 2, "rest": "none"}, {}])
def test_reads_like_the_paper(options: dict[str, int | str]) -> None:
    s, t = torch.randn(5, 9).double() * 2, torch.randn(5, 9).double() * 2
    values, top = FKD(**options)(s, t), min(int(options.get("top", 5)), 9)
    for b in range(5):
        p = softmax(t[b].numpy())
        kept = np.argsort(-p)[:top]
        label = np.full(9, (1 - p[kept].sum()) / (9 - top) if top < 9 and "rest" not in options else 0.0)
        label[kept] = p[kept] / (p[kept].sum() if "rest" in options else 1)
        assert label.sum() == pytest.approx(1)
        assert values[b].item() == pytest.approx(-(label * log_softmax(s[b].numpy())).sum(), rel=1e-9)


@pytest.mark.parametrize("shape", [(5, 9), (2, 9, 3)])
def test_kept_classes_say_what_the_logits_do(shape: tuple[int, ...]) -> None:
    s, t = torch.randn(shape).double(), torch.randn(shape).double()
    kept = t.log_softmax(1).topk(4, dim=1)
    again = FKD()(s, teacher_topk_ids=kept.indices, teacher_topk_values=kept.values)
    torch.testing.assert_close(FKD(top=4)(s, t), again)


def test_refuses_what_does_not_fit() -> None:
    ids, values = torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, 2)
    with pytest.raises(ConfigError, match=r"\(5, 9\)"):
        FKD()(torch.randn(5, 9), teacher_topk_ids=ids, teacher_topk_values=values)
    with pytest.raises(ConfigError, match="neither"):
        FKD()(torch.randn(5, 9))
    with pytest.raises(ConfigError, match="spread"):
        FKD(rest="sprad")
