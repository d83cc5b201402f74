"""Create the files of a new loss: a template of the class and one of its test."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Annotated, Literal

import typer

from tutelage.errors import ConfigError

TEMPLATES = Path(__file__).parents[1] / "templates"
KINDS = {
    "response": ("Response", "student, teacher (B, C, …) logits", "6, 5"),
    "feature": ("Feature", "student, teacher (B, C, H, W)", "6, 5, 4, 4"),
    "relation": ("Relation", "student (B, D), teacher (B, D')", "6, 5"),
    "dense": ("Dense", "student, teacher (B, C, H, W)", "6, 5, 4, 4"),
}

app = typer.Typer(add_completion=False)


@app.command()
def new(
    part: Annotated[Literal["loss"], typer.Argument(help="The part to create.")],
    name: Annotated[str, typer.Argument(help="The class name, as the literature spells it: MyKD.")],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "response",
) -> None:
    """Create a loss's file and its test from templates.

    In a checkout of tutelage the loss joins the catalogue at once. Elsewhere both files are written to the current
    folder, and an entry point of your package adds the loss to the catalogue.

    Example: tutelage new loss MyKD --kind feature
    """
    from tutelage.utils.registry import is_known, to_catalogue_name

    if not name.isidentifier() or not name[0].isupper():
        raise ConfigError(
            f"{name!r} isn't a class name: expected letters and digits, starting with a capital, such as MyKD."
        )
    if kind not in KINDS:
        raise ConfigError(f"kind={kind!r}: expected one of {', '.join(KINDS)}.")
    if is_known("losses", name):
        raise ConfigError(
            f"the loss {to_catalogue_name(name)!r} exists already: choose another name (tutelage show "
            f"{to_catalogue_name(name)})."
        )
    file, (base, shapes, example) = to_catalogue_name(name), KINDS[kind]
    in_checkout = Path("src/tutelage/losses").is_dir()
    source = Path(f"src/tutelage/losses/{kind}" if in_checkout else ".") / f"{file}.py"
    test = Path(f"tests/losses/{kind}" if in_checkout else ".") / f"test_{file}.py"
    fields = {
        "cls": name,
        "base": base,
        "shapes": shapes,
        "example": example,
        "module": f"tutelage.losses.{kind}.{file}" if in_checkout else file,
    }
    for path, template in ((source, "loss.py.txt"), (test, "test_loss.py.txt")):
        _write(path, Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(fields))
    if not in_checkout:
        entry_point = f'[project.entry-points."tutelage.losses"]\n{file} = "{file}"'
        typer.echo(f"add it to the catalogue in your pyproject.toml:\n\n{entry_point}")


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise ConfigError(f"{path} exists already: choose another name, or move the file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(str(path))
