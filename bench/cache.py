"""Measure the cost of a cached teacher: steps, reads, bytes and memory.

    python bench/cache.py      (--quick: fewer rounds)

resnet56 → resnet20, 3×32×32 pixels, batch 64, including loader and augmentation; two views, stored as fp16. "given":
the same term with teacher features that are already in memory. Reads: 50,000 samples of 100 logits, batches of 64. Cold
reads: the time that a student with a step of 50 ms waits for outputs that are read two batches ahead, in random order,
from a file four times as large as the memory cgroup's limit (where a cgroup can be created), relative to a file that
fits in memory.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from measure import Figure, conclude, least_of_instances, least_seconds, show
from step import BATCH, CLASSES, SGD
from torch import nn

from tutelage import models
from tutelage.cache.store import SHARD_ROWS, CachedView, CacheStore, plan_storage
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.training.trainer import Trainer

SAMPLES, VIEWS = 1024, 2
Step = Callable[[], object]
FEATURES = {"at": [{"name": "at"}], "reviewkd": [{"name": "reviewkd"}]}


class ConstantTeacher(Teacher):
    """A teacher that returns its outputs for the first batch for every batch: no forward, no reading."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher, self.outputs = teacher, Outputs(torch.zeros(()))

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the wrapped teacher's profile."""
        return self.teacher.profile(batch)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the outputs of the first call, from memory after that."""
        if tuple(self.outputs.features) != tuple(layers) or self.outputs.response.dim() == 0:
            self.outputs = self.teacher(batch, layers)
        return self.outputs


def data() -> DataModule:
    """Return a data set of noise images, cropped and flipped."""
    torch.manual_seed(0)
    rows = InMemorySplit(
        torch.randint(256, (SAMPLES, 3, 32, 32), dtype=torch.uint8), torch.randint(CLASSES, (SAMPLES,))
    )
    classes = tuple(map(str, range(CLASSES)))
    mean = (0.5,) * 3
    return DataModule(
        "noise", "classification", classes, 3, (32, 32), mean, mean, rows, rows, rows, augment="crop-flip"
    )


def step(kind: str, teacher: nn.Module, student: nn.Module, folder: Path, method: Any, channels_last: bool) -> Step:
    """Return the trainer's step including its loader; kind: the teacher is none, live, cached or given."""
    noise, task = data(), Classification()
    frozen = Frozen(copy.deepcopy(teacher), task)
    layout = torch.channels_last if channels_last else None
    teachers: dict[str, Callable[[], Teacher | None]] = {
        "none": lambda: None,
        "live": lambda: frozen,
        "given": lambda: ConstantTeacher(frozen),
        "cached": lambda: Cached(frozen, noise, CachePlan(folder, views=VIEWS, memory_format=layout)),
    }
    settings = TrainerSettings(
        device="cpu", lr=SGD["lr"], schedule="constant", views=VIEWS, channels_last=channels_last
    )
    trainer = Trainer(settings, task)
    scheme = Offline(
        Player(copy.deepcopy(student), Terms.from_method(method, task.task_loss()), task), teachers[kind]()
    )
    state = trainer.prepare(scheme, noise)

    def batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from state.batches.train(epoch)
            epoch += 1

    stream = batches()

    def step_once() -> None:
        trainer._batch(state, next(stream))
        state.progress.step += 1
        if state.progress.step % settings.log_every == 0:
            trainer._log(state)

    return step_once


def networks() -> tuple[nn.Module, nn.Module]:
    """Return resnet56 and resnet20."""
    torch.manual_seed(0)
    teacher, student = (models.create(n, classes=CLASSES, channels=3).model for n in ("resnet56", "resnet20"))
    return teacher, student


def steps(folder: Path, rounds: int, instances: int) -> list[Figure]:
    """Time whole steps: KD live and cached against plain training, features against the same term without a teacher."""
    teacher, student = networks()
    figures: list[Figure] = []
    variants = {
        "plain": ("none", None, False),
        "live": ("live", "kd", False),
        "cached": ("cached", "kd", False),
        "plain channels_last": ("none", None, True),
        "live channels_last": ("live", "kd", True),
        "cached channels_last": ("cached", "kd", True),
    }

    def make(name: str) -> Step:
        kind, method, layout = variants[name]
        return step(kind, teacher, student, folder / ("nhwc" if layout else "nchw"), method, layout)

    seconds = least_of_instances(make, variants, rounds, instances)
    show(seconds, "live")
    figures += [
        ("cached/plain", seconds["cached"] / seconds["plain"], 1.05),
        ("channels_last cached/plain", seconds["cached channels_last"] / seconds["plain channels_last"], 1.05),
        ("cached/live", seconds["cached"] / seconds["live"], 0.55),
        ("channels_last cached/live", seconds["cached channels_last"] / seconds["live"], 0.45),
    ]
    for method, terms in FEATURES.items():
        seconds = least_of_instances(
            lambda kind, t=terms: step(kind, teacher, student, folder / "nhwc", t, True),
            ("given", "live", "cached"),
            rounds,
            instances,
        )
        show(seconds, "given")
        figures.append((f"{method} cached/given", seconds["cached"] / seconds["given"], 1.15))
    return figures


def stored(folder: Path, name: str, samples: int = 50_000, width: int = CLASSES) -> tuple[CachedView, int]:
    """Store logits on disk; return a reader of them, and their size in bytes with the manifest."""
    store = CacheStore(folder / f"{name}-{samples}-{width}", {"noise": name}, samples, 1)
    tap = plan_storage((width,), name, nhwc=False, unit=SHARD_ROWS)
    store.register_tensors({"response": tap})
    generator = torch.Generator().manual_seed(0)
    for number, first in enumerate(range(0, samples, tap.rows)):
        rows = 5 * torch.randn(min(tap.rows, samples - first), width, generator=generator)
        store.register_shards(dict([store.write_shard(0, "response", number, rows)]))
    return store.read_view(0, "response"), sum(file.stat().st_size for file in store.folder.iterdir())


def reader(rows: CachedView) -> Step:
    """Return a function that reads the next batch, in random order."""
    index_batches = cycle(torch.randperm(50_000).split(BATCH))
    return lambda: rows[next(index_batches)]


def reads(folder: Path, rounds: int) -> list[Figure]:
    """Return the size in MiB, and the minimum time to read a batch, in milliseconds."""
    figures: list[Figure] = []
    for name, most in (("fp16", 10.0), ("top5", 2.0)):
        rows, size = stored(folder, name)
        seconds = least_seconds({name: reader(rows)}, 50 * rounds)
        figures.append((f"{name} MiB", size / 2**20, most))
        figures.append((f"{name} read ms", 1000 * seconds[name], 0.3))
    return figures


def cold(folder: Path, limit: Path) -> float:
    """Return the student's wait for a batch if a quarter of the file fits in memory, relative to all of it.

    The teacher's outputs are read two batches ahead in random order, and the student's step takes 50 ms.
    """
    width, samples, steps = 2048, 160_000, 200
    rows, size = stored(folder, "fp16", samples, width)
    index_batches = cycle(torch.randperm(samples, generator=torch.Generator().manual_seed(1)).split(BATCH))

    class Reading(Teacher):
        def profile(self, batch: Batch) -> ModelProfile:
            raise NotImplementedError

        def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
            assert batch.index is not None
            return Outputs(rows[batch.index])

    def mean() -> float:
        waited = 0.0
        batches = (Batch(torch.zeros(BATCH), index=next(index_batches)) for _ in range(steps))
        teacher = PrefetchingTeacher(Reading(), 2)
        began = time.perf_counter()
        for batch in teacher.prefetch(batches):
            teacher(batch)
            waited += time.perf_counter() - began
            time.sleep(0.05)
            began = time.perf_counter()
        return waited / steps

    for start in range(0, samples, 4096):
        rows[torch.arange(start, min(start + 4096, samples))]
    warm = mean()
    (limit / "memory.limit_in_bytes").write_text(str(size // 4 + _private()))
    starved = mean()
    print(f"cold: {size / 2**20:.0f} MiB on disk, {1000 * warm:.3f} ms warm, {1000 * starved:.3f} ms at a quarter")
    return starved / warm


def _private() -> int:
    """Return the process's anonymous memory in bytes, without mapped files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1024 * int(fields["RssAnon"].split()[0])


def memory(kind: str, folder: Path) -> float:
    """Return the peak memory of some steps in MiB, with an existing cache."""
    teacher, student = networks()
    call = step(kind, teacher, student, folder / "nhwc", None if kind == "none" else "kd", True)
    if kind == "none":
        del teacher
    for _ in range(40):
        call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_another_process(what: str, folder: Path, *, limit: Path | None = None) -> float:
    """Measure a figure in another process, optionally in a memory cgroup."""

    def enter() -> None:
        if limit is not None:
            (limit / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, __file__, "--alone", what, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=enter)
    print(done.stdout, end="")
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure all figures, or only one if called as a subprocess."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--alone", help="none, cached or cold: measure one figure; used by the program itself")
    parser.add_argument("--folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    limit = Path(f"/sys/fs/cgroup/memory/tutelage-bench-{os.getppid() if args.alone else os.getpid()}")
    if args.alone:
        folder = Path(args.folder)
        print(cold(folder, limit) if args.alone == "cold" else memory(args.alone, folder))
        return
    rounds, instances = (4, 1) if args.quick else (8, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = steps(folder, rounds, instances) + reads(folder, rounds)
        ratio = in_another_process("cached", folder) / in_another_process("none", folder)
        figures.append(("peak memory cached/plain", ratio, 1.05))
        try:
            limit.mkdir()
        except OSError as error:
            print(f"no memory cgroup available ({error.strerror}): cold reads aren't measured")
        else:
            figures.append(("cold/warm reads", in_another_process("cold", folder, limit=limit), 2.0))
            limit.rmdir()
    conclude(figures)


if __name__ == "__main__":
    main()
