"""Runs the jobs of a study one after the other, in a process of its own: `python -m tutelage.study.worker`.

Each line of the standard input is a job, each line of the standard output tells how it ended. The process ends with its
standard input, also in the middle of a job, so that no run outlives the study that waits for it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

from tutelage.config import schema
from tutelage.errors import Interrupted, TutelageError
from tutelage.runs.inputs import Provided
from tutelage.runs.resuming import begin_or_resume
from tutelage.study.engines.base import Ended, Job, State
from tutelage.study.stopping import HopelessTrial, MedianRule, StopHopeless
from tutelage.training.callbacks import Callback
from tutelage.training.events import EpochEnd

NOTHING = Provided(loaded={})
"""No objects: a process of its own reads everything by name, each data set once."""


class PauseAfter(Callback):
    """Stops a run as Ctrl-C does, with all saved, once the student has trained for some epochs.

    Args:
        epoch: the number of epochs; 0: it never stops the run.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch, self.is_student, self.has_stopped = epoch, False, False

    def on_phase_begin(self, phase: str, phases: int) -> None:
        """Note whether it is the student's training: stages before it have epochs of their own."""
        self.is_student = phase.startswith("student")

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Ask the trainer to stop."""
        if self.is_student and self.epoch and event.epoch >= self.epoch:
            self.has_stopped = True
            signal.raise_signal(signal.SIGTERM)


def run(job: Job, provided: Provided = NOTHING) -> Ended:
    """Run, or resume, a job to its end or its pause; provided: the objects passed in place of names."""
    began, pause = time.process_time(), PauseAfter(job.pause)
    try:
        _run(job, pause, provided)
        return Ended(job.trial, "done", "", time.process_time() - began)
    except Interrupted as error:
        state: State = "paused" if pause.has_stopped else "lost"
        return Ended(job.trial, state, str(error), time.process_time() - began)
    except HopelessTrial as error:
        return Ended(job.trial, "stopped", str(error), time.process_time() - began)
    except TutelageError as error:
        return Ended(job.trial, "failed", str(error), time.process_time() - began)
    except Exception as error:
        Path(job.folder).parent.mkdir(parents=True, exist_ok=True)
        log = Path(f"{job.folder}.error.txt")
        log.write_text(traceback.format_exc(), encoding="utf-8")
        reason = f"{type(error).__name__}: {error} (in {log.name})"
        return Ended(job.trial, "failed", reason, time.process_time() - began)


def _run(job: Job, pause: PauseAfter, provided: Provided) -> None:
    torch.set_num_threads(job.threads)
    folder = Path(job.folder)
    if not (folder / "result.json").exists():
        stop = [StopHopeless(folder, MedianRule(**job.stop))] if job.stop else []
        callbacks = (*provided.callbacks, pause, *stop)
        begin_or_resume(schema.check({**job.keys, "out": job.folder}), replace(provided, callbacks=callbacks))


def main() -> None:
    """Run jobs until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a run prints goes to the log
    jobs: queue.Queue[Job] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            jobs.put(Job(**json.loads(line)))
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    while True:
        ended = run(jobs.get())
        answers.write(json.dumps(vars(ended)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
