"""Data and vocabulary parallel on eight devices, in one process and in two: the same numbers, no kernel gathered."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from .cases import assert_close
from .sharded import D, V, mesh_of, on, placed, single

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize(
    ("mode", "data", "model", "check"), [("reverse", 2, 4, True), ("reverse", 1, 8, False), ("any", 4, 2, True)]
)
def test_sharded_is_single(mode: str, data: int, model: int, check: bool) -> None:
    mesh = mesh_of(data, model)
    arrays = placed(mesh)
    program = on(mesh, mode, check).lower(*arrays).compile()
    assert_close(program(*arrays), single(mode), tolerance=1e-11)
    text = program.as_text()
    gathered = re.findall(r"= \(?\w+\[([\d,]*)\].*? all-gather(?:-start)?\(", text)
    sizes = [np.prod([int(n) for n in shape.split(",") if n]) for shape in gathered]
    assert all(size < D * V // model for size in sizes), f"gathers {gathered}"


@pytest.mark.slow
def test_two_processes_are_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.linear.sharded", address]
    both = [
        subprocess.Popen(
            [*command, str(i)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for i in range(2)
    ]
    try:
        for process in both:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
            assert "the same" in output
    finally:
        for process in both:
            if process.poll() is None:
                process.kill()
                process.wait()
