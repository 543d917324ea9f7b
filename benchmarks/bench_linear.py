"""Time the cross-entropy from hidden states, forward and backward, beside dense optax, torch and tokamax.

    python benchmarks/bench_linear.py [--quick] [--filter WORDS] [--keep] [--fresh] [--json FILE]

The rows are those of two output heads, then of the first as tokens and classes double. ctrl-C keeps what is done.
Peers that are not installed are left out. `_linear_pod.py` compiles the loss for 256 TPU chips.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _linear_peers import tokamax_candidate, torch_candidates
from _linear_table import line
from harness import Row, Table, main

from jaxinfo import linear_softmax_cross_entropy
from jaxinfo.bench import Candidate
from jaxinfo.bench._rows import compiled, measure_row

SHAPES = ((2048, 512, 32000), (4096, 256, 65536))
GROWTH = ((1024, 512, 32000), (2048, 512, 16000), (4096, 512, 32000), (2048, 512, 64000))
DTYPES = ("float32", "bfloat16")
DENSE = "optax, dense"


def cases(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every row to measure, the longest last; one when quick."""
    rows = [(*shape, dtype, 0) for shape in SHAPES for dtype in DTYPES] + [(*shape, DTYPES[0], 1) for shape in GROWTH]
    rows = [(256, 64, 4096, "float32", 1)] if quick else rows
    for n, d, v, dtype, growth in sorted(rows, key=lambda row: row[0] * row[1] * row[2]):
        yield {"n": n, "d": d, "v": v, "dtype": dtype, "growth": growth}


def label(case: dict[str, Any]) -> str:
    """Return the case on one line."""
    return "{n} x {d} x {v} {dtype}".format(**case)


def inputs(case: dict[str, Any]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return hidden states, a kernel whose logits are N(0, 1), and labels."""
    rng = np.random.default_rng(0)
    n, d, v = case["n"], case["d"], case["v"]
    hidden = rng.standard_normal((n, d), np.float32)
    kernel = rng.standard_normal((d, v), np.float32) / np.float32(np.sqrt(d))
    return jnp.asarray(hidden, case["dtype"]), jnp.asarray(kernel, case["dtype"]), jnp.asarray(rng.integers(0, v, n))


def dense(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean loss of whole logits."""
    logits = jnp.matmul(hidden, kernel, preferred_element_type=jnp.float32)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def per_token(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean of per-token losses: their cotangents are known only afterwards."""
    return jnp.mean(linear_softmax_cross_entropy(hidden, kernel, labels))


def slopes(loss: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, ...]]:
    """Return value and gradients as one tuple."""

    def f(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
        value, (to_hidden, to_kernel) = jax.value_and_grad(loss, (0, 1))(hidden, kernel, labels)
        return value, to_hidden, to_kernel

    return f


def reference(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> dict[str, np.ndarray]:
    """Return value and gradients in float64, a few tokens at a time."""
    h, k = (np.asarray(a.astype(jnp.float32), np.float64) for a in (hidden, kernel))
    y, n = np.asarray(labels), len(h)
    total, to_hidden, to_kernel = 0.0, np.empty_like(h), np.zeros_like(k)
    for start in range(0, n, 256):
        part, rows = h[start : start + 256], np.arange(min(256, n - start))
        x = part @ k
        x -= x.max(axis=1, keepdims=True)
        label = x[rows, y[start : start + 256]]
        p = np.exp(x, out=x)
        s = p.sum(axis=1, keepdims=True)
        total += float(np.sum(np.log(s[:, 0]) - label))
        p /= s
        p[rows, y[start : start + 256]] -= 1
        to_hidden[start : start + 256] = p @ k.T
        to_kernel += part.T @ p
    return {"value": np.asarray(total / n), "to hidden": to_hidden / n, "to kernel": to_kernel / n}


def candidates(case: dict[str, Any], arrays: tuple[jax.Array, ...]) -> list[Candidate]:
    """Return what is compared in a row."""
    ours = functools.partial(linear_softmax_cross_entropy, reduction="mean")
    out = [
        compiled(DENSE, slopes(dense), *arrays),
        compiled("jaxinfo, per token", slopes(per_token), *arrays),
        compiled("jaxinfo, reduced", slopes(ours), *arrays),
    ]
    if case["growth"]:
        return out
    return out + torch_candidates(*arrays) + tokamax_candidate(slopes, arrays)


def measure_case(case: dict[str, Any], seconds: float) -> Row:
    """Measure one row."""
    arrays = inputs(case)
    eps = {"value": float(np.finfo(np.float32).eps), **dict.fromkeys(("to hidden", "to kernel"), 1.0)}
    every = candidates(case, arrays)
    names = tuple(c.name for c in every if not c.name.startswith("jaxinfo"))
    return measure_row(case, every, reference(*arrays), eps, seconds=seconds, peers=names, least=3, most=21)


def show(row: Row) -> str:
    """Return the row as lines of the page's table."""
    return "\n".join(line(row, m) for m in row.measurements)


TABLE = Table(
    "linear",
    "Time the cross-entropy from hidden states beside dense optax, torch and tokamax.",
    cases,
    label,
    measure_case,
    show,
    seconds=20.0,
    packages=("optax", "torch", "tokamax"),
)


if __name__ == "__main__":
    sys.exit(main(TABLE))
