"""List the layers of a model, with shapes and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tutelage.config.parsing import parse_pairs
from tutelage.errors import ConfigError
from tutelage.utils.key_types import NameOrPath, Size, parse_size
from tutelage.utils.validation import describe_faults

if TYPE_CHECKING:
    from torch import nn

    from tutelage.structures import Batch

app = typer.Typer(add_completion=False)
DEFAULTS = {"channels": 3, "classes": 10}


class LayersKeys(BaseModel):
    """The keys of `tutelage layers`: the data, or the shape of the inputs and the number of classes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    data: NameOrPath | None = Field(None, description="data, as in a run")
    size: Size | None = Field(
        None, description="side of the images in pixels, or HEIGHTxWIDTH; length of series, side of voxels"
    )
    channels: int | None = Field(None, ge=1, le=65_536, description="channels of the inputs; columns of a table")
    classes: int | None = Field(None, ge=1, le=10**6, description="number of classes of the network")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, a run folder or a saved network.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[data=…] [size=…] [channels=…] [classes=…]", help="The shape of the inputs, and the classes."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every module, not only stages and blocks.")] = False,
) -> None:
    """List the layers of a model with their output shapes; their names are the values of a term's student= and
    teacher=.

    `stage` marks the layers that `auto` pairs. A layer with more than one call can't be captured.

    Examples:

      tutelage layers resnet20

      tutelage layers timm:vit_tiny_patch16_224 --all

      tutelage layers runs/digits-kd-1
    """
    from tutelage.nn.model_profile import profile_model
    from tutelage.nn.token_grid import module_name
    from tutelage.utils.console import format_number, print_lines, print_table

    network, shape, batch = _create(model, arguments or [])
    profile = profile_model(network, batch)
    rows = [
        (x.name, x.kind, " × ".join(map(str, x.shape)), "" if x.stage is None else f"stage {x.stage + 1}", x.calls)
        for x in profile.layers
        if everything or x.stage is not None or _is_block(network.get_submodule(module_name(x.name)))
    ]
    print_table("", ("layer", "class", "output", "stage", "calls"), rows)
    parameters = format_number(sum(p.numel() for p in network.parameters()))
    print_lines(
        f"{model}: {parameters} parameters, input {' × '.join(map(str, shape))}, "
        f"{len(rows)} of {len(profile.layers)} layers shown; embedding: {profile.embedding or 'none'}"
    )


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _keys(arguments: list[str]) -> dict[str, Any]:
    """Parse the key=value arguments.

    Raises: ConfigError that lists every fault.
    """
    values = parse_pairs(arguments, {key: field.annotation for key, field in LayersKeys.model_fields.items()})
    if wrong := [key for key in values if key not in LayersKeys.model_fields]:
        raise ConfigError(f"{', '.join(wrong)}: expected data=, size=, channels= or classes=.")
    try:
        return LayersKeys(**values).model_dump(exclude_none=True)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, LayersKeys.model_fields, values)) from error


def _create(model: str, arguments: list[str]) -> tuple[nn.Module, tuple[int, ...], Batch]:
    """Create or load the network; return it, the shape (C, …) of its inputs, and two of them."""
    from tutelage import models
    from tutelage.models import serialization
    from tutelage.models.base import example_inputs
    from tutelage.models.loading import form_of
    from tutelage.structures import Batch

    keys = _keys(arguments)
    if serialization.is_run(model):
        network = serialization.load(model)
        card: serialization.ModelCard = network.card  # type: ignore[assignment]
        inputs = example_inputs(network, card.task, card.channels, card.size, 2)
        return network, (card.channels, *card.size), Batch(inputs)
    size = keys.get("size", 224 if ":" in model else 32)
    dimensions, task = form_of(model)
    sides = parse_size(size) if dimensions == 2 or not isinstance(size, int) else (size,) * dimensions
    options = {"size": sides, "task": task} | {key: keys.get(key, value) for key, value in DEFAULTS.items()}
    if "data" in keys:
        from tutelage.config.schema import check
        from tutelage.runs.data import load_data
        from tutelage.runs.inputs import task_of

        config = check({"student": "cnn2", "teacher": "none", "method": None} | keys)
        data = load_data(config)
        outputs = task_of(data, config).outputs(data)
        options = {"size": data.size, "channels": data.channels, "classes": outputs, "task": data.task}
    network = models.create(model, pretrained=False, **options).model
    inputs = example_inputs(network, options["task"], options["channels"], options["size"], 2)
    return network, (options["channels"], *options["size"]), Batch(inputs)
