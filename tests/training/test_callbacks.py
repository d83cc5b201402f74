"""What watches a training."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import tutelage
from tutelage.training.callbacks import Callback, JsonLines, Logger, flatten_metrics
from tutelage.training.events import EpochEnd, GradientNorms, Message, StepEnd, TrainBegin, TrainEnd

EVENTS = [
    TrainBegin(4, 2, 0, {"at": [("a", "b")]}),
    GradientNorms(0, 0, {"kd": 1.0}, {}),
    StepEnd(2, 0.5, {"kd": 1.0}, 0.1),
    StepEnd(4, 1.0, {"kd": 1.0}, 0.1),
    EpochEnd(4, 1, {"accuracy": 0.5}, "student"),
    GradientNorms(4, 1, {"kd": 1.0}, {}),
    StepEnd(6, 1.5, {"kd": 1.0}, 0.1),
    TrainEnd(8, 12.5),
]


def kept(path: Path, step: int, epoch: int, torn: str = "") -> list[int]:
    """Which events' rows are still there after going on from a checkpoint."""
    path.unlink(missing_ok=True)
    lines = JsonLines(path)
    for event in EVENTS:
        lines.on_event(event)
    with open(path, "a") as file:
        file.write(torn)
    lines.on_resume(step, epoch)
    rows = [json.dumps(event.row()) for event in EVENTS]
    return [rows.index(line) for line in path.read_text().splitlines()]


def test_rows_are_kept_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "deep" / "metrics.jsonl"
    assert kept(path, 2, 0) == [0, 1, 2]
    assert kept(path, 6, 1) == [0, 1, 2, 3, 4, 5, 6]
    assert kept(path, 8, 1) == [0, 1, 2, 3, 4, 5, 6]


def test_what_comes_again_after_a_checkpoint_at_an_epochs_end_is_dropped(tmp_path):
    assert kept(tmp_path / "m", 4, 0) == [0, 1, 2, 3]


def test_beginning_anew_keeps_nothing(tmp_path):
    assert kept(tmp_path / "m", 0, 0) == []


def test_a_torn_last_line_is_dropped(tmp_path):
    assert kept(tmp_path / "m", 4, 0, torn='{"kind": "ste') == [0, 1, 2, 3]


def test_going_on_without_a_file_is_fine(tmp_path):
    JsonLines(tmp_path / "m").on_resume(3, 1)
    assert not (tmp_path / "m").exists()


def test_figures_go_to_a_logger_under_flat_names():
    logged = []

    class Kept:
        def log_metrics(self, figures, step):
            logged.append((step, figures))

        def finalize(self, status):
            logged.append(status)

    logger = Logger(Kept())
    logger.on_event(StepEnd(3, 1, {"kd": 1.0, "ce": 2}, 0.1))
    logger.on_event(EpochEnd(4, 1, {"accuracy": 0.5}, "student"))
    logger.on_event(Message("not a number", "warning", 4))
    logger.on_event(TrainEnd(4, 1.5))
    assert logged == [
        (3, {"losses/kd": 1.0, "losses/ce": 2.0, "lr": 0.1}), (4, {"val/accuracy": 0.5}), (4, {"seconds": 1.5}),
        "success",
    ]  # fmt: skip


def test_flat_leaves_out_what_is_no_number():
    assert flatten_metrics({"a": {"b": 1, "c": "x"}, "d": None, "e": 2.5}) == {"a/b": 1.0, "e": 2.5}


ROWS = [
    (TrainBegin(4, 2, 0, {"at": [("a", "b")]}), {"steps": 4, "epochs": 2, "step": 0, "pairs": {"at": [("a", "b")]}}),
    (StepEnd(2, 0.5, {"kd": 1.0}, 0.1), {"step": 2, "epoch": 0.5, "losses": {"kd": 1.0}, "lr": 0.1}),
    (GradientNorms(0, 0, {"kd": 1.0}, {}), {"step": 0, "epoch": 0, "norms": {"kd": 1.0}}),
    (
        GradientNorms(0, 0, {"kd": 1.0}, {"kd": 2.0}),
        {"step": 0, "epoch": 0, "norms": {"kd": 1.0}, "weights": {"kd": 2.0}},
    ),
    (
        EpochEnd(4, 1, {"accuracy": 0.5}, "peer0"),
        {"step": 4, "epoch": 1, "val": {"accuracy": 0.5}, "student": "peer0"},
    ),
    (TrainEnd(8, 12.5), {"step": 8, "seconds": 12.5}),
    (Message("slow", "warning", 3), {"step": 3, "message": "slow"}),
    (Message("slow"), {"message": "slow"}),
]


@pytest.mark.parametrize(("event", "row"), ROWS)
def test_a_row_has_the_kind_and_the_fields_in_their_order(event, row):
    assert json.dumps(event.row()) == json.dumps({"kind": event.kind} | row)
    with pytest.raises(FrozenInstanceError):
        event.step = 0


def test_each_event_reaches_its_own_hook_alone():
    names = [name for name in vars(Callback) if name.startswith("on_") and name != "on_event"]
    calls = []
    recorder = type("Recorder", (Callback,), {n: lambda self, event, n=n: calls.append(n) for n in names})()
    for event, _ in ROWS:
        recorder.on_event(event)
    assert calls == [
        "on_train_begin", "on_step_end", "on_gradient_norms", "on_gradient_norms", "on_epoch_end", "on_train_end",
        "on_message", "on_message",
    ]  # fmt: skip


def test_one_hook_of_ones_own_is_enough(tmp_path):
    class Accuracies(Callback):
        def __init__(self):
            self.by_epoch = []

        def on_epoch_end(self, event: EpochEnd) -> None:
            self.by_epoch.append((event.epoch, event.val["accuracy"]))

    accuracies = Accuracies()
    run = tutelage.distill(
        "cnn2", "cnn2", baseline=False, teacher_epochs=1, epochs=2, limit=64, device="cpu", progress=False,
        callbacks=[accuracies], out=str(tmp_path / "run"),
    )  # fmt: skip
    lines = [
        json.loads(line)
        for phase in ("teacher", "student-0")
        for line in (run.folder / phase / "metrics.jsonl").read_text().splitlines()
    ]
    rows = [row for row in lines if row["kind"] == "epoch"]
    assert accuracies.by_epoch == [(row["epoch"], row["val"]["accuracy"]) for row in rows]
    assert [epoch for epoch, _ in accuracies.by_epoch] == [1, 1, 2]
