"""Problems for the linear losses, and the form they are held against: the logits whole, in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.linear._reference import reference

N, D, V = 9, 5, 37
RANDOM = np.random.default_rng(0)
HIDDEN = jnp.asarray(RANDOM.standard_normal((N, D)))
KERNEL = jnp.asarray(2 * RANDOM.standard_normal((D, V)))
BIAS = jnp.asarray(RANDOM.standard_normal(V))
LABELS = jnp.asarray(RANDOM.integers(0, V, N))
TARGETS = jax.nn.softmax(jnp.asarray(2 * RANDOM.standard_normal((N, V))))
WEIGHTS = jnp.asarray(RANDOM.gamma(1.0, 1.0, N)).at[5].set(0)
CLASS_WEIGHTS = jnp.asarray(RANDOM.gamma(1.0, 1.0, V))
COTANGENT = jnp.asarray(RANDOM.standard_normal(N))
WHERE = jnp.asarray(RANDOM.random((N, V)) < 0.8).at[jnp.arange(N), LABELS].set(True).at[3].set(False)
WHERE_V = jnp.asarray(RANDOM.random(V) < 0.8).at[LABELS].set(True)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": BIAS},
    "where [N, V]": {"where": WHERE},
    "where [V]": {"where": WHERE_V},
    "where [N, 1], bias": {"where": WHERE[:, :1], "bias": BIAS},
    "smoothing, cap": {"label_smoothing": 0.1, "soft_cap": 3.0},
    "all": {
        "bias": BIAS,
        "where": WHERE,
        "class_weights": CLASS_WEIGHTS,
        "label_smoothing": jnp.asarray(0.2),
        "z_loss": jnp.asarray(0.02),
        "soft_cap": jnp.asarray(5.0),
        "temperature": jnp.asarray(1.3),
    },
}


def value_and_slopes(
    loss: Callable[..., jax.Array], targets: jax.Array, options: dict[str, Any], **how: Any
) -> tuple[jax.Array, Any]:
    """Return the losses, and the gradient to everything that has one."""
    free = {k: v for k, v in options.items() if isinstance(v, jax.Array) and jnp.issubdtype(v.dtype, jnp.floating)}
    held = {k: v for k, v in options.items() if k not in free}
    if jnp.issubdtype(targets.dtype, jnp.floating):
        free["targets"] = jnp.where(jnp.broadcast_to(options.get("where", True), targets.shape), targets, 0)

    def of(hidden: jax.Array, kernel: jax.Array, free: dict[str, Any]) -> jax.Array:
        given = dict(free)
        return loss(hidden, kernel, given.pop("targets", targets), **given, **held, **how)

    value, pull = jax.vjp(of, HIDDEN, KERNEL, free)
    return value, pull(COTANGENT[0] if value.ndim == 0 else COTANGENT)


def wanted(targets: jax.Array, options: dict[str, Any]) -> tuple[jax.Array, Any]:
    return jax.jit(lambda: value_and_slopes(reference, targets, options))()


def assert_close(got: Any, want: Any, what: str = "", *, tolerance: float = 1e-12) -> None:
    """Check trees of arrays: infinities and nan alike, the rest to `tolerance` of the largest of each array."""
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        size = np.abs(w[np.isfinite(w)]).max(initial=np.finfo(np.float32).tiny)
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance * size, err_msg=what)
