"""A tree's rules as text and as a drawing; the drawing is one SVG element with its text escaped."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape

from tutelage.errors import plain, shown
from tutelage.models.estimators.cores import LinearCore
from tutelage.models.estimators.module import LINKS, FittedEstimator
from tutelage.models.estimators.quality import single

WIDTH, HEIGHT = 176.0, 40.0
"""The size of a node."""

GAP, STEP = 8.0, 44.0
"""The space between two leaves, and between two levels."""

LINES = 500
"""The largest number of lines of the rules as text."""


@dataclass(frozen=True)
class TreeNode:
    """A node for display: its texts, the fraction of the training samples that reach it, and the nodes below it."""

    title: str
    details: str
    share: float
    strength: float
    below: tuple[TreeNode, ...] = ()


def tree_nodes(tree: FittedEstimator, levels: int = 64) -> TreeNode:
    """Return a single tree's root for display; nodes below the last level are left out.

    Raises: ConfigError if it isn't a single tree.
    """
    core = single(tree)
    left, right, feature = (core.get_buffer(name).tolist() for name in ("left", "right", "feature"))
    threshold, share = core.get_parameter("threshold").tolist(), core.get_buffer("share").tolist()
    outputs = LINKS[tree.facts.link](core.get_parameter("value") + core.get_parameter("base")).tolist()

    def node(number: int, level: int) -> TreeNode:
        title, strength = _answer(outputs[number], tree.facts.classes)
        if left[number] == number:
            return TreeNode(title, f"{share[number]:.1%}", share[number], strength)
        split = f"{name(tree.facts.columns[feature[number]])} ≤ {number_text(threshold[number])}"
        below = (node(left[number], level + 1), node(right[number], level + 1)) if level < levels else ()
        return TreeNode(split, f"{share[number]:.1%} · {title}", share[number], strength, below)

    return node(int(core.get_buffer("roots")[0]), 0)


def name(text: str) -> str:
    """Return a column's or class's name, safe to print and short."""
    return shown(plain(text))


def number_text(value: float) -> str:
    """Return a number with four digits, and large ones without an exponent."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _answer(outputs: list[float], classes: tuple[str, ...]) -> tuple[str, float]:
    """Return a node's answer, and its strength between 0 and 1."""
    if not classes:
        return ", ".join(map(number_text, outputs)), 0.5
    best = max(range(len(outputs)), key=outputs.__getitem__)
    return f"{name(classes[best])} {outputs[best]:.0%}", outputs[best]


def write_rules(estimator: FittedEstimator) -> str:
    """Return a tree as nested rules, a linear model as its weights, and several trees as the columns that they use.

    Example:
        >>> import torch
        >>> from tutelage.models.estimators import fit_tree
        >>> x = torch.linspace(0, 1, 100)[:, None]
        >>> print(write_rules(fit_tree(x, None, (x > 0.3).long()[:, 0], depth=1, columns=["age"])))
        if age ≤ 0.298
          0 100% (30.0%)
        else
          1 100% (70.0%)
    """
    if isinstance(estimator.core, LinearCore):
        lines = _weights(estimator)
    elif len(estimator.core.get_buffer("roots")) > 1:
        lines = _used_columns(estimator)
    else:
        lines = _nested(tree_nodes(estimator), 0)
    cut = [f"… {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    return "\n".join(lines[:LINES] + cut)


def _nested(node: TreeNode, level: int) -> list[str]:
    indent = "  " * level
    if not node.below:
        return [f"{indent}{node.title} ({node.details})"]
    first, second = (_nested(below, level + 1) for below in node.below)
    return [f"{indent}if {node.title}", *first, f"{indent}else", *second]


def _weights(estimator: FittedEstimator) -> list[str]:
    """Return a linear model's formula, by descending weight of the standardised columns."""
    weight, bias = (estimator.core.get_parameter(key).tolist() for key in ("weight", "bias"))
    outputs = estimator.facts.classes if len(weight) > 1 else estimator.facts.classes[1:]
    lines = []
    for k, row in enumerate(weight):
        lines.append(f"{name(outputs[k]) if outputs else 'value'} = {number_text(bias[k])}")
        for w, column in sorted(zip(row, estimator.facts.columns, strict=True), key=lambda pair: -abs(pair[0])):
            lines.append(f"  {'+' if w >= 0 else '−'} {number_text(abs(w))} · {name(column)} (standardised)")
    return lines


def _used_columns(estimator: FittedEstimator) -> list[str]:
    """Return the columns that several trees compare, by the number of samples compared."""
    core = estimator.core
    left, feature, share = (core.get_buffer(key).tolist() for key in ("left", "feature", "share"))
    used: dict[str, float] = {}
    for number, column in enumerate(feature):
        if left[number] != number:
            used[estimator.facts.columns[column]] = used.get(estimator.facts.columns[column], 0.0) + share[number]
    total = sum(used.values()) or 1.0
    ranked = sorted(used.items(), key=lambda pair: -pair[1])
    return [f"{len(core.get_buffer('roots'))} trees", *(f"  {value / total:.1%} {name(c)}" for c, value in ranked)]


def draw_tree(tree: FittedEstimator, levels: int = 4) -> Markup:
    """Return a drawing of the first levels of a single tree, from left to right, in the colour of the text around it.

    Raises: ConfigError if it isn't a single tree.
    """
    parts: list[str] = []
    end, depth = _place(tree_nodes(tree, levels), 0, 0.0, parts)
    width, height = depth * (WIDTH + STEP) + WIDTH, end - GAP
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" '
        f'width="{width + 4:.0f}" role="img" aria-label="A tree; the upper branch if the condition holds" '
        f'font-family="sans-serif" font-size="12" fill="currentColor" stroke="none">{"".join(parts)}</svg>'
    )


def _place(node: TreeNode, level: int, start: float, parts: list[str]) -> tuple[float, int]:
    """Draw a node before those below it; return where the next may start, and the deepest level.

    The node is drawn in the middle of the space of those below, so an edge begins and ends at a middle.
    """
    end, deepest, middles = start, level, []
    for below in node.below:
        begin = end
        end, depth = _place(below, level + 1, begin, parts)
        deepest = max(deepest, depth)
        middles.append((begin + end - GAP) / 2)
    end = max(end, start + HEIGHT + GAP)
    left, middle = level * (WIDTH + STEP), (start + end - GAP) / 2
    centre = left + WIDTH / 2
    for target, word in zip(middles, ("yes", "no"), strict=False):
        x, right = left + WIDTH, left + WIDTH + STEP
        parts.append(
            f'<path d="M{x:.1f} {middle:.1f}L{right:.1f} {target:.1f}" stroke="currentColor" stroke-opacity=".5" '
            f'fill="none"/><text x="{right - 4:.1f}" y="{target - 6:.1f}" text-anchor="end">{word}</text>'
        )
    opacity = 0.06 if node.below else 0.06 + 0.25 * node.strength
    full = f"{node.title}, {node.details}"
    parts.append(
        f'<g><title>{escape(full)}</title><rect x="{left:.1f}" y="{middle - HEIGHT / 2:.1f}" width="{WIDTH:.0f}" '
        f'height="{HEIGHT:.0f}" rx="5" fill-opacity="{opacity:.2f}" stroke="currentColor" stroke-opacity=".4"/>'
        f'<text x="{centre:.1f}" y="{middle - 3:.1f}" text-anchor="middle">{escape(_short(node.title))}</text>'
        f'<text x="{centre:.1f}" y="{middle + 13:.1f}" text-anchor="middle" fill-opacity=".7">'
        f"{escape(_short(node.details))}</text></g>"
    )
    return end, deepest


def _short(text: str, letters: int = 28) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
