"""A fit as asked for: its options checked, and those left to us filled in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo.fitting._arguments import (
    MOST_STEPS,
    as_key,
    check_loss,
    check_max_steps,
    check_optimizer,
    check_penalty,
    check_validation,
    check_weights,
)
from jaxinfo.fitting._methods import Method, choose_method, default_tolerance
from jaxinfo.fitting._objective import Loss, Parts, Penalty, examples, float_params, make_objective, mean_loss
from jaxinfo.fitting._unused import repaired

_PASSES = 100  # passes through the data that minibatches are given unless told
_PATIENCE = 10  # validations without gain before the fit stops


class Options(NamedTuple):
    """The options that `fit` and `minimize` share; `fit` explains each."""

    method: str = "auto"
    penalty: Penalty | None = None
    optimizer: optax.GradientTransformation | None = None
    batch_size: int | None = None
    max_steps: int | None = None
    tolerance: float | None = None
    patience: int | None = None


class Inputs(NamedTuple):
    """The arrays of a fit: arguments of the compiled loop, not constants, which XLA would fold at length."""

    data: Any
    weights: jax.Array | None
    validation: Any
    key: jax.Array


class Curvature(NamedTuple):
    """How the exact Hessian is made.

    Attributes:
        tile: of how many examples at a time, None for all.
        by_predictors: whether by those that the loss is a function of, example by example.
    """

    tile: int | None
    by_predictors: bool


class Problem(NamedTuple):
    """What does not change during a fit.

    Attributes:
        objective: params -> (objective, its parts), over all of the data.
        validate: params -> NLL per example of the validation data, None without any.
        method: how the steps are made.
        max_steps: after how many the fit stops.
        tolerance: decrement at which it stops, in nats.
        patience: validations without gain before it stops.
        loss: the loss, for minibatches.
        penalty: the penalty, for minibatches.
        inputs: the arrays.
        examples: number of examples.
        curvature: how the exact Hessian is made, None for one product for each parameter.
    """

    objective: Callable[[Any], tuple[jax.Array, Parts]]
    validate: Callable[[Any], jax.Array] | None
    method: Method
    max_steps: int
    tolerance: float
    patience: int
    loss: Loss
    penalty: Penalty | None
    inputs: Inputs
    examples: int
    curvature: Curvature | None = None

    def at(self, inputs: Inputs) -> "Problem":
        """Return the same fit of other arrays."""
        made = _problem(
            self.loss, self.penalty, inputs, self.method, self.max_steps, self.tolerance, self.patience, self.examples
        )
        return made._replace(curvature=self.curvature)

    @property
    def batches(self) -> int:
        """Steps in a pass through the data."""
        return -(-self.examples // (self.method.batch_size or max(self.examples, 1)))


def as_inputs(params: Any, data: Any, weights: ArrayLike | None, validation: Any, key: jax.Array | None) -> Inputs:
    """Return the arrays of a fit: a mask or counts as floating weights, a key if none is given.

    Raises:
        TypeError: `key` is no random key, or the weights are no real numbers.
        ValueError: a weight is negative or not finite.
    """
    if weights is not None:
        weights = _checks.as_array(weights, "weights")
        check_weights(weights)
        if not jnp.issubdtype(weights.dtype, jnp.floating):
            weights = weights.astype(jnp.result_type(*map(jnp.result_type, jax.tree.leaves(params)[:1])))
        data = repaired(data, weights)
    return Inputs(data, weights, validation, as_key(key))  # pyright: ignore[reportArgumentType]


def make_problem(loss: Loss, params: Any, inputs: Inputs, options: Options) -> Problem:
    """Return the fit with its options checked and those left to us filled in.

    Raises:
        TypeError: loss, penalty or optimizer are none, or return none.
        ValueError: an option is out of its range, or the loss is not one value per example.
    """
    params = float_params(params)
    if options.batch_size is not None:
        _checks.check_integer(options.batch_size, "batch_size", low=1)
    losses = check_loss(loss, params, inputs.data)
    check_penalty(options.penalty, params)
    check_optimizer(options.optimizer)
    count = losses.size
    method = choose_method(options.method, options.optimizer, options.batch_size, params, count)
    if method.batch_size:
        count = examples(inputs.data)
        if losses.shape != (count,):
            raise ValueError(f"`loss` must return shape ({count},), one NLL per row of `data`, got {losses.shape}.")
    if inputs.weights is not None and inputs.weights.shape != losses.shape:
        raise ValueError(f"`weights` must have shape {losses.shape}, that of the losses, got {inputs.weights.shape}.")
    if inputs.validation is not None:
        check_validation(loss, params, inputs.validation)
    objective = make_objective(loss, inputs.data, inputs.weights, options.penalty, method.batch_size)
    max_steps = method.max_steps if options.max_steps is None else options.max_steps
    if max_steps is None:
        max_steps = min(_PASSES * -(-count // (method.batch_size or count)), MOST_STEPS)
    max_steps = check_max_steps(max_steps)
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = default_tolerance(method, jax.eval_shape(objective, params)[0].dtype)
    _checks.check_number(tolerance, "tolerance", low=0, wanted="a number of nats, at least 0")
    patience = _PATIENCE if options.patience is None else options.patience
    _checks.check_integer(patience, "patience", low=1)
    if options.patience is not None and inputs.validation is None:
        raise ValueError("`patience` must come with `validation`, whose loss it watches, got none.")

    return _problem(loss, options.penalty, inputs, method, max_steps, float(tolerance), int(patience), count)


def _problem(
    loss: Loss,
    penalty: Penalty | None,
    inputs: Inputs,
    method: Method,
    max_steps: int,
    tolerance: float,
    patience: int,
    count: int,
) -> Problem:
    def validate(params: Any) -> jax.Array:
        return mean_loss(loss, params, inputs.validation, method.batch_size)

    return Problem(
        make_objective(loss, inputs.data, inputs.weights, penalty, method.batch_size),
        validate if inputs.validation is not None else None,
        method,
        max_steps,
        tolerance,
        patience,
        loss,
        penalty,
        inputs,
        count,
    )
