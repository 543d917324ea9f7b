"""A part of the two banks of the benchmark: wrong gradients are caught, right ones are not called wrong."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import Verdict, check_gradients

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
pytest.importorskip("optax")

from _verify_correct import CASES  # noqa: E402
from _verify_wrong import BANK  # noqa: E402

pytestmark = pytest.mark.usefixtures("as_user")

WRONG = [
    "scaled by 1.0001",
    "one element 1 % off",
    "nan in one element",
    "half precision inside",
    "wrong in its own dtype only",
    "cotangent clipped at 2",
    "another value under differentiation",
    "soft cap without its slope",
    "wrong in one branch",
    "a loop that forgets one step",
    "second derivative 1 % off",
    "elementwise zero, reverse",
    "elementwise, one output wrong",
]
RIGHT = ["a square root near 0", "lax.while_loop", "dropout with a fixed key", "softmax pinned to float32", "jnp.sort"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_caught_and_named(name: str) -> None:
    case = BANK[name](np.random.default_rng(0), (4, 10), jnp.float32)
    report = check_gradients(case.f, *case.args)
    assert report.verdict is Verdict.WRONG, str(report)
    if case.index is not None:
        assert report.worst is not None
        assert report.worst.index == case.index


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_are_not_called_wrong(name: str, dtype: type) -> None:
    f, args = CASES[name](np.random.default_rng(1), dtype)
    report = check_gradients(f, *args, order=1)
    assert report.verdict is Verdict.CORRECT, str(report)


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    command = [sys.executable, "bench_verify.py", "--quick"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| 4x10 | float32 |" in done.stdout
