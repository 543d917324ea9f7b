"""Run by _peak.py in a fresh process: loads a compiled program, runs it once, prints the peak of resident bytes.

Imports nothing of jaxinfo. The peak counts from before the arguments are there.
"""

import ctypes
import os
import pickle
import resource
import sys
from pathlib import Path


def main(folder: Path) -> int:
    """Return the bytes."""
    import jax
    import jax.export
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import serialize_executable

    jax.config.update("jax_enable_x64", True)  # arguments of every width pass unchanged
    jax.jit(jax.lax.linalg.cholesky).lower(jnp.eye(1))  # registers LAPACK's kernels, which a loaded program may call
    (loaded, exported), described, structure = pickle.loads((folder / "program").read_bytes())
    if loaded is not None:
        run = serialize_executable.deserialize_and_load(*loaded)
    else:
        shapes = [jax.ShapeDtypeStruct(shape, dtype) for dtype, shape in described]
        program = jax.jit(jax.export.deserialize(exported).call)
        run = program.lower(*jax.tree.unflatten(structure, shapes)).compile()
    give_back()
    before = resident("VmRSS")
    files = [folder / f"argument{i}" for i in range(len(described))]
    leaves = [
        jax.device_put(np.fromfile(file, np.uint8).view(jnp.dtype(dtype)).reshape(shape))
        for file, (dtype, shape) in zip(files, described, strict=True)
    ]
    args = jax.block_until_ready(jax.tree.unflatten(structure, leaves))
    del leaves
    jax.block_until_ready(jax.device_put(0))  # each call frees the host's copies of what earlier ones transferred
    give_back()
    forget_peak()
    jax.block_until_ready(run(*args))
    return max(0, resident("VmHWM") - before)


def resident(field: str) -> int:
    """Return resident bytes now (VmRSS) or at their peak (VmHWM); the latter for both where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Start the peak anew; before it, the arguments may have been there twice."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def give_back() -> None:
    """Return freed memory to the system, so that the run does not hide in it."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), flush=True)
    os._exit(0)  # taking down a loaded executable crashes some releases of jaxlib
