"""A model by its name: a built-in network, timm's, torchvision's, Hugging Face's, or your own."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import torch

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.models.base import FILE, LoadedModel, ModelRequest
from tutelage.models.pretrained import load_into, read
from tutelage.models.providers import SOURCES, refused
from tutelage.models.zoo.base import ZooNetwork
from tutelage.nn.feature_extractor import answer
from tutelage.utils import registry


def families() -> Iterator[type[ZooNetwork]]:
    """The families of networks: a file in zoo/, or another package's module, that defines a ZooNetwork adds one."""
    files = pkgutil.iter_modules([str(Path(__file__).parent / "zoo")])
    modules = [importlib.import_module(f"tutelage.models.zoo.{file.name}") for file in files]
    for module in (*modules, *(plugin.load() for plugin in registry.plugins("models").values())):
        yield from (
            part
            for part in vars(module).values()
            if isinstance(part, type) and issubclass(part, ZooNetwork) and part.__module__ == module.__name__
            if part is not ZooNetwork
        )


def available() -> dict[str, str]:
    """What `create` knows: each name, or form of names (D a depth, W a width, K a factor), and one line about it."""
    built_in = {family.form: (family.__doc__ or "").partition("\n")[0] for family in families()}
    return built_in | {form: (make.__doc__ or "").partition("\n")[0] for form, make in SOURCES.values()}


def create(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    pretrained: bool | None = None,
    task: str = "classification",
    weights: str | Path | None = None,
) -> LoadedModel:
    """The model of that name, for `classes` outputs and images of `channels` and `size` (height, width).

    name: a built-in (`resnet20`, see `available`), `timm:NAME[.TAG]`, `torchvision:NAME[:WEIGHTS]`,
    `hf:FOLDER_OR_ID` or `python:MODULE:CALLABLE`. pretrained: None takes the published weights if the name names some
    (a timm tag, torchvision weights, a Hugging Face model). task: "segmentation" asks for a map of classes, any other
    for a vector. weights: a safetensors or torch file to begin from instead of a download; its classifier is replaced
    if it has another number of classes. Random weights are a function of torch's seed. If size is given, the model is
    tried once on an image of it, unless it is your own.
    Raises: ConfigError for an unknown name or a contradiction; ModelError if the model can't be made or its weights
    can't be had.
    """
    if classes < 1 or channels < 1:
        raise ConfigError(f"a model has 1 class and 1 channel or more, got classes={classes}, channels={channels}.")
    source, colon, rest = name.partition(":")
    if colon and source not in SOURCES:
        raise ConfigError(unknown("source of models", source, SOURCES))
    request = ModelRequest(
        rest if colon else name, classes, channels, size, task, pretrained, local=weights is not None
    )
    made = SOURCES[source][1](request) if colon else built_in(request)
    made.name = name
    if weights is not None:
        load_into(made, read(Path(weights)), classes, str(weights))
    if size is not None and source != "python":
        try_once(made, request)
    return made


def built_in(request: ModelRequest) -> LoadedModel:
    """A network of this folder, with random weights."""
    name = request.name
    if request.pretrained and not request.local:
        raise ConfigError(f"{name} has no published weights here: leave out pretrained=true, or {FILE}.")
    known: list[str] = []
    for family in families():
        fits = (family.task == "segmentation") == request.dense
        known += family.examples if fits else ()
        try:
            model = family.named(name, request.classes, request.channels)
        except ConfigError as error:
            raise ConfigError(f"{error}{elsewhere(name)}") from error
        if model is not None and not fits:
            raise ConfigError(f"{name} is a network for {family.task}, not for {request.task}.")
        if model is not None:
            namesake = name.replace("-", "_") in family.namesakes
            size = f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters"
            notes = [f"{name} is the literature's network for small images ({size}).{elsewhere(name)}"]
            return LoadedModel(model, name, notes=notes if namesake else [])
    known += [form for form, _ in SOURCES.values()]
    raise ConfigError(unknown("model", name, known, "tutelage list models") + elsewhere(name))


def elsewhere(name: str) -> str:
    """The sentence that says which library has a network of that name, if one has."""
    from torchvision.models import list_models

    found = [f"torchvision:{name}"] if name in list_models() else []
    if importlib.util.find_spec("timm") is not None and importlib.import_module("timm").is_model(name):
        found.insert(0, f"timm:{name}")
    return f" The network for photos of that name is {' or '.join(found)}." if found else ""


def try_once(made: LoadedModel, request: ModelRequest) -> None:
    """Refuse a model that can't take one image of the size asked for, or says another number of classes."""
    assert request.size is not None
    training, image = made.model.training, torch.zeros(1, request.channels, *request.size)
    try:
        with torch.no_grad():
            response = answer(made.model.eval(), image)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise refused(made.name, request, error) from error
    finally:
        made.model.train(training)
    if response.dim() < 2 or response.shape[1] != request.classes:
        raise ModelError(f"{made.name} answers with shape {tuple(response.shape)}, expected {request.classes} classes.")
