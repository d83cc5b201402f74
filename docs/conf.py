"""Configuration of the site: `python -m sphinx -q -W --keep-going -b html docs docs/_build/html`, without a network."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402
from docutils import nodes  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

import tutelage  # noqa: E402

generate.write(HERE)

project = "Tutelage"
version = release = tutelage.__version__
author = "the Tutelage authors"
project_copyright = "the Tutelage authors, Apache-2.0"
extensions = ["sphinx.ext.napoleon", "myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Tutelage {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
smartquotes = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_math_renderer = "mathml"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 90


def literal(app, what, name, obj, options, lines):
    """Convert a plain-text docstring: backticks are code, the rest has no markup, a label begins a paragraph."""
    result = []
    for line in lines:
        parts = line.split("`")
        parts[::2] = [re.sub(r"([*_|])", r"\\\1", part) for part in parts[::2]]
        if re.match(r"[A-Za-z_]+(, [a-z_]+)*: ", line):
            result.append("")
        result.append("``".join(parts))
    lines[:] = result


def mathml(translator, node):
    """Render a formula as MathML, which browsers display without a script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("autodoc-process-docstring", literal)
