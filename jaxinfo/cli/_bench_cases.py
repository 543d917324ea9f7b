"""What `jaxinfo bench` measures: ours beside the plain ways and the peers that are installed."""

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxinfo import bench
from jaxinfo._classification import softmax_cross_entropy
from jaxinfo._measures import kl_divergence
from jaxinfo.bench._torch import import_torch, torch_candidate
from jaxinfo.fitting._problem import Options, as_inputs
from jaxinfo.fitting._run import compile_loop, run_loop
from jaxinfo.linear import linear_softmax_cross_entropy

Functions = Mapping[str, Callable[..., Any] | bench.Candidate]


class Sizes(NamedTuple):
    """Examples, classes, features, and the dtype of the floating arguments."""

    n: int
    v: int
    d: int
    dtype: str


class Subject(NamedTuple):
    """A loss.

    Attributes:
        defaults: the sizes where none are given; d is 0 where there are no features.
        shapes: of the arguments; the floating ones are drawn from N(0, 1), the integers are labels.
        leaves: how many of the arguments are differentiated.
        functions: JAX functions of the arguments, by name, of one value; ours first.
        torch: the loss of torch's tensors, None where there is none.
    """

    defaults: Sizes
    shapes: Callable[[Sizes], tuple[tuple[int, ...], ...]]
    leaves: int
    functions: dict[str, Callable[..., jax.Array]]
    torch: Callable[..., Any]


def _dense(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    return jnp.matmul(hidden, kernel, preferred_element_type=wide)


def _jax_cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))


def _jax_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(p)
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - jax.nn.log_softmax(q)), -1))


def _torch_kl(torch: Any, p: Any, q: Any) -> Any:
    log_p, log_q = torch.log_softmax(p, -1), torch.log_softmax(q, -1)
    return torch.nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


SUBJECTS = {
    "cross-entropy": Subject(
        Sizes(1024, 32_000, 0, "float32"),
        lambda s: ((s.n, s.v), (s.n,)),
        1,
        {
            "jaxinfo": lambda x, y: jnp.mean(softmax_cross_entropy(x, y)),
            "optax": lambda x, y: jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(x, y)),
            "jax.nn": _jax_cross_entropy,
        },
        lambda torch, x, y: torch.nn.functional.cross_entropy(x, y.long()),
    ),
    "kl": Subject(
        Sizes(1024, 32_000, 0, "float32"),
        lambda s: ((s.n, s.v), (s.n, s.v)),
        2,
        {
            "jaxinfo": lambda p, q: jnp.mean(kl_divergence(p, q)),
            "optax": lambda p, q: jnp.mean(optax.losses.kl_divergence(jax.nn.log_softmax(q), jax.nn.softmax(p))),
            "jax.nn": _jax_kl,
        },
        _torch_kl,
    ),
    "linear": Subject(
        Sizes(1024, 32_000, 512, "float32"),
        lambda s: ((s.n, s.d), (s.d, s.v), (s.n,)),
        2,
        {
            "jaxinfo": lambda h, k, y: linear_softmax_cross_entropy(h, k, y, reduction="mean"),
            "optax, dense": lambda h, k, y: jnp.mean(
                optax.losses.softmax_cross_entropy_with_integer_labels(_dense(h, k), y)
            ),
        },
        lambda torch, h, k, y: torch.nn.functional.cross_entropy(h @ k, y.long()),
    ),
}
FIT_DEFAULTS = Sizes(2000, 5, 20, "float64")


def shapes_of(subject: Subject, sizes: Sizes) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the arguments as shapes, which is enough to compile for."""
    shapes = subject.shapes(sizes)
    dtypes = [sizes.dtype if len(shape) == 2 else "int32" for shape in shapes]
    return tuple(jax.ShapeDtypeStruct(shape, jnp.dtype(t)) for shape, t in zip(shapes, dtypes, strict=True))


def arguments_of(subject: Subject, sizes: Sizes) -> tuple[jax.Array, ...]:
    """Return the arguments; a kernel is scaled so that its logits are N(0, 1) too."""
    rng = np.random.default_rng(0)

    def draw(wanted: jax.ShapeDtypeStruct) -> jax.Array:
        if len(wanted.shape) == 1:
            return jnp.asarray(rng.integers(0, sizes.v, wanted.shape), wanted.dtype)
        scale = sizes.d**-0.5 if wanted.shape[0] == sizes.d else 1.0
        return jnp.asarray(rng.standard_normal(wanted.shape, np.float32) * np.float32(scale), wanted.dtype)

    return tuple(draw(wanted) for wanted in shapes_of(subject, sizes))


def too_large(sizes: Sizes) -> bool:
    """Whether logits with their gradient and what is between are more than this machine has memory for."""
    file = Path("/proc/meminfo")
    if not sizes.d or jax.default_backend() != "cpu" or not file.exists():
        return False
    line = next(line for line in file.read_text().splitlines() if line.startswith("MemAvailable"))
    return 12 * sizes.n * sizes.v > 1024 * int(line.split()[1])


def functions_of(subject: Subject) -> dict[str, Callable[..., Any]]:
    """Return the functions of JAX with value and gradients."""
    leaves = tuple(range(subject.leaves))
    return {name: jax.value_and_grad(f, leaves if subject.leaves > 1 else 0) for name, f in subject.functions.items()}


def peers_of(subject: Subject, args: tuple[jax.Array, ...]) -> dict[str, bench.Candidate]:
    """Return torch, where it is installed and the arguments are on a CPU, as jax's are."""
    torch = import_torch() if jax.default_backend() == "cpu" else None
    if torch is None:
        return {}
    tensors = [torch.from_dlpack(a) for a in args]
    loss = lambda: subject.torch(torch, *tensors)  # noqa: E731
    return {"torch": torch_candidate(torch, loss, tensors[: subject.leaves], backward=True)}


def fits_of(sizes: Sizes) -> tuple[dict[str, bench.Candidate], Callable[[str], float]]:
    """Return solvers of one softmax regression with ``||W||^2 / 2``, and the objective that each reaches."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((sizes.n, sizes.d))
    y = np.argmax(x @ rng.standard_normal((sizes.d, sizes.v)) + rng.gumbel(size=(sizes.n, sizes.v)), axis=1)
    data = jnp.asarray(x), jnp.asarray(y, jnp.int32)
    params = {"W": jnp.zeros((sizes.d, sizes.v)), "b": jnp.zeros(sizes.v)}

    def loss(params: Any, data: Any) -> jax.Array:
        logits = jnp.matmul(data[0], params["W"], preferred_element_type=jnp.float64) + params["b"][None, :]
        return softmax_cross_entropy(logits, data[1])

    def penalty(params: Any) -> jax.Array:
        return jnp.sum(params["W"] ** 2) / 2

    def objective(params: Any) -> jax.Array:
        return jnp.sum(loss(params, data)) + penalty(params)

    runner = compile_loop(loss, params, as_inputs(params, data, None, None, None), Options(penalty=penalty))
    ours = bench.Candidate(
        "jaxinfo", lambda: run_loop(runner, runner.first)[0].best.params, compile_seconds=runner.compile_seconds
    )
    found = {"jaxinfo": ours, "optax L-BFGS": _optax(objective, params), "scikit-learn": _sklearn(x, y)}
    present = {name: candidate for name, candidate in found.items() if candidate is not None}
    return present, lambda name: float(objective(jax.tree.map(jnp.asarray, present[name].run())))


def _optax(objective: Callable[[Any], jax.Array], params: Any) -> bench.Candidate:
    """The loop of optax's documentation, until the gradient is below 1e-6."""
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, state = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=objective)
        return optax.apply_updates(params, updates), state

    def unfinished(carry: tuple[Any, Any]) -> jax.Array:
        count = optax.tree.get(carry[1], "count")
        return (count == 0) | ((count < 3000) & (optax.tree.norm(optax.tree.get(carry[1], "grad")) >= 1e-6))

    start = time.perf_counter()
    solve = jax.jit(lambda params: jax.lax.while_loop(unfinished, step, (params, optimizer.init(params)))[0])
    solve = solve.lower(params).compile()
    seconds = time.perf_counter() - start
    return bench.Candidate("optax", lambda: jax.block_until_ready(solve(params)), compile_seconds=seconds)


def _sklearn(x: np.ndarray, y: np.ndarray) -> bench.Candidate | None:
    """scikit-learn's default solver, to a tolerance that reaches the optimum."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError:
        return None
    model = LogisticRegression(tol=1e-8, max_iter=20_000)

    def run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, of scipy's options
            fitted = model.fit(x, y)
        return {"W": fitted.coef_.T, "b": fitted.intercept_}

    return bench.Candidate("scikit-learn", run)
