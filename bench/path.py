"""Count the files and lines of Tutelage that the smallest offline distillation executes, from command to weights.

A trained teacher is given as a run folder; the student learns from it for one epoch of the digits, without a baseline.
`files` and `lines` count whole files of which a function body runs, `body_lines` the lines that run in these bodies.
The core is what runs between the begin and the end of `Trainer.fit`. Prints `name value bound` lines; the exit status
is 1 if a bound is missed.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from inspect import CO_NEWLOCALS
from pathlib import Path
from types import FrameType

import tutelage

PACKAGE = Path(tutelage.__file__).parent
PREFIX = f"{PACKAGE}/"
KEYS = ("data=digits", "limit=200", "seeds=1", "epochs=1", "batch_size=50")
FIT, WEIGHTS = ("training/trainer.py", "fit"), ("runs/phase.py", "write_phase_folder")
AROUND = ("utils/", "data/sources/", "config/", "cli/", "errors.py", "settings.py")
ENVIRONMENT = ("environment", "progress", "console", "summary", "preflight", "dry_run")
FILES, LINES, CORE_FILES = 30, 4000, 10

Executed = dict[str, set[int]]


class Recorder:
    """Record the lines of function bodies that run before the student's weights are written."""

    def __init__(self) -> None:
        self.all: Executed = defaultdict(set)
        self.core: Executed = defaultdict(set)
        self.in_fit = self.done = False

    def trace(self, frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        """Follow the frames of functions in the package, and no others."""
        code = frame.f_code
        if self.done or not code.co_filename.startswith(PREFIX) or not code.co_flags & CO_NEWLOCALS:
            return None
        file = code.co_filename.removeprefix(PREFIX)
        place = (file, code.co_name)
        self.in_fit |= event == "call" and place == FIT
        if event == "line":
            self.all[file].add(frame.f_lineno)
            if self.in_fit:
                self.core[file].add(frame.f_lineno)
        if event == "return":
            self.in_fit &= place != FIT
            self.done = place == WEIGHTS
        return self.trace


def command(*arguments: str) -> None:
    """Run `tutelage` in this process."""
    sys.argv = ["tutelage", *arguments]
    try:
        runpy.run_module("tutelage", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def record(arguments: tuple[str, ...]) -> Recorder:
    """Return what a command executes."""
    recorder = Recorder()
    threading.settrace(recorder.trace)
    sys.settrace(recorder.trace)
    command(*arguments)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    return recorder


def counts(name: str, executed: Executed, files: int | None = None, lines: int | None = None) -> bool:
    """Print the counts of some files; return True if they keep their bounds."""
    whole = sum(len((PACKAGE / file).read_text().splitlines()) for file in executed)
    bodies = sum(map(len, executed.values()))
    print(f"{name}_files {len(executed)} {files or '-'}")
    print(f"{name}_lines {whole} {lines or '-'}")
    print(f"{name}_body_lines {bodies} -")
    return len(executed) <= (files or len(executed)) and whole <= (lines or whole)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command("train", "student=cnn4", *KEYS, f"out={folder}/teacher")
        distil = ("distill", f"teacher={folder}/teacher", "student=cnn2", "baseline=false", *KEYS)
        recorder = record((*distil, f"out={folder}/run"))
    everything = {file: lines for file, lines in recorder.all.items() if not file.startswith("report/")}
    inner = {
        file: lines
        for file, lines in everything.items()
        if not file.startswith(AROUND) and not any(word in file for word in ENVIRONMENT)
    }
    for file, lines in sorted(everything.items(), key=lambda item: (item[0] not in recorder.core, item[0])):
        total = len((PACKAGE / file).read_text().splitlines())
        print(f"  {file:40} {total:4} lines, {len(lines):3} run, {len(recorder.core.get(file, ())):3} of them in fit")
    core = {file: lines for file, lines in recorder.core.items() if file in inner}
    kept = [
        counts("all", everything),
        counts("inner", inner, FILES, LINES),
        counts("fit_all", recorder.core),
        counts("core", core, CORE_FILES),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
