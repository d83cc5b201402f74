from __future__ import annotations

import io
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from tutelage.runs import progress as module
from tutelage.runs.progress import ProgressDisplay
from tutelage.training.events import EpochEnd, Event, Message, StepEnd, TrainBegin, TrainEnd


@pytest.fixture
def printed(monkeypatch):
    """A function that sends events to a ProgressDisplay on a terminal or a pipe, and returns the output."""

    def play(events, terminal=False, seeds=5, phase="student-2", phases=3) -> str:
        file = io.StringIO()
        monkeypatch.setattr(module, "console", lambda: Console(file=file, force_terminal=terminal, width=160))
        with ProgressDisplay(seeds) as progress:
            progress.on_phase_begin(phase, phases)
            for event in events:
                progress.on_event(event)
        return file.getvalue()

    return play


def training(epochs: int) -> list[Event]:
    events: list[Event] = [TrainBegin(10, epochs, 0, {"at": [("a (4, 8, 8)", "b")]})]
    for epoch in range(1, epochs + 1):
        events.append(StepEnd(10 * epoch, float(epoch), {"ce": 2.0, "at": 0.25}, 1.0))
        events.append(EpochEnd(10 * epoch, epoch, {"accuracy": epoch / epochs, "loss": 1.0}, "student"))
    return [*events, TrainEnd(10 * epochs, 12.0)]


def test_a_phase_is_a_few_plain_lines(printed):
    lines = printed(training(100)).splitlines()
    assert lines[0] == "student 3/5: 100 epochs of 10 steps"
    assert lines[1].strip() == "at: student a (4, 8, 8) ← teacher b"
    assert "epoch 12/100  accuracy 0.1200  ce 2  at 0.25" in lines[2]
    assert lines[-1] == "student 3/5: done in 12 s, validation accuracy 1.0000"
    assert len(lines) <= 12
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_live_display(printed):
    shown = printed(training(20), terminal=True)
    assert "\x1b[" in shown
    assert "student 3/5" in shown
    assert "left" in shown


def test_one_seed_has_no_numbers(printed):
    assert printed(training(1), seeds=1).startswith("student: 1 epochs")


def test_warnings_and_notes_are_printed_once(printed):
    warning, note = Message("look", "warning", 1), Message("hear")
    assert printed([warning, note, warning, note]) == "warning: look\nnote: hear\n"


def test_the_time_left_counts_the_phases_to_come(monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 10.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    progress = ProgressDisplay(1)
    progress.on_phase_begin("teacher", 3)
    progress.on_event(TrainBegin(10, 4, 0, {}))
    progress.since = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: 10.0)
    assert progress._left(1) == (30.0, 110.0)


def test_interrupting_saves_and_exits_with_130(tmp_path):
    arguments = ["student=cnn2", "epochs=5000", "device=cpu", "log_every=1", "out=run"]
    command = [sys.executable, "-m", "tutelage", "train", *arguments]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows = tmp_path / "run/student-0/metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (rows.exists() and '"epoch"' in rows.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert errors.startswith("error: stopped by SIGINT")
    assert "saved in run/student-0/checkpoints" in errors
    assert list((tmp_path / "run/student-0/checkpoints").glob("*.pt"))
