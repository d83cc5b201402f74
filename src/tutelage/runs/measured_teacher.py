"""The figures of a teacher that came trained, which runs with one cache measure once."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import torch

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.errors import CheckpointError
from tutelage.runs.builder import RunBuilder
from tutelage.runs.data import with_teacher_views
from tutelage.runs.phase import Phase, write_phase_folder
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.teachers.prefetching import with_prefetch
from tutelage.utils import checksums

FIGURES = "figures"
"""The folder of a cache with the phase folders of teachers, by their key."""


def measure(builder: RunBuilder, config: Config, folder: Path) -> None:
    """Evaluate the run's teacher and write its phase folder, or copy it from the folder that `cache` names.

    It is there if another run with this cache measured the same teacher on the same samples.
    """
    inputs = builder.inputs.for_view(config.student_inputs, config.student_size)
    data, task = with_teacher_views(inputs.data, config), inputs.task
    teacher = builder.teachers.teacher(config, 0, data)
    teacher = with_prefetch(teacher, config.teacher_ahead, config.teacher_device)
    assert teacher is not None
    key = _key(teacher, config, data, task) if isinstance(config.cache, str) else None
    kept = None if key is None else Path(str(config.cache)) / FIGURES / key
    if kept is not None and _is_sound(kept):
        _copy(kept, folder)
        return
    teacher.to(inputs.fabric.device)
    phase, model = Phase("teacher", "teacher", config.seed), " + ".join(config.teacher_names)
    size = config.batch_size
    write_phase_folder(phase, folder, {"teacher": teacher}, None, None, data, task, {"teacher": model}, size)
    if kept is not None:
        _copy(folder, kept)


def _key(teacher: Teacher, config: Config, data: DataModule, task: Task) -> str | None:
    """Return a name made of all that determines the figures; None for a teacher without an identity."""
    if (identity := teacher.identity()) is None:
        return None
    about = {
        "teacher": identity,
        "model": config.teacher_names,
        "judged": data.judged.fingerprint(),
        "split": data.judged_on,
        "task": [type(task).__name__, task.metric, config.task if isinstance(config.task, str) else repr(config.task)],
        "images": [list(data.size), list(data.mean), list(data.std), data.augment],
        "batch_size": config.batch_size,
        "device": config.device,
        "precision": config.precision,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _is_sound(folder: Path) -> bool:
    """Return whether a phase folder is there, whole and unaltered."""
    try:
        checksums.verify_folder(folder)
    except CheckpointError:
        return False
    return (folder / "phase.json").is_file()


def _copy(source: Path, target: Path) -> None:
    """Copy a phase folder to another place, whole or not at all; what is there and torn is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(dir=target.parent, prefix=".copy-"))
    shutil.copytree(source, copy, dirs_exist_ok=True)
    if not _is_sound(target):
        shutil.rmtree(target, ignore_errors=True)
    try:
        copy.rename(target)
    except OSError:  # another run was first
        shutil.rmtree(copy)
