"""Options where the classes are not last, under vmap, in mixed precisions, and where the class axis is sharded."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo import softmax_cross_entropy

from .transforms import assert_same

RANDOM = np.random.default_rng(11)
NUMBERS = {"label_smoothing": 0.1, "z_loss": 0.03, "soft_cap": 6.0, "temperature": 1.3}
WITHOUT_CAP = {k: v for k, v in NUMBERS.items() if k != "soft_cap"}
UNTRANSFORMED = {k: v for k, v in WITHOUT_CAP.items() if k != "temperature"}
kinds = pytest.mark.parametrize("kind", ["labels", "distribution"])


def batch(kind: str, *shape: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, targets, mask and class weights; the classes are last."""
    x = 3 * RANDOM.standard_normal((*shape, classes))
    labels = RANDOM.integers(0, classes, shape)
    where = RANDOM.random(x.shape) < 0.8
    np.put_along_axis(where, labels[..., None], True, -1)
    where[(0,) * len(shape)] = False
    targets = labels if kind == "labels" else RANDOM.dirichlet(np.ones(classes), shape) * where
    return x, targets, where, RANDOM.gamma(1.0, 1.0, classes)


def value_and_slopes(f: Callable[..., jax.Array], *args: Any) -> Any:
    """Return the losses, and the gradient of their weighted sum to the logits and to the options."""

    def weighted(x: jax.Array, options: dict[str, jax.Array]) -> jax.Array:
        losses = f(x, options, *args[2:])
        return jnp.sum(losses * jnp.cos(jnp.arange(losses.size, dtype=losses.dtype)).reshape(losses.shape))

    return f(*args), *jax.grad(weighted, (0, 1))(*args[:2])


@kinds
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_the_class_axis_may_be_any(axis: int, kind: str) -> None:
    x, targets, where, weights = batch(kind, 2, 3, 4, classes=7)
    options = {k: jnp.asarray(v) for k, v in NUMBERS.items()} | {"class_weights": jnp.asarray(weights)}

    def along(x: jax.Array, options: Any, targets: jax.Array, where: jax.Array) -> jax.Array:
        x, where = (jnp.moveaxis(a, -1, axis) for a in (x, where))
        targets = targets if kind == "labels" else jnp.moveaxis(targets, -1, axis)
        return softmax_cross_entropy(x, targets, axis=axis, where=where, **options)

    def flat(x: jax.Array, options: Any, targets: jax.Array, where: jax.Array) -> jax.Array:
        rows = [a.reshape(24, *a.shape[3:]) for a in (x, targets, where)]
        return softmax_cross_entropy(rows[0], rows[1], where=rows[2], **options).reshape(2, 3, 4)

    args = jnp.asarray(x), options, jnp.asarray(targets), jnp.asarray(where)
    got, want = (jax.jit(lambda *a, f=f: value_and_slopes(f, *a))(*args) for f in (along, flat))
    assert_same(got, want, f"axis {axis}")


@kinds
def test_vmap_over_logits_and_options_is_the_loop(kind: str) -> None:
    x, targets, where, weights = batch(kind, 5, 3, classes=6)
    options = {k: jnp.asarray(v) * jnp.linspace(0.5, 1.5, 5) for k, v in NUMBERS.items()}
    options["class_weights"] = jnp.linspace(0.5, 1.5, 5)[:, None] * jnp.asarray(weights)[None]

    def loss(x: jax.Array, options: Any, targets: jax.Array, where: jax.Array) -> jax.Array:
        return softmax_cross_entropy(x, targets, where=where, **options)

    single = jax.jit(lambda *a: value_and_slopes(loss, *a))
    args = jnp.asarray(x), options, jnp.asarray(targets), jnp.asarray(where)
    alone = [single(*jax.tree.map(lambda a, n=n: a[n], args)) for n in range(5)]
    assert_same(jax.jit(jax.vmap(single))(*args), jax.tree.map(lambda *a: jnp.stack(a), *alone), "vmap")


@pytest.mark.parametrize("options", [NUMBERS, WITHOUT_CAP], ids=["all", "no cap"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_options_of_any_precision_leave_the_dtypes_of_the_contract(dtype: str, options: dict[str, float]) -> None:
    x, labels, _, weights = batch("labels", 4, classes=5)
    x = jnp.asarray(x, dtype)
    want = softmax_cross_entropy(
        x.astype("float32"), jnp.asarray(labels), class_weights=jnp.asarray(weights, "float32"), **options
    )
    for kind in (dtype, "float32"):
        given = {k: jnp.asarray(v, kind) for k, v in options.items()} | {"class_weights": jnp.asarray(weights, kind)}

        def loss(x: jax.Array, given: Any) -> jax.Array:
            return softmax_cross_entropy(x, jnp.asarray(labels), **given)

        value, slopes = loss(x, given), jax.grad(lambda *a: loss(*a).sum(), (0, 1))(x, given)
        assert value.dtype == "float32"
        assert jax.tree.map(lambda a: a.dtype, slopes) == jax.tree.map(lambda a: a.dtype, (x, given))
        tolerance = 2 * float(jnp.finfo(kind).eps)  # the options themselves are rounded
        np.testing.assert_allclose(value, want, rtol=20 * tolerance)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@kinds
@pytest.mark.parametrize(
    ("sharding", "options", "dtype"),
    [
        (AxisType.Explicit, NUMBERS, "float32"),
        (AxisType.Explicit, WITHOUT_CAP, "float32"),
        (AxisType.Auto, WITHOUT_CAP, "float32"),
        (AxisType.Explicit, UNTRANSFORMED, "bfloat16"),
        (AxisType.Auto, UNTRANSFORMED, "bfloat16"),
    ],
    ids=["explicit, all", "explicit, no cap", "auto, no cap", "explicit, half", "auto, half"],
)
def test_sharded_classes_are_not_gathered(sharding: AxisType, options: dict[str, float], dtype: str, kind: str) -> None:
    n, v = 8, 64
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(sharding, sharding))
    x, targets, where, weights = batch(kind, n, classes=v)
    x = jnp.asarray(x, dtype)
    numbers = {k: jnp.asarray(value) for k, value in options.items()}

    def loss(x: jax.Array, numbers: Any, targets: jax.Array, where: jax.Array, weights: jax.Array) -> jax.Array:
        return softmax_cross_entropy(x, targets, where=where, class_weights=weights, **numbers)

    both = jax.jit(lambda *args: value_and_slopes(loss, *args))
    want = both(x, numbers, targets, where, weights)
    with jax.set_mesh(mesh):
        spread = P("data", "model")
        specs = (spread, P(), spread if kind == "distribution" else P("data"), spread, P("model"))
        placed = [
            jax.tree.map(lambda a, s=spec: jax.device_put(a, NamedSharding(mesh, s)), tree)
            for tree, spec in zip((x, numbers, targets, where, weights), specs, strict=True)
        ]
        compiled = both.lower(*placed).compile()
        got = compiled(*placed)
        assert got[1].sharding.spec == spread, "the gradient lies as the logits do"
        got = jax.tree.map(np.asarray, got)
    assert_same(got, want, "sharded", k=128)
    moved = re.findall(
        r"= (.*?) (?:all-gather|all-to-all|all-reduce|collective-permute)(?:-start)?\(", compiled.as_text()
    )
    assert moved, "rows that lie on four devices have to be summed"
    for shape in re.findall(r"\[([\d,]*)\]", " ".join(moved)):
        assert np.prod([int(size) for size in shape.split(",") if size]) <= 2 * n, (
            f"an array of shape [{shape}] is sent"
        )
