"""Data and vocabulary parallel on eight devices, in one process and in two: the same numbers, no kernel gathered."""

import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo import (
    linear_kl_divergence,
    linear_softmax_cross_entropy,
    linear_token_statistics,
    poisson_nll,
    softmax_cross_entropy,
)
from jaxinfo.compat.torch import cross_entropy

from .cases import assert_close
from .sharded import D, V, mesh_of, on, placed, single

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize(
    ("mode", "data", "model", "check"), [("reverse", 2, 4, True), ("reverse", 1, 8, False), ("any", 4, 2, True)]
)
def test_sharded_is_single(mode: str, data: int, model: int, check: bool) -> None:
    mesh = mesh_of(data, model)
    arrays = placed(mesh)
    program = on(mesh, mode, check).lower(*arrays).compile()
    assert_close(program(*arrays), single(mode), tolerance=1e-11)
    text = program.as_text()
    gathered = re.findall(r"= \(?\w+\[([\d,]*)\].*? all-gather(?:-start)?\(", text)
    sizes = [np.prod([int(n) for n in shape.split(",") if n]) for shape in gathered]
    assert all(size < D * V // model for size in sizes), f"gathers {gathered}"


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize("form", ["each", "mean", "any", "statistics", "kl", "torch", "poisson"])
def test_axes_of_explicit_type(form: str) -> None:
    """Results lie as the examples do, gradients as what they belong to."""
    random = np.random.default_rng(0)
    hidden, kernel = random.normal(size=(16, 3)), random.normal(size=(3, 5))
    labels, weight = random.integers(0, 5, 16), random.uniform(size=5)
    forms: dict[str, Any] = {
        "each": lambda h, k, y, w: linear_softmax_cross_entropy(h, k, y, class_weights=w),
        "mean": lambda h, k, y, w: linear_softmax_cross_entropy(h, k, targets=y, reduction="mean"),
        "any": lambda h, k, y, w: linear_softmax_cross_entropy(h, k, y, differentiation="any"),
        "statistics": lambda h, k, y, w: linear_token_statistics(hidden=h, kernel=k, labels=y).entropy,
        "kl": lambda h, k, y, w: linear_kl_divergence(h, k, 2 * h, k),
        "torch": lambda h, k, y, w: cross_entropy(h @ k, y, w, reduction="none"),
        "poisson": lambda h, k, y, w: poisson_nll(jnp.abs(h), h)[:, 0] + jnp.sum(k),
    }
    f = forms[form]

    def both(h: jax.Array, k: jax.Array, y: jax.Array, w: jax.Array) -> Any:
        return f(h, k, y, w), jax.grad(lambda h, k: jnp.sum(f(h, k, y, w)), (0, 1))(h, k)

    arrays = [jnp.asarray(a) for a in (hidden, kernel, labels, weight)]
    want = jax.jit(both)(*arrays)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        specs = (P("data", None), P(None, None), P("data"), P(None))
        placed_ = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]
        got = jax.jit(both)(*placed_)
        assert got[0].sharding.spec == (P() if form == "mean" else P("data"))
        assert [g.sharding.spec for g in got[1]] == [P("data", None), P(None, None)]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_shard_without_the_label_has_no_logit_of_0_for_it(smoothing: float) -> None:
    """Logits of about -1e4, exact in float32: measured from 0 they would lose every digit of their differences."""
    bias = jnp.asarray(-1e4 + np.random.default_rng(0).integers(0, 64, 64) / 16, jnp.float32)
    hidden, kernel, labels = jnp.zeros((8, 2), jnp.float32), jnp.zeros((2, 64), jnp.float32), jnp.arange(8) * 9

    def local(bias: jax.Array) -> jax.Array:
        return linear_softmax_cross_entropy(
            hidden, kernel[:, :8], labels, bias=bias, label_smoothing=smoothing, block_size=3, axis_name="classes"
        )

    mesh = jax.make_mesh((8,), ("classes",), axis_types=(AxisType.Auto,))
    loss = jax.shard_map(local, mesh=mesh, in_specs=P("classes"), out_specs=P())
    logits = np.broadcast_to(np.asarray(bias, np.float64), (8, 64))
    got, slope = jax.jit(lambda b: (loss(b), jax.grad(lambda b: loss(b).sum())(b)))(bias)
    dense = lambda x: softmax_cross_entropy(x, labels, label_smoothing=smoothing)  # noqa: E731
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(got, dense(jnp.asarray(logits)), rtol=16 * eps)
    want = jax.grad(lambda x: dense(x).sum())(jnp.asarray(logits)).sum(0)
    np.testing.assert_allclose(slope, want, rtol=64 * eps, atol=64 * eps)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize("columns", [8, 1])
def test_a_shard_of_one_class_has_its_own_element_of_a_mask(columns: int) -> None:
    random = np.random.default_rng(0)
    hidden, kernel = (jnp.asarray(random.normal(size=shape)) for shape in ((9, 3), (3, 8)))
    where = jnp.asarray(random.random((9, columns)) < 0.5).at[3].set(False)
    labels = jnp.argmax(where, axis=1)

    def local(hidden: jax.Array, kernel: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
        kwargs = {"where": where, "axis_name": "classes"}
        linear = linear_softmax_cross_entropy(hidden, kernel, labels, **kwargs)
        return linear, softmax_cross_entropy(hidden @ kernel, labels, **kwargs)

    mesh = jax.make_mesh((8,), ("classes",), axis_types=(AxisType.Auto,))
    cut = P(None, "classes")
    both = jax.shard_map(local, mesh=mesh, in_specs=(P(), cut, cut if columns == 8 else P()), out_specs=P())
    want = softmax_cross_entropy(hidden @ kernel, labels, where=where)
    for got in jax.jit(both)(hidden, kernel, where):
        np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize(
    ("features", "exist", "mode"), [(3, [5], "reverse"), (3, [5, 14], "any"), (3, [5, 14], "reverse"), (0, [5], "any")]
)
def test_shards_that_hold_no_class(features: int, exist: list[int], mode: str) -> None:
    random = np.random.default_rng(1)
    shapes = (4, features), (features, 16), (features, 16)
    hidden, kernel, other = (jnp.asarray(random.normal(size=shape)) for shape in shapes)
    bias = jnp.full(16, -jnp.inf).at[jnp.asarray(exist)].set(0.5)
    labels, weights = jnp.full(4, 5), jnp.asarray(random.normal(size=(5, 4)))

    def loss(axis_name: str | None, hidden: jax.Array, kernel: jax.Array, other: jax.Array, bias: jax.Array) -> Any:
        shared: dict[str, Any] = {"axis_name": axis_name, "differentiation": mode, "block_size": 1}
        how = {"bias": bias} | shared
        each = (
            linear_softmax_cross_entropy(hidden, kernel, labels, label_smoothing=0.1, **how),
            *linear_token_statistics(hidden, kernel, labels, **how)[:3],
            linear_kl_divergence(hidden, kernel, hidden, other, p_bias=bias, q_bias=bias, **shared),
        )
        return jnp.sum(weights * jnp.stack(each))

    mesh = jax.make_mesh((8,), ("classes",), axis_types=(AxisType.Auto,))
    cut = P(None, "classes")
    sharded = jax.shard_map(partial(loss, "classes"), mesh=mesh, in_specs=(P(), cut, cut, P("classes")), out_specs=P())
    both = [jax.jit(jax.value_and_grad(f, (0, 1, 2, 3))) for f in (sharded, partial(loss, None))]
    got, want = (f(hidden, kernel, other, bias) for f in both)
    assert_close(got, want)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(want))


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize("mode", ["reverse", "any"])
def test_what_is_no_distribution_on_any_shard_is_nan_in_its_gradient(mode: str) -> None:
    labels, targets = jnp.arange(3), jnp.full((3, 8), 0.125)

    def loss(axis_name: str | None, bias: jax.Array, targets: jax.Array) -> jax.Array:
        hidden, kernel = jnp.ones((3, 2)), jnp.ones((2, len(bias)))
        how: dict[str, Any] = {"bias": bias, "axis_name": axis_name, "differentiation": mode}
        each = (
            linear_softmax_cross_entropy(hidden, kernel, labels, **how),
            linear_softmax_cross_entropy(hidden, kernel, targets, **how),
            linear_token_statistics(hidden, kernel, labels, **how).log_prob,
        )
        return jnp.sum(jnp.stack(each), axis=1)

    mesh = jax.make_mesh((8,), ("classes",), axis_types=(AxisType.Auto,))
    specs = (P("classes"), P(None, "classes"))
    sharded = jax.shard_map(partial(loss, "classes"), mesh=mesh, in_specs=specs, out_specs=P())
    for f in (sharded, partial(loss, None)):
        assert np.isnan(jax.jit(jax.jacrev(f))(jnp.full(8, -jnp.inf), targets)).all()


@pytest.mark.slow
def test_two_processes_are_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.linear.sharded", address]
    both = [
        subprocess.Popen(
            [*command, str(i)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for i in range(2)
    ]
    try:
        for process in both:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
            assert "the same" in output
    finally:
        for process in both:
            if process.poll() is None:
                process.kill()
                process.wait()
