"""Detectors by name: torchvision's and Hugging Face's, with random or published weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tutelage.errors import ConfigError
from tutelage.models.base import LoadedModel, ModelRequest
from tutelage.models.detectors.detr import Detr
from tutelage.models.detectors.torchvision_detectors import FCOS, SSD, FasterRCNN, RetinaNet, TorchvisionDetector
from tutelage.models.detectors.weights import load_detector
from tutelage.models.pretrained import offline_unless_reachable
from tutelage.models.providers import (
    creation_error,
    download_weights,
    from_callable,
    import_required,
    normalisation,
    not_found,
    processor_normalisation,
    refuse_other_inputs,
    replace_stem,
)

WRAPPERS: Mapping[str, type[TorchvisionDetector]] = {
    "retinanet": RetinaNet,
    "fcos": FCOS,
    "ssd": SSD,
    "fasterrcnn": FasterRCNN,
}
"""torchvision's detectors by how their names begin."""


def from_torchvision(request: ModelRequest) -> LoadedModel:
    """A detector of torchvision; torchvision:fcos_resnet50_fpn:DEFAULT loads these weights but those of the classes."""
    from torchvision import models

    refuse_other_inputs(f"torchvision:{request.name}", 2, request)
    name, _, tag = request.name.partition(":")
    known = [known for known in models.list_models(module=models.detection) if known.startswith(tuple(WRAPPERS))]
    if name not in known:
        listing = "torchvision.models.list_models(module=torchvision.models.detection)"
        raise ConfigError(not_found("torchvision", "detector", name, known, listing))
    wrapper = next(wrapper for prefix, wrapper in WRAPPERS.items() if name.startswith(prefix))
    classes = request.classes + wrapper.first_class
    try:
        detector = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    except (RuntimeError, ValueError, TypeError) as error:
        raise creation_error(f"torchvision:{name}", request, error) from error
    mean, std = detector.transform.image_mean, detector.transform.image_std
    if request.channels != 3:
        replace_stem(detector, request.channels)
    loaded = LoadedModel(wrapper(detector), name)
    if not request.loads_published(bool(tag)):
        return loaded
    choices, tag = models.get_model_weights(name), tag or "DEFAULT"
    if tag not in choices.__members__:
        raise ConfigError(
            f"torchvision has no weights {tag!r} of {name}: expected one of {', '.join(choices.__members__)}."
        )
    means, stds = normalisation(mean, std, request.channels)
    loaded = replace(loaded, mean=means, std=stds)
    return loaded if request.local else load_detector(loaded, download_weights(choices[tag], name), f"{name}:{tag}")


def from_hugging_face(request: ModelRequest) -> LoadedModel:
    """A detector of Hugging Face transformers: a folder, or the id of a model."""
    library = import_required("transformers", "pip install 'tutelage[transformers]'")
    refuse_other_inputs(f"hf:{request.name}", 2, request)
    name, auto = request.name, library.AutoModelForObjectDetection
    published = request.loads_published(True) and not request.local
    try:
        with offline_unless_reachable(f"hf:{name}", "give their folder as hf:FOLDER"):
            config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
            trained_on, config.num_labels = config.num_labels, request.classes
            if not published:
                return LoadedModel(Detr(auto.from_config(config, trust_remote_code=False).float()), name)
            model = auto.from_pretrained(name, config=config, ignore_mismatched_sizes=True, trust_remote_code=False)
            mean, std = normalisation(*processor_normalisation(library, name), request.channels)
    except (ValueError, RuntimeError, KeyError) as error:
        raise creation_error(f"hf:{name}", request, error) from error
    note = f"{name} was trained for {trained_on} classes, not {request.classes}; its classes start from random weights."
    untrained = [note] if trained_on != request.classes else []
    return LoadedModel(Detr(model.float()), name, mean, std, pretrained=True, untrained=untrained)


def from_timm(request: ModelRequest) -> LoadedModel:
    """Refuse: timm has no detectors."""
    raise ConfigError(
        f"timm:{request.name} classifies images, and the task requires boxes: use retinanet-resnet18-64, "
        "torchvision:fcos_resnet50_fpn, hf:FOLDER, or python:MODULE:CALLABLE."
    )


SOURCES: Mapping[str, Callable[[ModelRequest], LoadedModel]] = {
    "timm": from_timm,
    "torchvision": from_torchvision,
    "hf": from_hugging_face,
    "python": from_callable,
}
"""The sources of detectors, as those of other models (`models.providers.SOURCES`)."""
