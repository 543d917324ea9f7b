"""Eight devices: shard_map over the batch, automatic and explicit sharding of the batch and of the class axis."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxinfo

from .transforms import assert_same

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
N, V = 16, 64
RANDOM = np.random.default_rng(0)
X = np.where(RANDOM.random((N, V)) < 0.05, -np.inf, 3 * RANDOM.standard_normal((N, V)))
X[3, 7] = 60.0
Q = np.where(np.isinf(X), -np.inf, 3 * RANDOM.standard_normal((N, V)))
Y = X.argmax(1)
Y[5] = np.flatnonzero(np.isfinite(X[5]))[-1]
Y[9] = -1
WHERE = RANDOM.random((N, V)) < 0.8
WHERE[np.arange(N), np.maximum(Y, 0)] = True
WHERE[11] = False

Kind = Callable[..., jax.Array]
KINDS: dict[str, tuple[Kind, tuple[np.ndarray, ...]]] = {
    "labels": (jaxinfo.softmax_cross_entropy, (X, Y)),
    "labels, where": (lambda x, y, w: jaxinfo.softmax_cross_entropy(x, y, where=w), (X, Y, WHERE)),
    "distribution": (lambda x, q: jaxinfo.softmax_cross_entropy(x, jaxinfo.softmax(q)), (X, Q)),
    "nll": (jaxinfo.nll, (X, Y)),
    "logsumexp": (jaxinfo.logsumexp, (X,)),
    "log_softmax": (jaxinfo.log_softmax, (Q,)),
    "entropy": (lambda x, w: jaxinfo.entropy(x, where=w), (X, WHERE)),
    "cross_entropy": (jaxinfo.cross_entropy, (X, Q)),
    "kl_divergence": (jaxinfo.kl_divergence, (X, Q)),
}
every_kind = pytest.mark.parametrize(("f", "arguments"), KINDS.values(), ids=KINDS.keys())
LAYOUTS = {"batch": (8, 1), "classes": (1, 8), "both": (2, 4)}


def value_and_slope(f: Kind, x: jax.Array, *rest: jax.Array) -> tuple[jax.Array, jax.Array]:
    value, pull = jax.vjp(lambda x: f(x, *rest), x)
    return value, pull(jnp.ones_like(value))[0]


def mesh_of(layout: str, kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh(LAYOUTS[layout], ("data", "model"), axis_types=(kind, kind))


def spec(a: np.ndarray) -> PartitionSpec:
    return PartitionSpec("data", "model") if a.ndim == 2 else PartitionSpec("data")


def whole(f: Kind, arguments: tuple[np.ndarray, ...]) -> tuple[jax.Array, jax.Array]:
    return jax.jit(partial(value_and_slope, f))(*map(jnp.asarray, arguments))


@every_kind
@pytest.mark.parametrize("layout", ["both"])
def test_automatic_sharding(f: Kind, arguments: tuple[np.ndarray, ...], layout: str) -> None:
    mesh = mesh_of(layout, AxisType.Auto)
    placed = [jax.device_put(a, NamedSharding(mesh, spec(a))) for a in arguments]
    assert_same(jax.jit(partial(value_and_slope, f))(*placed), whole(f, arguments), layout)


@every_kind
@pytest.mark.parametrize("layout", ["classes", "both"])
def test_explicit_sharding(f: Kind, arguments: tuple[np.ndarray, ...], layout: str) -> None:
    mesh = mesh_of(layout, AxisType.Explicit)
    with jax.set_mesh(mesh):
        placed = [jax.device_put(a, NamedSharding(mesh, spec(a))) for a in arguments]
        got = jax.jit(partial(value_and_slope, f))(*placed)
        assert got[1].sharding.spec == placed[0].sharding.spec, "the gradient lies as the logits do"
        got = jax.tree.map(np.asarray, got)
    assert_same(got, whole(f, arguments), layout)


@every_kind
def test_shard_map_over_the_batch(f: Kind, arguments: tuple[np.ndarray, ...]) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    row = PartitionSpec("data")
    outside = jax.shard_map(f, mesh=mesh, in_specs=row, out_specs=row)
    got = jax.jit(partial(value_and_slope, outside))(*map(jnp.asarray, arguments))
    assert_same(got, whole(f, arguments), "gradient through shard_map")


def test_mean_and_total_over_a_mesh_axis() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    losses, weights = jnp.asarray(RANDOM.gamma(1.0, 1.0, 64)), jnp.asarray(RANDOM.gamma(1.0, 1.0, 64))
    where = jnp.arange(64) >= 11  # the first device counts nothing, the second a part
    row, one = PartitionSpec("data"), PartitionSpec()

    def sharded(reduce: Callable[..., Any]) -> Callable[..., Any]:
        body = partial(reduce, axis_name="data")
        return jax.jit(
            jax.shard_map(
                lambda x, w, m: body(x, weights=w, where=m), mesh=mesh, in_specs=(row, row, row), out_specs=one
            )
        )

    for reduce in (jaxinfo.mean, jaxinfo.total):
        assert_same(sharded(reduce)(losses, weights, where), reduce(losses, weights=weights, where=where), "sharded")
    slope = jax.jit(jax.grad(sharded(jaxinfo.mean), (0, 1)))(losses, weights, where)
    want = jax.grad(lambda x, w: jaxinfo.mean(x, weights=w, where=where), (0, 1))(losses, weights)
    assert_same(slope, want, "gradient of the sharded mean")
    nothing = jnp.zeros(64, bool)
    assert float(sharded(partial(jaxinfo.mean, empty=3.0))(losses, weights, nothing)) == 3.0


def test_the_logits_are_not_gathered() -> None:
    """A loss of a batch over devices sends vectors of the batch's length at most, never rows of logits."""
    mesh = mesh_of("batch", AxisType.Auto)
    x, y = (jax.device_put(a, NamedSharding(mesh, spec(a))) for a in (X, Y))
    text = jax.jit(partial(value_and_slope, jaxinfo.softmax_cross_entropy)).lower(x, y).compile().as_text()
    assert text is not None
    moved = re.findall(r"= (.*?) (?:all-gather|all-to-all|all-reduce|collective-permute)(?:-start)?\(", text)
    for shapes in re.findall(r"\[([\d,]*)\]", " ".join(moved)):
        assert np.prod([int(n) for n in shapes.split(",") if n]) <= 2 * N, f"an array of shape [{shapes}] is sent"
