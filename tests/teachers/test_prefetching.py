"""A teacher that runs on later batches in a separate thread."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from runs.test_resume import stopped
from small import digest, digits, fit, net, offline

import tutelage
from tutelage.errors import ConfigError, Interrupted, NotFinite
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.kd import KD
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.prefetching import PrefetchingTeacher

WAIT = 20.0


class Noting(Teacher):
    """Outputs the batch's first number; records the batches and the threads."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.threads: set[str] = set()
        self.fail_at = fail_at
        self.came = threading.Condition()

    def forward(self, batch, layers=()):
        number = int(batch.index[0])
        with self.came:
            self.numbers.append(number)
            self.came.notify_all()
        self.threads.add(threading.current_thread().name)
        if number == self.fail_at:
            raise NotFinite(f"batch {number}")
        return Outputs(torch.tensor([float(number)]))

    def profile(self, batch):
        raise NotImplementedError

    def has_received(self, count: int) -> bool:
        with self.came:
            return self.came.wait_for(lambda: len(self.numbers) >= count, WAIT)


def batches(count: int):
    return (Batch(torch.zeros(2, 1), index=torch.tensor([k, k])) for k in range(count))


def teaching_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("teacher")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert teaching_threads() == []


def with_ahead(scheme, depth: int = 2, device: str | None = None):
    scheme.teacher = PrefetchingTeacher(scheme.teacher, depth, device)
    return scheme


@pytest.mark.parametrize("depth", [0, 1, 2, 9])
def test_each_batch_gets_its_own_outputs_in_order(depth):
    noting = Noting()
    teacher = PrefetchingTeacher(noting, depth)
    answers = [teacher(batch).response.item() for batch in teacher.prefetch(batches(5))]
    assert answers == [0, 1, 2, 3, 4]
    assert noting.numbers == [0, 1, 2, 3, 4]
    assert len(noting.threads) == 1
    assert noting.threads == {"teacher_0"} or depth == 0


def test_it_runs_at_most_depth_batches_ahead():
    noting = Noting()
    coming = PrefetchingTeacher(noting, 2).prefetch(batches(9))
    next(coming)
    assert noting.has_received(3)
    assert noting.numbers == [0, 1, 2]
    next(coming)
    assert noting.has_received(4)
    assert noting.numbers == [0, 1, 2, 3]
    coming.close()


def test_the_student_does_not_wait_for_the_batches_to_come():
    """The first outputs are ready while the second can't be."""
    first, rest = threading.Event(), threading.Event()

    class Slow(Noting):
        def forward(self, batch, layers=()):
            number = int(batch.index[0])
            assert (first if number == 0 else rest).wait(WAIT)
            return Outputs(torch.tensor([float(number)]))

    teacher = PrefetchingTeacher(Slow(), 2)
    coming = teacher.prefetch(batches(4))
    first.set()
    assert teacher(next(coming)).response.item() == 0
    rest.set()
    assert [teacher(batch).response.item() for batch in coming] == [1, 2, 3]


def test_a_failure_is_raised_at_its_own_batch():
    coming = PrefetchingTeacher(Noting(fail_at=2), 3).prefetch(batches(6))
    assert [int(next(coming).index[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(NotFinite, match="batch 2"):
        next(coming)


def test_a_failure_of_the_data_is_raised_and_ends_the_thread():
    def broken():
        yield from batches(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(PrefetchingTeacher(Noting(), 1).prefetch(broken()))


def test_closing_it_early_drops_what_was_asked():
    class Slow(Noting):
        """Finishes its second batch only after the later ones are cancelled."""

        def forward(self, batch, layers=()):
            outputs, until = super().forward(batch), time.monotonic() + WAIT
            while outputs.response and teacher.pool is not None:
                assert time.monotonic() < until
                time.sleep(0.001)
            return outputs

    noting = Slow()
    teacher = PrefetchingTeacher(noting, 4)
    coming = teacher.prefetch(batches(9))
    next(coming)
    assert noting.has_received(2)
    coming.close()
    assert noting.numbers == [0, 1]


def test_other_batches_and_layers_are_answered_too():
    noting = Noting()
    teacher = PrefetchingTeacher(noting, 2)
    coming = teacher.prefetch(batches(3))
    batch = next(coming)
    assert teacher(replace(batch, index=torch.tensor([7]))).response.item() == 7
    assert teacher(batch, ("layer",)).response.item() == 0
    assert noting.threads == {"teacher_0"}
    coming.close()
    assert teacher(batch).response.item() == 0


def test_it_looks_ahead_in_any_epoch():
    noting = Noting()
    teacher = PrefetchingTeacher(noting, 2)
    for _ in range(2):
        assert [teacher(batch).response.item() for batch in teacher.prefetch(batches(3))] == [0, 1, 2]
    assert noting.numbers == [0, 1, 2] * 2


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("method", [None, KD() + AT() + FitNet()], ids=["kd", "features"])
def test_a_training_ends_in_the_same_bits(method, device):
    data = digits(80)
    expected = fit(offline(data, method), data, epochs=2)
    assert digest(fit(with_ahead(offline(data, method), 2, device), data, epochs=2)) == digest(expected)


@pytest.mark.parametrize("at", [3, 5], ids=["within an epoch", "in the next"])
def test_a_crash_costs_no_bit_and_leaves_no_thread(tmp_path, at):
    data, changes = digits(64), {"epochs": 3, "checkpoint_every": 0}
    expected = fit(offline(data), data, **changes)
    stopped(with_ahead(offline(data)), data, tmp_path, at, **changes)
    assert teaching_threads() == []
    assert digest(fit(with_ahead(offline(data)), data, tmp_path, **changes)) == digest(expected)


def test_a_wish_to_stop_ends_the_thread():
    data = digits(64)
    scheme = with_ahead(offline(data))
    after_step = scheme.after_step

    def stop() -> None:
        after_step()
        os.kill(os.getpid(), signal.SIGTERM)

    scheme.after_step = stop
    with pytest.raises(Interrupted):
        fit(scheme, data)


def test_an_ensemble_answers_ahead():
    data = digits(48)

    def ensemble_scheme():
        scheme = offline(data)
        scheme.teacher = Ensemble([Frozen(net("cnn4", k), Classification()) for k in (1, 2)])
        return scheme

    assert digest(fit(with_ahead(ensemble_scheme()), data)) == digest(fit(ensemble_scheme(), data))


def test_it_stays_on_its_own_device_and_answers_on_the_batchs():
    teacher = PrefetchingTeacher(Frozen(net("cnn4", 1), Classification()), 0, "cpu")
    outputs = teacher(Batch(torch.randn(2, 1, 8, 8)), ["layer1"])
    assert outputs.response.device.type == outputs["layer1"].device.type == "cpu"
    profile = teacher.profile(Batch(torch.randn(2, 1, 8, 8)))
    assert profile.feature("layer1").shape[0] == 2
    assert profile.metadata["head"][0].shape[0] == 10
    teacher.device = torch.device("meta")
    teacher.to("cpu")
    assert {p.device.type for p in teacher.parameters()} == {"meta"}


def test_what_cant_be_is_refused():
    student, task = net("cnn2", 1), Classification()
    with pytest.raises(ConfigError, match="MovingAverage changes in training"):
        PrefetchingTeacher(MovingAverage(student, task))
    with pytest.raises(ConfigError, match="Ensemble changes in training"):
        PrefetchingTeacher(Ensemble([MovingAverage(student, task), Frozen(net("cnn2"), task)]))
    with pytest.raises(ConfigError, match="depth=-1"):
        PrefetchingTeacher(Noting(), -1)
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(ConfigError, match=f"teacher_device={device}"):
            PrefetchingTeacher(Noting(), 2, device)


def test_a_whole_run_finds_the_same_with_a_teacher_ahead(tmp_path):
    keys = {"teacher": "cnn4", "student": "cnn2", "teacher_epochs": 1, "epochs": 2, "limit": 100, "device": "cpu"}
    for name, more in (("plain", {}), ("ahead", {"teacher_ahead": 2, "teacher_device": "cpu"})):
        tutelage.distill(out=str(tmp_path / name), **keys, **more)
    plain, ahead = ((tmp_path / name / "student.safetensors").read_bytes() for name in ("plain", "ahead"))
    assert plain == ahead


def test_a_run_refuses_what_its_teacher_cant_do_before_there_is_a_folder(tmp_path):
    keys = {"teacher": "cnn4", "student": "cnn2", "limit": 64, "device": "cpu", "out": str(tmp_path / "run")}
    for more, says in (
        ({"teacher_precision": "16"}, "teacher_precision=16: this CPU would only emulate it"),
        ({"teacher_device": "nonsense"}, "teacher_device=nonsense"),
        ({"teacher_ahead": 2, "teacher": "moving_average"}, "teacher_ahead is for a teacher that is trained already"),
    ):
        with pytest.raises(ConfigError, match=says):
            tutelage.distill(**(keys | more))
    assert list(tmp_path.iterdir()) == []
