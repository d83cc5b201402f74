"""Losses of the teacher's most likely tokens, against loops over numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.sequence.top_k import TopK
from tutelage.losses.sequence.top_k_ranking import TopKHinge, TopKLogistic

B, T, V, K = 2, 3, 8, 3


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def batch():
    student, teacher = torch.randn(B, T, V, dtype=torch.float64), torch.randn(B, T, V, dtype=torch.float64)
    values, ids = teacher.log_softmax(-1).topk(K)
    targets = torch.randint(V, (B, T))
    targets[0, 0] = -100
    return student, {"teacher_topk_ids": ids, "teacher_topk_values": values, "targets": targets}


def pairs(student, inputs, missing: str, temperature: float, log_target: bool):
    """Yield the top tokens' probabilities of student and teacher, and the rest of each, for each token that counts."""
    for b in range(B):
        for t in range(T):
            if inputs["targets"][b, t] == -100:
                continue
            ids, values = inputs["teacher_topk_ids"][b, t].numpy(), inputs["teacher_topk_values"][b, t].numpy()
            s = softmax(student[b, t].numpy() / temperature)[ids]
            q = np.exp(values) ** (1 / temperature)
            remaining = (1 - np.exp(values).sum()) ** (1 / temperature) if missing == "symmetric_uniform" else 0.0
            q = q / (q.sum() + remaining)
            yield s, q, 1 - s.sum(), 1 - q.sum() if remaining else 0.0


def kl(p, q) -> float:
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def slow_kl(s, t, rest_s, rest_t) -> float:
    return kl([*t, rest_t], [*s, rest_s])


def slow_jsd(s, t, rest_s, rest_t) -> float:
    p, q = [*t, rest_t], [*s, rest_s]
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return kl(p, m) / 2 + kl(q, m) / 2


def slow_tvd(s, t, rest_s, rest_t) -> float:
    return (np.abs(s - t).sum() + abs(rest_s - rest_t)) / 2


@pytest.mark.parametrize(("divergence", "slow"), [("kl", slow_kl), ("jsd", slow_jsd), ("tvd", slow_tvd)])
@pytest.mark.parametrize("missing", ["zero", "symmetric_uniform"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_equals_a_loop(divergence: str, slow, missing: str, temperature: float) -> None:
    student, inputs = batch()
    values = TopK(divergence, missing=missing, temperature=temperature)(student, **inputs)
    expected = [slow(*case) for case in pairs(student, inputs, missing, temperature, True)]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("divergence", ["kl", "jsd", "tvd"])
def test_logits_in_place_of_log_probabilities(divergence: str) -> None:
    student, inputs = batch()
    shifted = inputs | {"teacher_topk_values": inputs["teacher_topk_values"] + 3.0}
    torch.testing.assert_close(
        TopK(divergence, log_target=False, temperature=2.0)(student, **shifted),
        TopK(divergence, temperature=2.0)(student, **inputs),
    )


@pytest.mark.parametrize("cls", [TopK, TopKHinge, TopKLogistic])
def test_a_teacher_at_hand_gives_its_top_tokens(cls) -> None:
    student, teacher = torch.randn(B, T, V), torch.randn(B, T, V)
    values, ids = teacher.log_softmax(-1).topk(K)
    expected = cls(top=K)(student, teacher_topk_ids=ids, teacher_topk_values=values)
    torch.testing.assert_close(cls(top=K)(student, teacher), expected)


@pytest.mark.parametrize("cls", [TopK, TopKHinge])
def test_a_mask_leaves_tokens_out(cls) -> None:
    student, inputs = batch()
    mask = torch.tensor([[True, False, True], [True, True, False]])
    unlabelled = inputs | {"targets": inputs["targets"].masked_fill(~mask, -100)}
    torch.testing.assert_close(cls()(student, mask=mask, **inputs), cls()(student, **unlabelled))


@pytest.mark.parametrize("margin", [0.0, 0.1, None])
def test_hinge_and_logistic_over_preferred_pairs(margin) -> None:
    student, inputs = batch()
    hinge, logistic = [], []
    for b, t in [(b, t) for b in range(B) for t in range(T) if inputs["targets"][b, t] != -100]:
        ids, q = inputs["teacher_topk_ids"][b, t].numpy(), inputs["teacher_topk_values"][b, t].exp().numpy()
        z = student[b, t].numpy()[ids]
        s = softmax(student[b, t].numpy())[ids]
        for k in range(K):
            for j in range(K):
                if q[k] > q[j]:
                    m = q[k] - q[j] if margin is None else margin
                    hinge.append(max(0.0, m - (s[k] - s[j])))
                    logistic.append(np.log1p(np.exp(z[j] - z[k])))
    assert float(TopKHinge(margin=margin)(student, **inputs).mean()) == pytest.approx(np.mean(hinge))
    assert float(TopKLogistic()(student, **inputs).mean()) == pytest.approx(np.mean(logistic))


def test_refuses_contradictions_and_a_teacher_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="missing='zero'"):
        TopK(missing="symmetric_uniform", log_target=False)
    with pytest.raises(ConfigError, match="zero"):
        TopK(missing="zeroes")
    with pytest.raises(ConfigError, match="jsd"):
        TopK("jds")
    with pytest.raises(ConfigError, match="teacher_topk_ids"):
        TopK()(torch.randn(1, 2, 5))
