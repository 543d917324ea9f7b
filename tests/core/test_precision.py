"""The bounds of the contract for log_softmax, softmax_cross_entropy and nll, against mpmath on the rounded inputs.

Every value, and every gradient element, of rows of 1 to 1024 classes at logit scales from 0 to 3e38.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from . import oracle
from .tolerance import FLOATS, assert_absolute, assert_close, assert_gradient, floats, loss_bound

CLASSES = [1, 2, 127, 128, 129, 1000, 1024]
SCALES = [0.0, 0.1, 1.0, 30.0, 1e4, 3e38, "offset 1e4", "ties"]


def logits(scale: float | str, classes: int, dtype: Any, rows: int = 3) -> jax.Array:
    """Return normal rows times the scale, rounded to the dtype."""
    random = np.random.default_rng(classes)
    x = random.standard_normal((rows, classes))
    if scale == "offset 1e4":
        x = x + 1e4
    elif scale == "ties":
        x = np.round(2 * x)
    elif scale == 3e38:
        x = 3e38 * np.clip(x, -1, 1)
    else:
        x = x * float(scale)
    return jnp.asarray(x.astype(np.float32 if dtype != jnp.float64 else np.float64)).astype(dtype)


def labels_of(x: jax.Array) -> np.ndarray:
    """Return the likeliest class, the middle one, the least likely one."""
    return np.asarray([int(x[0].argmax()), x.shape[1] // 2, int(x[2].argmin())])


@partial(jax.jit, static_argnums=0)
def value_and_slope(loss: Callable[..., jax.Array], x: jax.Array, *rest: jax.Array) -> tuple[jax.Array, jax.Array]:
    out, pull = jax.vjp(lambda x: loss(x, *rest), x)
    return out, pull(jnp.ones_like(out))[0]


def check_labels(x: jax.Array, labels: np.ndarray, loss: Callable[..., jax.Array], what: str) -> None:
    values, slopes = value_and_slope(loss, x, jnp.asarray(labels))
    for n, y in enumerate(labels.tolist()):
        row = floats(x[n])
        r, (value, slope) = oracle.row(row), oracle.label_loss(row, y)
        assert r is not None
        name = f"{what}, row {n}"
        assert_close(values[n], [value], loss_bound(len(row)), dtype=values.dtype, what=f"{name}, value")
        assert_gradient(slopes[n], slope, r.log_p, dtype=x.dtype, what=f"{name}, gradient")


def through_log_softmax(x: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxinfo.nll(jaxinfo.log_softmax(x), labels)


def one_hot_loss(x: jax.Array, labels: jax.Array) -> jax.Array:
    wide = x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.float32
    return jaxinfo.softmax_cross_entropy(x, jax.nn.one_hot(labels, x.shape[-1], dtype=wide))


def of_targets(t: jax.Array, x: jax.Array) -> jax.Array:
    return jaxinfo.softmax_cross_entropy(x, t)


@jax.jit
def elements(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return jaxinfo.log_softmax(x), jaxinfo.softmax(x), jaxinfo.logsumexp(x)


LOSSES = [jaxinfo.softmax_cross_entropy, through_log_softmax, one_hot_loss]


@pytest.mark.parametrize("classes", CLASSES)
@FLOATS
def test_label_losses_at_every_scale(dtype: Any, classes: int) -> None:
    for scale in SCALES:
        x = logits(scale, classes, dtype)
        for loss in LOSSES if classes in (2, 129, 1000) else LOSSES[:1]:
            check_labels(x, labels_of(x), loss, f"{loss.__name__}, scale {scale}, V {classes}")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("scale", [1.0, 30.0, "offset 1e4", "ties"])
def test_half_precision_logits_lose_nothing(dtype: Any, scale: float | str) -> None:
    x = logits(scale, 1000, dtype)
    for loss in LOSSES:
        check_labels(x, labels_of(x), loss, f"{loss.__name__}, {dtype.__name__}, scale {scale}")


@pytest.mark.parametrize("classes", [2, 257])
@FLOATS
def test_confident_rows_keep_their_digits(dtype: Any, classes: int) -> None:
    margins = np.asarray([5, 10, 15, 17, 17.5, 20, 30, 38, 39, 40, 50, 60, 70, 80, 85, 86.5])
    below = np.random.default_rng(1).uniform(0, 3, (len(margins), classes))
    below[:, 1] = 0.0  # the margin itself, to the class next in line
    for offset in (0.0, 100.0):
        x = offset - margins[:, None] - below
        x[:, 0] = offset
        check_labels(jnp.asarray(x, dtype), np.zeros(len(x), int), jaxinfo.softmax_cross_entropy, f"margins, {offset}")
        check_labels(jnp.asarray(x, dtype), np.zeros(len(x), int), through_log_softmax, f"margins, {offset}")


@pytest.mark.parametrize("margin", [87.0, 89.0, 90.0, 92.0])
def test_terms_that_underflow_one_by_one_still_sum(margin: float) -> None:
    x = np.full((1, 32768), -margin, np.float32)
    x[0, 77] = 0.0
    for loss in (jaxinfo.softmax_cross_entropy, through_log_softmax):
        value, slope = value_and_slope(loss, jnp.asarray(x), jnp.asarray([77]))
        true = oracle.mp.log1p(32767 * oracle.mp.exp(-oracle.mp.mpf(margin)))
        assert_close(value, [true], loss_bound(32768), dtype=jnp.float32, what=f"margin {margin}")
        assert_close(
            slope[0, 77],
            [oracle.mp.expm1(-true)],
            lambda g: 8 - 2 * oracle.mp.log(abs(g)),
            dtype=jnp.float32,
            what=f"slope at margin {margin}",
        )


@pytest.mark.parametrize("scale", SCALES)
@FLOATS
def test_log_softmax_and_softmax_elements(dtype: Any, scale: float | str) -> None:
    for classes in (2, 129, 1000):
        x = logits(scale, classes, dtype)
        logs, probs, lse = elements(x)
        for n in range(len(x)):
            r = oracle.row(floats(x[n]))
            assert r is not None
            where = f"scale {scale}, V {classes}, row {n}"
            assert_close(logs[n], r.log_p, loss_bound(classes), dtype=dtype, what=f"log_softmax, {where}")
            assert_gradient(probs[n], r.p, r.log_p, dtype=dtype, what=f"softmax, {where}")
            top = abs(oracle.mp.mpf(float(x[n].max())))
            assert_absolute(
                lse[n], [r.lse], [8 * max(top, r.lse - max(floats(x[n])), 1)], dtype=dtype, what=f"logsumexp, {where}"
            )


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0, 1e4, "offset 1e4", "ties"])
@FLOATS
def test_soft_targets(dtype: Any, scale: float | str) -> None:
    for classes in (1, 2, 129, 1000):
        x = logits(scale, classes, dtype)
        weights = np.random.default_rng(7).gamma(0.5, size=x.shape)
        weights[:, ::3] = 0.0
        t = jnp.asarray(weights / max(weights.sum(), 1e-30) * 5, dtype)
        values, slopes = value_and_slope(jaxinfo.softmax_cross_entropy, x, t)
        _, to_targets = value_and_slope(of_targets, t, x)
        for n in range(len(x)):
            row, target = floats(x[n]), floats(t[n])
            r, (value, slope, to_t) = oracle.row(row), oracle.distribution_loss(row, target)
            assert r is not None
            where = f"scale {scale}, V {classes}, row {n}"
            assert_close(values[n], [value], loss_bound(classes), dtype=dtype, what=f"value, {where}")
            mass = sum(target)
            allowed = [8 * (p * mass + v) for p, v in zip(r.p, target, strict=True)]
            assert_absolute(slopes[n], slope, allowed, dtype=dtype, what=f"gradient, {where}")
            assert_close(to_targets[n], to_t, loss_bound(classes), dtype=dtype, what=f"to targets, {where}")


@FLOATS
@pytest.mark.parametrize("margin", [0.5, 5.0, 20.0, 60.0])
def test_hessian_of_the_likeliest_label_keeps_its_digits(margin: float, dtype: Any) -> None:
    """Also p (1 - p) of the label, whose 1 - p subtraction loses wholly from a margin of 37 on, of 17 in float32."""
    x = jnp.asarray([margin, 0.0, -1.0], dtype)
    r = oracle.row(floats(x))
    assert r is not None
    exact = [element for line in oracle.covariance(r.p) for element in line]

    def loss(x: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(x, jnp.asarray(0, jnp.int32))

    for outer in (jax.jacfwd, jax.jacrev):
        for inner in (jax.jacfwd, jax.jacrev):
            hessian = jax.jit(outer(inner(loss)))(x)
            assert_close(
                hessian.reshape(-1), exact, lambda _: 8, dtype=x.dtype, what=f"{outer.__name__} of {inner.__name__}"
            )
