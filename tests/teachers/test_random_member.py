"""One random member of an ensemble per batch."""

import pytest
import torch
from small import Plain, digest, digits, fit, net

from tutelage.errors import ConfigError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.random_member import RandomMember

TASK = Classification()


def members(*networks) -> list[Frozen]:
    return [Frozen(network, TASK) for network in networks]


def scheme(teacher, method) -> Offline:
    return Offline(Player(net("cnn2", 9), Terms.from_method(method, TASK.task_loss()), TASK), teacher)


def test_the_draw_is_a_function_of_seed_and_epoch_and_gives_all_the_same_chance():
    teacher, same, other_seed = (RandomMember(members(*[net("cnn2")] * 3), seed) for seed in (0, 0, 1))
    epochs = [k / 100 for k in range(3000)]
    draws = [teacher.draw(e) for e in epochs]
    assert draws == [same.draw(e) for e in epochs]
    assert draws != [other_seed.draw(e) for e in epochs]
    assert all(abs(draws.count(m) - 1000) < 4 * (3000 * 2 / 9) ** 0.5 for m in range(3))


def test_annealed_it_moves_from_the_first_to_the_last():
    teacher = RandomMember(members(*[net("cnn2")] * 3), epochs=10)
    begins, half, ends = ([teacher.draw(at + k / 1000) for k in range(200)] for at in (0.0, 2.4, 10.0))
    assert begins.count(0) > 180
    assert set(half) == {0, 1}
    assert abs(half.count(1) - 100) < 30
    assert set(ends) == {2}


def test_only_the_drawn_member_is_run():
    teacher = RandomMember(members(net("cnn4", 1), net("cnn4", 2)))
    calls = []
    for m, member in enumerate(teacher.member_teachers()):
        member.register_forward_hook(lambda *_, m=m: calls.append(m))
    images = torch.randn(4, 1, 8, 8)
    for k in range(8):
        outputs = teacher(Batch(images, index=torch.arange(4), epoch=k / 8), ["layer1"])
        drawn = teacher.draw(k / 8)
        assert calls == [drawn]
        assert torch.equal(outputs.response, teacher.member_teachers()[drawn].unfolded[0].eval()(images))
        calls.clear()
    mean = Ensemble(members(net("cnn4", 1), net("cnn4", 2)))
    assert torch.equal(teacher(Batch(images)).response, mean(Batch(images)).response)


def test_training_by_response_and_features_is_reproducible():
    data = digits(48)
    students = [
        fit(scheme(RandomMember(members(net("cnn4", 1), net("cnn4", 2)), seed), KD() + AT()), data, epochs=2)
        for seed in (0, 0, 1)
    ]
    assert digest(students[0]) == digest(students[1])
    assert digest(students[0]) != digest(students[2])


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([], "at least one teacher"),
        ([Plain(10), Plain(7)], "differ in shape"),
        ([net("cnn4"), net("cnn8")], r"layer layer1 has the shapes \(4, 8, 8\), \(8, 8, 8\) in the teachers"),
    ],
)
def test_faulty_ones_are_refused_before_training(networks, message):
    batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4), torch.arange(4))
    with pytest.raises(ConfigError, match=message):
        scheme(RandomMember(members(*networks)), AT()).wire(batch, 10)


def test_a_course_of_no_epochs_is_refused():
    with pytest.raises(ConfigError, match="epochs=0"):
        RandomMember(members(net("cnn2")), epochs=0)
