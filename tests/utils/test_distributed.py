"""Losses that compare samples, over two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import Plain, settings
from torch import nn

from tutelage.errors import ConfigError
from tutelage.losses.relation.crd import CRD
from tutelage.losses.relation.pkt import PKT
from tutelage.losses.relation.rkd import RKD
from tutelage.losses.relation.sp import SP
from tutelage.losses.response.kd import KD
from tutelage.losses.response.mlkd import MLKD
from tutelage.objective.player import Player
from tutelage.objective.spec import term_from_spec, term_spec
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.training.fabric import make_fabric
from tutelage.utils.distributed import all_gather_samples

BATCH = Batch(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8), torch.arange(8))


def part(batch: Batch, of: int, number: int) -> Batch:
    return Batch(*(x.chunk(of)[number] for x in (batch.inputs, batch.targets, batch.index)))


def taught(loss: nn.Module, gather: bool) -> tuple[Player, Frozen]:
    torch.manual_seed(1)
    task = Classification()
    teacher = Frozen(Plain(width=6), task)
    player = Player(Plain(), Terms.from_method(Term(loss, gather=gather)), task)
    player.wire(teacher.profile(BATCH), BATCH, samples=20)
    return player, teacher


def gradients(player: Player, teacher: Frozen, batch: Batch) -> list[torch.Tensor]:
    torch.manual_seed(2)
    told = teacher(batch, player.terms.layers("teacher"))
    sum(player(batch, told).values()).backward()
    return [p.grad for p in player.parameters() if p.grad is not None]


def together(loss: nn.Module, gather: bool, folder: Path) -> list[torch.Tensor]:
    """The mean gradients of two processes with half of the batch each, as DDP has them."""
    fabric = make_fabric(settings(devices=2), start="fork")

    def work(*_) -> None:
        torch.set_num_threads(1)
        found = gradients(*taught(loss, gather), part(BATCH, 2, fabric.global_rank))
        torch.save([fabric.all_reduce(x, reduce_op="mean") for x in found], folder / f"{fabric.global_rank}.pt")

    fabric.launch(work)
    first, second = (torch.load(folder / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    return first


@pytest.mark.parametrize("loss", [SP(), RKD(), PKT(), MLKD(), KD()], ids=lambda loss: type(loss).__name__)
def test_gathered_samples_give_the_joint_batchs_gradients(loss, tmp_path):
    ours = together(loss, True, tmp_path)
    joint = gradients(*taught(loss, False), BATCH)
    largest = max(x.abs().max() for x in joint)
    assert max((x - y).abs().max() for x, y in zip(ours, joint, strict=True)) < 1e-6 * largest


def test_without_gathering_a_relation_is_of_each_process_alone(tmp_path):
    player, teacher = taught(SP(), False)
    apart = together(SP(), False, tmp_path)
    joint = gradients(player, teacher, BATCH)
    assert max((x - y).abs().max() / y.abs().max() for x, y in zip(apart, joint, strict=True)) > 0.1


def test_gathered_memories_hold_every_processs_samples(tmp_path):
    """What is asked by sample is gathered too, so that both processes keep one and the same memory."""
    fabric = make_fabric(settings(devices=2), start="fork")

    def work(*_) -> None:
        player, teacher = taught(CRD(negatives=4), True)
        before = player.terms["crd"].loss.memory_teacher.clone()
        gradients(player, teacher, part(BATCH, 2, fabric.global_rank))
        after = player.terms["crd"].loss.memory_teacher
        assert ((after != before).any(1).nonzero()[:, 0] == BATCH.index).all()
        torch.save(after, tmp_path / f"{fabric.global_rank}.pt")

    fabric.launch(work)
    assert torch.equal(torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt"))


def test_one_process_has_all_there_is():
    x = torch.randn(3, 2)
    assert all_gather_samples(x, 3) is x


def test_a_spec_says_whether_to_gather():
    term = term_from_spec({"name": "sp", "gather": True})
    assert term.gather
    assert term_spec(term)["gather"] is True
    assert "gather" not in term_spec(Term(SP()))
    with pytest.raises(ConfigError, match="gather='yes': expected true or false"):
        term_from_spec({"name": "sp", "gather": "yes"})
