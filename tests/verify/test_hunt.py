"""The hunt finds known faults unaided, blames the right operation, and finds nothing in sound code."""

import jax
import jax.core
import jax.numpy as jnp
import optax
import pytest

import jaxinfo
from jaxinfo import verify

pytestmark = pytest.mark.usefixtures("as_user")

ROW = jnp.array([[0.5, -1.0, 2.0]], jnp.float32)


def kinds(report: verify.HuntReport) -> set[str]:
    return {finding.kind for finding in report.findings}


def test_entropy_of_softmax_has_a_nan_gradient_at_a_gap_of_88() -> None:
    def entropy(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.scipy.special.entr(jax.nn.softmax(x)))

    report = verify.hunt(entropy, ROW, examples=0)
    assert "finite value, nan gradient" in kinds(report)
    assert all("test_hunt.py" in f.source for f in report.findings if f.primitive)
    at_88 = verify.check_gradients(entropy, jnp.array([88.0, 0.0, 0.0], jnp.float32), order=1)
    assert at_88.verdict is verify.Verdict.WRONG, str(at_88)


def test_optax_safe_cross_entropy_is_nan_in_forward_mode_only() -> None:
    report = verify.hunt(optax.safe_softmax_cross_entropy, ROW, jnp.array([[0.2, 0.3, 0.5]], jnp.float32), examples=0)
    assert kinds(report) == {"finite value, nan in forward mode"}
    (finding,) = report.findings
    assert finding.primitive
    assert "optax" in finding.source
    value = optax.safe_softmax_cross_entropy(*finding.args)
    assert jnp.isfinite(value).all()


@pytest.mark.slow
def test_a_label_out_of_range_that_takes_another_class() -> None:
    report = verify.hunt(optax.softmax_cross_entropy_with_integer_labels, ROW, jnp.array([1], jnp.int32), examples=0)
    assert "label out of range, finite value" in kinds(report)
    assert verify.hunt(jaxinfo.softmax_cross_entropy, ROW, jnp.array([1], jnp.int32), examples=0)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_tokamax_trains_on_a_label_out_of_range_whose_value_is_constant(reduction: str) -> None:
    tokamax = pytest.importorskip("tokamax")

    def loss(x: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return tokamax.linear_softmax_cross_entropy_loss(x, labels, kernel, reduction=reduction, implementation="xla")

    report = verify.hunt(loss, jnp.ones((1, 8)), jnp.eye(8, 128), jnp.array([1], jnp.int32), examples=0)
    assert "label out of range, gradient of another value" in kinds(report), str(report)


def test_an_ignored_label_that_is_trained_on() -> None:
    @jax.custom_vjp
    def ignoring(x: jax.Array, labels: jax.Array) -> jax.Array:
        return -jnp.sum(jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype) * jax.nn.log_softmax(x), axis=-1)

    def push(saved: tuple[jax.Array, jax.Array], c: jax.Array) -> tuple[jax.Array, None]:
        x, labels = saved
        return c[:, None] * (jax.nn.softmax(x) - jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype)), None

    ignoring.defvjp(lambda x, labels: (ignoring(x, labels), (x, labels)), push)
    labels = jnp.array([1], jnp.int32)
    assert verify.check_gradients(ignoring, ROW, labels)
    assert "label out of range, gradient of another value" in kinds(verify.hunt(ignoring, ROW, labels, examples=0))


def test_float16_log_softmax_of_65536_classes() -> None:
    report = verify.hunt(lambda x: jax.nn.log_softmax(x)[0], jnp.zeros(65536, jnp.float16), examples=0)
    assert "value not finite in float16" in kinds(report)


def test_a_masked_nan_is_no_fault() -> None:
    def masked(x: jax.Array) -> jax.Array:
        safe = jnp.where(x > 0, x, 1.0)
        _ = jnp.log(x)  # nan, and leads nowhere
        return jnp.where(x > 0, jnp.log(safe), 0.0)

    assert verify.hunt(masked, ROW, examples=0)


def test_hypothesis_finds_and_shrinks() -> None:
    pytest.importorskip("hypothesis")

    def f(x: jax.Array) -> jax.Array:  # only where both are 100, which the bank does not have
        y = jnp.where((x == 100.0).all(), x.sum() - 200.0, 1.0)
        return y * jnp.sqrt(y)

    report = verify.hunt(f, jnp.array([1.0, 2.0]), examples=200)
    assert report.findings
    assert all(bool((finding.args[0] == 100.0).all()) for finding in report.findings)


def test_jit_that_takes_another_branch_differs_from_eager() -> None:
    def traced(x: jax.Array) -> jax.Array:
        return jnp.sum(x) * (2 if isinstance(x, jax.core.Tracer) else 3)

    def infinite(x: jax.Array) -> jax.Array:
        return jnp.sum(x) + (0 if isinstance(x, jax.core.Tracer) else jnp.inf)

    for f in (traced, infinite):
        assert "jit differs from eager" in kinds(verify.hunt(f, ROW, examples=0))


def clamping(logits: jax.Array, labels: jax.Array) -> jax.Array:
    taken = jnp.clip(labels, 0, logits.shape[-1] - 1)[:, None]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), taken, axis=-1)[:, 0]


def test_labels_may_belong_to_any_argument() -> None:
    logits, labels = jnp.concatenate([ROW, 2 * ROW]), jnp.array([1, 0], jnp.int32)
    report = verify.hunt(lambda weights, *rest: weights * clamping(*rest), jnp.ones(2), logits, labels, examples=0)
    assert "label out of range, finite value" in kinds(report)


def test_a_mean_that_ignores_labels_out_of_range_takes_no_other_class() -> None:
    def ignoring(logits: jax.Array, labels: jax.Array) -> jax.Array:
        inside = (labels >= 0) & (labels < logits.shape[-1])
        return jnp.mean(jnp.where(inside, clamping(logits, labels), 0.0))

    logits, labels = jnp.concatenate([ROW, 2 * ROW]), jnp.array([1, 0], jnp.int32)
    assert verify.hunt(ignoring, logits, labels, examples=0)
    report = verify.hunt(lambda *args: clamping(*args).mean(), logits, labels, examples=0)
    assert "label out of range, finite value" in kinds(report)


def test_a_key_is_held() -> None:
    assert verify.hunt(lambda x, key: x * jax.random.normal(key, x.shape), ROW, jax.random.key(0), examples=0)
