"""Models by name: built-in networks, timm's, torchvision's, Hugging Face's, and your own."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.models.base import FILE, LoadedModel, ModelRequest, example_inputs
from tutelage.models.detectors.weights import load_detector
from tutelage.models.estimators import kinds
from tutelage.models.frame_networks import with_frames
from tutelage.models.front_ends import with_mel, with_spectrogram
from tutelage.models.headless import resize_positions, without_classifier
from tutelage.models.pretrained import load_into, read_weights
from tutelage.models.providers import PROVIDERS, creation_error, refuse_other_inputs, video_networks
from tutelage.models.zoo.base import ZooNetwork
from tutelage.nn.feature_extractor import compute_response
from tutelage.utils import registry

SOURCES = PROVIDERS | {
    "mel": ("mel:RATE[:BANDS]:NAME", with_mel),
    "spectrogram": ("spectrogram:RATE:NAME", with_spectrogram),
    "frames": ("frames:NAME", with_frames),
}
"""The prefixes of names, each with its form and its function."""

FRONT_ENDS = ("mel:", "spectrogram:")
"""The prefixes of networks of waveforms."""


def families() -> Iterator[type[ZooNetwork]]:
    """The families of networks: a file in zoo/, or another package's module, that defines a ZooNetwork adds one."""
    files = pkgutil.iter_modules([str(Path(__file__).parent / "zoo")])
    modules = [importlib.import_module(f"tutelage.models.zoo.{file.name}") for file in files]
    for module in (*modules, *(plugin.load() for plugin in registry.plugins("models").values())):
        yield from (
            family
            for family in vars(module).values()
            if isinstance(family, type) and issubclass(family, ZooNetwork) and family.__module__ == module.__name__
            if family is not ZooNetwork
        )


def form_of(name: str) -> tuple[int, str]:
    """Return the number of dimensions of that network's inputs, besides the channels, and its task.

    Of one that isn't built-in: 2, and classification.
    """
    if name.startswith(FRONT_ENDS):
        return 1, ZooNetwork.task
    source, _, path = name.partition(":")
    if source == "frames" or (source == "torchvision" and path.partition(":")[0] in video_networks()):
        return 3, ZooNetwork.task
    fitting = (family for family in families() if re.fullmatch(family.pattern, name.replace("-", "_")))
    family = next(fitting, ZooNetwork)
    return family.dimensions, family.task


def available() -> dict[str, str]:
    """Return the names, or forms of names (D a depth, W a width, K a factor), that `create` accepts, with summaries."""
    built_in = {family.name_form: (family.__doc__ or "").partition("\n")[0] for family in families()}
    fitted = {f"{name}[:OPTIONS]": (kind.__doc__ or "").partition("\n")[0] for name, kind in kinds.KINDS.items()}
    return built_in | fitted | {form: (make.__doc__ or "").partition("\n")[0] for form, make in SOURCES.values()}


def create(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    size: tuple[int, ...] | None = None,
    pretrained: bool | None = None,
    task: str = "classification",
    weights: str | Path | None = None,
) -> LoadedModel:
    """Create the model of that name, for `classes` outputs.

    Random weights are a function of torch's seed. If `size` is given, the model is run once on an input of that size,
    unless it is your own.

    Args:
        name: a built-in network (`resnet20`, see `available`), `timm:NAME[.TAG]`, `torchvision:NAME[:WEIGHTS]`,
            `hf:FOLDER_OR_ID` or `python:MODULE:CALLABLE`.
        classes: number of outputs; 0: a network without a classifier, which outputs its pooled embedding.
        channels: of the inputs; the columns of a table.
        size: the length of each dimension of the inputs: () for rows of a table, (T,) for series, (H, W) for images,
            (T, H, W) for clips,
            (D, H, W) for voxels.
        pretrained: whether to load published weights; None: if the name names some (a timm tag, torchvision weights, a
            Hugging Face model).
        task: "segmentation", "depth" and other tasks of positions create a model with a map as output, "detection" a
            detector, others a model with a vector.
        weights: a safetensors or torch file of initial weights, in place of a download; its classifier is replaced if
            it has another number of classes.

    Raises: ConfigError for an unknown name or a contradiction; ModelError if the model can't be made or its weights are
    unavailable.

    Example:
        >>> from tutelage import models
        >>> type(models.create("resnet8", classes=100).model).__name__
        'ResNet'
    """
    if classes < 0 or channels < 1:
        raise ConfigError(f"classes={classes}, channels={channels}: expected 0 or more classes, 1 or more channels.")
    source, colon, path = name.partition(":")
    if kinds.is_fitted(name):
        raise ConfigError(f"{name} is fitted to data, not made: name it as a run's student or teacher.")
    if colon and source not in SOURCES:
        raise ConfigError(unknown("source of models", source, SOURCES))
    request = ModelRequest(
        path if colon else name, classes, channels, size, task, pretrained, local=weights is not None
    )
    if colon and request.is_detector:
        from tutelage.models.detectors import loading as detectors  # torchvision is loaded where it is used

        loaded = replace(detectors.SOURCES[source](request), name=name)
    else:
        loaded = replace(SOURCES[source][1](request) if colon else create_built_in(request), name=name)
    if weights is not None:
        state = read_weights(Path(weights))
        state = resize_positions(loaded.model, state) if source == "timm" else state
        load = load_detector if request.is_detector else partial(load_into, classes=classes)
        loaded = load(loaded, state, origin=str(weights))
    if size is not None and source != "python":
        try_once(loaded, request)
    return loaded


def create_built_in(request: ModelRequest) -> LoadedModel:
    """Create a built-in network with random weights.

    Raises: ConfigError for an unknown name, or a network for another task.
    """
    name = request.name
    if request.pretrained and not request.local:
        raise ConfigError(f"{name} has no published weights here: remove pretrained=true, or {FILE}.")
    names: list[str] = []
    for family in families():
        fits = request.suits(family.task)
        names += family.examples if fits else ()
        try:
            model = family.from_name(name, request.classes or 1, request.channels, request.size)
        except ConfigError as error:
            raise ConfigError(f"{error}{hint_at_libraries(name)}") from error
        if model is not None and not fits:
            raise ConfigError(f"{name} is a network for {family.task}, not for {request.task}.")
        if model is not None:
            refuse_other_inputs(name, family.dimensions, request)
        if model is not None:
            network = model if request.classes else without_classifier(model, request)
            is_namesake = name.replace("-", "_") in family.namesakes
            return LoadedModel(network, name, notes=[note_on_namesake(name, model)] if is_namesake else [])
    names += [form for form, _ in SOURCES.values()]
    raise ConfigError(unknown("model", name, names, "tutelage list models") + hint_at_libraries(name))


def note_on_namesake(name: str, model: nn.Module) -> str:
    """Return a sentence on a built-in network that has the name of a network for photos."""
    size = f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters"
    return f"{name} is the literature's network for small images ({size}).{hint_at_libraries(name)}"


def hint_at_libraries(name: str) -> str:
    """Return a sentence naming the libraries that have a network of that name, if any."""
    from torchvision.models import list_models

    matches = [f"torchvision:{name}"] if name in list_models() else []
    if importlib.util.find_spec("timm") is not None and importlib.import_module("timm").is_model(name):
        matches.insert(0, f"timm:{name}")
    return f" The network for photos of that name is {' or '.join(matches)}." if matches else ""


def try_once(loaded: LoadedModel, request: ModelRequest) -> None:
    """Run the model once on an input of the requested size.

    Raises: ModelError if it fails, or returns another number of outputs.
    """
    assert request.size is not None
    training = loaded.model.training
    example = example_inputs(loaded.model, request.task, request.channels, request.size)
    try:
        with torch.no_grad():
            response = compute_response(loaded.model.eval(), example)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise creation_error(loaded.name, request, error) from error
    finally:
        loaded.model.train(training)
    if request.classes == 0 and response.dim() != 2:
        raise ModelError(
            f"{loaded.name} returns the shape {tuple(response.shape)}: expected one vector per image; use a network "
            "that pools its features."
        )
    if request.is_detector:  # whose response may have a class for the background
        return
    if response.dim() < 2 or response.shape[1] != (request.classes or response.shape[1]):
        raise ModelError(
            f"{loaded.name} returns the shape {tuple(response.shape)}: expected {request.classes} classes in "
            "dimension 1; "
            "check its number of classes."
        )
