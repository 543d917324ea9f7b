"""Formulas as MathML: every current browser sets it by itself, so a page needs no script, font or network.

MathJax would be two megabytes to vendor or a page that is unreadable offline; pictures need a LaTeX and stay black
in dark mode. latex2mathml leaves a command it does not know as it stands; here that is a warning.
"""

import re
from collections.abc import Callable

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

_SPELLED_OTHERWISE = {r"\arg": r"\mathrm{arg}", r"\texttt": r"\mathrm"}
# TeX's thin spaces around the name of a function: after what it multiplies, and before an argument without brackets.
_BEFORE = re.compile(r"(?<=[\w})])\s*(?=\\(?:log|exp)\b)")
_AFTER = re.compile(r"(\\(?:log|exp))\s+(?=[\w\\])(?!\\left|\\big|\\Big)")


def to_mathml(tex: str, *, display: bool) -> str:
    """Return a formula as an element of MathML."""
    tex = re.sub(r"\\(arg|texttt)\b", lambda match: _SPELLED_OTHERWISE[match.group()], " ".join(tex.split()))
    tex = _AFTER.sub(r"\1\\, ", _BEFORE.sub(r"\\, ", tex))
    return convert(tex, display="block" if display else "inline")


def _hold(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Give each formula the comma that follows it, which a browser would let fall onto the next line."""
    for node in list(doctree.findall(nodes.math)):
        parent, i = node.parent, node.parent.index(node) + 1
        if i < len(parent) and isinstance(parent[i], nodes.Text):
            text = str(parent[i])
            node["mark"] = re.match(r"[.,;:!?)]*", text).group()
            parent[i] = nodes.Text(text[len(node["mark"]) :])


def _visitor(display: bool) -> Callable[[nodes.NodeVisitor, nodes.Element], None]:
    def visit(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
        formula = to_mathml(node.astext(), display=display)
        for unknown in re.findall(r"\\\w+", formula):
            logging.getLogger(__name__).warning("a formula has %s, which is not understood", unknown, location=node)
        held = f'<span class="held">{formula}{node.get("mark", "")}</span>'
        translator.body.append(f'<div class="formula">{formula}</div>' if display else held)
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.connect("doctree-resolved", _hold)
    app.add_html_math_renderer("mathml", (_visitor(False), None), (_visitor(True), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
