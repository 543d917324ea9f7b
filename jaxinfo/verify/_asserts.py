"""The same verdicts as assertions, raised through chex, and the signature of jax.test_util.check_grads."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxinfo.verify._arguments import as_integer, check_declared, check_function, check_modes
from jaxinfo.verify._check import check_gradients
from jaxinfo.verify._floats import as_called
from jaxinfo.verify._own import own
from jaxinfo.verify._report import GradientReport, Verdict


def assert_gradients(f: Callable[..., Any], *args: Any, **options: Any) -> GradientReport:
    """Assert that `check_gradients(f, *args, **options)` says CORRECT.

    Args:
        f: The function.
        *args: The point.
        **options: Those of `check_gradients`.

    Returns:
        The report, for whoever wants to read on.

    Raises:
        AssertionError: The verdict is another one; the message is the report. It is raised through chex, so
            `chex.disable_asserts` silences it.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxinfo import verify
        >>> verify.assert_gradients(jnp.tanh, jnp.array([0.5, -2.0])).verdict
        <Verdict.CORRECT: 'CORRECT'>
    """
    report = check_gradients(f, *args, **options)
    chex.assert_equal(str(report.verdict), str(Verdict.CORRECT), custom_message=f"\n{report}")
    return report


def assert_loss(
    loss: Callable[..., Any], *args: Any, shape: Sequence[int] | None = None, dtype: Any = None
) -> GradientReport:
    """Assert that a loss has the declared shape and dtype, is finite, and has finite, right gradients.

    The gradients must have the shapes and dtypes of the inputs they belong to.

    Args:
        loss: Any function that returns one floating array: a scalar, or a loss per example.
        *args: Its arguments.
        shape: The shape the loss must have, None for any.
        dtype: The dtype the loss must have, None for any.

    Returns:
        The report on the gradients.

    Raises:
        AssertionError: One of these does not hold; raised through chex.
        TypeError: `loss` is not a function, or `dtype` not a dtype.
        ValueError: `shape` is not a sequence of sizes.

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from jaxinfo import verify
        >>> logits, labels = jnp.array([[1.0, 2.0, -3.0]]), jnp.array([2])
        >>> loss = optax.softmax_cross_entropy_with_integer_labels
        >>> verify.assert_loss(loss, logits, labels, shape=(1,), dtype=jnp.float32).verdict
        <Verdict.CORRECT: 'CORRECT'>
    """
    check_function(loss, "loss")
    check_declared(shape, dtype)
    with as_called():
        value = loss(*args)
        chex.assert_tree_has_only_ndarrays(value)
        if shape is not None:
            chex.assert_shape(value, tuple(shape))
        if dtype is not None:
            chex.assert_type(value, jnp.dtype(dtype))
        chex.assert_tree_all_finite(value)
        mine = own(loss, args, None, ("forward", "reverse"), 1)
        if mine.modes.reverse:
            outputs, pull = jax.vjp(mine.flat.call, mine.flat.point)
            (gradients,) = pull([jnp.ones_like(y) for y in outputs])
            chex.assert_trees_all_equal_shapes_and_dtypes(gradients, mine.flat.point)
            chex.assert_tree_all_finite(gradients)
    return assert_gradients(loss, *args)


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: Any = None,
    rtol: Any = None,
    eps: float | None = None,
) -> None:
    """Check gradients as `jax.test_util.check_grads` does, in its signature: a drop-in.

    Tolerances and step follow from the function, so `atol`, `rtol` and `eps` are taken and not used.

    Args:
        f: The function.
        args: The point, a sequence of arguments.
        order: Derivatives are checked up to this order.
        modes: Some of "fwd", "rev" and "lin" (the transposed linearisation, which "fwd" checks here).
        atol: Not used.
        rtol: Not used.
        eps: Not used.

    Raises:
        AssertionError: A gradient is not right.
        TypeError: `f` is not a function.
        ValueError: `modes` or `order` cannot be.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxinfo.verify import check_grads
        >>> check_grads(jnp.sin, (jnp.array([0.5, 2.0]),), order=2)
    """
    del atol, rtol, eps
    names = {"fwd": "forward", "lin": "forward", "rev": "reverse"}
    check_function(f)
    check_modes(modes, tuple(names))
    number = as_integer(order)
    if number is None or number < 1:
        raise ValueError(f"`order` must be a positive int, got {order!r}.")
    wanted = tuple(dict.fromkeys(names[m] for m in modes))
    assert_gradients(f, *args, order=min(number, 2), modes=wanted)
    if number > 2:  # the first derivative is a function like any other
        flat = own(f, args, None, wanted, 1).flat

        def first(xs: Any) -> Any:
            if "reverse" in wanted:
                outputs, pull = jax.vjp(flat.call, xs)
                return pull([jnp.ones_like(y) for y in outputs])[0]
            return jax.jvp(flat.call, (xs,), ([jnp.ones_like(x) for x in xs],))[1]

        check_grads(first, (flat.point,), number - 1, modes)
