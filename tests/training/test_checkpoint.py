"""Checkpoints that survive being killed."""

import math
import random

import pytest
import torch

from tutelage.errors import CheckpointError, TutelageError
from tutelage.training import checkpoint
from tutelage.utils import files


def saved(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, {"step": step, "weights": torch.full((100,), float(step))})


def load(folder):
    warnings: list[str] = []
    return checkpoint.load(folder, warnings.append), warnings


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_newest_is_loaded_and_two_are_kept(tmp_path):
    saved(tmp_path, 5, 10, 100)
    state, warnings = load(tmp_path)
    assert (state["step"], warnings) == (100, [])
    assert sorted(p.stem for p in tmp_path.glob("*.pt")) == ["step-000000010", "step-000000100"]
    assert len(list(tmp_path.iterdir())) == 4


def test_nothing_there_is_nothing(tmp_path):
    assert load(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("harm", [flip, lambda p: p.write_bytes(p.read_bytes()[:50]), lambda p: p.write_bytes(b"")])
def test_a_torn_newest_is_named_and_the_one_before_is_used(tmp_path, harm):
    saved(tmp_path, 1, 2)
    harm(tmp_path / "step-000000002.pt")
    state, (warning,) = load(tmp_path)
    assert state["step"] == 1
    assert "step-000000002.pt is torn or was altered" in warning


def test_one_whose_digest_was_not_yet_written_is_passed_over(tmp_path):
    saved(tmp_path, 1, 2)
    (tmp_path / "step-000000002.sha256").unlink()
    assert load(tmp_path)[0]["step"] == 1


def test_all_torn_is_an_error_that_names_them(tmp_path):
    saved(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        flip(path)
    with pytest.raises(CheckpointError, match=r"all checkpoints .*step-000000002.pt, step-000000001.pt"):
        load(tmp_path)


def test_killed_within_the_very_first_begins_anew(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "step-000000001.sha256").unlink()
    assert load(tmp_path)[0] is None


def test_saving_again_after_a_torn_one_still_leaves_a_whole_one(tmp_path):
    saved(tmp_path, 1, 2)
    flip(tmp_path / "step-000000002.pt")
    saved(tmp_path, 2)
    assert load(tmp_path)[0]["step"] == 2


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file"
    files.write_atomically(path, lambda file: file.write(b"first"))

    def break_off(file):
        file.write(b"sec")
        raise OSError(28, "No space left on device")

    with pytest.raises(TutelageError, match=r"No space left on device.*Free some space or choose another folder"):
        files.write_atomically(path, break_off)
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_random_states_come_back(tmp_path):
    random.seed(3)
    torch.manual_seed(3)
    checkpoint.save(tmp_path, 1, checkpoint.random_state())
    expected = random.random(), random.gauss(0, 1), torch.rand(3)
    checkpoint.set_random_state(load(tmp_path)[0])
    again = random.random(), random.gauss(0, 1), torch.rand(3)
    assert again[:2] == expected[:2]
    assert torch.equal(again[2], expected[2])


@pytest.mark.parametrize("higher", [True, False])
def test_nan_is_never_the_best(higher: bool):
    progress, (worse, better) = checkpoint.Progress(), (1.0, 2.0) if higher else (2.0, 1.0)
    kept = []
    for value in (math.nan, worse, math.nan, worse, better, math.nan):
        if progress.is_better(value, higher):
            progress.set_best(value)
            kept.append(value)
    assert kept[1:] == [worse, better]
