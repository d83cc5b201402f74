"""SSKD against loops over images and their versions, and the versions that it leaves out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.relation.sskd import SSKD, keep_factors

N, C = 5, 6


def kl(s: torch.Tensor, t: torch.Tensor, tau: float) -> float:
    p, q = (t / tau).softmax(0), (s / tau).softmax(0)
    return tau**2 * float((p * (p / q).log()).sum())


@pytest.mark.parametrize(
    "options", [{}, {"kd_temperature": 2.0, "ss_temperature": 0.1, "ratio_tf": 0.5, "ratio_ss": 0.0, "tf_weight": 1.0}]
)
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    loss = SSKD(**options)
    s, t = ([torch.randn(N, 4, C).double(), torch.randn(N, 4, width).double()] for width in (3, 7))
    y = torch.randint(C, (N,))
    means = {name: float(part.mean()) for name, part in loss(s, t, targets=y).items()}

    tf, ss = [], []  # (rank that the teacher gives to the truth, divergence)
    for i in range(N):
        for version in range(1, 4):
            logits = t[0][i, version]
            tf.append((int((logits > logits[y[i]]).sum()), kl(s[0][i, version], logits, loss.tf_temperature)))
            near_s, near_t = (F.cosine_similarity(x[1][i, version][None], x[1][:, 0], dim=1) for x in (s, t))
            ss.append((int((near_t > near_t[i]).sum()), kl(near_s, near_t, loss.ss_temperature)))

    def best(ranked: list[tuple[int, float]], ratio: float) -> float:
        wrong = sum(rank > 0 for rank, _ in ranked)
        order = torch.tensor([rank for rank, _ in ranked]).argsort().tolist()  # equal ranks in any order
        first = [ranked[i] for i in order[: len(ranked) - wrong + int(wrong * ratio)]]
        return sum(value for _, value in first) / max(len(first), 1)

    images = range(N)
    assert means["ce"] == pytest.approx(0.1 * float(F.cross_entropy(s[0][:, 0], y)))
    assert means["kd"] == pytest.approx(0.9 * sum(kl(s[0][i, 0], t[0][i, 0], loss.kd_temperature) for i in images) / N)
    assert means["tf"] == pytest.approx(loss.tf_weight * best(tf, loss.ratio_tf))
    assert means["ss"] == pytest.approx(10 * best(ss, loss.ratio_ss))


def test_keeps_the_right_and_the_least_wrong() -> None:
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    targets = torch.tensor([2, 0, 1, 1])  # ranks 2, 0, 1, 1
    assert keep_factors(scores, targets, 0.7).tolist() == pytest.approx([0, 4 / 3, 4 / 3, 4 / 3])
    assert keep_factors(scores, targets, 0.0).tolist() == [0, 4, 0, 0]
    assert keep_factors(scores, torch.tensor([2, 2, 2, 2]), 0.0).tolist() == [0, 0, 0, 0]


def test_refuses_a_flat_batch() -> None:
    x = [torch.randn(8, 5), torch.randn(8, 5)]
    with pytest.raises(ConfigError, match="three versions"):
        SSKD()(x, x, targets=torch.zeros(2, dtype=torch.long))
    with pytest.raises(ConfigError, match="1 or less"):
        SSKD(ratio_ss=1.5)
