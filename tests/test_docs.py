"""The pages: every public name has one, the code in them runs, and their tables say what comes out."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_architecture import PACKAGE, PUBLIC
from tests.test_readme import assert_shown, shown_results, value_of

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENTED = re.findall(
    r"^\.\. auto(?:function|class|exception|data):: ([\w.]+)",
    "\n".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md"))),
    flags=re.MULTILINE,
)
DOORS = ("fitting", "verify", "datasets", "compat/torch")
PAGES_OF_CODE = ("index.md", "contract.md")


def names_at_the_door(door: str) -> set[str]:
    """Return what a subpackage or module passes on (`from ... import x as x`), or else what it defines."""
    path = next(p for p in (PACKAGE / door / "__init__.py", PACKAGE / f"{door}.py") if p.exists())
    body = ast.parse(path.read_text()).body
    passed = {a.asname for node in body if isinstance(node, ast.ImportFrom) for a in node.names if a.asname}
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name for name in passed or defined if not name.startswith("_")}


def public_paths() -> set[str]:
    """Return every public name in full; the door's own modules count through their names."""
    paths = {f"jaxinfo.{name}" for name in PUBLIC - {"verify", "bench"}}
    for door in DOORS:
        paths |= {f"jaxinfo.{door.replace('/', '.')}.{name}" for name in names_at_the_door(door)}
    elsewhere = {"jaxinfo.fitting.fit": "jaxinfo.fit", "jaxinfo.fitting.FitResult": "jaxinfo.FitResult"}
    return {elsewhere.get(path, path) for path in paths} - {"jaxinfo.datasets.needs"}


def test_every_public_name_has_a_page() -> None:
    missing = public_paths() - set(DOCUMENTED)
    assert not missing, f"Enter {sorted(missing)} on a page in docs/api/."


def test_every_name_on_a_page_exists_once() -> None:
    assert len(DOCUMENTED) == len(set(DOCUMENTED))
    for path in DOCUMENTED:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), f"{path} has a page and is not there."


def test_every_page_is_in_the_index() -> None:
    pages = {page.stem for page in (DOCS / "api").glob("*.md")} - {"index"}
    assert pages <= set((DOCS / "api" / "index.md").read_text().split())


def blocks(page: str) -> list[str]:
    """Return the blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("page", PAGES_OF_CODE)
def test_code_gives_the_results_it_shows(page: str) -> None:
    scope: dict[str, Any] = {}
    for block in blocks(page):
        for code, shown in shown_results(block):
            value = value_of(code, scope)
            if shown is not None and value is not None:
                assert_shown(shown, value)
