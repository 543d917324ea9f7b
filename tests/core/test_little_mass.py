"""A mass on a class that is absent counts however little it is, and none at all does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

LITTLE = pytest.mark.parametrize("little", [1e-3, 1e-9, 1e-20, 1e-37])
X = jnp.asarray([[1.0, 2.0, -jnp.inf], [1.0, 2.0, 0.0]], jnp.float32)


@LITTLE
def test_on_an_absent_class_of_a_distribution_it_is_infinite(little: float) -> None:
    targets = jnp.asarray([[1.0, 0.0, little]] * 2, jnp.float32)
    for form in (jaxinfo.softmax_cross_entropy, jax.vmap(jaxinfo.softmax_cross_entropy)):
        value, pull = jax.vjp(lambda x, form=form: form(x, targets), X)
        assert value[0] == jnp.inf
        first = np.log(1 + np.e + 1 / np.e)  # -log p of the first class; the last is 1 lower
        np.testing.assert_allclose(value[1], first + little * (first + 1), rtol=16 * np.finfo(np.float32).eps)
        assert np.isfinite(pull(jnp.ones_like(value))[0]).all()
    excluded = jnp.asarray([True, True, False])
    assert (jaxinfo.softmax_cross_entropy(jnp.zeros_like(X), targets, where=excluded) == jnp.inf).all()


@LITTLE
def test_on_a_logit_of_1e33_it_is_multiplied(little: float) -> None:
    x = jnp.asarray([1.0, 2.0, -1e33], jnp.float32)
    value = jax.jit(jaxinfo.softmax_cross_entropy)(x, jnp.asarray([1.0, 0.0, little], jnp.float32))
    np.testing.assert_allclose(value, little * 1e33 + np.log(1 + np.e), rtol=1e-6)


@LITTLE
def test_smoothing_spreads_it_over_the_classes_that_are_there(little: float) -> None:
    label, two = jnp.zeros((2,), jnp.int32), X[:, :2]
    smoothed = jax.vmap(lambda x, y, a: jaxinfo.softmax_cross_entropy(x, y, label_smoothing=a), (0, 0, None))
    amount = jnp.asarray(little, jnp.float32)
    some = jax.value_and_grad(lambda x: smoothed(x, label, amount)[0])
    (value, slope), (want, want_slope) = some(X), some(two)
    np.testing.assert_allclose(value, want, rtol=4 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(slope[:, :2], want_slope, rtol=16 * np.finfo(np.float32).eps)
    assert (slope[0, 2] == 0) & (slope[1] == 0).all()


def test_smoothing_of_a_mass_on_an_absent_class_leaves_the_gradient_finite() -> None:
    x, targets = jnp.asarray([0.3, -jnp.inf], jnp.float32), jnp.asarray([0.5, 0.5], jnp.float32)
    value, slope = jax.value_and_grad(jaxinfo.softmax_cross_entropy)(x, targets, label_smoothing=0.2)
    assert value == jnp.inf
    # the whole smoothing is at the class that exists: sum(t) softmax(x) - t for t = (0.4 + 0.2, 0.4)
    np.testing.assert_allclose(slope, [0.4, -0.4], rtol=16 * np.finfo(np.float32).eps)
    assert np.isfinite(jax.hessian(jaxinfo.softmax_cross_entropy)(x, targets, label_smoothing=0.2)).all()
