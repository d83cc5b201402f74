"""A study: it plans trials, has an engine run them, records how they end, and goes on after being killed."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.data.data_module import DataModule
from tutelage.errors import CheckpointError, ConfigError, Interrupted
from tutelage.runs import environment
from tutelage.study import engines, halving, leaders, same_data
from tutelage.study.engines.base import ATTEMPTS, Ended, Engine, Job
from tutelage.study.methods import KD
from tutelage.study.plan import Planner
from tutelage.study.settings import StudySettings, write
from tutelage.study.store import FILE, Store, StoredTrial, owner_name
from tutelage.study.trial import ENDED, StudyTrial, refuse_other_keys, resolved
from tutelage.utils import checksums
from tutelage.utils.signals import StopRequest, catch_stop_signals

SIGN_EVERY = 10.0
"""Seconds between two signs of life."""

Check = Callable[[Path, list[StudyTrial], list[StoredTrial], MutableMapping[str, DataModule]], object]
"""Called with the folder, the new trials, those of before and the data that are loaded; it raises what it refuses."""
Watch = Callable[[StoredTrial, int, int], None]
"""Called with a trial that has ended, the number that have ended, and the number of all."""


class Study:
    """The trials of one folder.

    Args:
        settings: the study's settings.
        keys: the keys of all its runs; they can't change in a study that is there.
        check: called before anything is written.
        plain_kd: whether plain kd, with which the others are compared, joins them if it isn't named.

    Raises: ConfigError if they contradict each other, or those that the study was begun with.
    """

    def __init__(
        self,
        settings: StudySettings,
        keys: Mapping[str, Any],
        check: Check = lambda folder, new, known, loaded: None,
        plain_kd: bool = True,
    ) -> None:
        self.settings, self.keys, self.folder = settings, keys, Path(settings.out)
        loaded: dict[str, DataModule] = {}
        planner = Planner(settings, keys, loaded, plain_kd)
        trials = planner.trials()
        self.epochs = planner.epochs
        if all(trial.fault for trial in trials if trial.role == "alone"):
            raise ConfigError(next(trial.fault for trial in trials if trial.role == "alone"))
        is_there = (self.folder / FILE).is_file()
        if is_there:
            self._open(planner.keys)
        known = self.store.trials() if is_there else {}
        refuse_other_keys([*(stored.trial for stored in known.values()), *trials])
        check(self.folder, [trial for trial in trials if trial.id not in known], [*known.values()], loaded)
        if not is_there:
            self._open(planner.keys)
        self.added = self.store.add(trials)
        halving.stop_like_the_others(self.store)
        write(settings, keys)
        self.owner, self.signed = owner_name(), -SIGN_EVERY

    def _open(self, keys: Mapping[str, Any]) -> None:
        """Open the store, which is made if there is none; refuse other keys than the study's."""
        self.store = Store(self.folder)
        self._refuse_other_keys(keys)
        self._refuse_other_protocol()
        self._refuse_other_budget()
        self.store.set_default("versions", environment.versions())

    def _refuse_other_keys(self, keys: Mapping[str, Any]) -> None:
        """Refuse keys of the runs that aren't those of the study's begin."""
        first = self.store.set_default("keys", dict(keys))
        now = json.loads(json.dumps(dict(keys)))
        if changed := [key for key in {**first, **now} if first.get(key) != now.get(key)]:
            key = sorted(changed)[0]
            raise ConfigError(
                f"{key}={now.get(key)}: {self.folder} was begun with {key}={first.get(key)}, and its rows must be "
                "comparable: leave it as it was, or choose another folder (out=…)."
            )
        threads = self.store.set_default("threads", self.settings.threads)
        if threads != self.settings.threads:
            raise ConfigError(
                f"threads={self.settings.threads}: {self.folder} was begun with {threads}, which rounds otherwise."
            )

    def _refuse_other_protocol(self) -> None:
        """Refuse a protocol that isn't that of the study's begin."""
        first, now = self.store.set_default("protocol", self.settings.protocol), self.settings.protocol
        if first != now:
            raise ConfigError(
                f"protocol={now}: {self.folder} was begun with protocol={first}: choose another folder (out=…)."
            )

    def _refuse_other_budget(self) -> None:
        """Refuse another budget than that by which methods are stopped."""
        first, now = self.store.get("budget"), self.settings.budget
        if self.store.get("rungs") is not None and first != now:
            raise ConfigError(
                f"budget={now}: the methods in {self.folder} are stopped by budget={first}: leave it as it was, or "
                "choose another folder (out=…)."
            )

    # the loop

    def run(
        self, watch: Watch = lambda trial, ended, all_trials: None, engine: Engine | None = None
    ) -> list[StoredTrial]:
        """Run all trials that aren't done, and return all; engine: what runs them in place of the settings' engine.

        Raises: Interrupted after Ctrl-C; what was finished is kept.
        """
        engine = engine or engines.find(self.settings.engine).load()(
            self.settings.processes, self.settings.threads, self.folder / "logs"
        )
        running: set[str] = set()
        stop = StopRequest()
        try:
            with catch_stop_signals(stop):
                while self._step(engine, running, watch):
                    if stop.number:
                        raise Interrupted(
                            f"stopped by {stop.name}; `tutelage compare out={shlex.quote(str(self.folder))}` goes on."
                        )
        finally:
            engine.close()
            self.store.leave(self.owner)
        return list(self.store.trials().values())

    def _step(self, engine: Engine, running: set[str], watch: Watch) -> bool:
        """Start what can be started, and record what has ended; return False if all trials have ended."""
        self._sign()
        self.store.fail_without_teacher()
        trials = self.store.trials()
        rungs = self._rungs(trials, engine.places)
        open_trials = {name for name, trial in trials.items() if trial.state not in ENDED}
        if not open_trials:
            return self._add_leaders(trials)
        runnable = None if rungs is not None else {name for name in open_trials if not halving.may_stop(trials[name])}
        while len(running) < engine.places and (name := self.store.claim(self.owner, runnable)):
            engine.start(self._job(name, trials, rungs or []))
            running.add(name)
        if not running:
            time.sleep(0.2)  # another program runs the rest
        for ended in engine.ended(1.0) if running else []:
            running.discard(ended.trial)
            self._record(ended, trials[ended.trial], watch)
        if rungs:
            self._decide()
        return True

    def _add_leaders(self, trials: Mapping[str, StoredTrial]) -> bool:
        """Give the best methods their further seeds; return whether there is anything new to run."""
        if not self.settings.leaders:
            return False
        found = leaders.find(trials.values(), self.store, self.settings.leaders, self.epochs)
        name = f"leaders={self.settings.leaders} of {len(self.settings.methods)}"  # others where either has grown
        found = self.store.set_default(name, found)
        return bool(self.store.add(leaders.trials_of(found, self.settings, self.keys)))

    def _sign(self) -> None:
        now = time.monotonic()
        if now - self.signed >= SIGN_EVERY:
            self.store.sign(self.owner)
            self.signed = now

    def _job(self, name: str, trials: Mapping[str, StoredTrial], rungs: Sequence[int]) -> Job:
        folders = {trial: stored.folder for trial, stored in trials.items()}
        keys = resolved(dict(trials[name].trial.keys), self.folder, folders)
        pause = halving.next_pause(trials[name], rungs)
        return Job(name, keys, str(self.folder / trials[name].folder), self.settings.threads, pause)

    def _record(self, ended: Ended, trial: StoredTrial, watch: Watch) -> None:
        """Write how a job ended, and tell the watcher if its trial has."""
        if ended.state == "paused":
            rungs = self.store.get("rungs") or []
            self.store.pause(ended.trial, halving.next_pause(trial, rungs), ended.seconds)
        elif ended.state == "lost" and self.store.attempts(ended.trial) < ATTEMPTS:
            self.store.end(ended.trial, "waiting", "", ended.seconds)
        elif ended.state == "done":
            self._record_result(ended, self.folder / trial.folder / "result.json")
        else:
            reason = ended.reason if ended.state == "failed" else f"{ended.reason}, {ATTEMPTS} times"
            self.store.end(ended.trial, "failed", reason, ended.seconds)
        now = self.store.trials()
        if now[ended.trial].state in ("done", "failed"):
            finished = sum(t.state in ENDED for t in now.values())
            watch(now[ended.trial], finished, len(now))

    def _record_result(self, ended: Ended, file: Path) -> None:
        """Write a trial's result, or that it is torn.

        Raises: ConfigError if it had other data than the trials before it.
        """
        try:
            same_data.refuse_other_data(file.parent, self.store.set_default)
            result = json.loads(checksums.read_verified(file))
        except ConfigError as error:
            self.store.end(ended.trial, "failed", str(error), ended.seconds)
            raise
        except (CheckpointError, OSError, ValueError) as error:
            self.store.end(ended.trial, "failed", f"{file} can't be read: {error}", ended.seconds)
            return
        self.store.end(ended.trial, "done", "", ended.seconds, result)

    # the budget

    def _rungs(self, trials: Mapping[str, StoredTrial], places: int) -> list[int] | None:
        """Return the epochs at which methods may stop; None if they aren't known yet: kd and alone come first."""
        if (rungs := self.store.get("rungs")) is not None:
            return list(rungs)
        if self.settings.budget is None:
            return []
        whole = [trial for trial in trials.values() if not halving.may_stop(trial)]
        if any(trial.state in ("waiting", "running") for trial in whole):
            return None
        methods = {t.trial.method for t in trials.values() if halving.may_stop(t)}
        count = sum(halving.may_stop(t) for t in trials.values())
        epochs = self._epochs_left(whole, places)
        of_each = max(count // max(len(methods), 1), 1)
        rungs = halving.rungs_for(epochs, self.epochs, len(methods), of_each)
        self.store.set_default("budget", self.settings.budget)
        suffices = halving.cost(rungs, self.epochs, len(methods)) * of_each <= epochs
        self.store.set_default("budget_suffices", suffices)
        return list(self.store.set_default("rungs", rungs))

    def _epochs_left(self, whole: Sequence[StoredTrial], places: int) -> float:
        """Return the epochs that the budget leaves for methods, given what kd and alone cost."""
        done = [trial for trial in whole if trial.state == "done" and trial.seconds]
        spent = sum(trial.seconds or 0.0 for trial in done)
        if (steps := self.settings.budget_steps) is not None:
            trained = {trial.folder: _steps(self.folder / trial.folder) for trial in done}
            students = [trained[trial.folder] for trial in done if trial.trial.role != "teacher"]  # of other epochs
            per_epoch = max(students, default=0) / self.epochs
            return (steps - sum(trained.values())) / per_epoch if per_epoch else 0.0
        taught = [trial for trial in done if trial.trial.method == KD] or done
        seconds = sum(trial.seconds or 0.0 for trial in taught) / max(len(taught) * self.epochs, 1)
        left = (self.settings.budget_seconds or 0.0) * places - spent
        return left / seconds if seconds else 0.0

    def _decide(self) -> None:
        done = [trial for trial in self.store.trials().values() if trial.result is not None]
        if done and (result := done[0].result):
            halving.decide(self.store, self.epochs, result["metric"], result["higher_is_better"])


def _steps(folder: Path) -> int:
    """Return the steps of a run's student."""
    phase = folder / "student-0" / "phase.json"
    return int(json.loads(phase.read_text(encoding="utf-8")).get("steps") or 0) if phase.is_file() else 0
