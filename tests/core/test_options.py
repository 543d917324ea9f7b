"""Options of softmax_cross_entropy against its formula in 40 digits, alone and together, in every mode and sharded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxinfo import softmax_cross_entropy

RANDOM = np.random.default_rng(7)
mp = mpmath.MPContext()
mp.dps = 40
V = 4
LOGITS = np.asarray([[0.3, -1.2, 2.0, 0.1], [9.0, -8.0, 0.5, 8.5], [1.0, -np.inf, 0.0, 25.0]])
LABELS = np.asarray([2, 1, 0])
TARGETS = np.asarray([[0.1, 0.4, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5], [0.7, 0.0, 0.3, 0.0]])
WHERE = np.asarray([[True, True, True, False], [True, True, True, True], [True, True, True, True]])
WEIGHTS = np.asarray([0.5, 2.0, 0.0, 3.0])
ALONE: dict[str, dict[str, Any]] = {
    "class_weights": {"class_weights": WEIGHTS},
    "label_smoothing": {"label_smoothing": 0.2},
    "z_loss": {"z_loss": 0.05},
    "soft_cap": {"soft_cap": 5.0},
    "temperature": {"temperature": 0.7},
}
UNCAPPED = {
    "temperature, z_loss": ALONE["temperature"] | ALONE["z_loss"]
}  # without a cap the largest logit is taken off
OPTIONS = ALONE | UNCAPPED | {"all": {k: v for options in ALONE.values() for k, v in options.items()}}
LEARNED = ("label_smoothing", "z_loss", "soft_cap", "temperature")
every_option = pytest.mark.parametrize("name", OPTIONS)


def formula(x: list[Any], target: np.ndarray, where: np.ndarray, class_weights: Any = None, **options: Any) -> Any:
    """Return the loss of a row as the documentation defines it, class by class."""
    smoothing, z_loss = options.get("label_smoothing", 0), options.get("z_loss", 0)
    cap, temperature = options.get("soft_cap"), options.get("temperature", 1)
    inside = [j for j in range(V) if where[j] and x[j] > -mp.inf]
    y = [v / temperature for v in x]
    y = y if cap is None else [cap * mp.tanh(v / cap) for v in y]
    log_z = mp.log(mp.fsum(mp.exp(y[j]) for j in inside))
    weights = [1.0] * V if class_weights is None else class_weights
    mass = [weights[j] * ((1 - smoothing) * mp.mpf(target[j]) + smoothing / len(inside)) for j in inside]
    return mp.fsum(m * (log_z - y[j]) for m, j in zip(mass, inside, strict=True)) + z_loss * log_z**2


def slopes(f: Callable[[list[Any]], Any], x: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    """Return gradient and Hessian of `f` by differences with half of the digits, 0 along what is not finite."""

    def moved(*steps: tuple[int, Any]) -> Any:
        there = list(x)
        for at, step in steps:
            there[at] += step
        return f(there)

    h, finite = mp.mpf(10) ** -12, [mp.isfinite(v) for v in x]
    gradient = [(moved((i, h)) - moved((i, -h))) / (2 * h) if finite[i] else 0 for i in range(len(x))]
    pairs = [
        [
            sum(s * t * moved((i, s * h), (j, t * h)) for s in (1, -1) for t in (1, -1)) / (4 * h * h)
            if finite[i] and finite[j]
            else 0
            for j in range(len(x))
        ]
        for i in range(len(x))
    ]
    return gradient, pairs


@pytest.mark.parametrize("kind", ["labels", "distribution"])
@pytest.mark.parametrize(
    ("name", "masked"),
    [
        *(pytest.param(name, False, id=name) for name in OPTIONS),
        *(pytest.param(name, True, id=f"{name}, where") for name in OPTIONS if name not in ALONE),
    ],
)
def test_value_and_derivatives_in_four_modes(name: str, kind: str, masked: bool) -> None:
    options = OPTIONS[name]
    numbers = {k: jnp.asarray(options[k]) for k in LEARNED if k in options}
    fixed = {k: jnp.asarray(v) for k, v in options.items() if k not in LEARNED}
    where = WHERE if masked else np.ones_like(WHERE)

    def loss(x: jax.Array, given: dict[str, jax.Array], target: jax.Array, inside: jax.Array) -> jax.Array:
        mask = {"where": inside} if masked else {}
        return softmax_cross_entropy(x, target, **given, **fixed, **mask)

    def modes(*args: Any) -> tuple[Any, ...]:
        first, second = jax.grad(loss, (0, 1)), jax.jacfwd(loss, (0, 1))
        hessians = jax.jacfwd(jax.grad(loss)), jax.jacrev(jax.jacfwd(loss))
        return loss(*args), first(*args), second(*args), [h(*args) for h in hessians]

    targets = LABELS if kind == "labels" else TARGETS
    each = jax.jit(jax.vmap(modes, (0, None, 0, 0)))
    value, reverse, forward, hessians = each(*map(jnp.asarray, (LOGITS,)), numbers, targets, where)
    for n, x in enumerate(LOGITS):
        target = np.eye(V)[LABELS[n]] if kind == "labels" else TARGETS[n]
        names = list(numbers)

        def of(point: list[Any], target: Any = target, n: int = n, names: list[str] = names) -> Any:
            mine = options | dict(zip(names, point[V:], strict=True))
            return formula(point[:V], target, where[n], **mine)

        point = [mp.mpf(float(v)) for v in x] + [mp.mpf(float(options[k])) for k in names]
        gradient, bend = slopes(of, point)
        close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13, err_msg=f"row {n}")
        close(value[n], float(of(point)))
        for to_x, to_numbers in (reverse, forward):
            close([*to_x[n], *(to_numbers[k][n] for k in names)], [float(g) for g in gradient])
        for hessian in hessians:
            close(hessian[n], [[float(b) for b in line[:V]] for line in bend[:V]], atol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_a_common_offset_costs_no_digit_under_a_temperature(offset: float) -> None:
    """The bounds of the contract in float32, where logits of 1e6 divided by a temperature would be off by 0.06."""
    eps = float(jnp.finfo("float32").eps)
    x = np.asarray(offset + 5 * RANDOM.standard_normal((50, V)), "float32")
    options = {"temperature": 0.7, "z_loss": 1e-3 if offset < 1e6 else 0.0}
    labels, given = np.arange(50) % V, {k: jnp.float32(v) for k, v in options.items()}
    losses = softmax_cross_entropy(jnp.asarray(x), jnp.asarray(labels), **given)
    for n, (row, label) in enumerate(zip(x, labels, strict=True)):
        exact = {k: mp.mpf(float(v)) for k, v in given.items()}
        want = formula([mp.mpf(float(v)) for v in row], np.eye(V)[label], np.ones(V, bool), **exact)
        bound = 8 + abs(float(mp.log(want)))
        assert abs(float(losses[n]) - float(want)) <= bound * eps * float(want), f"row {n}: {losses[n]}, not {want}"


def test_a_temperature_that_takes_logits_beyond_the_largest_number_leaves_their_tie() -> None:
    loss = softmax_cross_entropy(jnp.asarray([3e38, -3e38, 3e38, 0.0], "float32"), jnp.asarray(0), temperature=0.7)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)


def test_a_temperature_brings_differences_beyond_the_largest_number_back() -> None:
    f = lambda x, t: softmax_cross_entropy(x, jnp.asarray(1), temperature=t)  # noqa: E731
    value, slopes = jax.value_and_grad(f, (0, 1))(jnp.asarray([3e38, -3e38], "float32"), jnp.float32(2.5))
    assert float(value) == pytest.approx(2.4e38, rel=1e-6)
    np.testing.assert_allclose(slopes[0], [0.4, -0.4], rtol=1e-6)
    assert float(slopes[1]) == pytest.approx(-2.4e38 / 2.5, rel=1e-6)


@pytest.mark.parametrize("kind", ["labels", "distribution"])
@every_option
def test_classes_sharded_under_shard_map_are_whole(name: str, kind: str) -> None:
    """Labels are global, smoothing is over all classes; all slopes are those of one device."""
    mesh = jax.make_mesh((8,), ("classes",), axis_types=(AxisType.Auto,))
    x = jnp.asarray(3 * RANDOM.standard_normal((5, 24))).at[0, 3].set(-jnp.inf)
    targets = jnp.asarray([0, 23, 7, 12, 24]) if kind == "labels" else jnp.asarray(RANDOM.dirichlet(np.ones(24), 5))
    targets = targets if kind == "labels" else targets.at[0, 3].set(0.0)
    mask = jnp.asarray(RANDOM.random((5, 24)) < 0.9).at[jnp.arange(5), jnp.asarray([0, 23, 7, 12, 1])].set(True)
    mask = mask if kind == "labels" else jnp.ones_like(mask)
    options = {k: jnp.asarray(v) for k, v in OPTIONS[name].items()}
    if "class_weights" in options:
        options["class_weights"] = jnp.asarray(RANDOM.gamma(1.0, 1.0, 24))
    spread = P(None, "classes")
    of_options = {k: P("classes") if k == "class_weights" else P() for k in options}
    of_targets = P() if kind == "labels" else spread

    def local(x: jax.Array, given: dict, targets: jax.Array, mask: jax.Array) -> jax.Array:
        return softmax_cross_entropy(x, targets, where=mask, axis_name="classes", **given)

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(spread, of_options, of_targets, spread), out_specs=P())
    whole = lambda x, given, targets, mask: softmax_cross_entropy(x, targets, where=mask, **given)  # noqa: E731

    def both(f: Callable[..., jax.Array]) -> Any:
        weighted = lambda *args: f(*args)[:4] @ jnp.asarray([1.0, -2.0, 0.5, 3.0])  # noqa: E731
        return jax.jit(lambda *args: (f(*args), jax.grad(weighted, (0, 1))(*args)))(x, options, targets, mask)

    got, want = both(sharded), both(whole)
    assert bool(jnp.isnan(want[0][4])) == (kind == "labels")  # the label 24 does not exist
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradient_of_saturated_logits(dtype: Any) -> None:
    """The slope of the cap is as small as 1 - tanh**2 cannot be: its digits are those of the gradient."""
    x, cap = np.asarray([0.5, -9.0, 30.0, 18.0, -36.0], dtype), 2.0
    got = jax.jit(jax.grad(partial(softmax_cross_entropy, soft_cap=cap)))(x, jnp.asarray(0))
    y = [cap * mp.tanh(mp.mpf(float(v)) / cap) for v in x]
    total = mp.fsum(mp.exp(v) for v in y)
    slope = [mp.exp(v) / total - (j == 0) for j, v in enumerate(y)]
    want = [s * mp.sech(mp.mpf(float(v)) / cap) ** 2 for s, v in zip(slope, x, strict=True)]
    # the capped logits are rounded too
    allowed = [8 + 2 * abs(mp.log(abs(w))) + 4 * cap for w in want]
    off = [abs(mp.mpf(float(g)) - w) / abs(w) for g, w in zip(got, want, strict=True)]
    assert all(o <= a * mp.mpf(float(jnp.finfo(dtype).eps)) for o, a in zip(off, allowed, strict=True)), off
