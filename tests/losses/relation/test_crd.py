"""CRD against loops over samples and negatives, and the updates of its memories."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.relation import crd
from tutelage.losses.relation.crd import CRD

B, N = 4, 30


def built(**options: float) -> tuple[CRD, Tensor, Tensor]:
    student, teacher = torch.randn(B, 5).double(), torch.randn(B, 7).double()
    loss = CRD(**{"dim": 6, "negatives": 9, **options})
    loss.build(student, teacher, N)
    return loss, student, teacher


def unit(x: Tensor) -> Tensor:
    return x / x.norm()


def slow(v: Tensor, memory: Tensor, candidates: Tensor, temperature: float, z: float) -> tuple[Tensor, float]:
    """Return one side's loss, sample by sample, and Z."""
    similar = [
        [math.exp(float(unit(a) @ memory[c]) / temperature) for c in row] for a, row in zip(v, candidates, strict=True)
    ]
    z = z if z > 0 else sum(map(sum, similar)) / candidates.numel() * len(memory)
    noise = (candidates.shape[1] - 1) / len(memory)
    losses = []
    for first, *rest in similar:
        loss = -math.log(first / z / (first / z + noise))
        losses.append(loss - sum(math.log(noise / (x / z + noise)) for x in rest))
    return torch.tensor(losses).double(), z


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "momentum": 0.9, "negatives": 3}])
@pytest.mark.parametrize("dense", [True, False])
def test_reads_like_the_paper(options: dict[str, float], dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps, as the memories change in between and Z doesn't; for both ways of reading the memory."""
    monkeypatch.setattr(crd, "dense", lambda *_: dense)
    loss, student, teacher = built(**options)
    temperature, momentum = options.get("temperature", 0.07), options.get("momentum", 0.5)
    zs, zt = -1.0, -1.0
    for index in (torch.tensor([3, 17, 0, 29]), torch.tensor([3, 4, 5, 6])):
        candidates = loss.draw_candidates(index)
        memory_s, memory_t = loss.memory_student.clone(), loss.memory_teacher.clone()
        s, t = loss.embed_student(student).detach(), loss.embed_teacher(teacher).detach()
        expected_s, zs = slow(s, memory_t, candidates, temperature, zs)
        expected_t, zt = slow(t, memory_s, candidates, temperature, zt)
        values = loss(student, teacher, index=index, contrast_index=candidates)
        torch.testing.assert_close(values.detach(), expected_s + expected_t, rtol=1e-5, atol=1e-5)  # the authors' 1e-7
        assert loss.z_student.item() == pytest.approx(zs)
        for b, i in enumerate(index.tolist()):
            memory_s[i] = unit(momentum * memory_s[i] + (1 - momentum) * unit(s[b]))
            memory_t[i] = unit(momentum * memory_t[i] + (1 - momentum) * unit(t[b]))
        torch.testing.assert_close(loss.memory_student, memory_s)
        torch.testing.assert_close(loss.memory_teacher, memory_t)


@pytest.mark.parametrize("dense", [True, False])
def test_gradient(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crd, "dense", lambda *_: dense)
    loss, student, teacher = built(temperature=0.3)
    index = torch.arange(B)
    candidates = loss.draw_candidates(index)
    loss.eval()(student, teacher, index=index, contrast_index=candidates)  # fixes Z
    sides = student.requires_grad_(), teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: loss(s, t, index=index, contrast_index=candidates), sides)


def test_restare_others_evenly() -> None:
    loss, *_ = built(negatives=20000)
    candidates = loss.draw_candidates(torch.tensor([0, 13, 29]))
    assert candidates[:, 0].tolist() == [0, 13, 29]
    for positive, *rest in candidates.tolist():
        counts = torch.bincount(torch.tensor(rest), minlength=N).tolist()
        assert counts.pop(positive) == 0
        assert min(counts) > 500  # 690 expected
        assert max(counts) < 900


def test_memories_rest_in_evaluation() -> None:
    loss, student, teacher = built()
    before = loss.memory_student.clone()
    loss.eval()(student, teacher, index=torch.arange(B))
    assert torch.equal(before, loss.memory_student)


def test_memory_begins_as_published() -> None:
    loss, *_ = built(dim=128)
    assert loss.memory_teacher.abs().max().item() == pytest.approx(1 / math.sqrt(128 / 3), rel=1e-2)


def test_continues_from_its_state() -> None:
    (loss, student, teacher), (restored, *_) = built(), built()
    loss(student, teacher, index=torch.arange(B))
    restored.load_state_dict(loss.state_dict())
    results = []
    for module in (loss, restored):
        torch.manual_seed(1)
        results.append(module(student, teacher, index=torch.arange(B)))
    assert torch.equal(*results)


def test_refuses_data_without_others() -> None:
    with pytest.raises(ConfigError, match="expected at least 2"):
        CRD().build(torch.randn(2, 3), torch.randn(2, 3), 1)
    with pytest.raises(ConfigError, match="momentum=1"):
        CRD(momentum=1)
