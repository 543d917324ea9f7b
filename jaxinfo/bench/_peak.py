"""Peak memory of one run: of a fresh process on CPUs, as the device reports it elsewhere."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable

_CHILD = Path(__file__).with_name("_peak_child.py")


def peak_of_process(f: Callable[..., Any], executable: Any, args: Sequence[Any]) -> int | None:
    """Return the bytes that arguments, run and results add to the resident memory of a fresh process, at their peak.

    `executable` is `f` compiled for `args`. None where it cannot be taken to another process: host callbacks, several
    devices, typed keys.
    """
    leaves, structure = jax.tree.flatten(tuple(args))
    arrays = [np.asarray(leaf) for leaf in leaves if not _is_extended(leaf)]
    if len(arrays) < len(leaves):
        return None
    payload = _portable(f, executable, args)
    if payload is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        described = [(str(a.dtype), a.shape) for a in arrays]
        (Path(folder) / "program").write_bytes(pickle.dumps((payload, described, structure)))
        for i, a in enumerate(arrays):
            np.ascontiguousarray(a).reshape(-1).view(np.uint8).tofile(Path(folder) / f"argument{i}")
        done = subprocess.run(
            [sys.executable, str(_CHILD), folder],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
    return json.loads(done.stdout) if done.returncode == 0 else None


def _portable(f: Callable[..., Any], executable: Any, args: Sequence[Any]) -> tuple[Any, bytes | None] | None:
    """Return the compiled program, or where it holds what cannot be serialised (a sort's comparison) the traced one."""
    # Each backend and release has reasons of its own to refuse, and none is an error of the caller.
    try:
        return serialize_executable.serialize(executable), None
    except Exception:
        pass
    try:
        return None, bytes(jax.export.export(jax.jit(f))(*args).serialize())
    except Exception:
        return None


def peak_of_device(device: Any, run: Callable[[], Any]) -> int | None:
    """Return the most bytes in use on `device` while it runs; None if it does not say or had more in use before."""
    before = _peak(device)
    jax.block_until_ready(run())
    after = _peak(device)
    return after if before is not None and after is not None and after > before else None


def _peak(device: Any) -> int | None:
    stats = device.memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")


def _is_extended(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", np.dtype(float)), jax.dtypes.extended)
