"""Dtypes in and out, gradients in the input's dtype, integers of any width, with x64 on and off."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

OUT = {"bfloat16": "float32", "float16": "float32", "float32": "float32", "float64": "float64"}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((4, 7))
T = RANDOM.dirichlet(np.ones(7), 4)
Y = np.asarray([0, 6, 3, 2])
REDUCERS: dict[str, Any] = {
    "logsumexp": jaxinfo.logsumexp,
    "log_softmax": jaxinfo.log_softmax,
    "softmax": jaxinfo.softmax,
    "entropy": jaxinfo.entropy,
    "labels": lambda x: jaxinfo.softmax_cross_entropy(x, jnp.asarray(Y)),
    "distribution": lambda x: jaxinfo.softmax_cross_entropy(x, jnp.asarray(T).astype(x.dtype)),
    "nll": lambda x: jaxinfo.nll(x, jnp.asarray(Y)),
    "cross_entropy": lambda x: jaxinfo.cross_entropy(x, x[::-1]),
    "kl": lambda x: jaxinfo.kl_divergence(x, x[::-1]),
    "logits_from_probs": lambda x: jaxinfo.logits_from_probs(jnp.abs(x)),
    "mean": jaxinfo.mean,
    "total": lambda x: jaxinfo.total(x)[0],
    "to_bits": jaxinfo.to_bits,
    "perplexity": jaxinfo.perplexity,
}


@pytest.mark.parametrize("dtype", OUT)
@pytest.mark.parametrize("f", REDUCERS.values(), ids=REDUCERS.keys())
def test_half_precisions_come_back_as_float32_and_gradients_as_they_came(f: Any, dtype: str) -> None:
    x = jnp.asarray(X).astype(dtype)
    out, slope = jax.eval_shape(lambda x: (f(x), jax.grad(lambda x: f(x).sum())(x)), x)
    assert (out.dtype, slope.dtype, slope.shape) == (OUT[dtype], dtype, x.shape)
    _, rate = jax.eval_shape(lambda x: jax.jvp(f, (x,), (x,)), x)
    assert rate.dtype == OUT[dtype]
    assert not getattr(out, "weak_type", False)


@pytest.mark.parametrize(("logits", "targets"), [(a, b) for a in OUT for b in OUT if a != b])
def test_mixed_floats_are_computed_in_the_wider(logits: str, targets: str) -> None:
    x, t = jnp.asarray(X).astype(logits), jnp.asarray(T).astype(targets)
    wide = "float64" if "float64" in (logits, targets) else "float32"
    for f in (jaxinfo.softmax_cross_entropy, jaxinfo.kl_divergence, jaxinfo.cross_entropy):
        out, slopes = jax.eval_shape(lambda x, t: (f(x, t), jax.grad(lambda *a: f(*a).sum(), (0, 1))(x, t)), x, t)  # noqa: B023
        assert out.dtype == wide
        assert [s.dtype for s in slopes] == [logits, targets]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_float32_of_the_same_numbers(dtype: str) -> None:
    x = jnp.asarray(X).astype(dtype)
    for name, f in REDUCERS.items():
        if name != "distribution":
            half, single = jax.jit(lambda x: (f(x), f(x.astype(jnp.float32))))(x)  # noqa: B023
            np.testing.assert_array_equal(half, single, err_msg=name)


@pytest.mark.parametrize("width", INTEGERS)
def test_labels_of_any_width(width: str) -> None:
    x = jnp.asarray(RANDOM.standard_normal((4, 70_000)), jnp.float32)
    labels = jnp.asarray(np.asarray([0, 100, 127, 1]).astype(width))
    picked = -np.take_along_axis(np.asarray(jaxinfo.log_softmax(x)), np.asarray([[0], [100], [127], [1]]), 1)[:, 0]
    for f in (jaxinfo.softmax_cross_entropy, jaxinfo.nll):
        given = x if f is jaxinfo.softmax_cross_entropy else jaxinfo.log_softmax(x)
        np.testing.assert_allclose(jax.jit(f)(given, labels), picked, rtol=2**-20)


@partial(jax.jit, static_argnums=0)
def losses_and_slopes(f: Any, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return *jax.vmap(jax.value_and_grad(f))(x, labels), f(x, labels)


@pytest.mark.parametrize("width", INTEGERS)
@pytest.mark.parametrize("classes", [3, 200, 40_000])
def test_a_label_outside_is_nan_and_never_another_class(width: str, classes: int) -> None:
    info = np.iinfo(width)
    outside = [info.min] * (info.min < 0) + [-1] * (info.min < 0) + [info.max] * (info.max >= classes)
    outside += [v for v in (classes, classes + 256, classes + 65_536, 2**32, 2**32 + 1) if classes <= v <= info.max]
    if not outside:
        return
    labels = jnp.asarray(np.asarray([*outside, min(classes - 1, info.max)], dtype=width))
    x = jnp.zeros((len(labels), classes), jnp.float32)
    for f in (jaxinfo.softmax_cross_entropy, jaxinfo.nll):
        values, slope, batch = losses_and_slopes(f, x + 0.5, labels)
        for out in (values, batch, slope[:, 0], slope[:, -1]):
            np.testing.assert_array_equal(np.isnan(out), [True] * len(outside) + [False], err_msg=f.__name__)


@pytest.mark.parametrize(
    ("x64", "promotion"),
    [
        (True, "strict"),
        (False, "standard"),
        pytest.param(True, "standard", marks=pytest.mark.slow),
        pytest.param(False, "strict", marks=pytest.mark.slow),
    ],
)
def test_with_and_without_x64(x64: bool, promotion: str) -> None:
    with jax.enable_x64(x64), jax.numpy_dtype_promotion(promotion):
        x, t, y = jnp.asarray(X, jnp.float32), jnp.asarray(T, jnp.float32), jnp.asarray(Y, "int64" if x64 else "int32")
        where = jnp.asarray(X > -1)

        def everything(x: jax.Array) -> jax.Array:
            parts = [
                jaxinfo.softmax_cross_entropy(x, y),
                jaxinfo.softmax_cross_entropy(x, t, where=where | (t > 0)),
                jaxinfo.nll(jaxinfo.log_softmax(x), y, where=where[:, :1]),
                jaxinfo.kl_divergence(x, t) + jaxinfo.cross_entropy(t, x) + jaxinfo.entropy(x),
                jaxinfo.to_bits(jaxinfo.logsumexp(x)) + jaxinfo.perplexity(jaxinfo.logsumexp(x)),
            ]
            return jaxinfo.mean(jnp.stack(parts), weights=jnp.ones((5, 4), jnp.float32))

        value, slope = jax.jit(jax.value_and_grad(everything))(x)
        bend = jax.jit(jax.hessian(everything))(x)
        assert value.dtype == slope.dtype == bend.dtype == jnp.float32
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        assert np.isfinite(bend).all()


@pytest.mark.usefixtures("own_arrays")
def test_numpy_arrays_and_python_lists_of_floats_are_arrays() -> None:
    got = jaxinfo.softmax_cross_entropy(X.astype(np.float32), Y)
    np.testing.assert_array_equal(got, jaxinfo.softmax_cross_entropy(jnp.asarray(X, jnp.float32), jnp.asarray(Y)))
    assert got.dtype == jnp.float32


@pytest.fixture
def own_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checked annotations of the test run want jax arrays; a user has no such checks."""
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("x64", [False, True])
def test_labels_that_int32_does_not_hold_are_no_class(x64: bool) -> None:
    logits, h, k = jnp.asarray(X[:1], jnp.float32), jnp.ones((1, 3), jnp.float32), jnp.ones((3, 7), jnp.float32)
    wide = [np.asarray([2**32]), np.asarray([-(2**32) + 1]), np.asarray([2**63], np.uint64)]
    with jax.enable_x64(x64):
        for labels in wide:
            for f in (jaxinfo.softmax_cross_entropy, jaxinfo.nll):
                assert np.isnan(f(logits, labels)).all()
            assert np.isnan(jaxinfo.linear_softmax_cross_entropy(h, k, labels)).all()
        assert np.isnan(jaxinfo.softmax_cross_entropy(logits[0], 2**32))


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("promotion", ["standard", "strict"])
def test_scalars_of_numpy_and_python_leave_the_dtype(promotion: str) -> None:
    x, y = jnp.asarray(X, jnp.float32), jnp.asarray(Y)
    with jax.enable_x64(True), jax.numpy_dtype_promotion(promotion):
        for half in (np.float64(0.5), np.float16(0.5), 0.5):
            for option in ("temperature", "soft_cap", "label_smoothing"):
                assert jaxinfo.softmax_cross_entropy(x, y, **{option: half}).dtype == jnp.float32
        assert jax.jit(jaxinfo.gaussian_nll)(x, x, 1.0).dtype == jnp.float32
        assert jax.jit(lambda x, w: jaxinfo.sigmoid_cross_entropy(x, x, pos_weight=w))(x, 2.0).dtype == jnp.float32
        assert jaxinfo.softmax_cross_entropy(x, jnp.full(x.shape, 1 / 7)).dtype == jnp.float32
