"""The layers of a model, with shapes and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tutelage.config.parsing import pairs
from tutelage.errors import ConfigError
from tutelage.utils.key_types import Place, Size, sides
from tutelage.utils.validation import faults

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(add_completion=False)
DEFAULTS = {"channels": 3, "classes": 10}


class LayersKeys(BaseModel):
    """What a network is looked at with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    data: Place | None = Field(None, description="data, as of a run")
    size: Size | None = Field(None, description="side of the images in pixels, or HEIGHTxWIDTH")
    channels: int | None = Field(None, ge=1, le=65_536, description="of the images")
    classes: int | None = Field(None, ge=1, le=10**6, description="how many the network is to tell apart")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, a run folder or a saved network.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[data=…] [size=…] [channels=…] [classes=…]", help="What it gets.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every module, not only stages and blocks.")] = False,
) -> None:
    """The layers of a model, with the shapes that they give: the names that a term's student= and teacher= take.

    `stage` marks those that auto pairs. calls above 1 can't be captured.

    Examples:

      tutelage layers resnet20

      tutelage layers timm:vit_tiny_patch16_224 --all

      tutelage layers runs/digits-kd-1
    """
    import torch

    from tutelage.nn.model_profile import profile_model
    from tutelage.structures import Batch
    from tutelage.utils.console import number, say, table

    network, shape = _made(model, words or [])
    profile = profile_model(network, Batch(torch.randn(2, *shape)))
    rows = [
        (x.name, x.kind, " × ".join(map(str, x.shape)), "" if x.stage is None else f"stage {x.stage + 1}", x.calls)
        for x in profile.layers
        if everything or x.stage is not None or _is_block(network.get_submodule(x.name))
    ]
    table("", ("layer", "class", "output", "stage", "calls"), rows)
    parameters = number(sum(p.numel() for p in network.parameters()))
    say(
        f"{model}: {parameters} parameters, input {' × '.join(map(str, shape))}, "
        f"{len(rows)} of {len(profile.layers)} layers shown; embedding: {profile.embedding or 'none'}"
    )


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _keys(words: list[str]) -> dict[str, Any]:
    """The words as values.

    Raises: ConfigError that lists every fault.
    """
    given = pairs(words, {key: field.annotation for key, field in LayersKeys.model_fields.items()})
    if wrong := [key for key in given if key not in LayersKeys.model_fields]:
        raise ConfigError(f"{', '.join(wrong)}: expected data=, size=, channels= or classes=.")
    try:
        return LayersKeys(**given).model_dump(exclude_none=True)
    except ValidationError as error:
        raise ConfigError(faults(error, LayersKeys.model_fields, given)) from error


def _made(model: str, words: list[str]) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network, and the shape of an image for it."""
    from tutelage import models
    from tutelage.models import serialization

    keys = _keys(words)
    if serialization.is_run(model):
        network = serialization.load(model)
        card: serialization.ModelCard = network.card  # type: ignore[assignment]
        return network, (card.channels, *card.size)
    size = keys.get("size", 224 if ":" in model else 32)
    wanted = {"size": sides(size)} | {key: keys.get(key, value) for key, value in DEFAULTS.items()}
    if "data" in keys:
        from tutelage.config.schema import check
        from tutelage.runs.data import load_data

        data = load_data(check({"student": "cnn2", "teacher": "none", "method": None} | keys))
        wanted = {"size": data.size, "channels": data.channels, "classes": len(data.classes), "task": data.task}
    made = models.create(model, pretrained=False, **wanted)
    return made.model, (wanted["channels"], *wanted["size"])
