"""Docstrings' formulas become mathematics, all of each and nothing else."""

import html
import importlib.util
import re
from pathlib import Path

import pytest
from latex2mathml.converter import convert

from tutelage.utils import registry

FILE = Path(__file__).parents[1] / "docs" / "formulas.py"
SPEC = importlib.util.spec_from_file_location("formulas", FILE)
formulas = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(formulas)

DOCS = {
    f"{package}-{name}": entry.load().__doc__ or ""
    for package in ("losses", "policies", "schemes")
    for name, entry in registry.catalogue(package).items()
}
SIGNS = re.compile("[=Σ‖√∝ᵀ²⁻∈≠←∇½≤≥·−]|[α-ω]|[a-zA-Z]_[a-z]\\b")
DRAWN = str.maketrans({"−": "-", "·": "⋅", "Σ": "∑", "Π": "∏", "‖": "∥", "'": "′"})


def said(doc):
    """The paragraphs between the summary and what has a label."""
    lines = doc.partition("\n\n")[2].splitlines()
    ends = [i for i, line in enumerate(lines) if re.match(r"\s*(Shapes|Paper|Raises):", line)]
    return "\n".join(line.strip() for line in lines[: ends[0] if ends else None])


def bare(text):
    """Its signs alone, without how they are placed."""
    text = "".join(map(formulas.decomposed, re.sub(r"[\^√]\(([^()]*)\)", r"\1", text)))
    for raised in (formulas.RAISED, formulas.LOWERED):
        text = text.translate(str.maketrans(raised))
    return sorted(re.sub(r"[\s{}_^`√\\/\u0302-\u0307¯˙˜~∼]", "", text.replace("½", "12")).translate(DRAWN))


@pytest.mark.parametrize("name", DOCS)
def test_mathematics_loses_no_sign_and_words_keep_none(name):
    for statement in formulas.statements(said(DOCS[name])):
        for mathematical, part in formulas.parts(statement):
            if mathematical:
                drawn = html.unescape(re.sub(r"<[^>]+>", "", convert(formulas.latex(part))))
                assert bare(drawn) == bare(part), formulas.latex(part)
            else:
                words = re.sub(r'[a-z_]+=("[^"]*"|False|True|None)|`[^`]*`|"\w+"|\w{3,}_\w+', "", part)
                assert not SIGNS.search(words), part


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("L = Σ_c p_c · log q̂_c", r"L = \sum _{c} p_{c} \cdot  \log  \hat{q}_{c}"),
        ("‖a − b‖₂²", r"\Vert a - b\Vert _{2}^{2}"),
        ("KL(t ‖ s)", r"\operatorname{KL}(t \parallel  s)"),
        ("e^(−2γ)", "e^{-2γ}"),
        ("S_iπ_k", "S_{iπ_{k}}"),
        ("Σ_{c≠y} ẑ_c", r"\sum _{c\neq y} \hat{z}_{c}"),
        ("√(σ² + ε)", r"\sqrt{σ^{2} + ε}"),
        ("√Σ_ij (a_i − b_j)², c", r"\sqrt{\sum _{ij} (a_{i} - b_{j})^{2}}, c"),
        ("√Σ_i ‖a_i − b_i‖ + 1", r"\sqrt{\sum _{i} \Vert a_{i} - b_{i}\Vert} + 1"),
        ("(√Σ_c p_c) · x", r"(\sqrt{\sum _{c} p_{c}}) \cdot  x"),
        ("⌊x₁⌋ ≤ ⌈x₂⌉", r"\lfloor x_{1}\rfloor  \leq  \lceil x_{2}\rceil"),
        ("sg(W_s)·h", r"\operatorname{sg}(W_{s})\cdot h"),
    ],
)
def test_signs_are_latex(text, latex):
    assert formulas.latex("".join(map(formulas.decomposed, text))) == latex


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("W a 1×1 convolution.", ["W", "1×1"]),
        ("v a learned vector", ["v"]),
        ("a = 1 at first", ["a = 1"]),
        ("one value per sample and position", []),
        ("clip(m, 0, 1), as the paper's.", ["clip(m, 0, 1)"]),
        ("x = mean_hw t, the mean of z", ["x = mean_hw t", "z"]),
        ("(weight −1, say)", ["−1"]),
        ("it is ⌊(n − 1) · the fraction that it scores higher⌋; w", ["⌊(n − 1) ·", "w"]),
        ("⌊contrast / num_classes⌋ + 1 vectors", ["⌊contrast / num_classes⌋ + 1"]),
        ('`epochs` of num_classes with rest="none" of q\'s', []),
    ],
)
def test_words_are_told_from_mathematics(text, parts):
    assert [part for mathematical, part in formulas.parts(text) if mathematical] == parts
