"""`python -m tests.fitting.killed_fit DIRECTORY`: a fit to be killed, which saves and prints a digest of its bits."""

import hashlib
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from jaxinfo.fitting import Checkpoint, FitResult, fit  # noqa: E402

STEPS = 400


def loss(params: jax.Array, data: tuple) -> jax.Array:
    """Logistic regression, made slow: a step takes some milliseconds, so that kills fall between saves."""
    x, y = data
    slow = jax.lax.fori_loop(0, 100, lambda _, s: jnp.sin(s + x[:40, :40] @ x[:40, :40].T), jnp.zeros((40, 40)))
    return jnp.logaddexp(0.0, -y * (x @ params)) + 0.0 * jnp.sum(slow)


def run(directory: Path | None) -> FitResult:
    """Fit with minibatches whose last one is padded, going on from whatever `directory` holds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(250, 40))
    data = (jnp.asarray(x), jnp.asarray(np.sign(x[:, 0] + rng.normal(size=250))))
    saved = None if directory is None else Checkpoint(directory, steps=20)
    options = {"optimizer": optax.adam(0.01), "batch_size": 64, "max_steps": STEPS, "key": jax.random.key(7)}
    return fit(loss, jnp.zeros(40), data, checkpoint=saved, resume=saved is not None, progress=False, **options)


def digest(result: FitResult) -> str:
    """Return a digest of all bits that may not depend on interruptions."""
    parts = (result.params, *result.history, result.objective)
    return hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in parts)).hexdigest()


if __name__ == "__main__":
    print("running", flush=True)
    print(digest(run(Path(sys.argv[1]))), flush=True)
