"""A fit that was killed goes on to the same bits, and a torn checkpoint is not believed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinfo.fitting import Checkpoint, FitResult, Progress, Reason, fit
from tests.fitting import killed_fit
from tests.fitting.problems import overlapping, regression

pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed: pip install 'jaxinfo[checkpoint]'")

ROOT = Path(__file__).parent.parent.parent


def start(directory: Path) -> subprocess.Popen:
    """Start a fit that saves to `directory`, in a process of its own."""
    command = [sys.executable, "-m", "tests.fitting.killed_fit", str(directory)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def kill_somewhere(directory: Path, moments: random.Random) -> str:
    """Kill -9 the fit at a random moment after it has saved once more; say when."""
    known = set(directory.iterdir()) if directory.exists() else set()
    process = start(directory)
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if directory.exists() and set(directory.iterdir()) - known:
            break
        time.sleep(0.01)
    wait = moments.uniform(0, 1)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return f"{wait:.3f} s after a save, leaving {sorted(p.name for p in directory.iterdir())}"


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    moments = random.Random()
    killed = [kill_somewhere(tmp_path / "fit", moments) for _ in range(2)]
    output, _ = start(tmp_path / "fit").communicate(timeout=300)
    alone, _ = start(tmp_path / "alone").communicate(timeout=300)
    assert output.split()[-1] == alone.split()[-1], killed
    assert len(output.split()[-1]) == 64


def short_fit(directory: Path | None, *, resume: bool = False, max_steps: int = 30, **options: object) -> FitResult:
    problem = regression(*overlapping(), 0.3)
    saved = None if directory is None else Checkpoint(directory, steps=1)
    arguments = {"method": "newton", "max_steps": max_steps, "penalty": problem.penalty} | options
    return fit(problem.loss, problem.params, problem.data, checkpoint=saved, resume=resume, **arguments)


def same_bits(x: FitResult, y: FitResult) -> bool:
    series = zip((*x.params.values(), *x.history), (*y.params.values(), *y.history), strict=True)
    return x.reason == y.reason and all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in series)


def test_torn_checkpoints_are_skipped_and_the_one_before_is_used(tmp_path: Path) -> None:
    whole = short_fit(tmp_path)
    assert whole.reason == Reason.CONVERGED
    assert same_bits(whole, short_fit(None))
    last, before, *_ = sorted((p for p in tmp_path.iterdir()), reverse=True)
    for file in (f for f in last.rglob("*") if f.is_file() and f.stat().st_size > 8):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    flip_a_byte(before)
    (tmp_path / "step_000000999.orbax-checkpoint-tmp-1").mkdir()  # what a kill within a save leaves
    with pytest.warns(UserWarning, match="torn and was skipped"):
        again = short_fit(tmp_path, resume=True)
    assert same_bits(whole, again)


def flip_a_byte(folder: Path) -> None:
    """Change one byte of the largest file, in which the arrays are."""
    file = max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.slow
def test_steps_that_ran_out_are_gone_on_with(tmp_path: Path) -> None:
    assert short_fit(tmp_path, max_steps=2).reason == Reason.MAX_STEPS
    seen: list[Progress] = []
    longer = short_fit(tmp_path, resume=True, progress=seen.append)
    assert longer.reason == Reason.CONVERGED
    assert seen[0].step in (2, 3)
    assert longer.objective == pytest.approx(short_fit(None).objective, rel=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"method": "newton"}, 2),
        ({"method": "newton_cg"}, 2),
        ({"method": "lbfgs"}, 5),
        ({"method": "auto", "optimizer": optax.adam(0.05)}, 37),
        ({"method": "auto", "batch_size": 16}, 7),
    ],
)
def test_more_steps_come_to_the_bits_of_one_run(tmp_path: Path, options: dict, steps: int) -> None:
    assert short_fit(tmp_path, max_steps=steps, **options).reason == Reason.MAX_STEPS
    longer = short_fit(tmp_path, resume=True, max_steps=200, **options)
    assert same_bits(longer, short_fit(None, max_steps=200, **options))
    again = short_fit(tmp_path, resume=True, max_steps=200, **options)
    assert same_bits(longer, again)


@pytest.mark.slow
def test_a_smaller_tolerance_goes_on(tmp_path: Path) -> None:
    loose = short_fit(tmp_path, tolerance=0.5)
    tight = short_fit(tmp_path, resume=True, tolerance=1e-9)
    assert loose.reason == tight.reason == Reason.CONVERGED
    assert tight.decrement <= 1e-9 < loose.decrement


@pytest.mark.slow
@pytest.mark.usefixtures("own_errors")
def test_another_fit_is_refused(tmp_path: Path) -> None:
    short_fit(tmp_path)
    with pytest.raises(ValueError, match="`checkpoint` must be an empty directory, or come with resume=True"):
        short_fit(tmp_path)
    with pytest.raises(ValueError, match="`checkpoint` must hold an earlier run of this fit"):
        short_fit(tmp_path, resume=True, method="newton_cg")
    with pytest.raises(ValueError, match="got one of other data, weights or penalty: its best point had the objective"):
        short_fit(tmp_path, resume=True, penalty=regression(*overlapping(), 0.2).penalty)
    with pytest.raises(ValueError, match=r"`max_steps` must be at least [2-9] here, the steps that the checkpoint has"):
        short_fit(tmp_path, resume=True, max_steps=0)
    with pytest.raises(TypeError, match=r"`checkpoint` must be a directory as a str or Path, or a Checkpoint, got int"):
        fit(lambda p, x: p - x, 0.0, jnp.ones(3), checkpoint=5)  # pyright: ignore[reportArgumentType]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`checkpoint` must be a directory to write in, got '.*file/in': Not a dir"):
        short_fit(tmp_path / "file" / "in")
    with pytest.raises(ValueError, match="`resume` must be False where there is no `checkpoint`"):
        short_fit(None, resume=True)
    with pytest.raises(ValueError, match="`checkpoint` must be None where `restarts` is above 1"):
        short_fit(tmp_path, restarts=2)


@pytest.mark.slow
def test_resuming_from_nothing_starts(tmp_path: Path) -> None:
    assert same_bits(short_fit(tmp_path / "new" / "one", resume=True), short_fit(None))


@pytest.mark.slow
def test_the_script_converges_towards_the_optimum() -> None:
    result = killed_fit.run(None)
    assert result.reason == Reason.MAX_STEPS
    assert result.steps == killed_fit.STEPS
    assert result.objective < result.history.objective[0]
    assert jnp.isfinite(result.objective)
