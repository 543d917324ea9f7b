"""The adapter by hand figures, so that it is tested where torch is not installed."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.compat import torch as F

LOG = math.log
HALF_LOG_TWO_PI = 0.5 * LOG(2 * math.pi)
# The distributions (1/4, 3/4), (1/2, 1/2) and (1/5, 4/5) as logits, each with its own offset.
PROBS = np.array([[0.25, 0.75], [0.5, 0.5], [0.2, 0.8]])
LOGITS = jnp.log(jnp.asarray(PROBS)) + jnp.array([[3.0], [-1.0], [0.5]])
LABELS = jnp.array([0, 1, 1])
LOSSES = [LOG(4), LOG(2), LOG(5 / 4)]
WEIGHT = jnp.array([3.0, 0.5])
T = jnp.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])

SIGNATURES = {
    "cross_entropy": "input target weight size_average ignore_index reduce reduction label_smoothing",
    "nll_loss": "input target weight size_average ignore_index reduce reduction",
    "kl_div": "input target size_average reduce reduction log_target",
    "binary_cross_entropy": "input target weight size_average reduce reduction",
    "binary_cross_entropy_with_logits": "input target weight size_average reduce reduction pos_weight",
    "gaussian_nll_loss": "input target var full eps reduction",
    "poisson_nll_loss": "input target log_input full size_average eps reduce reduction",
    "softmax": "input dim _stacklevel dtype",
    "log_softmax": "input dim _stacklevel dtype",
    "logsumexp": "input dim keepdim",
}


def check(got: jax.Array, want: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_torchs(name: str) -> None:
    assert list(inspect.signature(getattr(F, name)).parameters) == SIGNATURES[name].split()


@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss])
def test_denominators_of_indices(function: Any) -> None:
    x = LOGITS if function is F.cross_entropy else jnp.log(jnp.asarray(PROBS))
    check(function(x, LABELS), sum(LOSSES) / 3)
    check(function(x, LABELS, reduction="none"), LOSSES)
    check(function(x, LABELS, reduction="sum"), sum(LOSSES))
    weighted = [3 * LOSSES[0], 0.5 * LOSSES[1], 0.5 * LOSSES[2]]
    check(function(x, LABELS, WEIGHT), sum(weighted) / 4)
    check(function(x, LABELS, WEIGHT, reduction="none"), weighted)
    some = jnp.array([0, -100, 1])
    check(function(x, some), (LOSSES[0] + LOSSES[2]) / 2)
    check(function(x, some, WEIGHT), (weighted[0] + weighted[2]) / 3.5)
    check(function(x, LABELS, ignore_index=1, reduction="none"), [LOSSES[0], 0, 0])
    check(function(x, LABELS.astype(jnp.uint8)), sum(LOSSES) / 3)


def test_smoothing_divides_by_the_target_weights() -> None:
    uniform = np.array([[3 * LOG(4) + 0.5 * LOG(4 / 3)], [3.5 * LOG(2)], [3 * LOG(5) + 0.5 * LOG(5 / 4)]]).sum() / 2
    picked = 3 * LOSSES[0] + 0.5 * (LOSSES[1] + LOSSES[2])
    check(F.cross_entropy(LOGITS, LABELS, WEIGHT, label_smoothing=0.2), (0.8 * picked + 0.2 * uniform) / 4)


def test_probabilities_divide_by_the_rows() -> None:
    terms = [0.5 * (3 * LOG(4) + 0.5 * LOG(4 / 3)), 3 * LOG(2), 0.5 * LOG(5 / 4)]
    check(F.cross_entropy(LOGITS, T, WEIGHT), sum(terms) / 3)
    spatial = jnp.stack([LOGITS, LOGITS], axis=-1)
    check(F.cross_entropy(spatial, jnp.stack([T, T], axis=-1), WEIGHT), sum(terms) / 3)


def test_classes_are_on_axis_one_or_zero() -> None:
    spatial = jnp.stack([LOGITS, -LOGITS], axis=-1)
    labels = jnp.stack([LABELS, LABELS], axis=-1)
    got = F.cross_entropy(spatial, labels, reduction="none")
    assert got.shape == (3, 2)
    check(got[:, 0], LOSSES)
    check(F.cross_entropy(LOGITS[0], LABELS[0]), LOSSES[0])
    check(F.nll_loss(jnp.log(jnp.asarray(PROBS[0])), LABELS[0], reduction="none"), LOSSES[0])


@pytest.mark.parametrize("weight", [None, WEIGHT, jnp.zeros(2)], ids=["plain", "weighted", "zero"])
def test_mean_of_nothing_is_nan_with_gradient_zero(weight: jax.Array | None) -> None:
    labels = jnp.full(3, -100) if weight is None or weight[0] else LABELS
    value, gradient = jax.value_and_grad(F.cross_entropy)(LOGITS, labels, weight)
    assert jnp.isnan(value)
    check(gradient, np.zeros((3, 2)))
    check(F.cross_entropy(LOGITS, labels, weight, reduction="sum"), 0)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("legacy", "reduction"),
    [((None, False), "none"), ((False, None), "sum"), ((True, True), "mean"), ((False, False), "none")],
)
def test_legacy_arguments_override(legacy: tuple, reduction: str) -> None:
    options = dict(zip(("size_average", "reduce"), legacy, strict=True))
    check(F.nll_loss(LOGITS, LABELS, **options), F.nll_loss(LOGITS, LABELS, reduction=reduction))


def test_kl_div() -> None:
    log_q, p = jnp.log(jnp.asarray(PROBS)), T
    terms = np.array([[0.5 * LOG(2), 0.5 * LOG(2 / 3)], [LOG(2), 0], [0, LOG(5 / 4)]])
    for target, log_target in ((p, False), (jnp.log(p), True)):
        check(F.kl_div(log_q, target, reduction="none", log_target=log_target), terms)
        check(F.kl_div(log_q, target, log_target=log_target), terms.sum() / 6)
        check(F.kl_div(log_q, target, reduction="batchmean", log_target=log_target), terms.sum() / 3)
    check(F.kl_div(log_q[1], p, reduction="batchmean"), (LOG(2) * 2) / 2)  # the input's first axis, as torch
    assert float(F.kl_div(log_q, jnp.exp(log_q), reduction="sum")) == pytest.approx(0, abs=1e-15)


def test_binary_cross_entropy_is_bounded_as_torchs() -> None:
    p, t = jnp.array([0.25, 0.0, 1.0, 0.0, 1.0]), jnp.array([1.0, 1.0, 0.0, 0.0, 1.0])
    check(F.binary_cross_entropy(p, t, reduction="none"), [LOG(4), 100, 100, 0, 0])
    gradient = jax.grad(lambda p: F.binary_cross_entropy(p, t, reduction="sum"))(p)
    check(gradient, [-4, -1e12, 1e12, 0, 0])
    check(F.binary_cross_entropy(p, t, jnp.array([2.0, 0, 0, 0, 0])), 2 * LOG(4) / 5)


def test_binary_cross_entropy_with_logits() -> None:
    x, t = jnp.array([[LOG(3), 0.0]]), jnp.array([[1.0, 0.0]])
    check(F.binary_cross_entropy_with_logits(x, t, reduction="none"), [[LOG(4 / 3), LOG(2)]])
    got = F.binary_cross_entropy_with_logits(x, t, jnp.array(2.0), pos_weight=jnp.array([5.0, 7.0]))
    check(got, (10 * LOG(4 / 3) + 2 * LOG(2)) / 2)
    idle = F.binary_cross_entropy_with_logits(jnp.array([jnp.inf]), jnp.zeros(1), jnp.zeros(1))
    check(idle, 0)  # what has no weight has no say


def test_gaussian_lays_variances_out_as_torch() -> None:
    mean, x = jnp.zeros((2, 3)), jnp.full((2, 3), 2.0)
    for var, v in (
        (4.0, 4),
        (jnp.full((2, 3), 4.0), 4),
        (jnp.full(2, 4.0), 4),
        (jnp.full((2, 1), 4.0), 4),
        (0.0, 1e-6),
    ):
        check(F.gaussian_nll_loss(mean, x, var), 0.5 * (LOG(v) + 4 / v), 1e-9)
        check(F.gaussian_nll_loss(mean, x, var, full=True), 0.5 * (LOG(v) + 4 / v) + HALF_LOG_TWO_PI, 1e-9)
    slope = jax.grad(lambda v: F.gaussian_nll_loss(mean[0, :1], mean[0, :1], v))(jnp.array([1e-9]))
    check(slope, [0.5e6], 1e-9)  # the bound does not stop the gradient


def test_poisson() -> None:
    x, t = jnp.array([0.0, LOG(3), LOG(2)]), jnp.array([0, 2, 1])
    check(F.poisson_nll_loss(x, t, reduction="none"), [1, 3 - 2 * LOG(3), 2 - LOG(2)])
    rate = F.poisson_nll_loss(jnp.exp(x), t, log_input=False, eps=0.5, reduction="none")
    check(rate, [1, 3 - 2 * LOG(3.5), 2 - LOG(2.5)])
    stirling = 2 * LOG(2) - 2 + 0.5 * LOG(4 * math.pi)
    added = F.poisson_nll_loss(x, t, full=True, reduction="none") - F.poisson_nll_loss(x, t, reduction="none")
    check(added, [0, stirling, 0])


def test_distributions() -> None:
    check(F.softmax(LOGITS, 1), PROBS)
    check(F.log_softmax(LOGITS.T, 0), np.log(PROBS).T)
    check(F.softmax(LOGITS), PROBS)  # two axes: the legacy choice is 1
    check(F.softmax(jnp.zeros((2, 1, 1))), np.full((2, 1, 1), 0.5))  # three: 0
    check(F.softmax(jnp.array(3.0), 0), 1)
    check(F.logsumexp(jnp.zeros((2, 3, 5)), (0, -1)), np.full(3, LOG(10)))
    assert F.logsumexp(jnp.zeros((2, 3, 5)), (0, -1), keepdim=True).shape == (1, 3, 1)
    assert F.logsumexp(jnp.zeros((2, 0)), 1, keepdim=True).shape == (2, 1)
    check(F.logsumexp(jnp.array([0, 0]), 0), LOG(2), 1e-6)


def test_dtypes_are_torchs() -> None:
    half = LOGITS.astype(jnp.bfloat16)

    def dtype(f: Callable[..., jax.Array], *args: Any, **options: Any) -> Any:
        return jax.eval_shape(lambda: f(*args, **options)).dtype

    assert F.cross_entropy(half, LABELS).dtype == jnp.bfloat16
    assert dtype(F.cross_entropy, half, T.astype(jnp.float32)) == jnp.float32
    assert dtype(F.kl_div, half, T.astype(jnp.float16)) == jnp.float32
    assert dtype(F.gaussian_nll_loss, half, half, 1.0) == jnp.bfloat16
    assert dtype(F.poisson_nll_loss, half, LABELS[:2]) == jnp.bfloat16
    assert dtype(F.binary_cross_entropy_with_logits, half, T) == jnp.float64
    assert dtype(F.logsumexp, half, 0) == jnp.bfloat16
    assert dtype(F.softmax, half, 0, dtype=jnp.float32) == jnp.float32
    assert dtype(F.softmax, LABELS, 0, dtype=jnp.float16) == jnp.float16
    assert dtype(jax.grad(F.cross_entropy), half, LABELS) == jnp.bfloat16


def test_jit_and_vmap() -> None:
    rows = jax.vmap(lambda x, y: F.cross_entropy(x, y, WEIGHT, label_smoothing=0.1, reduction="sum"))
    want = F.cross_entropy(LOGITS, LABELS, WEIGHT, label_smoothing=0.1, reduction="none")
    check(jax.jit(rows)(LOGITS, LABELS), want)
    check(
        jax.jit(F.kl_div, static_argnames="reduction")(LOGITS, T, reduction="sum"), F.kl_div(LOGITS, T, reduction="sum")
    )


X, Y = jnp.zeros((2, 3)), jnp.array([0, 1])
ERRORS = [
    (F.cross_entropy, (X, Y), {"reduction": "batchmean"}, ValueError, "`reduction`"),
    (F.cross_entropy, (X, jnp.zeros((2, 1), int)), {}, ValueError, "`target` must have shape"),
    (F.cross_entropy, (X, jnp.zeros((2, 3), int)), {}, TypeError, "`target`"),
    (F.cross_entropy, (X, jnp.zeros(2)), {}, TypeError, "`target`"),
    (F.cross_entropy, (X, X), {"ignore_index": 1}, ValueError, "`ignore_index`"),
    (F.cross_entropy, (X, Y), {"label_smoothing": 1.5}, ValueError, "`label_smoothing`"),
    (F.cross_entropy, (X, Y, jnp.ones(2)), {}, ValueError, "`weight`"),
    (F.cross_entropy, (jnp.array(1.0), jnp.array(0)), {}, ValueError, "`input`"),
    (F.cross_entropy, (jnp.zeros((2, 3), int), Y), {}, TypeError, "`input`"),
    (F.nll_loss, (X, Y, jnp.ones(3, jnp.float16)), {}, TypeError, "`weight`"),
    (F.nll_loss, (X, X), {}, TypeError, "`target`"),
    (F.kl_div, (X, jnp.zeros(2)), {}, ValueError, "`input` and `target`"),
    (F.kl_div, (X, X), {"reduction": "avg"}, ValueError, "`reduction`"),
    (F.binary_cross_entropy, (X, jnp.zeros(3)), {}, ValueError, "`target`"),
    (F.binary_cross_entropy, (X, X, jnp.zeros(2)), {}, ValueError, "`weight`"),
    (F.binary_cross_entropy_with_logits, (X, X), {"pos_weight": jnp.zeros(2)}, ValueError, "`pos_weight`"),
    (F.gaussian_nll_loss, (X, X, -1.0), {}, ValueError, "`var`"),
    (F.gaussian_nll_loss, (X, X, jnp.ones(3)), {}, ValueError, "`var`"),
    (F.gaussian_nll_loss, (X, jnp.zeros(2), 1.0), {}, ValueError, "`input` and `target`"),
    (F.poisson_nll_loss, (X, jnp.zeros(2)), {}, ValueError, "`input` and `target`"),
    (F.softmax, (X, 2), {}, ValueError, "`dim`"),
    (F.softmax, (Y, 0), {}, TypeError, "`input`"),
    (F.logsumexp, (X, (0, -2)), {}, ValueError, "`dim`"),
]


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(("function", "args", "kwargs", "error", "says"), ERRORS)
def test_errors_are_one_sentence(function: Any, args: tuple, kwargs: dict, error: type, says: str) -> None:
    with pytest.raises(error, match=rf"^{says}[^\n]*, got [^\n]*\.$"):
        function(*args, **kwargs)
