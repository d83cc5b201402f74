"""Losses of sequences, against loops over numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.sequence.distillm2 import DistiLLM2
from tutelage.losses.sequence.dskd import DSKD
from tutelage.losses.sequence.dskd_cma import DSKDCMA
from tutelage.losses.sequence.minillm import MiniLLM
from tutelage.losses.sequence.uld import ULD

B, T, V = 4, 5, 6


def softmax(z) -> np.ndarray:
    e = np.exp(np.asarray(z) - np.max(np.asarray(z), axis=-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(p, q) -> float:
    return float((p * np.log(p / q)).sum())


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def labels() -> torch.Tensor:
    targets = torch.randint(V, (B, T))
    targets[0, :2] = targets[1, 3:] = targets[2, 0] = targets[3, 0] = -100
    return targets


@pytest.mark.parametrize("anchors", [{}, {"teacher_anchor": 0.05, "student_anchor": -0.04}])
@pytest.mark.parametrize("options", [{}, {"skew": 0.3, "reverse_skew": 0.2, "gradual": True, "epochs": 8}])
def test_distillm2(anchors: dict, options: dict) -> None:
    student, teacher, targets = random(B, T, V), random(B, T, V), labels()
    by_teacher = torch.tensor([True, False, False, True])
    values = DistiLLM2(**options)(student, teacher, targets=targets, by_teacher=by_teacher, epoch=2, **anchors)
    beta = 1 + 0.5 * min(1, 2 * 2 / 8) if options else 1.0
    for b in range(B):
        places = [t for t in range(T) if targets[b, t] != -100]
        s, q = softmax(student[b]), softmax(teacher[b])
        m_s, m_t = (np.exp(np.mean([np.log(x[t, targets[b, t]]) for t in places])) for x in (s, q))
        if by_teacher[b]:
            skew, anchor, gap = options.get("skew", 0.1), anchors.get("teacher_anchor"), m_t - m_s
        else:
            skew, anchor, gap = options.get("reverse_skew", 0.1), anchors.get("student_anchor"), m_s - m_t
        a = skew if anchor is None else np.clip(1 - (1 - skew) * anchor / (gap + 1e-5), 0.01, skew)
        if by_teacher[b]:
            each = [(2 - beta) * kl(q[t], a * q[t] + (1 - a) * s[t]) for t in places]
        else:
            each = [beta * kl(s[t], (1 - a) * q[t] + a * s[t]) for t in places]
        assert float(values[b]) == pytest.approx(np.mean(each), rel=1e-6)


def test_distillm2_has_no_gradient_through_the_students_own_mixture() -> None:
    student, teacher = random(1, 1, V).requires_grad_(), random(1, 1, V)
    inputs = {"targets": torch.tensor([[2]]), "by_teacher": torch.tensor([False])}
    DistiLLM2()(student, teacher, **inputs).sum().backward()
    s = student.detach().softmax(-1)[0, 0]
    ratio = (s / (0.9 * teacher.softmax(-1)[0, 0] + 0.1 * s)).log()
    torch.testing.assert_close(student.grad[0, 0], s * (ratio - (s * ratio).sum()))


@pytest.mark.parametrize(("gamma", "clip"), [(0.95, 0.2), (0.5, 0.05)])
def test_minillm(gamma: float, clip: float) -> None:
    student, teacher, rewards, w = random(B, T, V), random(B, T, V), random(B, T), random(B, T).exp()
    targets, old = torch.randint(V, (B, T)), -random(B, T).abs()
    mask = torch.ones(B, T)
    mask[1, 3:] = mask[2, 1:] = 0
    returns = np.zeros((B, T))
    for b in range(B):
        for t in range(T):
            remaining = mask[b, t:].sum() if mask[b, t] else 0.0
            remaining = float(remaining) or 1.0
            returns[b, t] = sum(gamma ** (k - t) * float(rewards[b, k]) for k in range(t, T)) / remaining
    advantage = (returns - returns.mean()) / np.sqrt(returns.var(ddof=1) + 1e-8)
    policy, single = [], []
    for b, t in [(b, t) for b in range(B) for t in range(T) if mask[b, t]]:
        s, q = softmax(student[b, t]), softmax(teacher[b, t])
        ratio = np.exp(np.log(s[targets[b, t]]) - float(old[b, t])) * float(w[b, t])
        policy.append(max(-advantage[b, t] * ratio, -advantage[b, t] * np.clip(ratio, 1 - clip, 1 + clip)))
        single.append(kl(s, q))
    inputs = {"targets": targets, "old_logprobs": old, "rewards": rewards, "w": w, "mask": mask}
    parts = MiniLLM(gamma, clip)(student, teacher, **inputs)
    np.testing.assert_allclose(parts["policy"], policy, rtol=1e-7)
    np.testing.assert_allclose(parts["single_step"], single, rtol=1e-7)


def test_uld_of_two_vocabularies() -> None:
    student, teacher = random(2, 6, 5), random(2, 7, 8)
    targets = torch.tensor([[-100, -100, 1, 2, 3, -100], [-100, 4, 0, 1, 2, 3]])
    targets_t = torch.tensor([[-100, 7, 6, 5, 4, -100, -100], [-100, -100, -100, 1, 2, 3, -100]])
    options = {"student_temperature": 2.0, "teacher_temperature": 0.5, "skip_student_eos": True}
    values = ULD(shift=True, **options)(student, teacher, targets=targets, teacher_targets=targets_t)
    for b, (start, start_t, length) in enumerate([(1, 0, 2), (0, 2, 3)]):
        each = []
        for k in range(length):
            s = -np.sort(-softmax(student[b, start + k] / 2.0))
            t = -np.sort(-softmax(teacher[b, start_t + k] / 0.5))
            each.append(np.abs(np.pad(s, (0, 3)) - t).sum())
        assert float(values[b]) == pytest.approx(np.mean(each))


def linear(layer, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


@pytest.mark.parametrize(("objective", "swap"), [("forward_kl", False), ("reverse_kl", True)])
def test_dskd(objective: str, swap: bool) -> None:
    student, teacher, targets = random(B, T, 3), random(B, T, 4), labels()
    head_s, head_t = random(V, 3), random(7, 4)
    loss = DSKD(temperature=1.5, objective=objective)
    loss.build(student, teacher, 0)
    parts = loss(student, teacher, targets=targets, student_head=(head_s,), teacher_head=(head_t,))
    slow: dict[str, list[float]] = {name: [] for name in parts}
    for b, t in [(b, t) for b in range(B) for t in range(T) if targets[b, t] != -100]:
        z_s, z_ts = (h @ head_s.numpy().T for h in (student[b, t].numpy(), linear(loss.t2s, teacher[b, t].numpy())))
        z_t, z_st = (h @ head_t.numpy().T for h in (teacher[b, t].numpy(), linear(loss.s2t, student[b, t].numpy())))
        s, s_from_teacher = softmax(z_s / 1.5), softmax(z_ts / 1.5)
        slow["truth"].append(-np.log(softmax(z_ts)[targets[b, t]]))
        slow["student_space"].append(kl(s, s_from_teacher) if swap else kl(s_from_teacher, s))
        slow["teacher_space"].append(kl(softmax(z_t / 1.5), softmax(z_st / 1.5)))
    for name, values in parts.items():
        np.testing.assert_allclose(values.detach().numpy(), slow[name], rtol=1e-7)


def test_dskd_cma() -> None:
    student, teacher = random(1, 3, 2), random(1, 4, 3)
    y, y_t = torch.tensor([[-100, 4, 1]]), torch.tensor([[2, -100, 6, 0]])
    ids, ids_t = torch.tensor([[3, 2, 0]]), torch.tensor([[1, 5, 2, 4]])
    (embed, head), (embed_t, head_t) = (random(5, 2), random(5, 2)), (random(7, 3), random(7, 3))
    loss = DSKDCMA(temperature=1.3, teacher_temperature=0.6)
    loss.build(student, teacher, 0)
    parts = loss(
        student,
        teacher,
        targets=y,
        teacher_targets=y_t,
        student_input_ids=ids,
        teacher_input_ids=ids_t,
        student_vocabulary=(embed, head),
        teacher_vocabulary=(embed_t, head_t),
    )

    def embed_tokens(table, tokens, targets):
        return np.stack(
            [table[int(x) if int(label) != -100 else 0] for x, label in zip(tokens[0], targets[0], strict=True)]
        )

    def unit(x):
        return x / x.std(ddof=1)

    target_embeddings = embed_tokens(embed_t.numpy(), y_t, y_t)
    query = linear(
        loss.query, np.concatenate([embed_tokens(embed.numpy(), ids, y), embed_tokens(embed.numpy(), y, y)], -1)
    )
    align = (
        query @ unit(np.concatenate([embed_tokens(embed_t.numpy(), ids_t, y_t), target_embeddings], -1)).T / np.sqrt(6)
    )
    align[[0], :] = -1e9
    align[:, [1]] = -1e9
    z_ts = softmax(align) @ linear(loss.t2s, unit(teacher[0].numpy()) + unit(target_embeddings)) @ head.numpy().T
    z_st = softmax(align.T) @ linear(loss.s2t, student[0].numpy()) @ head_t.numpy().T
    z_s, z_t = student[0].numpy() @ head.numpy().T, teacher[0].numpy() @ head_t.numpy().T
    labelled, labelled_t = [1, 2], [0, 2, 3]
    cross_entropies = [-np.log(softmax(z_ts[k])[y[0, k]]) for k in labelled]
    student_space = [
        kl(softmax(z_ts[k] / 0.6 / 1.3), softmax(z_s[k] / 1.3)) * (z_ts[k].argmax() == int(y[0, k])) for k in labelled
    ]
    teacher_space = [kl(softmax(z_t[k] / 1.3), softmax(z_st[k] / 1.3)) for k in labelled_t]
    np.testing.assert_allclose(parts["truth"].detach(), cross_entropies, rtol=1e-7)
    np.testing.assert_allclose(parts["student_space"].detach(), student_space, rtol=1e-7)
    np.testing.assert_allclose(parts["teacher_space"].detach(), teacher_space, rtol=1e-7)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match="forward_kl"):
        DSKD(objective="forward")
    with pytest.raises(ConfigError, match="teacher_temperature"):
        DSKDCMA(teacher_temperature=0)
    with pytest.raises(ConfigError, match="1 or less"):
        MiniLLM(gamma=2)
    with pytest.raises(ConfigError, match="skew"):
        DistiLLM2(skew=1)
    targets = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ConfigError, match="equal numbers"):
        ULD()(torch.randn(1, 3, 4), torch.randn(2, 3, 4), targets=targets, teacher_targets=targets)
