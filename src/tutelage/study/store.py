"""A study's trials and their results in one SQLite file, safe for several programs at once."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import ConfigError, TutelageError
from tutelage.study.trial import State, StudyTrial

FILE = "study.db"
FORMAT = 1
AGAIN = "delete it, and repeat the command that began the study: its finished runs are read again."
PATIENCE = 60.0
"""Seconds without a sign of life after which a program that claimed trials is taken for dead."""

TABLES = f"""
CREATE TABLE IF NOT EXISTS study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    id TEXT PRIMARY KEY, position INTEGER NOT NULL, role TEXT NOT NULL, student TEXT NOT NULL, teacher TEXT NOT NULL,
    method TEXT NOT NULL, seed INTEGER NOT NULL, keys TEXT NOT NULL, folder TEXT NOT NULL, requires TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, owner TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,
    seconds REAL, result TEXT);
CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, seen REAL NOT NULL);
INSERT OR IGNORE INTO study VALUES ('format', '{FORMAT}');
"""


@dataclass(frozen=True)
class StoredTrial:
    """A trial in the store.

    Args:
        trial: the trial.
        folder: its run folder below the study's.
        state: waiting, running, paused, done, failed or stopped.
        reason: why it failed or was stopped.
        attempts: how often it was begun since it last paused.
        epoch: the epoch after which it last paused; 0: none.
        seconds: the process time that it took; None until it has ended.
        result: the run's result; None until it is done.
    """

    trial: StudyTrial
    folder: str
    state: State
    reason: str = ""
    attempts: int = 0
    epoch: int = 0
    seconds: float | None = None
    result: dict[str, Any] | None = None


class Store:
    """The SQLite file of a study's folder.

    Raises: TutelageError if the file isn't a study's, or can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TutelageError(f"{folder} can't be made: {error}. Choose another folder (out=…).") from error
        with self._told():
            self.connection = sqlite3.connect(self.file, timeout=60, isolation_level=None)
            self.connection.execute("PRAGMA synchronous=FULL")
            self._begin()
        if (found := self.get("format")) != FORMAT:
            raise TutelageError(f"{self.file} has the format {found}, and this version reads {FORMAT}.")

    def _begin(self) -> None:
        """Make the tables in a new file; a study that is there isn't written to.

        Raises: ConfigError for the database of another program.
        """
        tables = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            self.connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
        elif not tables >= {"study", "trials", "owners"}:
            raise ConfigError(f"{self.file} is another program's database: choose another folder (out=…).")

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store of an existing study.

        Raises: ConfigError if there is none.
        """
        if not (folder / FILE).is_file():
            again = f"`tutelage compare out={shlex.quote(str(folder))}`"
            raise ConfigError(f"{folder} is no study: there is no {folder / FILE}; {again}.")
        for _ in range(20):  # a study that another program begins has its tables in a moment
            if (folder / FILE).stat().st_size:
                return cls(folder)
            time.sleep(0.05)
        raise TutelageError(f"{folder / FILE} is empty: {AGAIN}")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise SQLite's errors as TutelageErrors, with the mend."""
        try:
            yield
        except sqlite3.Error as error:
            raise TutelageError(
                f"{self.file} isn't a study, or can't be read or written: {error}. If it is torn, {AGAIN}"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock."""
        with self._told():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    # what the whole study has

    def get(self, name: str) -> Any:
        """Return a value of the study; None if it isn't set."""
        with self._told():
            row = self.connection.execute("SELECT value FROM study WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_default(self, name: str, value: Any) -> Any:
        """Set a value of the study unless it is set; return it."""
        with self._told():
            self.connection.execute("INSERT OR IGNORE INTO study VALUES (?, ?)", (name, json.dumps(value)))
        return self.get(name)

    # trials

    def add(self, trials: Iterable[StudyTrial]) -> int:
        """Add trials that aren't in it yet; return their number."""
        with self._transaction() as connection:
            before = connection.total_changes
            for trial in trials:
                state = "failed" if trial.fault else "waiting"
                connection.execute(
                    "INSERT OR IGNORE INTO trials (id, position, role, student, teacher, method, seed, keys, folder,"
                    " requires, state, reason) SELECT ?, 1 + COALESCE(MAX(position), 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                    " FROM trials",
                    (
                        trial.id, trial.role, trial.student, trial.teacher, trial.method, trial.seed,
                        json.dumps(dict(trial.keys)), trial.folder, json.dumps(trial.requires()), state, trial.fault,
                    ),
                )  # fmt: skip
            return connection.total_changes - before

    def attempts(self, trial: str) -> int:
        """Return how often a trial was begun since it last paused."""
        return int(self.connection.execute("SELECT attempts FROM trials WHERE id = ?", (trial,)).fetchone()[0])

    def trials(self) -> dict[str, StoredTrial]:
        """Return all trials by id, in the order in which they were added."""
        with self._told():
            rows = self.connection.execute(
                "SELECT id, role, student, teacher, method, seed, keys, folder, state, reason, attempts, epoch,"
                " seconds, result FROM trials ORDER BY position"
            ).fetchall()
        return {row[0]: _stored(row[1:]) for row in rows}

    def claim(self, owner: str, runnable: Iterable[str] | None = None) -> str | None:
        """Take the first waiting trial whose teachers are trained; return its id, None if there is none now.

        runnable: the ids to choose from; None: all.
        """
        chosen = None if runnable is None else {*runnable}
        with self._transaction() as connection:
            states = dict(connection.execute("SELECT id, state FROM trials"))
            rows = connection.execute("SELECT id, requires FROM trials WHERE state = 'waiting' ORDER BY position")
            for trial, requires in rows.fetchall():
                if chosen is not None and trial not in chosen:
                    continue
                if all(states.get(teacher) == "done" for teacher in json.loads(requires)):
                    connection.execute(
                        "UPDATE trials SET state = 'running', owner = ?, attempts = attempts + 1 WHERE id = ?",
                        (owner, trial),
                    )
                    return str(trial)
        return None

    def end(
        self,
        trial: str,
        state: State,
        reason: str = "",
        seconds: float | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Write how a trial ended: its state, and its result or the reason."""
        text = None if result is None else json.dumps(dict(result))
        with self._transaction() as connection:
            connection.execute(
                "UPDATE trials SET state = ?, reason = ?, seconds = COALESCE(seconds, 0) + COALESCE(?, 0), result = ?,"
                " owner = NULL WHERE id = ?",
                (state, reason, seconds, text, trial),
            )

    def pause(self, trial: str, epoch: int, seconds: float) -> None:
        """Write that a trial has paused after an epoch."""
        self.end(trial, "paused", "", seconds)
        with self._transaction() as connection:
            connection.execute("UPDATE trials SET epoch = ?, attempts = 0 WHERE id = ?", (epoch, trial))

    def go_on(self, trials: Iterable[str]) -> None:
        """Let paused trials wait again."""
        with self._transaction() as connection:
            for trial in trials:
                connection.execute("UPDATE trials SET state = 'waiting' WHERE id = ? AND state = 'paused'", (trial,))

    def fail_without_teacher(self) -> int:
        """Fail the waiting trials whose teachers failed; return their number."""
        failed = 0
        with self._transaction() as connection:
            reasons = dict(connection.execute("SELECT id, reason FROM trials WHERE state = 'failed'"))
            waiting = connection.execute("SELECT id, requires FROM trials WHERE state = 'waiting'").fetchall()
            for trial, requires in waiting:
                if lost := [teacher for teacher in json.loads(requires) if teacher in reasons]:
                    reason = f"its teacher failed: {reasons[lost[0]]}"
                    connection.execute("UPDATE trials SET state = 'failed', reason = ? WHERE id = ?", (reason, trial))
                    failed += 1
        return failed

    def retry(self, trials: Iterable[str]) -> None:
        """Let failed trials wait again."""
        with self._transaction() as connection:
            for trial in trials:
                connection.execute(
                    "UPDATE trials SET state = 'waiting', reason = '', attempts = 0 WHERE id = ? AND state = 'failed'",
                    (trial,),
                )

    # programs that work on the study

    def sign(self, owner: str) -> None:
        """Note that a program lives, and let the trials of dead ones wait again."""
        now = time.time()
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO owners VALUES (?, ?)", (owner, now))
            for other, seen in connection.execute("SELECT owner, seen FROM owners").fetchall():
                if seen < now - PATIENCE or _has_ended(other):
                    connection.execute("DELETE FROM owners WHERE owner = ?", (other,))
            connection.execute(
                "UPDATE trials SET state = 'waiting', owner = NULL WHERE state = 'running'"
                " AND owner NOT IN (SELECT owner FROM owners)"
            )

    def leave(self, owner: str) -> None:
        """Let the trials of a program wait again, and forget the program."""
        with self._transaction() as connection:
            connection.execute("UPDATE trials SET state = 'waiting', owner = NULL WHERE owner = ?", (owner,))
            connection.execute("DELETE FROM owners WHERE owner = ?", (owner,))


def owner_name() -> str:
    """Return this process's name as an owner of trials: its machine, its number and a name that no other has had.

    In a container each start may have the same machine and number.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def _has_ended(owner: str) -> bool:
    """Return whether an owner was a process of this machine that has ended."""
    machine, number = owner.split(":")[:2]
    if machine != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _stored(row: tuple[Any, ...]) -> StoredTrial:
    role, student, teacher, method, seed, keys, folder, state, reason, attempts, epoch, seconds, result = row
    trial = StudyTrial(role, student, teacher, method, seed, json.loads(keys))
    return StoredTrial(
        trial, folder, state, reason, attempts, epoch, seconds, None if result is None else json.loads(result)
    )
