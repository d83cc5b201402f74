"""The environment of a run: versions, hardware, revision; and its loggers."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from tutelage import __version__
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.utils.files import sha256_of_file
from tutelage.utils.key_types import texts_within


def describe(fabric: Any, data: DataModule) -> dict[str, Any]:
    """Return what environment.json records: versions, hardware, revision and the data's fingerprint."""
    cuda = torch.cuda.get_device_name() if fabric.device.type == "cuda" else None
    return {
        **versions(),
        "platform": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": cuda or str(fabric.device),
        "processes": fabric.world_size,
        "git": _revision(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "data": data.fingerprint,
    }


def networks_on_disk(config: Config) -> dict[str, str]:
    """Return the SHA-256 of each saved network or file of weights that the configuration names, by its path."""
    settings = config.model_dump(
        include={"teacher", "student", "peers", "teacher_weights", "student_weights", "stages"}
    )
    places = {name: (Path(name) / "student.safetensors", Path(name)) for name in texts_within(settings)}
    return {
        name: sha256_of_file(file)
        for name, files in places.items()
        for file in files
        if file.suffix and file.is_file()  # a name without a suffix is a model's, whatever lies here
    }


def versions() -> dict[str, str]:
    """Return the versions of this package, of torch and of Python."""
    return {"tutelage": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _revision() -> str | None:
    """Return the revision of the working folder's git checkout; None outside of one."""
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return process.stdout.strip() or None


def loggers(names: Sequence[str], folder: Path, phase: str) -> list[Any]:
    """Return Fabric's loggers by name: tensorboard, mlflow, wandb.

    Raises: ConfigError that names the extra to install.
    """
    return [_logger(name, folder, phase) for name in names]


def _logger(name: str, folder: Path, phase: str) -> Any:
    try:
        if name == "tensorboard":
            from lightning.fabric.loggers.tensorboard import TensorBoardLogger

            return TensorBoardLogger(folder / "tensorboard", name="", version=phase)
        if name == "mlflow":
            from lightning.pytorch.loggers import MLFlowLogger

            return MLFlowLogger(
                experiment_name="tutelage",
                run_name=f"{folder.name}/{phase}",
                tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            )
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(project="tutelage", name=f"{folder.name}/{phase}", save_dir=str(folder))
    except ImportError as error:
        raise ConfigError(f"log={name}: {error}. Install it: pip install 'tutelage[{name}]'.") from error
