"""How wrong a result is: against a reference, and against the same function in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.bench._jaxprs import walk


def relative_error(got: Any, reference: np.ndarray) -> float:
    """Return the largest relative error of `got` over the rows of `reference`.

    A matrix is compared row by row in the Euclidean norm, anything smaller element by element. A result that
    is not finite where the reference is counts as inf.

    Raises:
        ValueError: the shapes differ.
    """
    got = np.asarray(got)
    if got.shape != reference.shape:
        raise ValueError(f"`got` must have the reference's shape {reference.shape}, got {got.shape}.")
    if reference.ndim < 2:
        got, reference = np.reshape(got, (-1, 1)), np.reshape(reference, (-1, 1))
    worst = 0.0
    for start in range(0, len(reference), 64):  # in slices: float64 copies of a large gradient are several GB
        wanted = reference[start : start + 64]
        with np.errstate(invalid="ignore"):  # infinities
            off = got[start : start + 64].astype(np.float64) - wanted
            off = np.linalg.norm(np.where(got[start : start + 64] == wanted, 0.0, off), axis=-1)
            size = np.linalg.norm(wanted, axis=-1)
            error = np.where(off == 0, 0.0, off / np.where(size == 0, np.finfo(np.float64).tiny, size))
        worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0)))
    return worst


def errors_in_eps(result: Any, reference: Any) -> dict[str, float]:
    """Return the error of each floating array of `result` in eps of its dtype, by its path ("value" of a lone one)."""
    got, wanted = jax.tree_util.tree_leaves_with_path(result), jax.tree.leaves(reference)
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or "value": relative_error(a, b)
        / float(jnp.finfo(a.dtype).eps)
        for (path, a), b in zip(got, wanted, strict=True)
        if jnp.issubdtype(a.dtype, jnp.floating)
    }


def in_float64(f: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Return `f` of the same numbers in float64, as NumPy arrays.

    Raises:
        ValueError: `f` rounds to a narrower dtype inside, so that it would be compared with itself.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(_widen, tuple(args))
        traced = jax.make_jaxpr(f)(*wide)
        narrow = sorted({str(v.aval.dtype) for e, _ in walk(traced.jaxpr) for v in e.outvars if _is_narrow(v.aval)})
        if narrow:
            raise ValueError(
                f"`f` must compute in float64 where its arguments are float64 to be its own reference, "
                f"but it rounds to {', '.join(narrow)} inside."
            )
        return jax.tree.map(np.asarray, jax.jit(f)(*wide))


def _widen(x: Any) -> Any:
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return x.astype(jnp.complex128)
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _is_narrow(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 64
