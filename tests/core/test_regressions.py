"""Defects of other libraries that could happen here, each a test named after it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

EPS = float(jnp.finfo(jnp.float32).eps)
inf = jnp.inf
X = jnp.asarray([[0.5, -1.0, 2.0, 0.25], [1.0, 0.0, -2.0, 3.0]], jnp.float32)
Y = jnp.asarray([2, 0])
ONE_HOT = jnp.asarray([[0.0, 0, 1, 0], [1, 0, 0, 0]], jnp.float32)


@jax.jit
def losses_and_slopes(
    x: jax.Array, targets: jax.Array, *, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    loss, pull = jax.vjp(lambda x: jaxinfo.softmax_cross_entropy(x, targets, where=where), x)
    return loss, pull(jnp.ones_like(loss))[0]


def test_optax_integer_and_dense_disagree_under_where() -> None:
    for where in (jnp.asarray([True, False, True, True]), jnp.asarray([[True], [False]]), X > -1.5):
        for a, b in zip(losses_and_slopes(X, Y, where=where), losses_and_slopes(X, ONE_HOT, where=where), strict=True):
            np.testing.assert_allclose(a, b, rtol=16 * EPS, atol=EPS)


@pytest.mark.parametrize("label", [-1, -100, 200, 2**31 - 1, -(2**31)])
def test_optax_label_minus_one_trains_the_last_class_and_minus_100_wraps(label: int) -> None:
    x = jnp.zeros((1, 200), jnp.float32)
    loss, slope = losses_and_slopes(x, jnp.asarray([label], jnp.int32))
    assert np.isnan(loss).all()
    assert np.isnan(slope).all()
    log_p = jaxinfo.log_softmax(x)
    assert np.isnan(jaxinfo.nll(log_p, jnp.asarray([label], jnp.int32))).all()


def test_optax_a_masked_class_with_target_zero_is_nan() -> None:
    x = X.at[:, 1].set(-inf)
    for targets in (Y, ONE_HOT):
        loss, slope = losses_and_slopes(x, targets)
        assert np.isfinite(loss).all()
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[:, 1], 0)


def test_optax_safe_softmax_cross_entropy_is_nan_in_forward_mode() -> None:
    x = X.at[:, 1].set(-inf)
    _, rate = jax.jvp(lambda x: jaxinfo.softmax_cross_entropy(x, ONE_HOT), (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(rate, 0, atol=4 * EPS)


def test_optax_kl_gradient_nan_at_zero_targets() -> None:
    teacher = jaxinfo.logits_from_probs(jnp.asarray([0.5, 0.0, 0.5, 0.0], jnp.float32))
    for slope in jax.grad(jaxinfo.kl_divergence, (0, 1))(teacher, X[0]):
        assert np.isfinite(slope).all()
    slope = jax.grad(lambda p: jaxinfo.kl_divergence(jaxinfo.logits_from_probs(p), X[0]))(
        jnp.asarray([0.5, 0.0, 0.5, 0.0], jnp.float32)
    )
    assert np.isfinite(slope).all()


def test_optax_kl_gradient_nan_for_all_teacher_logits_once_one_underflows() -> None:
    teacher = jnp.asarray([0.0, -200.0, 1.0, 2.0], jnp.float32)
    for f in (jaxinfo.kl_divergence, jaxinfo.cross_entropy):
        for slope in jax.grad(f, (0, 1))(teacher, X[0]):
            assert np.isfinite(slope).all()
            assert np.abs(slope).max() > 0.01


def test_jax_entropy_of_softmax_has_a_nan_gradient_at_a_gap_of_88() -> None:
    for gap in (87.0, 88.0, 104.0, 1e4):
        slope = jax.grad(jaxinfo.entropy)(jnp.asarray([0.0, -gap, 0.5], jnp.float32))
        assert np.isfinite(slope).all()
        np.testing.assert_allclose(slope[0], -slope[2], rtol=1e-5)
        assert float(slope[0]) != 0


def test_jax_rel_entr_is_inf_with_zero_gradient_when_q_underflows() -> None:
    p, q = jnp.asarray([0.0, 0.0], jnp.float32), jnp.asarray([0.0, -200.0], jnp.float32)
    value, slope = jax.value_and_grad(jaxinfo.kl_divergence, 1)(p, q)
    assert float(value) == pytest.approx(100 - np.log(2), rel=16 * EPS)
    np.testing.assert_allclose(slope, [0.5, -0.5], rtol=16 * EPS)


def test_jax_logsumexp_of_all_minus_infinity_has_a_nan_gradient() -> None:
    x = jnp.full(3, -inf, jnp.float32)
    for mode in (jax.grad, jax.jacfwd):
        np.testing.assert_array_equal(mode(jaxinfo.logsumexp)(x), 0)
    assert float(jaxinfo.logsumexp(x)) == -inf


def test_jax_float16_log_softmax_gradient_overflows_from_65536_classes() -> None:
    x = jnp.zeros(65_536 + 8, jnp.float16)
    loss, slope = jax.value_and_grad(lambda x: jaxinfo.log_softmax(x)[0])(x)
    assert np.isfinite(slope).all()
    assert slope.dtype == jnp.float16
    assert float(slope[0]) == 1.0
    assert float(loss) == pytest.approx(-np.log(65_544), rel=16 * EPS)
    slope = jax.grad(lambda x: jaxinfo.log_softmax(x).sum())(x)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("classes", [127, 128, 129, 2047, 2048, 2049, 16384])
def test_tokamax_counts_zero_padded_classes(classes: int) -> None:
    """log 128 came out as 7.62; saturated logits below zero show a padded zero at once."""
    for level in (0.0, -30.0, -1e4):
        x = jnp.full((1, classes), level, jnp.float32)
        loss, _ = losses_and_slopes(x, jnp.asarray([classes - 1]))
        np.testing.assert_allclose(loss, np.log(classes), rtol=16 * EPS)
        np.testing.assert_allclose(jaxinfo.entropy(x), np.log(classes), rtol=16 * EPS)


@pytest.mark.parametrize("classes", [1000, 16_000])
def test_levanter_counts_the_tail_block_twice(classes: int) -> None:
    x = np.full((1, classes), -50.0, np.float32)
    for place in (0, 511, 512, 767, 768, classes - 1):
        only = x.copy()
        only[0, place] = 0.0
        loss, _ = losses_and_slopes(jnp.asarray(only), jnp.asarray([place]))
        np.testing.assert_allclose(loss, np.log1p((classes - 1) * np.exp(-50.0)), rtol=(8 + 45) * EPS)


def test_easydel_is_nan_when_the_first_class_block_is_masked() -> None:
    x = np.zeros((1, 16384), np.float32)
    for cut in (128, 512, 2048, 16383):
        masked = jnp.asarray(np.where(np.arange(16384) < cut, -np.inf, x), jnp.float32)
        for given, where in ((masked, None), (jnp.asarray(x), jnp.arange(16384) >= cut)):
            loss, slope = losses_and_slopes(given, jnp.asarray([16383]), where=where)
            np.testing.assert_allclose(loss, np.log(16384 - cut), rtol=16 * EPS, atol=0)
            np.testing.assert_array_equal(slope[0, :cut], 0)


def test_maxtext_gradient_is_wrong_unless_targets_sum_to_one() -> None:
    targets = 0.3 * ONE_HOT + 0.1
    _, slope = losses_and_slopes(X, targets)
    p = np.asarray(jax.nn.softmax(X))
    np.testing.assert_allclose(slope, 0.7 * p - np.asarray(targets), rtol=1e-5, atol=8 * EPS)


def test_maxtext_ignored_labels_still_push() -> None:
    labels = jnp.asarray([2, -100])
    loss, slope = losses_and_slopes(X, labels, where=(labels != -100)[:, None])
    assert loss[1] == 0
    np.testing.assert_array_equal(slope[1], 0)


def test_torch_an_ignored_row_of_minus_infinity_has_a_nan_gradient() -> None:
    x = X.at[1].set(-inf)
    loss, slope = losses_and_slopes(x, jnp.asarray([2, -100]), where=jnp.asarray([[True], [False]]))
    assert loss[1] == 0
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[1], 0)


def test_torch_kl_div_is_nan_where_both_are_zero() -> None:
    p, q = X[0].at[1].set(-inf), X[1].at[1].set(-inf)
    assert np.isfinite(jaxinfo.kl_divergence(p, q))
    for slope in jax.grad(jaxinfo.kl_divergence, (0, 1))(p, q):
        assert np.isfinite(slope).all()


def test_torch_accumulates_a_bfloat16_loss_in_bfloat16() -> None:
    losses = jnp.full(8192, 10.375, jnp.bfloat16)
    assert float(jaxinfo.total(losses)[0]) == 8192 * 10.375
    assert float(jaxinfo.mean(losses)) == 10.375


@pytest.mark.parametrize("offset", [0.0, 100.0, 256.0])
def test_bfloat16_logits_at_a_common_offset_lose_their_loss(offset: float) -> None:
    """58 % of optax's losses came out as exactly 0."""
    x = jnp.asarray(3 * np.random.default_rng(0).standard_normal((64, 50)) + offset).astype(jnp.bfloat16)
    wide = np.asarray(x.astype(jnp.float32), np.float64)
    labels = wide.argmax(1)
    true = np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1))
    loss, _ = losses_and_slopes(x, jnp.asarray(labels))
    np.testing.assert_allclose(loss, true, rtol=16 * EPS)


@pytest.mark.parametrize("margin", [10.0, 15.0, 17.0, 30.0, 85.0])
def test_optax_and_torch_round_a_confident_loss_to_zero(margin: float) -> None:
    loss, slope = losses_and_slopes(jnp.asarray([[margin, 0.0]], jnp.float32), jnp.asarray([0]))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-margin)), rtol=(8 + margin) * EPS)
    p = 1 / (1 + np.exp(margin))
    np.testing.assert_allclose(slope, [[-p, p]], rtol=(8 + 2 * margin) * EPS)


@pytest.mark.parametrize("size", [1e-2, 1e-3, 1e-5])
def test_the_usual_kl_of_close_logits_is_thousands_of_times_off(size: float) -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal(1000).astype(np.float32)
    b = (a + size * random.standard_normal(1000)).astype(np.float32)
    p = np.exp(a.astype(np.float64) - np.log(np.exp(a.astype(np.float64)).sum()))
    u = b.astype(np.float64) - a.astype(np.float64)
    u -= (p * u).sum()
    d = u - np.log1p((p * np.expm1(u)).sum())
    want = (p * (np.expm1(d) - d)).sum()
    assert float(jaxinfo.kl_divergence(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(("p", "q"), [([0.0, 104.0], [0.0, inf]), ([0.0, 100.0, 0.0], [0.0, 1.0, inf])])
def test_a_point_mass_lacks_a_class_however_little_is_there(p: list[float], q: list[float]) -> None:
    a, b = jnp.asarray(p, jnp.float32), jnp.asarray(q, jnp.float32)
    value, slope = jax.value_and_grad(jaxinfo.cross_entropy, 1)(a, b)
    assert value == inf
    np.testing.assert_array_equal(slope, jaxinfo.softmax(b) - jaxinfo.softmax(a))


@pytest.mark.parametrize(("x", "label", "want"), [([2e19, 0.0], 1, 2e19), ([inf, 0.0], 0, 0.0), ([inf, 0.0], 1, inf)])
def test_a_z_loss_of_zero_adds_nothing_to_any_row(x: list[float], label: int, want: float) -> None:
    logits, zero = jnp.asarray(x, jnp.float32), jnp.asarray(0.0, jnp.float32)
    value, slope = jax.value_and_grad(jaxinfo.softmax_cross_entropy)(logits, jnp.asarray(label), z_loss=zero)
    plain = jax.grad(jaxinfo.softmax_cross_entropy)(logits, jnp.asarray(label))
    assert value == pytest.approx(want)
    np.testing.assert_array_equal(slope, plain)
    args = jnp.ones((1, 1), jnp.float32), jnp.where(logits == inf, 3e38, logits)[None], jnp.asarray([label])
    fused = jaxinfo.linear_softmax_cross_entropy(*args, z_loss=zero)
    np.testing.assert_array_equal(fused, jaxinfo.linear_softmax_cross_entropy(*args))


def test_a_z_loss_is_taken_where_only_the_square_overflows() -> None:
    logits, label = jnp.asarray([2e19, 0.0], jnp.float32), jnp.asarray(0)
    assert jaxinfo.softmax_cross_entropy(logits, label, z_loss=1e-10) == pytest.approx(4e28)
    rise = jax.jacfwd(lambda z: jax.grad(jaxinfo.softmax_cross_entropy)(X[0], Y[0], z_loss=z))(jnp.float32(0))
    np.testing.assert_allclose(rise, 2 * jaxinfo.logsumexp(X[0]) * jaxinfo.softmax(X[0]), rtol=16 * EPS)


@pytest.mark.parametrize(("x", "want"), [([-1e30, 0.0], 30.0), ([-1e30], 0.0), ([1e30, 1e30], np.log(2))])
def test_a_cold_logit_under_a_cap_is_saturated_and_not_masked(x: list[float], want: float) -> None:
    logits, cold = jnp.asarray(x, jnp.float32), {"temperature": 1e-10, "soft_cap": 30.0}
    assert jaxinfo.softmax_cross_entropy(logits, jnp.asarray(0), **cold) == pytest.approx(want, rel=1e-6)
    fused = jaxinfo.linear_softmax_cross_entropy(jnp.ones((1, 1), jnp.float32), logits[None], jnp.asarray([0]), **cold)
    assert float(fused[0]) == pytest.approx(want, rel=1e-6)


def test_a_cold_logit_beside_an_infinite_one_is_not_infinite_too() -> None:
    logits = jnp.asarray([inf, 1e30], jnp.float32)
    assert jaxinfo.softmax_cross_entropy(logits, jnp.asarray(0), temperature=1e-10) == 0
    assert jaxinfo.softmax_cross_entropy(logits, jnp.asarray(1), temperature=1e-10) == inf
