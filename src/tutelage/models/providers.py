"""Models of other libraries and of the user's own code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.base import FILE, INPUTS, NETWORKS, LoadedModel, ModelRequest
from tutelage.models.headless import without_classifier
from tutelage.models.pretrained import download_error, is_reachable, load_into, offline_unless_reachable


def from_timm(request: ModelRequest) -> LoadedModel:
    """A classifier of timm; a tag, as in timm:resnet50.a1_in1k, loads these published weights."""
    library = import_required("timm", "pip install 'tutelage[timm]'")
    refuse_dense("timm", request)
    refuse_other_inputs(f"timm:{request.name}", 2, request)
    name = request.name
    architecture, _, tag = name.partition(".")
    if not library.is_model(architecture):
        raise ConfigError(not_found("timm", "model", architecture, library.list_models(), "timm.list_models()"))
    tags = [known.partition(".")[2] for known in library.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ConfigError(
            f"timm has no weights {tag!r} of {architecture}: expected one of {', '.join(tags) or 'none'}."
        )
    published = request.loads_published(bool(tag))
    if published and not tags:
        raise ConfigError(f"timm has no published weights of {architecture}: use pretrained=false, or {FILE}.")
    config = library.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": request.classes, "in_chans": request.channels}
    if request.size is not None and config.fixed_input_size and config.input_size[1:] != request.size:
        options["img_size"] = request.size
    download = published and not request.local
    try:
        with offline_unless_reachable(f"timm:{name}", FILE) if download else nullcontext():
            loaded = LoadedModel(library.create_model(name, pretrained=download, **options), name, pretrained=download)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise creation_error(f"timm:{name}", request, error) from error
    new_head = download and request.classes > 0 and config.num_classes != request.classes
    untrained = [new_head_note(name, config.num_classes, request)] if new_head else []
    mean, std = normalisation(config.mean, config.std, request.channels) if published else (None, None)
    return replace(loaded, mean=mean, std=std, untrained=untrained)


def from_torchvision(request: ModelRequest) -> LoadedModel:
    """A model of torchvision, for images or clips; torchvision:resnet50:DEFAULT loads these weights."""
    from torchvision import models

    name, _, tag = request.name.partition(":")
    videos = [] if request.is_dense else video_networks()
    refuse_other_inputs(f"torchvision:{request.name}", 3 if name in videos else 2, request)
    names = [*models.list_models(module=models.segmentation if request.is_dense else models), *videos]
    if name not in names:
        kind = f"{'segmentation' if request.is_dense else 'classification'} model"
        raise ConfigError(not_found("torchvision", kind, name, names, "torchvision.models.list_models()"))
    backbone = {"weights_backbone": None} if request.is_dense else {}
    try:
        model = models.get_model(name, weights=None, num_classes=request.classes or 1000, **backbone)
    except (RuntimeError, ValueError, TypeError) as error:
        raise creation_error(f"torchvision:{name}", request, error) from error
    if request.channels != 3:
        replace_stem(model, request.channels)
    model = model if request.classes else without_classifier(model, request)
    loaded = LoadedModel(model, name)
    if not request.loads_published(bool(tag)):
        return loaded
    choices, tag = models.get_model_weights(name), tag or "DEFAULT"
    if tag not in choices.__members__:
        raise ConfigError(
            f"torchvision has no weights {tag!r} of {name}: expected one of {', '.join(choices.__members__)}."
        )
    preset = choices[tag].transforms()
    mean, std = normalisation(preset.mean, preset.std, request.channels)
    loaded = replace(loaded, mean=mean, std=std)
    if hasattr(model, "transform_input"):
        model.transform_input = request.channels == 3
    if not request.local:
        return load_into(loaded, download_weights(choices[tag], name), request.classes, f"{name}:{tag}")
    return loaded


def video_networks() -> list[str]:
    """Return the names of torchvision's networks of clips."""
    from torchvision.models import list_models, video

    return list_models(module=video)


def download_weights(weights: Any, name: str) -> dict[str, torch.Tensor]:
    """Return the state dict of torchvision weights, from the cache or the network, without an auxiliary classifier."""
    cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    try:
        if not cached.exists() and not is_reachable(weights.url):
            raise OSError(f"{weights.url} can't be reached.")
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise download_error(f"torchvision:{name}", FILE, error) from error
    return {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}


def replace_stem(model: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for another number of image channels."""
    old: Any
    path, old = next((path, part) for path, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Conv3d))
    new = type(old)(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    model.set_submodule(path, new)


def from_hugging_face(request: ModelRequest) -> LoadedModel:
    """A network of Hugging Face transformers for images or, such as SegFormer, for masks: a folder, or a model's id."""
    library = import_required("transformers", "pip install 'tutelage[transformers]'")
    refuse_other_inputs(f"hf:{request.name}", 2, request)
    name = request.name
    published = request.loads_published(True)
    try:
        with offline_unless_reachable(f"hf:{name}", "give their folder as hf:FOLDER"):
            config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
            loaded = from_hub(library, config, request, published and not request.local)
            if published:
                mean, std = normalisation(*processor_normalisation(library, name), request.channels)
                loaded = replace(loaded, mean=mean, std=std)
    except (ValueError, RuntimeError, KeyError) as error:
        raise creation_error(f"hf:{name}", request, error) from error
    return loaded


def from_hub(library: Any, config: Any, request: ModelRequest, download: bool) -> LoadedModel:
    """Create a configuration's network for the requested classes and channels; if untrained, also for the size."""
    auto = library.AutoModelForSemanticSegmentation if request.is_dense else library.AutoModelForImageClassification
    name = request.name
    old_classes, config.num_labels = config.num_labels, request.classes
    trained_on, config.num_channels = getattr(config, "num_channels", 3), request.channels
    if not download:
        if request.size is not None and hasattr(config, "image_size"):
            config.image_size = request.size[0] if len(set(request.size)) == 1 else request.size
        return LoadedModel(auto.from_config(config, trust_remote_code=False).float(), name)
    model, report = auto.from_pretrained(
        name, config=config, ignore_mismatched_sizes=True, output_loading_info=True, trust_remote_code=False
    )
    untrained = []
    if old_classes != request.classes:
        untrained.append(new_head_note(name, old_classes, request))
    if trained_on != request.channels:
        untrained.append(
            f"{name} was trained on {trained_on} channels, not {request.channels}; its first layer starts from random "
            "weights."
        )
    if missing := sorted(report["missing_keys"]):
        untrained.append(
            f"{name} has no {', '.join(missing[:3])} ({len(missing)} in total); they start from random weights."
        )
    return LoadedModel(model.float(), name, pretrained=True, untrained=untrained)


def processor_normalisation(library: Any, name: str) -> tuple[Any, Any]:
    """Return the mean and std in the model's pre-processing file, if there is one."""
    try:
        processor, _ = library.ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        return None, None
    return processor.get("image_mean"), processor.get("image_std")


def from_callable(request: ModelRequest) -> LoadedModel:
    """The model that your callable returns, as in python:my_package.models:small; called with classes= and channels=.

    Raises: ConfigError if there is no such callable or it takes other arguments; ModelError if it raises, or returns
    something else than a module.
    """
    module_name, _, attribute = request.name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"python:{request.name}: expected python:MODULE:CALLABLE, as in python:my_models:small.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"can't import {error.name!r} for python:{request.name}: is it on PYTHONPATH?") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(
            f"python:{request.name}: importing {module_name} raised {type(error).__name__}: {error}."
        ) from error
    if not hasattr(module, attribute):
        raise ConfigError(f"python:{request.name}: the module {module_name} has no {attribute!r}.")
    return LoadedModel(_call(request, getattr(module, attribute)), request.name)


def _call(request: ModelRequest, function: Any) -> nn.Module:
    """Call the user's callable with those of classes= and channels= that it takes."""
    if not callable(function):
        raise ConfigError(f"python:{request.name} is a {type(function).__name__}: expected a callable.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:  # some built-in functions have none
        raise ConfigError(
            f"python:{request.name} has no readable signature: {error}; wrap it in a function."
        ) from error
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    args = {"classes": request.classes, "channels": request.channels}
    args = {key: value for key, value in args.items() if takes_any or key in signature.parameters}
    try:
        signature.bind(**args)
    except TypeError as error:
        raise ConfigError(f"python:{request.name} is called with classes= and channels= only: {error}.") from error
    try:
        model = function(**args)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(f"python:{request.name} raised {type(error).__name__}: {error}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"python:{request.name} returned {type(model).__name__}, expected a torch.nn.Module.")
    return model


def published_name(name: str) -> str:
    """Return the name of a network with the tag of its default published weights, unless it has one.

    Raises: ConfigError if there are none.
    """
    source, _, path = name.partition(":")
    if source == "frames":
        return f"frames:{published_name(path)}"
    if source == "hf" or (source == "timm" and "." in path) or (source == "torchvision" and ":" in path):
        return name
    if source == "torchvision":
        return f"{name}:DEFAULT"
    library = import_required("timm", "pip install 'tutelage[timm]'") if source == "timm" else None
    tag = library.get_pretrained_cfg(path).tag if library is not None and library.is_model_pretrained(path) else ""
    if not tag:
        raise ConfigError(f"{name} has no published weights that could teach: {FILE}, or name a run folder.")
    return f"{name}.{tag}"


PROVIDERS: dict[str, tuple[str, Callable[[ModelRequest], LoadedModel]]] = {
    "timm": ("timm:NAME[.TAG]", from_timm),
    "torchvision": ("torchvision:NAME[:WEIGHTS]", from_torchvision),
    "hf": ("hf:FOLDER_OR_ID", from_hugging_face),
    "python": ("python:MODULE:CALLABLE", from_callable),
}


def import_required(module: str, mend: str) -> Any:
    """Import an optional library.

    Raises: ModelError that tells how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModelError(f"{module} isn't installed: {mend}") from error


def refuse_dense(source: str, request: ModelRequest) -> None:
    """Reject a task with a label for each pixel, for sources that have classifiers only.

    Raises: ConfigError.
    """
    if request.is_dense:
        raise ConfigError(
            f"{source}:{request.name} classifies images, but the task requires a label for each pixel: use seg16, "
            "torchvision:lraspp_mobilenet_v3_large, or python:MODULE:CALLABLE."
        )


def refuse_other_inputs(name: str, dimensions: int, request: ModelRequest) -> None:
    """Reject a network for inputs of another number of dimensions than the requested ones.

    Raises: ConfigError that names networks for them.
    """
    if request.size is not None and len(request.size) != dimensions:
        raise ConfigError(
            f"{name} is a network for {INPUTS[dimensions]}, and the inputs are {request.inputs}: use "
            f"{NETWORKS.get(len(request.size), 'python:MODULE:CALLABLE')}."
        )


def not_found(source: str, kind: str, name: str, names: Iterable[str], how: str) -> str:
    """Return the message for a name that a library doesn't have; how: the call that lists the names."""
    near = get_close_matches(name, list(names), n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{source} has no {kind} {name!r}: {hint}`{how}` lists them."


def new_head_note(name: str, old_classes: int, request: ModelRequest) -> str:
    """Return the note on a replaced classifier."""
    counts = f"{old_classes} classes, not {request.classes}"
    return f"{name} was trained for {counts}; its classifier starts from random weights."


def creation_error(name: str, request: ModelRequest, error: Exception) -> ModelError:
    """Return the library's own error, with the requested classes, channels and size."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    size = "" if request.size is None else f", {request.inputs}"
    return ModelError(
        f"{name} can't be made for {request.classes} classes, {request.channels} channels{size}: {reason}"
    )


def normalisation(mean: Any, std: Any, channels: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std per channel; their average for each channel if the images have another number of channels."""
    if mean is None or std is None:
        return None, None
    means, stds = tuple(map(float, mean)), tuple(map(float, std))
    if len(means) == channels:
        return means, stds
    return (sum(means) / len(means),) * channels, (sum(stds) / len(stds),) * channels
