"""An ensemble of teachers with different classes."""

import pytest
import torch
from small import Plain

from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.losses.multi_teacher.uhc import UHC
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.specialists import Specialists

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6) % 4, torch.arange(6))
KNOWN = ("a", "b", "c", "d")


def specialists(*classes: str) -> Specialists:
    members = [Frozen(Plain(classes=len(names)), Classification()) for names in classes]
    return Specialists(members, [list(names) for names in classes], KNOWN)


def test_a_joined_logit_is_the_mean_of_the_members_that_know_the_class():
    teacher = specialists("dab", "ca")
    first, second = (member.unfolded[0](BATCH.inputs) for member in teacher.member_teachers())
    a = (first[:, 1] + second[:, 1]) / 2
    expected = torch.stack([a, first[:, 2], second[:, 0], first[:, 0]], 1)
    assert torch.allclose(teacher(BATCH).response, expected)
    assert [member.response.shape[1] for member in teacher(BATCH).member_outputs] == [3, 2]


def test_the_columns_are_in_the_metadata_and_the_identity():
    teacher = specialists("dab", "ca")
    profile = teacher.profile(BATCH)
    assert profile.metadata["columns"] == teacher(BATCH).metadata["columns"] == [[3, 0, 1], [2, 0]]
    assert "heads" in profile.metadata
    reordered = Specialists(teacher.member_teachers(), [list("dba"), list("ca")], KNOWN)
    assert reordered.identity() != teacher.identity()


@pytest.mark.parametrize(
    ("classes", "message"),
    [(("ab", "c"), "no teacher knows d"), (("abx", "cd"), "unknown class of teacher 0 'x'")],
)
def test_classes_that_do_not_fit_are_refused(classes, message):
    with pytest.raises(ConfigError, match=message):
        specialists(*classes)


def test_a_network_of_other_classes_than_named_is_refused():
    teacher = Specialists([Frozen(Plain(classes=3), Classification())], [list("abcd")], KNOWN)
    with pytest.raises(ConfigError, match="teacher 0 outputs 3 classes, but 4 are named"):
        teacher(BATCH)


def scheme(method, *classes: str) -> Offline:
    offline = Offline(Player(Plain(classes=4), Terms.from_method(method), Classification()), specialists(*classes))
    offline.wire(BATCH, 20)
    return offline


@pytest.mark.parametrize("classes", [("ab", "cd"), ("dab", "ca")], ids=["apart", "overlapping"])
def test_a_step_minimises_the_losses_of_the_outputs(classes):
    offline, calls = scheme(UHC() + 1.0 * KD(), *classes), []
    for m, member in enumerate(offline.teacher.member_teachers()):
        member.register_forward_hook(lambda *_, m=m: calls.append(m))
    ((name, losses),) = offline.turns(BATCH, 0)
    assert (name, calls) == ("student", [0, 1])
    student_logits = offline.players["student"].student.model(BATCH.inputs)
    teacher_logits = [member.unfolded[0](BATCH.inputs).detach() for member in offline.teacher.member_teachers()]
    columns = [[KNOWN.index(c) for c in names] for names in classes]
    assert torch.allclose(losses["uhc"], UHC()(student_logits, teacher_logits, columns=columns).mean(), atol=1e-6)
    assert torch.allclose(losses["kd"], KD()(student_logits, offline.teacher(BATCH).response).mean(), atol=1e-6)
    (losses["uhc"] + losses["kd"]).backward()
    assert all(p.grad is None for p in offline.teacher.parameters())
    assert all(p.grad is not None for p in offline.players["student"].student.parameters())


def test_a_loss_that_compares_class_by_class_is_refused():
    with pytest.raises(ConfigError, match="AVER compares with several teachers class by class"):
        scheme(AVER(), "ab", "cd")
