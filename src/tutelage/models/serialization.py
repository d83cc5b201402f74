"""A network as one file: its weights as safetensors, and in its header what is needed to rebuild it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import models
from tutelage.data.cloud_files import read_cloud
from tutelage.data.clouds import CloudForm
from tutelage.data.data_module import DataModule
from tutelage.data.recordings import SoundForm, place, read_waveform
from tutelage.data.scale import normalise
from tutelage.data.sources.clips import read_sample
from tutelage.data.splits import ViewSeed
from tutelage.data.table_encoding import TableEncoding
from tutelage.data.table_files import read_table
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import CheckpointError, DataError, ModelError, plain
from tutelage.models.estimators import FittedEstimator, files, kinds
from tutelage.models.preprocess import Preprocess, Standardise
from tutelage.utils import checksums, tensor_file
from tutelage.utils.files import write_atomically


@dataclass(frozen=True)
class ModelCard:
    """The information needed to rebuild a network: its name, its task and classes, and the normalisation of its inputs.

    Args:
        model: the model's name.
        task, classes, channels, size, mean, std, data: those of the data that it was trained on.
        outputs: the number of its outputs.
        columns: of data with several label columns, each column's number of classes.
        column: the only column it was trained on.
        known: whether mean and std refer to pixels in [0, 1]; if not, its images were floats, left unchanged.
        side: the height and width to which its images were brought before normalisation.
        centred: whether by cropping the centre, as photos are.
        modality: the kind of its inputs.
        source_options: the options that its data was loaded with.
        inputs: the field, or the channels, of its data that it gets; () for the first field, whole.
        values: of a regression, the names, means and standard deviations of its targets, which scale its outputs.
        encoding: of a table, the encoding of its columns, as JSON.
    """

    model: str
    task: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: str
    outputs: int
    columns: dict[str, int] = field(default_factory=dict)
    column: str = ""
    known: bool = True
    side: tuple[int, int] | None = None
    centred: bool = False
    modality: str = "image"
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    source_options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    encoding: str = ""

    @property
    def preprocess(self) -> Callable[[Any], Tensor]:
        """The preprocessing that converts an input of this kind to the network's, identical to evaluation's."""
        if self.modality == "image":
            size = self.size[0], self.size[1]
            return Preprocess(self.channels, size, self.mean, self.std, self.known, self.side, self.centred)
        return Standardise((self.channels, *self.size), self.mean, self.std)

    def read_table(self, path: str | Path) -> Tensor:
        """Read the rows (N, C) of a CSV or Parquet file as the network's inputs, encoded and normalised as in training.

        Raises: DataError if the file lacks a column or has other cells; ModelError if the network isn't for tables.
        """
        if not self.encoding:
            raise ModelError(f"{self.model} was trained on {self.data}, which is no table with named columns.")
        encoding = TableEncoding.from_json(self.encoding)
        rows = encoding.encode(read_table(Path(path)))
        if self.inputs:
            rows = rows[:, [encoding.inputs.index(name) for name in self.inputs]]
        return normalise(rows, self.mean, self.std)

    def read_sound(self, path: str | Path) -> Tensor:
        """Read a recording as the network's input (1, T), of the rate and the length of its training.

        Raises: DataError if it can't be used; ModelError if the network isn't for sound, or its rate isn't known.
        """
        reading = self.source_options.get("reading", {})
        if self.modality != "sound" or "rate" not in reading:
            raise ModelError(
                f"{self.model} was trained on {self.data} with reading={reading}: expected sound, with a rate; train "
                "it with reading={rate: …}."
            )
        form = SoundForm(reading["rate"], self.size[0], reading.get("resample", False), reading.get("mono", False))
        waveform = read_waveform(Path(path), form)
        middle = place(waveform, form.length, max(waveform.shape[-1] - form.length, 0) // 2)
        return normalise(middle[None], self.mean, self.std)[0]

    def read_points(self, path: str | Path) -> Tensor:
        """Read a file's point cloud as the network's input: its points (C, P), grid or visible points, as in testing.

        Raises: DataError if it can't be used; ModelError if the network isn't for point clouds.
        """
        if not self.data.startswith("points:"):
            raise ModelError(f"{self.model} was trained on {self.data}: expected data=points:PATH.")
        reading = {key: value for key, value in self.source_options.get("reading", {}).items() if key != "leave_out"}
        cloud = read_cloud(Path(path))
        if not len(cloud):
            raise DataError(f"{plain(path)}: has no points: expected some.")
        form = CloudForm(**reading)
        inputs = form.inputs(form.placed(cloud), 0, ViewSeed())
        return normalise(inputs[self.inputs[0] if self.inputs else "points"][None], self.mean, self.std)[0]

    def read_clip(self, path: str | Path) -> Tensor:
        """Read a folder of frames as the network's input (C, T, H, W): the middle window, as in evaluation.

        Raises: DataError if it can't be used; ModelError if the network isn't for clips.
        """
        if self.modality != "clip":
            raise ModelError(f"{self.model} was trained on {self.data}: expected data of clips.")
        reading = self.source_options.get("reading", {})
        return normalise(read_sample(Path(path), reading, self.channels, self.size)[None], self.mean, self.std)[0]

    @property
    def value_targets(self) -> ValueTargets | None:
        """The names and scale of a regression's values; None for another task."""
        if not self.values:
            return None
        means, stds = zip(*self.values.values(), strict=True)
        return ValueTargets(tuple(self.values), means, stds)

    def restore(self, outputs: Tensor) -> Tensor:
        """Return a regression's outputs (B, T) in the units of its targets.

        Raises: ModelError if it estimates no values.
        """
        if (values := self.value_targets) is None:
            raise ModelError(
                f"{self.model} was trained for {self.task} and estimates no values: use its outputs as they are."
            )
        return values.restore(outputs)


def make_card(model: str, data: DataModule, outputs: int) -> ModelCard:
    """Return the card of a model with so many outputs, trained on this data."""
    of_data = data.classes, data.channels, data.size, data.mean, data.std, data.name, outputs
    centred = data.judged.can_crop and data.target in ("label", "labels")
    values = data.values
    return ModelCard(
        model,
        data.task,
        *of_data,
        dict(data.columns),
        data.column_name,
        data.source_scale.known,
        data.judged.image_size,
        centred,
        data.modality,
        {} if values is None else dict(zip(values.names, zip(values.mean, values.std, strict=True), strict=True)),
        dict(data.source_options),
        data.view,
        data.encoding,
    )


def save(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write the network; tied tensors are written once, and tied again when loaded."""
    if isinstance(model, FittedEstimator):
        content = files.encode(model, {"tutelage": json.dumps(asdict(card))})
        write_atomically(path, lambda file: file.write(content))
        return
    # safetensors' save_model refuses views of a larger storage, and orders metadata differently in each file
    seen: dict[int, str] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen and tensor.shape == weights[seen[tensor.data_ptr()]].shape:
            continue
        seen[tensor.data_ptr()] = name
        weights[name] = tensor.detach().contiguous().cpu()
    data = tensor_file.encode_tensors(weights, {"tutelage": json.dumps(asdict(card))})
    write_atomically(path, lambda file: file.write(data))


def read_card(path: str | Path) -> ModelCard:
    """Read the card of a saved file or run folder.

    Raises: CheckpointError if the file is torn or wasn't written by tutelage.
    """
    path = _weights_file(path)
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
    """Load the network of a run folder or saved file, in eval mode, with its card as `.card`.

    Its `.preprocess` converts images to input tensors: the module's own, if it has one, else the card's.

    Args:
        path: a run folder or a saved file.
        model: a module to load the weights into, for networks that were passed as objects.

    Raises: CheckpointError if the file is torn; ModelError if the network can't be rebuilt.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32,
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        >>> model = tutelage.load(run.folder)
        >>> model.training, len(model.card.classes)
        (False, 10)
    """
    path = _weights_file(path)
    model_card = read_card(path)
    if kinds.is_fitted(model_card.model):
        return _with_card(files.load(path), model_card)
    weights = load_tensors(path)
    if model is None:
        if model_card.model.startswith("object:"):
            raise ModelError(
                f"{path} holds {model_card.model[7:]}, which was passed as an object: pass it as load(path, model=…)."
            )
        with torch.random.fork_rng(devices=[]):
            model = models.create(
                model_card.model,
                classes=model_card.outputs,
                channels=model_card.channels,
                size=model_card.size,
                pretrained=False,
                task=model_card.task,
            ).model
    try:  # safetensors' load_model takes file names only: it would read again, after the SHA-256 was checked
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} doesn't fit {model_card.model}: {error}") from error
    tied = {p.data_ptr() for n, p in model.state_dict().items() if n in weights}
    absent = [n for n in missing if model.state_dict()[n].data_ptr() not in tied]
    if absent or unexpected:
        raise CheckpointError(
            f"{path} doesn't fit {model_card.model}: missing {absent[:3]}, unexpected {unexpected[:3]}."
        )
    return _with_card(model, model_card)


def _with_card(model: nn.Module, model_card: ModelCard) -> nn.Module:
    """Return a loaded network with its card and its preprocessing, in eval mode."""
    model.card = model_card  # type: ignore[assignment]
    if not hasattr(model, "preprocess"):
        model.preprocess = model_card.preprocess  # type: ignore[assignment]
    return model.eval()


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name."""
    data = tensor_file.encode_tensors({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})
    write_atomically(path, lambda file: file.write(data))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file, by name.

    Raises: CheckpointError if it is missing, torn or altered.
    """
    checksums.verify(path)
    try:
        return tensor_file.read_tensors(path)[0]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the stage that writes it wasn't trained.") from error


def encode_backbone(path: Path) -> bytes:
    """Return a saved network as a safetensors file for other programs: the weights under the library's own names.

    Its metadata are the model's name, and the size, mean and std of its images.
    """
    card = read_card(path)
    numbers = {"size": card.size, "mean": card.mean, "std": card.std}
    metadata = {"model": card.model, **{key: json.dumps(value) for key, value in numbers.items()}}
    return tensor_file.encode_tensors(load_tensors(path), metadata)


def _weights_file(path: str | Path) -> Path:
    path = Path(path)
    file = path / "student.safetensors" if path.is_dir() else path
    if not file.is_file():
        missing = "there is no student.safetensors" if path.is_dir() else "there is no such file"
        raise CheckpointError(f"{path}: {missing}; give a finished run folder or a saved network.")
    return file


def is_run(name: str) -> bool:
    """Return True if a model's name is the path of a run folder, finished or started, or of a saved network."""
    started = all((Path(name) / file).is_file() for file in ("config.yaml", "environment.json"))
    return name.endswith(".safetensors") or started or (Path(name) / "student.safetensors").is_file()
