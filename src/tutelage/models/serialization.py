"""A network as one file: its weights as safetensors, and in its header what it takes to rebuild it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.errors import CheckpointError, ModelError
from tutelage.models.preprocess import Preprocess
from tutelage.utils import checksums, tensor_file
from tutelage.utils.files import write_atomically


@dataclass(frozen=True)
class ModelCard:
    """What rebuilds a network: its name, what it was made for, and the normalisation that it wants.

    columns: of data with several label columns, how many of the classes each has; column: the only one it was
    trained on. known: whether mean and std are of pixels in [0, 1]; if not, its images were floats as they came.
    side: height and width to which its pictures were brought before they were normalised; centred: by the middle of
    each, as photos are.
    """

    model: str
    task: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: str
    columns: dict[str, int] = field(default_factory=dict)
    column: str = ""
    known: bool = True
    side: tuple[int, int] | None = None
    centred: bool = False

    @property
    def preprocess(self) -> Preprocess:
        """What makes of a picture the tensor that the network wants, as evaluation has it."""
        return Preprocess(self.channels, self.size, self.mean, self.std, self.known, self.side, self.centred)


def card_of(model: str, data: DataModule) -> ModelCard:
    """The card of a model trained on this data."""
    facts = data.classes, data.channels, data.size, data.mean, data.std, data.name
    centred = data.test.photos and data.task != "segmentation"
    return ModelCard(
        model, data.task, *facts, dict(data.columns), data.column_name, data.came.known, data.test.side, centred
    )


def save(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write the network; tied tensors are written once, and tied again when loaded."""
    seen: dict[int, str] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen and tensor.shape == weights[seen[tensor.data_ptr()]].shape:
            continue
        seen[tensor.data_ptr()] = name
        weights[name] = tensor.detach().contiguous().cpu()
    data = tensor_file.to_bytes(weights, {"tutelage": json.dumps(asdict(card))})
    write_atomically(path, lambda file: file.write(data))


def card(path: str | Path) -> ModelCard:
    """The card in a saved file.

    Raises: CheckpointError if the file isn't whole or isn't one of ours.
    """
    path = _file(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(length, 100_000_000)))
        fields: dict[str, Any] = json.loads(header["__metadata__"]["tutelage"])
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return ModelCard(**values)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}.") from error
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is torn or isn't a network that tutelage saved; give a run folder or its student.safetensors."
        ) from error


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network of a run folder or saved file, in eval mode; its card is its `.card`.

    Its `.preprocess` makes tensors of pictures, unless the module has one of its own: then the card's does.

    model: a module to load the weights into, for networks that were given as objects.
    Raises: CheckpointError if the file is torn; ModelError if the network can't be rebuilt.
    """
    path = _file(path)
    known = card(path)
    weights = tensors(path)
    if model is None:
        if known.model.startswith("object:"):
            raise ModelError(f"{path} holds {known.model[7:]}, which was given as an object: load(path, model=…).")
        with torch.random.fork_rng(devices=[]):
            model = models.create(
                known.model,
                classes=len(known.classes),
                channels=known.channels,
                size=known.size,
                pretrained=False,
                task=known.task,
            ).model
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} doesn't fit {known.model}: {error}") from error
    tied = {p.data_ptr() for n, p in model.state_dict().items() if n in weights}
    lost = [n for n in missing if model.state_dict()[n].data_ptr() not in tied]
    if lost or unexpected:
        raise CheckpointError(f"{path} doesn't fit {known.model}: missing {lost[:3]}, unexpected {unexpected[:3]}.")
    model.card = known  # type: ignore[assignment]
    if not hasattr(model, "preprocess"):
        model.preprocess = known.preprocess  # type: ignore[assignment]
    return model.eval()


def keep_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name."""
    data = tensor_file.to_bytes({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})
    write_atomically(path, lambda file: file.write(data))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, by name.

    Raises: CheckpointError if it is missing, torn, or isn't what was written there.
    """
    checksums.check(path)
    try:
        return tensor_file.read(path)[0]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the stage that leaves it wasn't trained.") from error


def _file(path: str | Path) -> Path:
    path = Path(path)
    found = path / "student.safetensors" if path.is_dir() else path
    if not found.is_file():
        raise CheckpointError(
            f"{path}: there is no student.safetensors; give a finished run folder or a saved network."
        )
    return found


def is_run(name: str) -> bool:
    """Whether a model's name is the path of a run folder, finished or begun, or of a saved network."""
    begun = all((Path(name) / file).is_file() for file in ("config.yaml", "environment.json"))
    return name.endswith(".safetensors") or begun or (Path(name) / "student.safetensors").is_file()
