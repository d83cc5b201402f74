"""Count the files and lines of Tutelage on the path of the smallest offline distillation, from command to weights.

A trained teacher is given as a run folder; the student learns from it for one epoch of the digits, without a baseline.
`page` counts the files to which docs/one-batch.md links on its way from the command to the weights, as whole files, and
`core` those of its table for the core loop; each of them must run. `executed` counts everything of which a function
body runs, without the report: whole files, and the lines that run. `fit` is what of it runs in `Trainer.fit`. Prints
`name value bound` lines; the exit status is 1 if a bound is missed.
"""

from __future__ import annotations

import re
import runpy
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from inspect import CO_NEWLOCALS
from pathlib import Path
from types import FrameType

import tutelage

PACKAGE = Path(tutelage.__file__).parent
PREFIX = f"{PACKAGE}/"
KEYS = ("data=digits", "limit=200", "seeds=1", "epochs=1", "batch_size=50")
FIT, WEIGHTS = ("training/trainer.py", "fit"), ("runs/phase.py", "write_phase_folder")
PAGE = Path(__file__).parents[1] / "docs/one-batch.md"
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


def linked_files(*headings: str) -> set[str]:
    """Return the files to which these sections of the page link."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    text = "".join(section for section in sections if section.startswith(headings))
    return set(re.findall(r"\.\./src/tutelage/([\w/]+\.py)", text))


def count_lines(files: Iterable[str]) -> int:
    """Return the number of lines of files."""
    return sum(len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in files)


def report(name: str, value: int, bound: int | None = None) -> bool:
    """Print a figure with its bound; return True if it keeps it."""
    print(f"{name} {value} {bound or '-'}")
    return bound is None or value <= bound


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command("train", "student=cnn4", *KEYS, f"out={folder}/teacher")
        distil = ("distill", f"teacher={folder}/teacher", "student=cnn2", "baseline=false", *KEYS)
        recorder = record((*distil, f"out={folder}/run"))
    executed = {file: lines for file, lines in recorder.all.items() if not file.startswith("report/")}
    for file, lines in sorted(executed.items(), key=lambda item: (item[0] not in recorder.core, item[0])):
        in_fit = len(recorder.core.get(file, ()))
        print(f"  {file:40} {count_lines([file]):4} lines, {len(lines):3} run, {in_fit:3} of them in fit")
    core = linked_files("Ten files")
    page = core | linked_files("From the command", "From the batch")
    kept = [
        report("page_files", len(page), FILES),
        report("page_lines", count_lines(page), LINES),
        report("core_files", len(core), CORE_FILES),
        not page - executed.keys(),
    ]
    report("executed_files", len(executed))
    report("executed_whole_files_lines", count_lines(executed))
    report("executed_lines", sum(map(len, executed.values())))
    report("fit_files", len(recorder.core))
    report("fit_lines", sum(map(len, recorder.core.values())))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
