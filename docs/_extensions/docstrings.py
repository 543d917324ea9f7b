"""Single backticks in docstrings: a link where they name something public, code elsewhere.

reStructuredText leaves their meaning open. Here the docstrings are read in a terminal first.
"""

import importlib
import inspect
import re
from functools import cache

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

DOORS = ("jaxinfo", "jaxinfo.fitting", "jaxinfo.verify", "jaxinfo.bench", "jaxinfo.datasets")
_RETURNS = re.compile(r"^(:returns: )\*(.+?)\* -- ")  # napoleon takes the words before a colon for a type
_BACKTICKS = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")


@cache
def targets() -> dict[str, str]:
    """Return the full name of everything public by the names it may be called."""
    found: dict[str, str] = {}
    for door in DOORS:
        try:
            module = importlib.import_module(door)
        except ModuleNotFoundError:
            continue
        for name, value in vars(module).items():
            if not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                prefix = door.removeprefix("jaxinfo").lstrip(".")
                full = f"{door}.{name}"
                for called in {name, full, f"{prefix}.{name}".lstrip(".")}:
                    found.setdefault(called, full)
    return found


def _linked(match: re.Match[str]) -> str:
    text = match.group(1)
    full = targets().get(text.removesuffix("()"))
    return f":py:obj:`{text} <{full}>`" if full else f"``{text}``"


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    door = name.rpartition(".")[0]
    own = door.startswith("jaxinfo.compat")  # there the same names mean the functions of torch
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            lines[i] = _BACKTICKS.sub(r"``\1``" if own else _linked, _RETURNS.sub(r"\1\2: ", line))


def _signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Name arrays briefly, and leave out how to make a result: nobody calls it, its attributes are listed below."""
    if what == "class" and "Attributes:" in (inspect.getdoc(obj) or "") and not name.endswith("Checkpoint"):
        return "", None
    if signature and callable(obj):  # a default that is a private constant is its value
        constants = getattr(inspect.unwrap(obj), "__globals__", {})
        signature = re.sub(r"(?<== )_[A-Z_]+\b", lambda m: repr(constants[m.group()]), signature)
    return _short(signature), _short(returns)


# jax writes its ArrayLike out: arrays of jax and numpy, and the kinds of numbers.
_ARRAY_LIKE = re.compile(
    r"Array \| (numpy\.)?ndarray \| (numpy\.)?bool \| (numpy\.)?number \| bool \| int \| float \| complex"
)


def _short(text: str | None) -> str | None:
    return text and _ARRAY_LIKE.sub("ArrayLike", re.sub(r"\bjax(lib\._jax)?\.Array\b", "Array", text))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both; and let the fields of a result be called attributes, as in the docstrings."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", _process, priority=900)  # after napoleon
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
