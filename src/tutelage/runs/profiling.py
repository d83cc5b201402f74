"""The cost of networks and teachers: multiply–accumulates, latency, memory, a forward's seconds."""

from __future__ import annotations

import resource
import sys
import time
from itertools import chain
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.nn.feature_extractor import respond
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's tensors; the CPU if it has none."""
    return next((x.device for x in chain(module.parameters(), module.buffers())), torch.device("cpu"))


class _ResponseOf(nn.Module):
    """Wraps a teacher as a module that returns its response alone, to inputs or to a batch."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, inputs: Any) -> Outputs:
        return self.teacher(Batch(inputs))

    def respond(self, batch: Batch) -> Tensor:
        """Return the response to a batch, of which the teacher may see another view."""
        return self.teacher.respond(batch)


def as_network(network: nn.Module) -> nn.Module:
    """Return a teacher as a module that takes inputs alone; any other module as it is."""
    return _ResponseOf(network) if isinstance(network, Teacher) else network


def latency(network: nn.Module, data: DataModule, passes: int = 20, seconds: float = 0.5) -> float:
    """Return the milliseconds of one sample's forward: the median over some passes, without the first two."""
    batch = data.example().to(device_of(network))
    times: list[float] = []
    network, begun = as_network(network).eval(), time.perf_counter()
    with torch.no_grad():
        while len(times) < 5 or (len(times) < passes and time.perf_counter() - begun < seconds):
            start = time.perf_counter()
            respond(network, batch)
            if device_of(network).type == "cuda":
                torch.cuda.synchronize(device_of(network))
            times.append(1000 * (time.perf_counter() - start))
    return median(times[2:])


def macs(network: nn.Module, data: DataModule) -> int:
    """Return the multiply–accumulates of one sample's forward."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = data.example().to(device_of(network))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        respond(as_network(network).eval(), batch)
    return counter.get_total_flops() // 2


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of memory, where that is possible: on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """Return the peak of memory in MB: on a GPU since `reset_peak_memory`, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def forward_seconds(teacher: Teacher, data: DataModule, settings: TrainerSettings) -> float:
    """Return the seconds of the fastest of three forwards of the teacher."""
    views, view_seed = settings.views, settings.view_seed
    batch = next(iter(data.batches("train", settings.batch_size, views=views, view_seed=view_seed)))
    batch = batch.to(device_of(teacher))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        teacher(batch).response.sum().item()
        times.append(time.perf_counter() - began)
    return min(times)
