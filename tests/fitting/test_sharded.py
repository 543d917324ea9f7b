"""Data over eight devices, of one process or of two, give the estimate of one device."""

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jaxinfo.fitting import FitResult
from tests.fitting.one_of_two import OPTIONS, figures, run

ROOT = Path(__file__).parent.parent.parent
EPS = np.finfo(np.float64).eps


@cache
def alone(number: int) -> FitResult:
    return run(OPTIONS[number], sharded=False)


def assert_same(figures: np.ndarray, result_figures: np.ndarray) -> None:
    """Sums over devices round otherwise: some eps of the size of all parameters, enlarged by the solves."""
    np.testing.assert_allclose(figures, result_figures, rtol=1e3 * EPS, atol=1e3 * EPS)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_eight_devices_of_one_process(number: int) -> None:
    spread = run(OPTIONS[number], sharded=True)
    assert spread.reason == alone(number).reason
    assert_same(figures(spread), figures(alone(number)))


@pytest.mark.slow
def test_two_processes_of_four_devices() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.fitting.one_of_two"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [*command, str(i), str(port)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for output, error in outputs:
        lines = [line.split()[1:] for line in output.decode().splitlines() if line.startswith("RESULT")]
        assert len(lines) == len(OPTIONS), error.decode()[-2000:]
        for number, (reason, *numbers) in enumerate(lines):
            assert reason == str(alone(number).reason)
            assert_same(np.array(numbers, float), figures(alone(number)))
