"""The losses of classification: softmax_cross_entropy and nll."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._cross_entropy import acts, distribution_terms, label_terms, weighted_surprise
from jaxinfo._normalise import include, normalise, prepare, settle
from jaxinfo._transform import cool, transform


def softmax_cross_entropy(
    logits: Float[Array, "..."],
    targets: Integer[Array, "..."] | Float[Array, "..."],
    *,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
    class_weights: Float[Array, "..."] | None = None,
    label_smoothing: float | Float[Array, ""] = 0.0,
    z_loss: float | Float[Array, ""] = 0.0,
    soft_cap: float | Float[Array, ""] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    axis_name: str | tuple[str, ...] | None = None,
) -> Float[Array, "..."]:
    r"""Cross-entropy of softmax(logits) under the targets, per example, in nats.

    .. math:: H(T, Q) = -\sum_j t_j \log q_j, \qquad q = \mathrm{softmax}(\mathrm{logits})

    With labels it is the negative log-likelihood of the observed classes.

    Args:
        logits: unnormalised log-probabilities; -inf is a class that does not exist.
        targets: integers of the batch shape are class indices; floating values of the logits' shape are a
            distribution, not renormalised. A label outside [0, V) gives nan in value and gradient of its row.
        axis: the class axis.
        where: the elements to include, broadcastable to `logits`: [V] masks classes, [N, 1] examples. A row
            with nothing included has loss 0 and gradient 0, whatever it holds.
        class_weights: multiplies the term of each class, shape [V] ([V / shards] with `axis_name`).
        label_smoothing: a in [0, 1]: targets become (1 - a) t + a / K over the K included finite classes.
        z_loss: adds z_loss * logsumexp(logits)**2; a logit of +inf makes it +inf, and its own slope.
        soft_cap: replaces logits by cap * tanh(logits / cap), before the mask; -inf stays, +inf becomes the cap.
        temperature: divides the logits, before the cap; what they have in common costs no digit.
        axis_name: inside `shard_map`, the mesh axis that the class axis is sharded over; labels are global
            and so is the result.

    Returns:
        One value per example in the compute dtype (float32 for half precisions): +inf where target mass
        lies on an excluded or -inf class, nan for a row that is no distribution (all -inf, two +inf, a nan).

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape, `axis` or an option does not fit.

    Gradient:
        To the logits: sum(t) softmax - t, with p - 1 = expm1(-loss) for a label. To distribution targets:
        -log q, 0 where target and probability are both 0. To class_weights and to the scalar options if
        they are arrays. All modes and orders; one array of the logits' size is kept for backward.

    Accuracy:
        Value within 8 eps (V <= 1,024) or 16 eps, plus abs(log loss) eps below 1, down to a loss of 1e-36;
        each gradient element g for labels within (8 + 2 max(abs(log p), abs(log abs(g)))) eps
        (tests/core/test_precision.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[30.0, 0.0, 0.0], [0.0, 0.0, 0.0]], jnp.float32)
        >>> softmax_cross_entropy(logits, jnp.array([0, 2]))  # a confident row is not rounded to 0
        Array([1.8715246e-13, 1.0986123e+00], dtype=float32)
        >>> softmax_cross_entropy(logits, jnp.array([0, -100]), where=jnp.array([[True], [False]]))[1]
        Array(0., dtype=float32)
    """
    x, classes, where = prepare(logits, axis, where, mesh_axis=axis_name)
    targets = _checks.as_targets(targets)
    weights = _checks.as_class_weights(class_weights, x.shape, classes.axis)
    is_labels = jnp.issubdtype(targets.dtype, jnp.integer)
    if is_labels:
        _checks.check_labels_shape(targets, x.shape, classes.axis, name="targets", of="logits")
    else:
        _checks.check_same_shape(targets, x.shape, name="targets", of="logits")
        x, targets = _checks.promote(x, targets)
    if weights is not None:
        x, weights = _checks.promote(x, weights)
        targets = targets if is_labels else targets.astype(x.dtype)
    smoothing = _checks.as_option(
        label_smoothing, "label_smoothing", x.dtype, low=0, high=1, wanted="a number in [0, 1]"
    )
    penalty = _checks.as_option(z_loss, "z_loss", x.dtype, low=0, wanted="a non-negative number")
    given, counted = include(x, where, classes)
    x, lower = cool(given, temperature, classes) if soft_cap is None else (transform(given, temperature, soft_cap), 0.0)
    if x is not given:
        classes = classes.widened()
    if is_labels:
        labels = classes.labels(targets, x)
        labels = labels if counted is None else jnp.where(counted, labels, 0)
        log_sum = normalise(x, classes, bad=labels < 0)
        terms = label_terms(x, labels, weights, smoothing, classes)
    else:
        targets = targets if counted is None else jnp.where(counted, targets, 0)
        log_sum = normalise(x, classes)
        terms = distribution_terms(x, targets, weights, smoothing, classes)
    if acts(penalty):
        terms = terms._replace(z_loss=jnp.asarray(penalty, x.dtype), lower=jnp.asarray(lower, x.dtype))
    return settle(weighted_surprise(x, log_sum, terms, classes), counted, classes)


def nll(
    log_probs: Float[Array, "..."],
    labels: Integer[Array, "..."],
    *,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of the labels under given log-probabilities, per example, in nats.

    .. math:: -\log q_y

    The other door to the cross-entropy: ``nll(log_softmax(x), y)`` is ``softmax_cross_entropy(x, y)``.

    Args:
        log_probs: log-probabilities, taken as given: they are not normalised again.
        labels: class indices of the batch shape; one outside [0, V) gives nan.
        axis: the class axis.
        where: the elements to include, broadcastable to `log_probs`.

    Returns:
        One value per example in the compute dtype; +inf where the label's class is excluded or has
        log-probability -inf, 0 where nothing is included.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or `axis` does not fit.

    Gradient:
        -1 at the label, 0 elsewhere and at excluded places. All modes and orders.

    Examples:
        >>> import jax.numpy as jnp
        >>> round(float(nll(jnp.log(jnp.array([0.25, 0.75])), jnp.array(1))), 6)
        0.287682
    """
    log_p, classes, where = prepare(log_probs, axis, where, "log_probs")
    labels = _checks.as_labels(labels)
    _checks.check_labels_shape(labels, log_p.shape, classes.axis, name="labels", of="log_probs")
    log_p, counted = include(log_p, where, classes)
    labels = classes.labels(labels, log_p)
    labels = labels if counted is None else jnp.where(counted, labels, 0)
    log_p = log_p * jnp.where(labels < 0, jnp.nan, 1).astype(log_p.dtype)  # nan in the gradient of the row as well
    return settle(0 - _at_label(log_p, labels, classes), counted, classes)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _at_label(log_p: jax.Array, labels: jax.Array, classes: Classes) -> jax.Array:
    return classes.pick_logit(log_p, labels)


@_at_label.defjvp
def _at_label_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # what moves half precision has its precision too, and a scatter of it makes no float32 array of the classes
    rate = classes.pick(classes.narrowed(tangents[0]), primals[1])
    return _at_label(*primals, classes), rate.astype(primals[0].dtype)
