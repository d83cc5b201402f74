"""Zipf's label smoothing against scipy's ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import rankdata

from tutelage.losses.response.zipf_ls import ZipfLS


@pytest.mark.parametrize("power", [1.0, 1.7])
@pytest.mark.parametrize("voted", [False, True])
def test_reads_like_the_paper(power: float, voted: bool) -> None:
    s, y = torch.randn(7, 6).double() * 2, torch.randint(6, (7,))
    votes = torch.randint(3, (7, 6)) if voted else None  # many ties
    values = ZipfLS(power)(s, targets=y, votes=votes)
    for b in range(7):
        rank = rankdata(-(s if votes is None else votes)[b].numpy(), method="min")
        non_target = np.arange(6) != int(y[b])
        zipf = rank[non_target] ** -power
        zipf = zipf / zipf.sum()
        log_p = log_softmax(s[b].numpy()[non_target])
        assert values[b].item() == pytest.approx((zipf * (np.log(zipf) - log_p)).sum(), rel=1e-9)


def test_positions_are_apart() -> None:
    s, y = torch.randn(2, 6, 3).double(), torch.randint(6, (2, 3))
    flat = ZipfLS()(s.movedim(1, -1).flatten(0, 1), targets=y.flatten())
    torch.testing.assert_close(ZipfLS()(s, targets=y).flatten(), flat)
