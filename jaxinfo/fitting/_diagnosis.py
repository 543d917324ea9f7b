"""What is wrong where a fit found no maximum: the direction, the parameter or the value that explains it.

A density that shrinks onto data points grows without bound; the optimiser follows until the width of the
distribution is no longer than the rounding of the data. That is the sign: moving the data by a few of their
own roundings changes a log-density by a nat or more, which it does for no distribution that data in this
precision could tell from a point. It needs no knowledge of which parameter is a variance.

To blame is the parameter that, moved until the sign just vanishes, leaves the points the likeliest: a
variance then still gives them all it can in this precision, while a location that misses them or a weight
that is taken from them leaves them to the rest of the model.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._information import EXACT_UP_TO, hessian_matrix
from jaxinfo.fitting._newton import newton_step
from jaxinfo.fitting._problem import Inputs, Problem
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._state import FitState
from jaxinfo.fitting._summary import parameter_names
from jaxinfo.fitting._trees import random_signs

_SHARP = -5.0  # nats: no example this likely, no density that has collapsed
_REACTION = 1.0  # nats
_CANDIDATES = 64  # parameters that may be to blame, those that moved most
_EXAMPLES = 32  # examples that the blame is found with
_BISECTIONS = 20


class Diagnosis(NamedTuple):
    """The reason after a closer look, a sentence on what was found, and the direction of recession if any."""

    reason: Reason
    detail: str = ""
    direction: Any = None


def lowest_loss(problem: Problem, params: Any) -> jax.Array:
    """Return the smallest NLL of an example that counts; inf on minibatches, where all at once may be too many."""
    if problem.method.batch_size:
        value = jax.eval_shape(problem.objective, params)[0]
        return jnp.full((), jnp.inf, value.dtype)
    losses = problem.loss(params, problem.inputs.data)
    if problem.inputs.weights is not None:
        losses = jnp.where(problem.inputs.weights == 0, jnp.inf, losses)
    return jnp.min(jnp.where(jnp.isnan(losses), jnp.inf, losses), initial=jnp.inf)


class Physician:
    """Looks closer at the points where fits of one problem stopped; what it computes is compiled once for all."""

    def __init__(self, problem: Problem) -> None:
        """Take the problem; nothing is compiled before it is needed."""
        self._problem = problem
        self._loss = jax.jit(problem.loss)
        self._gradient = jax.jit(lambda params, inputs: jax.grad(lambda p: problem.at(inputs).objective(p)[0])(params))
        self._newton_step = jax.jit(partial(_newton_step, problem))
        self._sharpness = jax.jit(partial(_sharpness, problem.loss))
        self._loss_when_cured = jax.jit(partial(_loss_when_cured, problem.loss))

    def diagnose(self, state: FitState, lowest: float) -> Diagnosis:
        """Look closer at the point where a fit stopped; `lowest` is the smallest NLL of an example there."""
        reason = Reason(int(state.reason))
        degenerate = self._degenerate(state) if lowest < _SHARP else ""
        if degenerate and reason != Reason.EARLY_STOPPED:
            return Diagnosis(Reason.DEGENERATE, degenerate)
        if reason == Reason.SEPARATED:
            return self._recession(state)
        if reason == Reason.NONFINITE:
            return Diagnosis(reason, self._first_bad(state))
        return Diagnosis(reason)

    def _recession(self, state: FitState) -> Diagnosis:
        """Return the direction in which the likelihood grows for ever: of the Newton step, or of the last step."""
        params = state.best.params
        flat, unravel = ravel_pytree(params)
        small = flat.size <= EXACT_UP_TO
        along = self._newton_step(params, self._problem.inputs) if small else flat - ravel_pytree(state.previous)[0]
        length = jnp.linalg.norm(along)
        if not (bool(jnp.isfinite(length)) and float(length) > 0):
            return Diagnosis(Reason.SEPARATED)
        along = along / length
        names, share = parameter_names(params), np.asarray(along)
        leaders = [f"{names[i]} {share[i]:+.2g}" for i in np.argsort(-np.abs(share))[:4] if abs(share[i]) > 0.05]
        return Diagnosis(
            Reason.SEPARATED,
            f"The likelihood grows for ever along the direction of recession {', '.join(leaders)}.",
            unravel(along),
        )

    def _first_bad(self, state: FitState) -> str:
        """Name the first example and the first leaf that are not finite at the point the last step led to."""
        params, inputs = state.params, self._problem.inputs
        losses = np.asarray(self._loss(params, inputs.data)).ravel()
        bad = np.flatnonzero(~np.isfinite(losses) & self._counted(losses))
        found = [f"the loss of example {bad[0]} is {losses[bad[0]]}"] if len(bad) else []
        for what, tree in (("", params), ("the gradient to ", self._gradient(params, inputs))):
            values = np.asarray(ravel_pytree(tree)[0])
            wrong = np.flatnonzero(~np.isfinite(values))
            if len(wrong):
                name = parameter_names(params)[wrong[0]]
                found.append(f"the first bad leaf is {what}{name}, {values[wrong[0]]}")
                break
        if not found and self._problem.validate is not None and not np.isfinite(state.validation):
            found = ["no loss of the validation data has been finite"]
        return f"At step {int(state.step)} {' and '.join(found) or 'a derivative is not finite'}."

    def _degenerate(self, state: FitState) -> str:
        """Say which parameter degenerates and on which examples; nothing where none does."""
        params, data = state.best.params, self._problem.inputs.data
        # a fit cut short may be under way to a point that is not as sharp yet
        power = 0.75 if Reason(int(state.reason)).found else 0.5
        losses, reaction = (np.asarray(x).ravel() for x in self._sharpness(power, params, data))
        reacts = (reaction > _REACTION) | ~np.isfinite(losses)
        sharp = np.flatnonzero((losses < _SHARP) & reacts & self._counted(losses))
        if not len(sharp):
            return ""
        chosen = np.resize(sharp, _EXAMPLES)  # as many whatever their number: compiled once for all restarts
        if all(jnp.ndim(leaf) > 0 and len(leaf) == len(losses) for leaf in jax.tree.leaves(data)):
            data, chosen = jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], data), np.arange(_EXAMPLES)
        flat, before = ravel_pytree(params)[0], ravel_pytree(state.previous)[0]
        moved = np.nan_to_num(np.asarray(jnp.abs(flat - before) / jnp.maximum(jnp.abs(flat), 1)))
        candidates = np.argsort(-moved, kind="stable")[:_CANDIDATES]
        remaining = np.asarray(self._loss_when_cured(power, params, data, chosen, candidates))
        name = parameter_names(params)[candidates[np.argmin(remaining)]]
        which = f"example {sharp[0]}" if len(sharp) == 1 else f"{len(sharp)} examples, the first {sharp[0]},"
        return f"{name} degenerates: the density of {which} grows without bound."

    def _counted(self, losses: np.ndarray) -> np.ndarray:
        weights = self._problem.inputs.weights
        return np.ones(len(losses), bool) if weights is None else np.asarray(weights).ravel() != 0


def _newton_step(problem: Problem, params: Any, inputs: Inputs) -> jax.Array:
    def objective(params: Any) -> jax.Array:
        return problem.at(inputs).objective(params)[0]

    return newton_step(hessian_matrix(objective, params), ravel_pytree(jax.grad(objective)(params))[0])[0]


def _sharpness(loss: Callable, power: jax.Array, params: Any, data: Any) -> tuple[jax.Array, jax.Array]:
    """Return each loss, and by how many nats it changes when the data move by eps**power of their size."""

    def nudge(leaf: jax.Array, signs: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.size == 0:
            return leaf
        size = jnp.max(jnp.abs(leaf), axis=0, keepdims=True) if leaf.ndim else jnp.abs(leaf)
        return leaf + (jnp.finfo(leaf.dtype).eps ** power).astype(leaf.dtype) * size * signs

    data = jax.tree.map(jnp.asarray, data)
    moved = jax.tree.map(nudge, data, random_signs(data, 4))
    losses = loss(params, data)
    change = jnp.abs(loss(params, moved) - losses)
    return losses, jnp.where(jnp.isnan(change), jnp.inf, change)


def _loss_when_cured(
    loss: Callable, power: jax.Array, params: Any, data: Any, sharp: jax.Array, numbers: jax.Array
) -> jax.Array:
    """Return for each parameter the mean loss of the sharp examples where moving it just took the sign away.

    inf where no move of up to eight times its size does.
    """
    flat, unravel = ravel_pytree(params)
    size = jnp.maximum(jnp.abs(flat), 1)
    # a width may be far below the rounding of 1, and a sign either way
    reaches = 2.0 ** jnp.arange(-jnp.finfo(flat.dtype).nmant - 60, 4, dtype=flat.dtype)

    def look(number: jax.Array, reach: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses, reaction = _sharpness(loss, power, unravel(flat.at[number].add(reach * size[number])), data)
        losses, reaction = losses.ravel()[sharp], reaction.ravel()[sharp]
        return jnp.all((reaction < _REACTION) & jnp.isfinite(losses)), jnp.mean(losses)

    def towards(number: jax.Array, sign: int) -> jax.Array:
        cured = jax.lax.map(lambda reach: look(number, sign * reach)[0], reaches)
        first = reaches[jnp.argmax(cured)]

        def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            near, far = ends
            middle = (near + far) / 2
            there, _ = look(number, sign * middle)
            return jnp.where(there, near, middle), jnp.where(there, middle, far)

        _, far = jax.lax.fori_loop(0, _BISECTIONS, halve, (first / 2, first))
        return jnp.where(jnp.any(cured), look(number, sign * far)[1], jnp.inf)

    return jax.lax.map(lambda number: jnp.minimum(towards(number, 1), towards(number, -1)), numbers)
