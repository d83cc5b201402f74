"""Lightning Fabric, set up from the settings."""

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
    """Return Lightning Fabric for these settings; several devices by DDP or FSDP, on torchrun's machines."""
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    strategy: Any = "auto"
    machines, here = _spread(settings.devices)
    if settings.sharded:
        strategy = _sharded(settings.devices, start)
    elif settings.devices > 1:
        # replicas keep buffers of their own (memory banks); torch has renamed the option for it
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
            devices=here,
            num_nodes=machines,
            strategy=strategy,
            plugins=_precision(settings),
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"device={settings.device}, devices={settings.devices}: {error}") from error
    except Exception as error:  # Fabric's own misconfiguration errors have no common base
        if type(error).__name__ != "MisconfigurationException":
            raise
        raise ConfigError(f"device={settings.device}, devices={settings.devices}: {error}") from error


def _precision(settings: TrainerSettings) -> Any:
    """Return the precision plugin: autocast, but without Fabric's casting of inputs, which are also teacher outputs."""
    from lightning.fabric.plugins.precision import MixedPrecision, Precision

    class Autocast(MixedPrecision):
        def convert_input(self, data: Any) -> Any:
            return data

    if settings.precision == "32":
        return Precision()
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    own = "cpu" if there is None else there.type
    device = own if settings.device == "auto" else torch.device(settings.device).type
    if device == "cpu" and settings.precision == "16":
        raise ConfigError("precision=16 needs a GPU, and there is none: use precision=bf16 or 32.")
    return Autocast("bf16-mixed" if settings.precision == "bf16" else "16-mixed", device)


def _spread(devices: int) -> tuple[int, int]:
    """Return the number of machines and of processes on each: torchrun's, or else all on this machine."""
    if devices == 1 or "LOCAL_WORLD_SIZE" not in os.environ:
        return 1, devices
    world, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if world != devices:
        raise ConfigError(f"devices={devices}, but torchrun started {world} processes: set devices={world}.")
    return world // here, here


def _sharded(devices: int, start: str) -> Any:
    """Return Fabric's strategy for players that the trainer has divided (`fsdp.shard`)."""
    from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

    kind = ModelParallelStrategy if start == "popen" else with_start_method(ModelParallelStrategy, start)
    return kind(lambda player, mesh: player, data_parallel_size=devices, tensor_parallel_size=1)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    from lightning.fabric.utilities.seed import seed_everything as seed_all

    seed_all(seed, verbose=False)
