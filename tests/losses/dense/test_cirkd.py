"""CIRKD against loops over images and positions, and the contents of its queues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.dense.cirkd import CIRKDMemory, CIRKDMiniBatch


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def kl(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    p, q = softmax(teacher), softmax(student)
    return (p * np.log(p / q)).sum(-1)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_minibatch_equals_the_formula(temperature: float) -> None:
    s, t = torch.randn(3, 4, 2, 3).double(), torch.randn(3, 5, 2, 3).double()
    values = CIRKDMiniBatch(temperature=temperature)(s, t).unflatten(0, (3, 6))
    f, g = (F.normalize(x, dim=1).flatten(2).numpy() for x in (s, t))
    for i in range(3):
        for j in range(3):
            np.testing.assert_allclose(
                values[i, :, j], kl(f[i].T @ f[j] / temperature, g[i].T @ g[j] / temperature), rtol=1e-8
            )


def test_minibatch_default_is_the_papers_temperature() -> None:
    s, t = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(CIRKDMiniBatch()(s, t), CIRKDMiniBatch(temperature=0.1)(s, t))


def small(**options: float) -> CIRKDMemory:
    return CIRKDMemory(**{"num_classes": 3, "pixel_memory": 8, "region_memory": 4, **options})


@pytest.mark.parametrize("options", [{}, {"contrast_temperature": 0.5, "kd_temperature": 2.0, "pixel_weight": 1.0}])
def test_memory_equals_the_formula(options: dict[str, float]) -> None:
    loss, s, t = small(**options), torch.randn(2, 4, 2, 2).double(), torch.randn(2, 5, 2, 2).double()
    loss.build(s, t, 10)
    labels = torch.tensor([[[0, 1], [255, 2]], [[-1, 0], [0, 3]]])
    queues = {name: F.normalize(torch.randn(3, n, 5).double(), dim=2) for name, n in (("pixel", 6), ("region", 2))}
    parts = loss(s, t, targets=labels, pixel_queue=queues["pixel"], region_queue=queues["region"])
    known = (labels.flatten() >= 0) & (labels.flatten() < 3)
    f, g = (F.normalize(x, dim=1).movedim(1, -1).flatten(0, 2)[known] for x in (loss.project_head(s).detach(), t))
    tau, temperature = options.get("contrast_temperature", 0.1), options.get("kd_temperature", 1.0)
    for name, queue in queues.items():
        logits = [(x @ queue.flatten(0, 1).T / tau / temperature).numpy() for x in (f, g)]
        expected = options.get(f"{name}_weight", 0.1) * temperature**2 * kl(*logits).mean()
        assert parts[name].mean().item() == pytest.approx(expected)


def test_memory_stores_positions_and_regions_of_their_class() -> None:
    loss, s, t = small(), torch.randn(2, 4, 2, 3), torch.randn(2, 5, 2, 3)
    loss.build(s, t, 10)
    before = loss.pixels.rows.clone(), loss.regions.rows.clone()
    labels = torch.tensor([[[0, 0, 255], [2, 2, 2]], [[0, 0, 0], [255, 255, 0]]])
    values = loss(s, t, targets=labels)
    assert all(part.isfinite().all() for part in values.values())
    unit = F.normalize(t, dim=1).movedim(1, -1)
    expected = torch.stack([unit[b][labels[b] == k].mean(0) for b, k in ((0, 0), (1, 0), (0, 2))])
    expected = F.normalize(expected, dim=1)
    torch.testing.assert_close(loss.regions.rows[0], torch.cat([expected[:2], before[1][0, 2:]]))
    torch.testing.assert_close(loss.regions.rows[2], torch.cat([expected[2:], before[1][2, 1:]]))
    torch.testing.assert_close(loss.regions.rows[1], before[1][1])
    assert loss.pixels.oldest.tolist() == [6, 0, 3]
    taken = {tuple(row) for row in loss.pixels.rows[0, :6].tolist()}
    assert taken == {tuple(row) for row in unit[labels == 0].tolist()}
    torch.testing.assert_close(loss.pixels.rows[1], before[0][1])
    loss.eval()(s, t, targets=labels)
    assert loss.pixels.oldest.tolist() == [6, 0, 3]


def test_memory_of_no_known_class_is_zero() -> None:
    loss, s, t = small(), torch.randn(2, 4, 2, 2), torch.randn(2, 5, 2, 2)
    loss.build(s, t, 10)
    values = loss(s, t, targets=torch.full((2, 4, 4), 255))
    assert all(part.mean() == 0 for part in values.values())
