"""Time softmax_cross_entropy and kl_divergence beside optax, jax.nn and torch, and check what they return.

    python benchmarks/bench_cross_entropy.py [--quick] [--filter WORDS] [--keep] [--fresh] [--json FILE]

Rows cover logits of an untrained model and of a trained one: several implementations, ours included, take
another path for confident rows. ctrl-C prints what is done.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Table, main

import jaxinfo
from jaxinfo.bench import Candidate
from jaxinfo.bench._rows import compiled, measure_row
from jaxinfo.bench._torch import import_torch, torch_candidate

SHAPES = ((4096, 1000), (1024, 32768), (128, 262144))
DTYPES = ("float32", "bfloat16")
PASSES = ("forward", "forward+backward")
# How the logits are drawn. untrained: N(0, 1). trained: nine rows in ten lead by 10 to 30. saturated: all rows
# lead by 40 to 65 (from about 75 on the gradient of the mean is below the smallest normal float32).
# close: two untrained distributions whose logits differ by 0.01, a policy and its reference.
LOGITS = {
    "softmax_cross_entropy": ("untrained", "trained", "saturated"),
    "kl_divergence": ("untrained", "close", "trained", "saturated"),
}
PEERS = ("optax", "torch")
Case = dict[str, Any]


def cases(quick: bool = False) -> Iterator[Case]:
    """Yield every row to measure, or those of the smallest shape."""
    shapes = SHAPES[: 1 if quick else None]
    for function, kinds in LOGITS.items():
        for (n, v), dtype, logits, direction in itertools.product(shapes, DTYPES, kinds, PASSES):
            yield dict(function=function, n=n, v=v, dtype=dtype, logits=logits, direction=direction)


def label(case: Case) -> str:
    """Return the case on one line, which `--filter` searches."""
    return "{function} {n}x{v} {dtype} {logits} {direction}".format(**case)


def inputs(case: Case) -> tuple[jax.Array, jax.Array]:
    """Return the two arguments of the case: logits and labels, or two arrays of logits."""
    rng = np.random.default_rng(0)
    shape, kind = (case["n"], case["v"]), case["logits"]
    labels = rng.integers(0, shape[1], shape[0])
    first = _draw(rng, shape, kind, labels)
    if case["function"] == "softmax_cross_entropy":
        return jnp.asarray(first, case["dtype"]), jnp.asarray(labels, jnp.int32)
    if kind == "close":
        second = first + np.float32(0.01) * rng.standard_normal(shape, np.float32)
    else:
        second = _draw(rng, shape, kind, labels)
    return jnp.asarray(first, case["dtype"]), jnp.asarray(second, case["dtype"])


def _draw(rng: np.random.Generator, shape: tuple[int, int], kind: str, labels: np.ndarray) -> np.ndarray:
    x = rng.standard_normal(shape, np.float32)
    margin = {"trained": (10, 30), "saturated": (40, 65)}.get(kind)
    if margin is not None:
        rows = np.arange(shape[0]) if kind == "saturated" else np.flatnonzero(np.arange(shape[0]) % 10)
        x[rows, labels[rows]] = x[rows].max(axis=1) + rng.uniform(*margin, len(rows)).astype(np.float32)
    return x


def reference(case: Case, first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Return the losses, or their mean and its gradients, in float64."""
    if case["function"] == "softmax_cross_entropy":
        log_p = _log_softmax(first)
        rows = np.arange(len(log_p))
        losses = -log_p[rows, second]
        gradients = [np.exp(log_p)]
        gradients[0][rows, second] = np.expm1(-losses)
    else:
        log_p = _log_softmax(first)
        p, d = np.exp(log_p), _log_softmax(second) - log_p
        losses = np.sum(p * (np.expm1(d) - d), axis=1)  # non-negative terms: nothing cancels
        rise = _above_top(first, second)  # d from its level where p is largest: KL + d would cancel there
        gradients = [-p * (rise - np.sum(p * rise, axis=1)[:, None]), p * np.expm1(d)]
    if case["direction"] == "forward":
        return {"value": losses}
    for g in gradients:
        g /= len(losses)
    return {"value": np.asarray(np.mean(losses)), **{f"gradient {i}": g for i, g in enumerate(gradients)}}


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    rows, top = np.arange(len(x)), np.argmax(x, axis=1)
    x -= x[rows, top][:, None]
    terms = np.exp(x)
    terms[rows, top] = 0
    return x - np.log1p(np.sum(terms, axis=1))[:, None]


def _above_top(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    difference, top = second.astype(np.float64) - first.astype(np.float64), np.argmax(first, axis=1)
    return difference - difference[np.arange(len(top)), top][:, None]


def candidates(case: Case, first: jax.Array, second: jax.Array) -> list[Candidate]:
    """Return ours and every peer that is installed, compiled for the case."""
    function, backward = case["function"], case["direction"] != "forward"
    found = [
        compiled(name, _pass(f, function, backward), first, second) for name, f in IMPLEMENTATIONS[function].items()
    ]
    torch = import_torch()
    if torch is not None:
        a, b = torch.from_dlpack(first), torch.from_dlpack(second)
        leaves = (a,) if function == "softmax_cross_entropy" else (a, b)
        found.append(torch_candidate(torch, _torch_loss(torch, case, a, b), leaves, backward=backward))
    return found


def _pass(f: Callable[..., jax.Array], function: str, backward: bool) -> Callable[..., tuple]:
    if not backward:
        return lambda *args: (f(*args),)
    argnums = (0,) if function == "softmax_cross_entropy" else (0, 1)
    grad = jax.value_and_grad(lambda *args: jnp.mean(f(*args)), argnums)

    def value_and_gradients(*args: jax.Array) -> tuple:
        value, gradients = grad(*args)
        return value, *gradients

    return value_and_gradients


def _jax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]


def _jax_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(p)
    return jnp.sum(jnp.exp(log_p) * (log_p - jax.nn.log_softmax(q)), axis=-1)


def _optax_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    return optax.losses.kl_divergence(jax.nn.log_softmax(q), jax.nn.softmax(p))


IMPLEMENTATIONS: dict[str, dict[str, Callable[..., jax.Array]]] = {
    "softmax_cross_entropy": {
        "jaxinfo": jaxinfo.softmax_cross_entropy,
        "optax": optax.losses.softmax_cross_entropy_with_integer_labels,
        "jax.nn": _jax_cross_entropy,
    },
    "kl_divergence": {"jaxinfo": jaxinfo.kl_divergence, "optax": _optax_kl, "jax.nn": _jax_kl},
}


def _torch_loss(torch: Any, case: Case, a: Any, b: Any) -> Callable[[], Any]:
    """Return torch's loss of the case in its fastest form: it has one that takes the mean itself."""
    functional, mean = torch.nn.functional, case["direction"] != "forward"
    if case["function"] == "softmax_cross_entropy":
        b = b.long()
        return lambda: functional.cross_entropy(a, b, reduction="mean" if mean else "none")

    def divergence() -> Any:
        log_p, log_q = functional.log_softmax(a, -1), functional.log_softmax(b, -1)
        if mean:
            return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)

    return divergence


def measure_case(case: Case, seconds: float) -> Row:
    """Measure one case; a value's error is in eps of float32, a gradient's in eps of its own dtype."""
    first, second = inputs(case)
    wanted = reference(case, np.asarray(first), np.asarray(second))
    own = float(jnp.finfo(first.dtype).eps)
    eps = {name: own if name.startswith("gradient") else float(jnp.finfo(jnp.float32).eps) for name in wanted}
    return measure_row(case, candidates(case, first, second), wanted, eps, seconds=seconds, peers=PEERS)


def format_row(row: Row) -> str:
    """Return the row as a small table, ratios to the faster of the peers first."""
    peer = row.faster_of(PEERS) if any(m.name in PEERS for m in row.measurements) else row["jax.nn"]
    lines = [f"{label(row.case)}   (ratios to {peer.name})"]
    for m in row.measurements:
        r = next(r for r in m.ratios if r.peer == peer.name)
        errors = " ".join(f"{k} {e:.3g}" for k, e in m.errors.items())
        compile_time = "" if m.compile_seconds is None else f"compile {m.compile_seconds:5.2f} s"
        temporaries = "" if m.temp_bytes is None else f"temp {m.temp_bytes / 2**20:7.1f} MiB"
        lines.append(
            f"  {m.name:8} {r.median:5.2f} [{r.low:.2f} {r.high:.2f}] min {r.minima:5.2f}   {m.median * 1e3:8.2f} ms "
            f"[{m.low * 1e3:.2f} {m.high * 1e3:.2f}] x {m.runs:2}   {compile_time:15} {temporaries:16} eps: {errors}"
        )
    return "\n".join(lines)


TABLE = Table(
    "cross_entropy",
    "Time softmax_cross_entropy and kl_divergence beside optax, jax.nn and torch.",
    cases,
    label,
    measure_case,
    format_row,
    packages=("optax", "torch"),
)


if __name__ == "__main__":
    sys.exit(main(TABLE))
