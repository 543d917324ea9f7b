"""Time the cross-entropy from hidden states, forward and backward, beside dense optax, torch and tokamax.

    python benchmarks/bench_linear.py [--filter TEXT] [--seconds S] [--json FILE] [--markdown FILE]

The rows are those of two output heads, then of the first as tokens and classes double. ctrl-C keeps what is done.
Peers that are not installed are left out. `--pod` adds the compilation for 256 TPU chips, which needs libtpu.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _linear_peers import tokamax_candidate, torch_candidates
from _linear_pod import compile_for_pod
from _linear_table import table
from harness import Candidate, Row, compiled, environment, measure, progress, to_json

from jaxinfo import linear_softmax_cross_entropy

SHAPES = ((2048, 512, 32000), (4096, 256, 65536))
GROWTH = ((1024, 512, 32000), (2048, 512, 16000), (4096, 512, 32000), (2048, 512, 64000))
DTYPES = ("float32", "bfloat16")
DENSE = "optax, dense"


def cases() -> Iterator[dict[str, Any]]:
    """Yield every row to measure, the longest last."""
    rows = [(*shape, dtype, 0) for shape in SHAPES for dtype in DTYPES] + [(*shape, DTYPES[0], 1) for shape in GROWTH]
    for n, d, v, dtype, growth in sorted(rows, key=lambda row: row[0] * row[1] * row[2]):
        yield {"n": n, "d": d, "v": v, "dtype": dtype, "growth": growth}


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


def run(case: dict[str, Any], seconds: float) -> Row:
    """Measure one row."""
    arrays = inputs(case)
    eps = {"value": float(np.finfo(np.float32).eps), **dict.fromkeys(("to hidden", "to kernel"), 1.0)}
    every = candidates(case, arrays)
    names = tuple(c.name for c in every if not c.name.startswith("jaxinfo"))
    return measure(case, every, reference(*arrays), eps, seconds=seconds, peers=names, least=3, most=21)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--filter", default="", help="only rows whose line holds this text, such as '2048 x 512'")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each row")
    parser.add_argument("--pod", action="store_true", help="compile for 256 TPU chips as well")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(argv)
    where = environment(("optax", "torch", "tokamax"))
    if given.pod:
        where["pod"] = compile_for_pod()
    rows: list[Row] = []
    try:
        for case in cases():
            line = "{n} x {d} x {v} {dtype}".format(**case)
            if given.filter in line:
                progress(line)
                rows.append(run(case, given.seconds))
                store(given, where, rows)
    except KeyboardInterrupt:
        progress("")
    print(store(given, where, rows))
    return 0


def store(given: argparse.Namespace, where: dict[str, Any], rows: list[Row]) -> str:
    """Write what is measured so far to the files asked for, and return the page."""
    text = table(where, rows)
    if given.json is not None:
        given.json.write_text(to_json(where, rows) + "\n")
    if given.markdown is not None:
        given.markdown.write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
