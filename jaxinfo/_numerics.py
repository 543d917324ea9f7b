"""logsumexp, log_softmax, softmax and logits_from_probs: what the measures and losses are made of."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._normalise import attach_logsumexp, attach_probs, include, log_probs, normalise, prepare


def logsumexp(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None, keepdims: bool = False
) -> Float[Array, "..."]:
    r"""Log of the sum of exponentials along `axis`, in nats.

    .. math:: \log \sum_j e^{x_j}

    Args:
        logits: any values; -inf adds nothing.
        axis: the axis to sum over.
        where: the elements to include, broadcastable to `logits`.
        keepdims: keep the summed axis with size 1.

    Returns:
        One value per row in the compute dtype: -inf where all elements are -inf or none is included, +inf
        where one is, nan where one is nan.

    Raises:
        TypeError: `logits` is not floating or `where` not boolean.
        ValueError: `axis` or the shape of `where` does not fit.

    Gradient:
        softmax(logits); 0 for a row whose value is -inf, the point mass for exactly one +inf, nan for two.
        All modes and orders.

    Accuracy:
        Within a few eps of max(1, abs(value)) (tests/core/test_precision.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> round(float(logsumexp(jnp.array([1000.0, 1000.0]))), 4)
        1000.6932

    References:
        Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
        Numer. Anal. 41(4), 2021.
    """
    x, classes, where = prepare(logits, axis, where)
    x, counted = include(x, where, classes)
    out = _logsumexp(x, classes)
    out = out if counted is None else jnp.where(counted, out, -jnp.inf)
    return out if keepdims else jnp.squeeze(out, classes.axis)


def log_softmax(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    r"""Log-probabilities of a distribution given by logits, in nats.

    .. math:: \log p_i = x_i - \log \sum_j e^{x_j}

    Args:
        logits: unnormalised log-probabilities; -inf is a class that does not exist.
        axis: the class axis.
        where: the elements to include, broadcastable to `logits`.

    Returns:
        An array of the logits' shape in the compute dtype (float32 for half precisions): -inf at excluded
        places; nan for a row that is no distribution (all -inf, two +inf, a nan).

    Raises:
        TypeError: `logits` is not floating or `where` not boolean.
        ValueError: `axis` or the shape of `where` does not fit.

    Gradient:
        d log p_i = (1 - p_i) t_i - sum over the others of p_j t_j, with 1 - p_i not subtracted but computed;
        0 to and from excluded places. All modes and orders.

    Accuracy:
        Relative error within 8 eps for V <= 1,024 and 16 eps for V <= 262,144, plus abs(log loss) eps where
        -log p is below 1: a confident class keeps its digits down to 1e-36 (tests/core/test_precision.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> log_softmax(jnp.array([30.0, 0.0], jnp.float32))[0]  # one minus nothing, kept
        Array(-9.357623e-14, dtype=float32)

    References:
        Blanchard, Higham & Higham (2021), see `logsumexp`.
    """
    x, classes, where = prepare(logits, axis, where)
    x, _ = include(x, where, classes)
    out = log_probs(x, normalise(x, classes), classes)
    return out if where is None else jnp.where(where, out, -jnp.inf)


def softmax(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    r"""Probabilities of a distribution given by logits.

    .. math:: p_i = e^{x_i} / \sum_j e^{x_j}

    Args:
        logits: unnormalised log-probabilities; -inf is a class that does not exist.
        axis: the class axis.
        where: the elements to include, broadcastable to `logits`.

    Returns:
        An array of the logits' shape in the compute dtype: 0 at excluded places; nan for a row that is no
        distribution.

    Raises:
        TypeError: `logits` is not floating or `where` not boolean.
        ValueError: `axis` or the shape of `where` does not fit.

    Gradient:
        d p_i = p_i (t_i - sum_j p_j t_j), which keeps one array for backward. All modes and orders.

    Examples:
        >>> import jax.numpy as jnp
        >>> softmax(jnp.zeros(4)).round(4)
        Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    x, classes, where = prepare(logits, axis, where)
    x, _ = include(x, where, classes)
    out = attach_probs(x, jax.lax.stop_gradient(normalise(x, classes).p(x)), classes)
    return out if where is None else jnp.where(where, out, 0)


def logits_from_probs(probs: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Logits of probabilities, or of counts or weights: their logarithm, 0 into -inf.

    Args:
        probs: non-negative values, which need not sum to 1: logits are unnormalised. A negative one has no
            logarithm and gives nan.

    Returns:
        An array of the same shape in the compute dtype.

    Raises:
        TypeError: `probs` is not floating.

    Gradient:
        1 / probs, and 0 at an exact 0 by convention, so that nothing downstream turns nan.

    Examples:
        >>> import jax.numpy as jnp
        >>> softmax(logits_from_probs(jnp.array([1.0, 0.0, 3.0]))).round(4)
        Array([0.25, 0.  , 0.75], dtype=float32)
    """
    probs = _checks.as_float_array(probs, "probs")
    positive = probs != 0
    return jnp.where(positive, jnp.log(jnp.where(positive, probs, 1)), -jnp.inf)


def _logsumexp(x: jax.Array, classes: Classes) -> jax.Array:
    log_sum = normalise(x, classes)
    empty = log_sum.l == -jnp.inf
    probs = jnp.where(empty, 0, jnp.exp(log_sum._replace(l=jnp.where(empty, 0, log_sum.l)).log_p(x)))
    return attach_logsumexp(x, log_sum.total(), jax.lax.stop_gradient(probs), classes)
