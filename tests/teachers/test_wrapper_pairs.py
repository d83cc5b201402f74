"""Each kind of teacher that wraps others around each other kind: the outputs follow from the networks by hand."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from small import Plain, digits
from torch import nn

from tutelage.errors import ConfigError
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.teachers.projected import Projected, project_feature
from tutelage.teachers.random_member import RandomMember
from tutelage.teachers.specialists import Specialists

DATA, TASK = digits(32), Classification()
CLASSES = [str(k) for k in range(10)]
DECAY = 0.75


@dataclass(frozen=True)
class Known:
    """A teacher, and what it should do.

    Attributes:
        teacher: the teacher.
        layers: the layers that are requested.
        expected: returns the outputs for a batch, computed by hand.
        networks: the networks that it runs.
        sources: the students that moving averages follow.
        members: the number of its members.
    """

    teacher: Teacher
    layers: list[str]
    expected: Callable[[Batch], Outputs]
    networks: list[nn.Module]
    sources: list[nn.Module]
    members: int = 0


Make = Callable[[int], Known]


def network(seed: int) -> Plain:
    torch.manual_seed(seed)
    return Plain()


def by_hand(model: Plain, batch: Batch) -> Outputs:
    with torch.no_grad():
        first = model.layer1(batch.inputs)
        second = model.layer2(first)
        return Outputs(model.fc(second.mean((2, 3))), {"layer1": first, "layer2": second})


def frozen(seed: int) -> Known:
    model, twin = network(seed), network(seed)  # the teacher's thread may be running the one
    return Known(Frozen(model, TASK), ["layer1", "layer2"], lambda batch: by_hand(twin, batch), [model], [])


def moving_average(seed: int) -> Known:
    student, average = network(seed), network(seed)
    teacher = MovingAverage(student, TASK, DECAY)
    return Known(teacher, ["layer1", "layer2"], lambda batch: by_hand(average, batch), [average], [student])


class User(TeacherWrapper):
    """A wrapper as a user would write it."""


def projected(make: Make, folder: Path) -> Known:
    inner = make(1)

    def narrow(outputs: Outputs) -> Outputs:
        features = {layer: project_feature(x, 3) for layer, x in outputs.features.items()}
        return Outputs(outputs.response, features, member_outputs=[narrow(member) for member in outputs.member_outputs])

    return replace(inner, teacher=Projected(inner.teacher, 3), expected=lambda batch: narrow(inner.expected(batch)))


def cached(make: Make, folder: Path) -> Known:
    inner = make(1)
    plan = CachePlan(Path(tempfile.mkdtemp(dir=folder)) / "cache", storage="exact", views=2, batch_size=16)
    return replace(inner, teacher=Cached(inner.teacher, DATA, plan))


def delegating(wrap: Callable[[Teacher], Teacher]) -> Callable[[Make, Path], Known]:
    def build(make: Make, folder: Path) -> Known:
        inner = make(1)
        return replace(inner, teacher=wrap(inner.teacher))

    return build


def joined(response: torch.Tensor, members: Sequence[Outputs]) -> Outputs:
    features = {f"{m}.{layer}": x for m, member in enumerate(members) for layer, x in member.features.items()}
    return Outputs(response, features, member_outputs=list(members))


def group(teacher: Teacher, members: Sequence[Known], expected: Callable[[list[Outputs]], Outputs]) -> Known:
    return Known(
        teacher,
        [f"{m}.{layer}" for m, member in enumerate(members) for layer in member.layers],
        lambda batch: expected([member.expected(batch) for member in members]),
        [model for member in members for model in member.networks],
        [student for member in members for student in member.sources],
        len(members),
    )


def ensemble(make: Make, folder: Path) -> Known:
    members = [make(1), make(2)]
    teacher = Ensemble([member.teacher for member in members])
    return group(teacher, members, lambda x: joined((x[0].response + x[1].response) / 2, x))


def specialists(make: Make, folder: Path) -> Known:
    """The first member's classes are in reverse order."""
    members = [make(1), make(2)]
    teacher = Specialists([member.teacher for member in members], [CLASSES[::-1], CLASSES], CLASSES)
    return group(teacher, members, lambda x: joined((x[0].response.flip(1) + x[1].response) / 2, x))


def random_member(make: Make, folder: Path) -> Known:
    """The first member at the beginning, the second after an epoch."""
    members = [make(1), make(2)]
    teacher = RandomMember([member.teacher for member in members], epochs=1.0)
    networks, sources = ([x for member in members for x in getattr(member, n)] for n in ("networks", "sources"))
    return Known(
        teacher,
        members[0].layers,
        lambda batch: members[teacher.draw(batch.epoch)].expected(batch),
        networks,
        sources,
        len(members),
    )


WRAPPERS: dict[str, Callable[[Make, Path], Known]] = {
    "user": delegating(User),
    "projected": projected,
    "prefetching": delegating(PrefetchingTeacher),
    "on_device": delegating(lambda teacher: PrefetchingTeacher(teacher, 2, "cpu")),
    "cached": cached,
    "ensemble": ensemble,
    "specialists": specialists,
    "random_member": random_member,
}
AHEAD = {"prefetching", "on_device"}
GROUPS = {"ensemble", "specialists", "random_member"}
FROZEN_ONLY = {"projected", "prefetching", "on_device", "cached"}
"""The wrappers of teachers that training doesn't change."""

NOT_CACHED = {"random_member"}
"""The teachers without an identity, which a cache refuses."""

PAIRS = [(o, i) for o in WRAPPERS for i in WRAPPERS if not (o == "cached" and i in NOT_CACHED)]
CHANGING_PAIRS = [pair for pair in PAIRS if not FROZEN_ONLY & set(pair)]
every_pair = pytest.mark.parametrize(("outer", "inner"), PAIRS)


def build(outer: str, inner: str, folder: Path, leaf: Make = frozen, seed: int = 0) -> Known:
    def make(number: int) -> Known:
        return WRAPPERS[inner](lambda innermost: leaf(100 * seed + 10 * number + innermost), folder)

    return WRAPPERS[outer](make, folder)


def batches(epoch: int = 0):
    return DATA.batches("train", 8, seed=5, epoch=epoch, views=2, view_seed=0)


def prepared(known: Known) -> Known:
    """The teacher as a scheme prepares it."""
    known.teacher.profile(next(batches()))
    known.teacher.prepare_for(known.layers, member_outputs=True)
    return known


def assert_equal(actual: Outputs, expected: Outputs) -> None:
    torch.testing.assert_close(actual.response, expected.response)
    assert actual.features.keys() == expected.features.keys()
    for layer, x in expected.features.items():
        torch.testing.assert_close(actual[layer], x)


def teacher_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("teacher")]


@every_pair
def test_outputs_are_those_by_hand(outer: str, inner: str, tmp_path: Path) -> None:
    """Batch by batch, read ahead as the trainer does; the members' outputs too."""
    known = prepared(build(outer, inner, tmp_path))
    for epoch in (0, 1):
        with closing(known.teacher.prefetch(batches(epoch), known.layers)) as coming:
            for batch in coming:
                actual, expected = known.teacher(batch, known.layers), known.expected(batch)
                assert_equal(actual, expected)
                assert len(actual.member_outputs) == len(expected.member_outputs)
                for member, by_hand in zip(actual.member_outputs, expected.member_outputs, strict=True):
                    assert_equal(member, by_hand)
        assert teacher_threads() == []


@every_pair
def test_a_batch_without_a_view_gets_its_own_outputs(outer: str, inner: str, tmp_path: Path) -> None:
    known = prepared(build(outer, inner, tmp_path))
    batch = next(DATA.batches("val", 8))
    assert_equal(known.teacher(batch, known.layers), known.expected(batch))


@every_pair
def test_threads_end_with_an_epoch_that_fails(outer: str, inner: str, tmp_path: Path) -> None:
    """A cache needs no reading ahead; the members of a group don't read ahead."""
    known = prepared(build(outer, inner, tmp_path))
    coming = known.teacher.prefetch(batches(), known.layers)
    next(coming)
    assert bool(teacher_threads()) == (outer in AHEAD or (outer in ("user", "projected") and inner in AHEAD))
    coming.close()
    assert teacher_threads() == []


@every_pair
def test_the_profile_is_that_of_the_outputs(outer: str, inner: str, tmp_path: Path) -> None:
    known = build(outer, inner, tmp_path)
    batch = replace(next(batches()), epoch=0.0)
    profile, expected = known.teacher.profile(batch), known.expected(batch)
    torch.testing.assert_close(profile.response, expected.response[: len(profile.response)])
    assert set(known.layers) <= {layer.name for layer in profile.layers}
    for layer in known.layers:
        feature = profile.feature(layer)
        torch.testing.assert_close(feature, expected[layer][: len(feature)])
    assert len(profile.member_profiles) == len(expected.member_outputs)
    known.teacher.prepare_for(known.layers)
    metadata = known.teacher(batch, known.layers).metadata
    torch.testing.assert_close(metadata, profile.metadata, rtol=0, atol=0)


@every_pair
def test_members_are_those_of_the_wrapped(outer: str, inner: str, tmp_path: Path) -> None:
    known = build(outer, inner, tmp_path)
    assert len(known.teacher.member_teachers()) == known.members


@every_pair
def test_nothing_gets_a_gradient_or_leaves_eval_mode(outer: str, inner: str, tmp_path: Path) -> None:
    known = prepared(build(outer, inner, tmp_path))
    known.teacher.train()
    outputs = known.teacher(next(batches()), known.layers)
    assert not any(x.requires_grad for x in (outputs.response, *outputs.features.values()))
    assert not any(module.training for module in known.teacher.modules())
    assert not any(parameter.requires_grad for parameter in known.teacher.parameters())


@every_pair
def test_to_reaches_every_network(outer: str, inner: str, tmp_path: Path) -> None:
    known = build(outer, inner, tmp_path)
    known.teacher.to(torch.float64)
    assert len(known.networks) == 2 ** ((outer in GROUPS) + (inner in GROUPS))
    assert {parameter.dtype for model in known.networks for parameter in model.parameters()} == {torch.float64}


@every_pair
def test_a_frozen_one_has_no_state_and_the_identity_of_its_networks(outer: str, inner: str, tmp_path: Path) -> None:
    known, again, other = (build(outer, inner, tmp_path, seed=seed) for seed in (0, 0, 1))
    assert not known.teacher.changes_in_training()
    again.teacher.load_checkpoint_state(known.teacher.checkpoint_state())
    if "random_member" in (outer, inner):
        assert known.teacher.identity() is None
    else:
        assert known.teacher.identity() == again.teacher.identity() != other.teacher.identity()


def train_a_step(known: Known, step: int) -> None:
    """Change the students; update the averages by hand and in the teacher."""
    with torch.no_grad():
        for student, average in zip(known.sources, known.networks, strict=True):
            for weight, mean in zip(student.parameters(), average.parameters(), strict=True):
                weight.mul_(1.5)
                mean.copy_(weight if step == 0 else DECAY * mean + (1 - DECAY) * weight)
    known.teacher.after_step()


@pytest.mark.parametrize(("outer", "inner"), CHANGING_PAIRS)
def test_a_moving_average_moves_and_is_restored(outer: str, inner: str, tmp_path: Path) -> None:
    known, restored = (prepared(build(outer, inner, tmp_path, moving_average)) for _ in range(2))
    assert known.teacher.changes_in_training()
    assert known.teacher.identity() is None
    for step in range(3):
        train_a_step(known, step)
    restored.teacher.load_checkpoint_state(known.teacher.checkpoint_state())
    for epoch in (0, 1):
        batch = next(batches(epoch))
        expected = known.expected(batch)
        for teacher in (known.teacher, restored.teacher):
            assert_equal(teacher(batch, known.layers), expected)
        assert not torch.equal(restored.expected(batch).response, expected.response)


@pytest.mark.parametrize("outer", sorted(FROZEN_ONLY))
@pytest.mark.parametrize("inner", sorted(WRAPPERS.keys() - FROZEN_ONLY))
def test_a_teacher_that_changes_is_refused(outer: str, inner: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="changes in training"):
        build(outer, inner, tmp_path, moving_average)


@pytest.mark.parametrize("inner", sorted(NOT_CACHED))
def test_a_teacher_without_an_identity_is_not_cached(inner: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be cached"):
        build("cached", inner, tmp_path)
