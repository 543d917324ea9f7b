"""The pages: every public name has one, the code in them runs, and their tables say what comes out."""

import ast
import importlib
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinfo.compat.torch
from tests.test_architecture import PACKAGE, PUBLIC
from tests.test_readme import assert_shown, shown_results

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)
DOCUMENTED = re.findall(
    r"^\.\. auto(?:function|class|exception|data):: ([\w.]+)",
    "\n".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md"))),
    flags=re.MULTILINE,
)
DOORS = ("fitting", "verify", "bench", "datasets", "compat/torch")
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


def test_every_notebook_and_example_is_on_a_page() -> None:
    for folder, pattern, page in (("notebooks", "*.ipynb", "notebooks.md"), ("examples", "*.py", "examples.md")):
        text = (DOCS / page).read_text()
        assert not [file.name for file in (ROOT / folder).glob(pattern) if f"{folder}/{file.stem}" not in text]


def blocks(page: str) -> list[str]:
    """Return the blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("page", PAGES_OF_CODE)
def test_code_gives_the_results_it_shows(page: str) -> None:
    scope: dict[str, Any] = {}
    for block in blocks(page):
        for code, shown in shown_results(block):
            if shown is None:
                exec(code, scope)
            else:
                # one program each: compiling every small step of an eager call would take minutes
                assert_shown(shown, jax.jit(lambda code=code: eval(code, scope))())


def calls(page: str, section: str) -> list[tuple[str, str]]:
    """Return the two calls of each line of a section's table: another library's and ours."""
    text = (DOCS / page).read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`|]+)` \| `([^`|]+)`", text, flags=re.MULTILINE)


def prepared(page: str) -> dict[str, Any]:
    """Return the names that a page's blocks define."""
    scope: dict[str, Any] = {}
    for block in blocks(page):
        exec(block, scope)
    return scope


def assert_close(call: str, got: Any, want: Any, rtol: float) -> None:
    """Compare, in units of the largest element, so that a 0 that came out of a cancellation is one."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{call} has shape {got.shape}, its counterpart {want.shape}"
    off = float(np.max(np.abs(got - want)) / np.max(np.abs(want)))
    assert off <= rtol, f"{call} is {off:.1e} off its counterpart, of the largest element."


@pytest.mark.usefixtures("as_user")
def test_calls_of_optax_have_the_counterparts_shown() -> None:
    page = "coming_from_optax.md"
    scope = prepared(page)
    pairs = [pair for s in ("Losses", "Masks and means", "jax.nn and jax.scipy") for pair in calls(page, s)]
    assert len(pairs) >= 18
    answers = jax.jit(lambda: [(eval(theirs, scope), eval(ours, scope)) for theirs, ours in pairs])()
    for (_, call), (theirs, ours) in zip(pairs, answers, strict=True):
        assert_close(call, ours, theirs, 16 * float(np.finfo(np.float32).eps))


@pytest.mark.usefixtures("as_user")
def test_calls_of_torch_have_the_counterparts_shown() -> None:
    """By `compat.torch`, which tests of its own hold to torch."""
    pairs = [pair for pair in calls("coming_from_torch.md", "What each function is") if "(" in pair[0]]
    assert len(pairs) >= 8
    x, eta = jax.random.normal(jax.random.key(0), (2, 4, 4))
    y = jax.numpy.array([0, 3, 2, 1])
    p, log_q, w = jax.nn.softmax(eta), jax.nn.log_softmax(x), jax.numpy.array([1.0, 2.0, 0.5, 3.0])
    values = {"x": x, "y": y, "eta": eta, "p": p, "log_q": log_q, "log_p": log_q, "w": w, "i": 2, "c": y != 2}
    values |= {"t": p, "m": eta, "v": jax.numpy.exp(x)}
    counts = {"x": (x > 0).astype(int)}  # of 0 and 1, of whose factorials torch's approximation is right

    def both(theirs: str, ours: str) -> tuple[Any, Any]:
        scope = values | (counts if "poisson" in ours else {})
        return eval(theirs, vars(jaxinfo.compat.torch) | scope), eval(ours, vars(jaxinfo) | scope)

    answers = jax.jit(lambda: [both(*pair) for pair in pairs])()
    for (_, call), (theirs, ours) in zip(pairs, answers, strict=True):
        assert_close(call, ours, theirs, 16 * float(np.finfo(np.float32).eps))


@pytest.mark.slow
@pytest.mark.usefixtures("as_user")
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_calls_of_scikit_learn_and_statsmodels_have_the_counterparts_shown() -> None:
    page = "coming_from_sklearn.md"
    for package in ("sklearn", "statsmodels"):
        pytest.importorskip(package)
    with jax.enable_x64(True):
        scope = prepared(page)
        measures, fits = calls(page, "Measures"), calls(page, "Fits")
        assert len(measures) >= 12
        assert len(fits) >= 5
        answers = [*jax.jit(lambda: [eval(ours, scope) for _, ours in measures])(), *(eval(f, scope) for _, f in fits)]
        bounds = [64 * float(np.finfo(np.float64).eps)] * len(measures) + [1e-8] * len(fits)
        given = {name: np.asarray(v) if isinstance(v, jax.Array) else v for name, v in scope.items()}
        for (theirs, call), ours, rtol in zip(measures + fits, answers, bounds, strict=True):
            assert_close(call, ours, eval(theirs, given), rtol)


def test_the_page_of_errors_is_what_the_figures_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    render: Any = importlib.import_module("_accuracy_render")
    figures = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text())
    assert (DOCS / "accuracy.md").read_text() == render.page(figures), (
        "run what the head of benchmarks/accuracy.py says"
    )
    for panel in figures["panels"]:
        assert (DOCS / "_static" / f"{panel['name']}.svg").exists() == panel["picture"]
