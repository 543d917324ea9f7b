"""Time every other loss and measure that optax, jax.nn or torch has too, beside theirs.

    python benchmarks/bench_losses.py [--quick] [--filter WORDS] [--keep] [--fresh] [--json FILE]

softmax_cross_entropy of labels and kl_divergence have a benchmark of their own, bench_cross_entropy.py, whose
way of running this one shares. js_divergence, renyi_divergence, f_divergence and kl_estimate have no peer.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import bench_cross_entropy as base
import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Table, main

import jaxinfo
from jaxinfo.bench import Candidate
from jaxinfo.bench._rows import compiled, measure_row
from jaxinfo.bench._torch import torch_candidate

SHAPES = ((4096, 1000), (1024, 32768))
Arrays = tuple[Any, ...]
Loss = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One quantity.

    Attributes:
        draw: the arguments, from a generator and the shape, in float32; those of an integer dtype stay so.
        plain: the quantity by its definition, which float64 makes the reference.
        jax: ours and those of optax and jax.nn, by name.
        torch: torch's, of the module torch and the same arguments; None where it has none.
        leaves: how many of the arguments are differentiated.
    """

    draw: Callable[[np.random.Generator, tuple[int, int]], Arrays]
    plain: Loss
    jax: dict[str, Loss]
    torch: Callable[..., Any] | None
    leaves: int = 1


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _logits(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    return (_normal(rng, shape),)


def _with_probs(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    weights = rng.exponential(size=shape).astype(np.float32)
    return _normal(rng, shape), weights / weights.sum(-1, keepdims=True)


def _with_labels(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    return _normal(rng, shape), rng.integers(0, shape[1], shape[0], np.int32)


def _with_bits(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    return _normal(rng, shape), rng.integers(0, 2, shape).astype(np.float32)


def _with_scale(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    return _normal(rng, shape), rng.uniform(0.5, 2, shape).astype(np.float32), _normal(rng, shape)


def _with_counts(rng: np.random.Generator, shape: tuple[int, int]) -> Arrays:
    return _normal(rng, shape), rng.poisson(3.0, shape).astype(np.float32)


def _plain_log_softmax(x: Any) -> Any:
    x = x - jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True))
    return x - jnp.log(jnp.sum(jnp.exp(x), -1, keepdims=True))


def _smoothed(x: Any, labels: Any) -> Any:
    log_p = _plain_log_softmax(x)
    return -0.9 * jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0] - 0.1 * jnp.mean(log_p, -1)


def _optax_smoothed(x: Any, labels: Any) -> Any:
    return optax.losses.softmax_cross_entropy(
        x, optax.losses.smooth_labels(jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype), 0.1)
    )


def _gaussian(mean: Any, variance: Any, x: Any) -> Any:
    return 0.5 * (jnp.log(2 * jnp.pi * variance) + (x - mean) ** 2 / variance)


LOSSES: dict[str, Entry] = {
    "logsumexp": Entry(
        _logits,
        lambda x: jax.scipy.special.logsumexp(x, axis=-1),
        {"jaxinfo": jaxinfo.logsumexp, "jax.nn": lambda x: jax.nn.logsumexp(x, axis=-1)},
        lambda torch, x: torch.logsumexp(x, -1),
    ),
    "log_softmax": Entry(
        _logits,
        _plain_log_softmax,
        {"jaxinfo": jaxinfo.log_softmax, "jax.nn": jax.nn.log_softmax},
        lambda torch, x: torch.log_softmax(x, -1),
    ),
    "softmax": Entry(
        _logits,
        lambda x: jnp.exp(_plain_log_softmax(x)),
        {"jaxinfo": jaxinfo.softmax, "jax.nn": jax.nn.softmax},
        lambda torch, x: torch.softmax(x, -1),
    ),
    "entropy": Entry(
        _logits,
        lambda x: -jnp.sum(jnp.exp(_plain_log_softmax(x)) * _plain_log_softmax(x), -1),
        {"jaxinfo": jaxinfo.entropy, "jax.nn": lambda x: -jnp.sum(jax.nn.softmax(x) * jax.nn.log_softmax(x), -1)},
        lambda torch, x: torch.distributions.Categorical(logits=x, validate_args=False).entropy(),
    ),
    "nll": Entry(
        _with_labels,
        lambda x, y: -jnp.take_along_axis(x, y[:, None], 1)[:, 0],
        {"jaxinfo": jaxinfo.nll, "jax.nn": lambda x, y: -jnp.take_along_axis(x, y[:, None], 1)[:, 0]},
        lambda torch, x, y: torch.nn.functional.nll_loss(x, y.long(), reduction="none"),
    ),
    "softmax_cross_entropy(distribution)": Entry(
        _with_probs,
        lambda x, t: -jnp.sum(t * _plain_log_softmax(x), -1),
        {"jaxinfo": jaxinfo.softmax_cross_entropy, "optax": optax.losses.softmax_cross_entropy},
        lambda torch, x, t: torch.nn.functional.cross_entropy(x, t, reduction="none"),
    ),
    "softmax_cross_entropy(smoothed)": Entry(
        _with_labels,
        _smoothed,
        {"jaxinfo": lambda x, y: jaxinfo.softmax_cross_entropy(x, y, label_smoothing=0.1), "optax": _optax_smoothed},
        lambda torch, x, y: torch.nn.functional.cross_entropy(x, y.long(), reduction="none", label_smoothing=0.1),
    ),
    "sigmoid_cross_entropy": Entry(
        _with_bits,
        lambda x, t: jax.nn.softplus(x) - t * x,
        {"jaxinfo": jaxinfo.sigmoid_cross_entropy, "optax": optax.losses.sigmoid_binary_cross_entropy},
        lambda torch, x, t: torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none"),
    ),
    "gaussian_nll": Entry(
        _with_scale,
        _gaussian,
        {"jaxinfo": lambda mean, variance, x: jaxinfo.gaussian_nll(x, mean, variance)},
        lambda torch, mean, variance, x: torch.nn.functional.gaussian_nll_loss(
            mean, x, variance, full=True, reduction="none"
        ),
        leaves=2,
    ),
    "poisson_nll": Entry(
        _with_counts,
        lambda log_rate, x: jnp.exp(log_rate) - x * log_rate + jax.scipy.special.gammaln(x + 1),
        {"jaxinfo": lambda log_rate, x: jaxinfo.poisson_nll(x, log_rate)},
        # torch's Stirling is 6 % off at 2; the exact constant is log Gamma
        lambda torch, log_rate, x: (
            torch.nn.functional.poisson_nll_loss(log_rate, x, reduction="none") + torch.lgamma(x + 1)
        ),
    ),
}


def cases(quick: bool = False) -> Iterator[base.Case]:
    """Yield every row to measure, or those of the smaller shape."""
    shapes = SHAPES[: 1 if quick else None]
    for function, (n, v), dtype, direction in itertools.product(LOSSES, shapes, base.DTYPES, base.PASSES):
        if (function, direction) == ("softmax", "forward+backward"):
            continue  # the mean of a softmax does not depend on the logits
        yield dict(function=function, n=n, v=v, dtype=dtype, logits="untrained", direction=direction)


def arguments(case: base.Case) -> tuple[jax.Array, ...]:
    """Return the arguments of the case."""
    drawn = LOSSES[case["function"]].draw(np.random.default_rng(0), (case["n"], case["v"]))
    return tuple(jnp.asarray(a, case["dtype"] if a.dtype == np.float32 else None) for a in drawn)


def summed(f: Loss, entry: Entry, case: base.Case) -> Loss:
    """Return `f`, or for forward+backward the mean of it with its gradients, as a tuple."""
    if case["direction"] == "forward":
        return lambda *args: (f(*args),)

    def value_and_gradients(*args: jax.Array) -> Arrays:
        value, gradients = jax.value_and_grad(
            lambda *args: jnp.mean(f(*args).astype(jnp.float32)), tuple(range(entry.leaves))
        )(*args)
        return value, *gradients

    return value_and_gradients


def reference(case: base.Case, args: Sequence[jax.Array]) -> dict[str, np.ndarray]:
    """Return the results in float64, of the definition differentiated by jax."""
    entry = LOSSES[case["function"]]

    def results(*args: jax.Array) -> Arrays:
        if case["direction"] == "forward":
            return (entry.plain(*args),)
        argnums = tuple(range(entry.leaves))
        value, gradients = jax.value_and_grad(lambda *args: jnp.mean(entry.plain(*args)), argnums)(*args)
        return value, *gradients

    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64) if a.dtype.kind not in "iu" else a) for a in args]
        found = [np.asarray(r) for r in jax.jit(results)(*wide)]
    return dict(zip(("value", "gradient 0", "gradient 1"), found, strict=False))


def candidates(case: base.Case, args: Sequence[jax.Array]) -> list[Candidate]:
    """Return ours and every peer that is installed, compiled for the case."""
    entry = LOSSES[case["function"]]
    found = [compiled(name, summed(f, entry, case), *args) for name, f in entry.jax.items()]
    torch = base.import_torch()
    if torch is not None and entry.torch is not None:
        tensors = [torch.from_dlpack(a) for a in args]
        found.append(
            torch_candidate(
                torch,
                lambda: entry.torch(torch, *tensors),  # type: ignore[misc]
                tensors[: entry.leaves],
                backward=case["direction"] != "forward",
            )
        )
    return found


def measure_case(case: base.Case, seconds: float) -> Row:
    """Measure one case; errors in eps of float32 for values, of the argument's dtype for gradients."""
    args = arguments(case)
    wanted = reference(case, args)
    own = float(jnp.finfo(args[0].dtype).eps)
    eps = {name: own if name.startswith("gradient") else float(jnp.finfo(jnp.float32).eps) for name in wanted}
    return measure_row(case, candidates(case, args), wanted, eps, seconds=seconds, peers=(*base.PEERS, "jax.nn"))


TABLE = Table(
    "losses",
    "Time every other loss and measure that optax, jax.nn or torch has too, beside theirs.",
    cases,
    base.label,
    measure_case,
    base.format_row,
    packages=("optax", "torch"),
)


if __name__ == "__main__":
    sys.exit(main(TABLE))
