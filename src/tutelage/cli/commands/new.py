"""Begin a loss: its file and its test, with the blanks to fill."""

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
    part: Annotated[Literal["loss"], typer.Argument(help="What to begin.")],
    name: Annotated[str, typer.Argument(help="The class's name, as the literature writes it: MyKD.")],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "response",
) -> None:
    """Write a loss's file and its test, with the blanks to fill.

    In a checkout of tutelage they join the catalogue at once; elsewhere they are written to this folder, and an entry
    point of your package makes them known.

    Example: tutelage new loss MyKD --kind feature
    """
    from tutelage.utils.registry import has, name_of

    if not name.isidentifier() or not name[0].isupper():
        raise ConfigError(f"{name!r} can't name a class: expected letters and digits, a capital first, such as MyKD.")
    if kind not in KINDS:
        raise ConfigError(f"kind={kind!r}: expected one of {', '.join(KINDS)}.")
    if has("losses", name):
        raise ConfigError(
            f"there is a loss {name_of(name)!r} already: choose another name (tutelage show {name_of(name)})."
        )
    file, (base, shapes, example) = name_of(name), KINDS[kind]
    here = Path("src/tutelage/losses").is_dir()
    source = Path(f"src/tutelage/losses/{kind}" if here else ".") / f"{file}.py"
    test = Path(f"tests/losses/{kind}" if here else ".") / f"test_{file}.py"
    words = {
        "cls": name,
        "base": base,
        "shapes": shapes,
        "example": example,
        "module": f"tutelage.losses.{kind}.{file}" if here else file,
    }
    for path, template in ((source, "loss.py.txt"), (test, "test_loss.py.txt")):
        _write(path, Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words))
    if not here:
        typer.echo(
            f'make it known in your pyproject.toml:\n\n[project.entry-points."tutelage.losses"]\n{file} = "{file}"'
        )


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise ConfigError(f"{path} is there already: choose another name, or move it away.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(str(path))
