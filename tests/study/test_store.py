"""The store: each trial is given out once, whoever asks, and nothing of a dead program stays taken."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tutelage.errors import ConfigError, TutelageError
from tutelage.study.store import FILE, Store, owner_name
from tutelage.study.trial import TRIAL, StudyTrial

TEACHER = StudyTrial("teacher", "cnn8", "", "", 0, {"student": "cnn8"})
ALONE = StudyTrial("alone", "cnn2", "", "alone", 0, {"student": "cnn2"})
TAUGHT = StudyTrial("method", "cnn2", "cnn8", "kd", 0, {"teacher": TRIAL + TEACHER.id, "student": "cnn2"})


def many(count: int) -> list[StudyTrial]:
    return [StudyTrial("alone", "cnn2", "", "alone", seed, {"seed": seed}) for seed in range(count)]


def test_equal_trials_are_added_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.add([TEACHER, ALONE]) == 2
    assert store.add([ALONE, TAUGHT]) == 1
    assert [stored.trial for stored in Store.open(tmp_path).trials().values()] == [TEACHER, ALONE, TAUGHT]
    assert [*store.trials()] == [TEACHER.id, ALONE.id, TAUGHT.id]


def test_each_trial_is_claimed_once_by_many_at_a_time(tmp_path: Path) -> None:
    trials = many(60)
    Store(tmp_path).add(trials)

    def work(name: int) -> list[str]:
        own, claimed = Store.open(tmp_path), []
        while (trial := own.claim(f"owner{name}")) is not None:
            claimed.append(trial)
            own.end(trial, "done", result={"seed": name})
        return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [trial for one in pool.map(work, range(6)) for trial in one]
    assert sorted(claimed) == sorted(trial.id for trial in trials)
    assert {stored.state for stored in Store.open(tmp_path).trials().values()} == {"done"}


def test_a_trial_waits_for_its_teacher(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([TAUGHT, TEACHER])
    assert store.claim("a") == TEACHER.id
    assert store.claim("a") is None
    store.end(TEACHER.id, "done", seconds=3.0, result={})
    assert store.claim("a") == TAUGHT.id


def test_a_teacher_that_fails_fails_what_it_teaches(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([TAUGHT, TEACHER, ALONE])
    store.end(TEACHER.id, "failed", "it diverged")
    assert store.fail_without_teacher() == 1
    assert store.trials()[TAUGHT.id].reason == "its teacher failed: it diverged"
    assert store.trials()[ALONE.id].state == "waiting"
    store.retry([TEACHER.id, TAUGHT.id])
    assert {stored.state for stored in store.trials().values()} == {"waiting"}


def test_trials_of_dead_programs_wait_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(many(3))
    machine = owner_name().split(":")[0]
    dead, silent, alive = f"{machine}:999999999:a", "elsewhere:7:a", owner_name()
    for owner in (dead, silent, alive):
        store.sign(owner)
    taken = [store.claim(owner) for owner in (silent, alive)]
    assert None not in taken
    store.connection.execute("UPDATE owners SET seen = ? WHERE owner = ?", (time.time() - 3600, silent))
    third = store.claim(dead)
    store.sign(alive)
    states = {name: stored.state for name, stored in store.trials().items()}
    assert states == {taken[0]: "waiting", taken[1]: "running", third: "waiting"}
    store.leave(alive)
    assert {stored.state for stored in store.trials().values()} == {"waiting"}


def test_process_times_add_up_over_attempts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([ALONE])
    store.claim("a")
    store.end(ALONE.id, "waiting", seconds=2.0)
    store.claim("a")
    store.pause(ALONE.id, 4, 1.5)
    (stored,) = store.trials().values()
    assert (stored.state, stored.epoch, stored.seconds, stored.attempts) == ("paused", 4, 3.5, 0)
    store.go_on([ALONE.id])
    assert store.claim("a") == ALONE.id


@pytest.mark.parametrize(
    "content", [b"not a database at all, but a text of some length" * 30, b"SQLite format 3\0torn"]
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(TutelageError, match=r"study\.db isn't a study"):
        Store.open(tmp_path)


def test_a_folder_without_a_study_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no study"):
        Store.open(tmp_path)
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE study SET value = '99' WHERE name = 'format'")
    with pytest.raises(TutelageError, match="has the format 99"):
        Store.open(tmp_path)


def test_a_process_of_the_same_number_is_another_owner(tmp_path: Path) -> None:
    assert owner_name() != owner_name(), "a container's process may have the number of the one before"
    store, before = Store(tmp_path), owner_name()
    store.add([ALONE])
    store.sign(before)
    store.claim(before)
    store.connection.execute("UPDATE owners SET seen = 0")
    store.sign(owner_name())
    assert store.trials()[ALONE.id].state == "waiting"


def test_the_database_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE trials (trial_id INTEGER)")
    before = (tmp_path / FILE).read_bytes()
    for open_it in (Store, Store.open):
        with pytest.raises(ConfigError, match="another program's database: choose another folder"):
            open_it(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_folder_that_cant_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TutelageError, match=r"can't be made: .* Choose another folder"):
            Store(folder)


def test_a_study_is_read_but_not_changed_where_it_cant_be_written(tmp_path: Path) -> None:
    Store(tmp_path).add([ALONE])
    store = Store.open(tmp_path)
    store.connection.execute("PRAGMA query_only = ON")
    store._begin()
    assert [*store.trials()] == [ALONE.id]
    for change in (lambda: store.retry([ALONE.id]), lambda: store.set_default("a", 1), lambda: store.claim("a")):
        with pytest.raises(TutelageError, match="can't be read or written: attempt to write a readonly database"):
            change()


def test_an_owner_of_a_study_begun_before_has_no_name_of_its_own(tmp_path: Path) -> None:
    store, dead = Store(tmp_path), f"{owner_name().split(':')[0]}:999999999"
    store.add([ALONE])
    store.connection.execute("INSERT INTO owners VALUES (?, ?)", (dead, time.time()))
    assert store.claim(dead) == ALONE.id
    store.sign(owner_name())
    assert store.trials()[ALONE.id].state == "waiting"


def test_an_empty_file_isnt_taken_for_a_study(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    with pytest.raises(TutelageError, match=r"study.db is empty: delete it, and repeat the command"):
        Store.open(tmp_path)
    assert Store(tmp_path).trials() == {}  # the command that begins a study
