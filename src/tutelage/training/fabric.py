"""Lightning Fabric, configured by the trainer's settings."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any, Literal

import torch
from torch.nn.parallel import DistributedDataParallel

from tutelage.errors import ConfigError
from tutelage.settings import TrainerSettings
from tutelage.utils.compat import with_start_method


def make_fabric(settings: TrainerSettings, start: Literal["popen", "spawn", "fork"] = "popen") -> Any:
    """Return Lightning Fabric for these settings, with DDP or FSDP on several devices or machines (torchrun).

    Raises: ConfigError if the devices or the precision aren't available.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    strategy: Any = "auto"
    machines, processes = _machines_and_processes(settings.devices)
    if settings.sharded:
        strategy = _sharded_strategy(settings.devices, start)
    elif settings.devices > 1:
        # replicas keep separate buffers (memory banks); torch has renamed the option for that
        sync = (
            "forward_sync_buffers"
            if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
            else "broadcast_buffers"
        )
        options: dict[str, Any] = {sync: False}
        strategy = DDPStrategy(find_unused_parameters=True, start_method=start, **options)
    try:
        return Fabric(
            accelerator=settings.device,
            devices=processes,
            num_nodes=machines,
            strategy=strategy,
            plugins=_precision(settings),
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"device={settings.device}, devices={settings.devices}: {error}") from error


def _precision(settings: TrainerSettings) -> Any:
    """Return the precision plugin; Fabric's would also convert a forward's inputs (the teacher's outputs)."""
    from lightning.fabric.plugins.precision import MixedPrecision, Precision

    class Autocast(MixedPrecision):
        def convert_input(self, data: Any) -> Any:
            return data

    if settings.precision == "32":
        return Precision()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    default = "cpu" if accelerator is None else accelerator.type
    device = default if settings.device == "auto" else torch.device(settings.device).type
    if device == "cpu" and settings.precision == "16":
        raise ConfigError("precision=16 needs a GPU, and there is none: use precision=bf16 or precision=32.")
    return Autocast("bf16-mixed" if settings.precision == "bf16" else "16-mixed", device)


def _machines_and_processes(devices: int) -> tuple[int, int]:
    """Return the number of machines and of processes on each: torchrun's, or one machine with all processes."""
    if devices == 1 or "LOCAL_WORLD_SIZE" not in os.environ:
        return 1, devices
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if world != devices:
        raise ConfigError(f"devices={devices}, but torchrun started {world} processes: set devices={world}.")
    return world // local, local


def _sharded_strategy(devices: int, start: str) -> Any:
    """Return Fabric's strategy for players that the trainer has sharded (`fsdp.shard`)."""
    from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

    kind = ModelParallelStrategy if start == "popen" else with_start_method(ModelParallelStrategy, start)
    return kind(lambda player, mesh: player, data_parallel_size=devices, tensor_parallel_size=1)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    from lightning.fabric.utilities.seed import seed_everything as seed_all

    seed_all(seed, verbose=False)
