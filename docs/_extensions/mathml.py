"""Formulas as MathML: every current browser sets it by itself, so a page needs no script, font or network.

MathJax would be two megabytes to vendor or a page that is unreadable offline; pictures need a LaTeX and stay black
in dark mode. docutils has the converter, and it refuses a command it does not know.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

# What docutils does not know: delimiters grow by themselves in MathML.
_SPELLED_OTHERWISE = {r"\dots": r"\ldots", r"\Big": "", r"\big": ""}


def to_mathml(tex: str, *, display: bool) -> str:
    """Return a formula as an element of MathML.

    Raises:
        MathError: docutils does not understand it.
    """
    tex = re.sub(r"\\(dots|Big|big)(?![A-Za-z])", lambda m: _SPELLED_OTHERWISE[m.group()], " ".join(tex.split()))
    return tex2mathml(tex, as_block=display)


def _visitor(display: bool):
    def visit(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
        try:
            formula = to_mathml(node.astext(), display=display)
        except MathError as error:
            logging.getLogger(__name__).warning("a formula is not understood: %s", error, location=node)
            formula = node.astext()
        translator.body.append(f'<div class="formula">{formula}</div>' if display else formula)
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_visitor(False), None), (_visitor(True), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
