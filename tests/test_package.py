"""What is tested is what is installed, and it says which version it is."""

import importlib.metadata
import json
from pathlib import Path

import pytest

import jaxinfo


@pytest.fixture
def installed() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("jaxinfo")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("jaxinfo is not installed, only found on the path")


def test_the_installed_package_is_tested(installed: importlib.metadata.Distribution) -> None:
    """Whoever runs `pip install '.[test]' && pytest` in a checkout tests the wheel that pip has built from it."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("installed as editable: the checkout itself is what is installed")
    there = Path(str(installed.locate_file("jaxinfo/__init__.py")))
    hint = "run `pytest`: `python -m pytest` prefers the current directory"
    assert Path(jaxinfo.__file__).samefile(there), f"{jaxinfo.__file__} is tested, {there} installed; {hint}"
    assert Path(jaxinfo.__file__).with_name("py.typed").is_file()


def test_version_has_one_source(installed: importlib.metadata.Distribution) -> None:
    assert installed.version == jaxinfo.__version__
    plugin, command = (installed.entry_points.select(group=g) for g in ("pytest11", "console_scripts"))
    assert [(p.name, p.value) for p in plugin] == [("pytest_jaxinfo", "pytest_jaxinfo")]
    assert [(c.name, c.value) for c in command] == [("jaxinfo", "jaxinfo.cli:main")]
