"""Self-distillation losses against loops over numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.self_distillation.bake import BAKE
from tutelage.losses.self_distillation.byot import BYOT, BYOTHint
from tutelage.losses.self_distillation.consistency import Consistency
from tutelage.losses.self_distillation.ddgsd import DDGSD
from tutelage.losses.self_distillation.noisy_student import NoisyStudent
from tutelage.losses.self_distillation.ps_kd import PSKD
from tutelage.losses.self_distillation.tf_kd import TfKDReg
from tutelage.losses.self_distillation.uskd import USKD

B, C, D = 5, 4, 3


def softmax(z) -> np.ndarray:
    e = np.exp(np.asarray(z) - np.max(np.asarray(z), axis=-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(p, q) -> float:
    return float((p * np.log(p / q)).sum())


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("temperature", "omega"), [(4.0, 0.5), (2.0, 0.8)])
def test_bake_is_the_limit_of_propagation(temperature: float, omega: float) -> None:
    logits, embedding = random(B, C), random(B, D)
    e = embedding.numpy() / np.linalg.norm(embedding.numpy(), axis=1, keepdims=True)
    similar = np.exp(e @ e.T)
    np.fill_diagonal(similar, 0)
    similar /= similar.sum(1, keepdims=True)
    p = softmax(logits.numpy() / temperature)
    q = p
    for _ in range(400):
        q = omega * similar @ q + (1 - omega) * p
    values = BAKE(temperature, omega)(logits, embedding=embedding)
    expected = [temperature**2 * kl(q[b], p[b]) for b in range(B)]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("temperature", [3.0, 1.5])
def test_byot(temperature: float) -> None:
    exits, deepest = [random(B, C), random(B, C)], random(B, C).requires_grad_()
    t = softmax(deepest.detach().numpy() / temperature)
    expected = [sum(temperature**2 * kl(t[b], softmax(x[b].numpy() / temperature)) for x in exits) for b in range(B)]
    values = BYOT(temperature)(exits, deepest)
    np.testing.assert_allclose(values.numpy(), expected)
    assert not values.requires_grad  # no gradient flows to the deepest exit
    entropy = -(t * np.log(t)).sum(1)
    crossed = BYOT(temperature, entropy=False)(exits, deepest)
    np.testing.assert_allclose(crossed.numpy(), expected + 2 * temperature**2 * entropy)


def test_byot_hint() -> None:
    shallow, deepest = random(B, 2, 3, 3), random(B, 2, 3, 3)
    s, t = shallow.numpy(), deepest.numpy()
    np.testing.assert_allclose(BYOTHint()(shallow, deepest), [((s[b] - t[b]) ** 2).sum() for b in range(B)])
    active = [((s[b] - t[b]) ** 2 * ((s[b] > 0) | (t[b] > 0))).sum() for b in range(B)]
    np.testing.assert_allclose(BYOTHint(active=True)(shallow, deepest), active)


@pytest.mark.parametrize(("temperature", "weight"), [(3.0, 5e-4), (1.0, 2.0)])
def test_ddgsd(temperature: float, weight: float) -> None:
    first, second = [random(B, C), random(B, D)], [random(B, C), random(B, D)]
    parts = DDGSD(temperature, weight)(first, second)
    p, q = (softmax(x[0].numpy() / temperature) for x in (first, second))
    expected = [temperature**2 * (kl(p[b], q[b]) + kl(q[b], p[b])) for b in range(B)]
    gap = first[1].numpy().mean(0) - second[1].numpy().mean(0)
    np.testing.assert_allclose(parts["response"], expected)
    assert float(parts["feature"]) == pytest.approx(weight * (gap**2).sum())
    scalar = DDGSD(temperature, weight, global_mean=True)(first, second)["feature"]
    assert float(scalar) == pytest.approx(weight * gap.mean() ** 2)


def test_ddgsd_gradients_to_both_views_are_symmetric() -> None:
    first, second = [random(B, C).requires_grad_(), random(B, D)], [random(B, C).requires_grad_(), random(B, D)]
    DDGSD()(first, second)["response"].sum().backward()
    p, q = (x[0].detach().div(3).softmax(1) for x in (first, second))
    torch.testing.assert_close(first[0].grad, 3 * (p - q))
    torch.testing.assert_close(second[0].grad, 3 * (q - p))


def test_consistency() -> None:
    student, teacher = random(B, C), random(B, C)
    expected = (softmax(student.numpy()) - softmax(teacher.numpy())) ** 2
    np.testing.assert_allclose(Consistency()(student, teacher), expected)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_noisy_student(temperature: float) -> None:
    student, teacher = random(B, C), random(B, C)
    p, log_s = softmax(teacher.numpy()), np.log(softmax(student.numpy()))
    sharp = p ** (1 / temperature) / (p ** (1 / temperature)).sum(1, keepdims=True)
    expected = -(sharp * log_s).sum(1)
    np.testing.assert_allclose(NoisyStudent(temperature)(student, teacher), expected)
    from_probabilities = NoisyStudent(temperature, probabilities=True)(student, torch.tensor(p))
    np.testing.assert_allclose(from_probabilities, expected)
    smoothed = 0.8 * np.eye(C)[p.argmax(1)] + 0.2 / C
    np.testing.assert_allclose(NoisyStudent(hard=True, smoothing=0.2)(student, teacher), -(smoothed * log_s).sum(1))


def test_ps_kd_mixes_in_the_predictions_of_an_epoch_ago() -> None:
    loss, index, targets = PSKD(alpha=0.6, epochs=10), torch.tensor([6, 2, 4]), torch.tensor([1, 3, 0])
    first, second = random(3, C), random(3, C)
    loss.build(first, None, 8)
    hard = np.eye(C)[targets.numpy()]

    def soft_ce(soft, logits):
        return -(soft * np.log(softmax(logits.numpy()))).sum(1)

    np.testing.assert_allclose(loss(first, targets=targets, index=index, epoch=0.7), soft_ce(hard, first))
    alpha = 0.6 * 4 / 10  # in the fourth epoch
    soft = (1 - alpha) * hard + alpha * softmax(first.numpy())
    np.testing.assert_allclose(loss(second, targets=targets, index=index, epoch=3.2), soft_ce(soft, second))
    soft = (1 - alpha) * hard + alpha * softmax(second.numpy())
    soft[1] = hard[1]
    unseen = torch.tensor([6, 7, 4])
    np.testing.assert_allclose(loss.eval()(first, targets=targets, index=unseen, epoch=3.9), soft_ce(soft, first))
    assert (loss.predictions[7] == 0).all()  # evaluation stores nothing


@pytest.mark.parametrize(("temperature", "right"), [(20.0, 0.99), (3.0, 0.8)])
def test_tf_kd_reg(temperature: float, right: float) -> None:
    student, targets = random(B, C), torch.randint(C, (B,))
    u = np.where(np.eye(C)[targets.numpy()] > 0, right, (1 - right) / (C - 1))
    paper = [kl(softmax(np.log(u[b]) / temperature), softmax(student[b].numpy() / temperature)) for b in range(B)]
    code = [kl(softmax(u[b] / temperature), softmax(student[b].numpy())) for b in range(B)]
    np.testing.assert_allclose(TfKDReg(temperature, right)(student, targets=targets), paper)
    np.testing.assert_allclose(TfKDReg(temperature, right, of_probabilities=True)(student, targets=targets), code)


def mixed_labels() -> torch.Tensor:
    labels = torch.zeros(B, C, dtype=torch.float64)
    for b in range(B):
        labels[b, b % C], labels[b, (b + 1) % C] = 0.7, 0.3
    return labels


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("log_rank", [False, True])
def test_uskd(mixed: bool, log_rank: bool) -> None:
    logits, feature = random(B, C), random(B, D)
    targets = mixed_labels() if mixed else torch.randint(C, (B,))
    label_weights = targets.numpy() if mixed else np.eye(C)[targets.numpy()]
    loss = USKD(alpha=0.7, beta=0.3, mu=0.2, log_rank=log_rank)
    loss.build([logits, feature], None, 0)
    p = softmax(logits.numpy())
    q = softmax(feature.numpy() @ loss.fc.weight.detach().numpy().T + loss.fc.bias.detach().numpy())
    classes = [np.argsort(-label_weights[b], kind="stable")[: 2 if mixed else 1] for b in range(B)]
    means = np.mean([[p[b, y] ** 2 for y in classes[b]] for b in range(B)], axis=0)
    expected: dict[str, list[float]] = {"target": [], "non_target": [], "weak": []}
    for b in range(B):
        weights = [label_weights[b, y] + p[b, y] ** 2 - means[i] for i, y in enumerate(classes[b])]
        expected["target"].append(-0.7 * sum(w * np.log(p[b, y]) for w, y in zip(weights, classes[b], strict=True)))
        s = np.log(p[b]) if log_rank else p[b]
        score = q[b] / (1 - q[b, classes[b]].sum() + 1e-6) + s / (1 - s[classes[b]].sum() + 1e-6)
        rank = {int(c): k + 1 for k, c in enumerate(np.argsort(-score))}
        others = [c for c in range(C) if c not in classes[b]]
        law = np.array([1 / rank[c] for c in others])
        among = p[b, others] / p[b, others].sum()
        expected["non_target"].append(-0.3 * float((law / law.sum() * np.log(among)).sum()))
        expected["weak"].append(-0.2 * float(((0.9 * label_weights[b] + 0.1 / C) * np.log(q[b])).sum()))
    parts = loss([logits, feature], targets=targets)
    for name, values in parts.items():
        np.testing.assert_allclose(values.detach().numpy(), expected[name], rtol=1e-7)


@pytest.mark.parametrize(
    "construct",
    [
        lambda: BAKE(omega=1.0),
        lambda: BYOT(0),
        lambda: DDGSD(-1),
        lambda: NoisyStudent(smoothing=1),
        lambda: PSKD(alpha=1.2),
        lambda: TfKDReg(right=1),
    ],
)
def test_raises_for_options_out_of_range(construct) -> None:
    with pytest.raises(ConfigError, match="expected"):
        construct()
