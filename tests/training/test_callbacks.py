"""What watches a training."""

import json
from pathlib import Path

from tutelage.training.callbacks import JsonLines, Logger, flat

ROWS = [
    {"kind": "begin", "step": 0},
    {"kind": "norms", "step": 0, "epoch": 0},
    {"kind": "step", "step": 2, "epoch": 0.5},
    {"kind": "step", "step": 4, "epoch": 1.0},
    {"kind": "epoch", "step": 4, "epoch": 1},
    {"kind": "norms", "step": 4, "epoch": 1},
    {"kind": "step", "step": 6, "epoch": 1.5},
    {"kind": "end", "step": 8},
]


def kept(path: Path, step: int, epoch: int, rows=ROWS, torn: str = "") -> list[int]:
    """Which rows are still there after going on from a checkpoint."""
    path.unlink(missing_ok=True)
    lines = JsonLines(path)
    for row in rows:
        lines.note(row)
    with open(path, "a") as file:
        file.write(torn)
    lines.resume(step, epoch)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [ROWS.index(row) for row in found]


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
    JsonLines(tmp_path / "m").resume(3, 1)
    assert not (tmp_path / "m").exists()


def test_figures_go_to_a_logger_under_flat_names():
    logged = []

    class Kept:
        def log_metrics(self, figures, step):
            logged.append((step, figures))

        def finalize(self, status):
            logged.append(status)

    logger = Logger(Kept())
    logger.note({"kind": "step", "step": 3, "losses": {"kd": 1.0, "ce": 2}, "lr": 0.1, "epoch": 1})
    logger.note({"kind": "epoch", "step": 4, "val": {"accuracy": 0.5}, "student": "student"})
    logger.note({"kind": "end", "step": 4})
    assert logged == [(3, {"losses/kd": 1.0, "losses/ce": 2.0, "lr": 0.1}), (4, {"val/accuracy": 0.5}), "success"]


def test_flat_leaves_out_what_is_no_number():
    assert flat({"a": {"b": 1, "c": "x"}, "d": None, "e": 2.5}) == {"a/b": 1.0, "e": 2.5}
