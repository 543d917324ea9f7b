"""A traced loss as equations, and in it the products of features with parameters."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

_CALLS = ("jit", "pjit", "closed_call")
_RESHAPES = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim")


class Product(NamedTuple):
    """A product of features [N, D] with a matrix [D, K] of parameters, [N, K]; either may be stored transposed.

    Attributes:
        entries: [D, K], where among all parameters those of the matrix are.
        features: the variable of the features.
        rows: the axis of the examples in it.
        out: the variable of the product.
        rows_out: the axis of the examples in that.
    """

    entries: np.ndarray
    features: Any
    rows: int
    out: Any
    rows_out: int

    def spread(self, column: jax.Array, like: jax.Array) -> jax.Array:
        """Return the product's tangent that is `column` [K] in every example."""
        column = column if self.rows_out == 0 else column[:, None]
        return jnp.broadcast_to(column.astype(like.dtype), like.shape)

    def times(self, factor: jax.Array, product: jax.Array) -> jax.Array:
        """Return the product with each example's part taken `factor` [N] times."""
        factor = factor.astype(product.dtype)
        return product * (factor if product.ndim == 1 else jnp.expand_dims(factor, 1 - self.rows_out))

    def by_rows(self, product: jax.Array) -> jax.Array:
        """Return what has the product's shape as [N, K]."""
        return jnp.moveaxis(product, self.rows_out, 0).reshape(product.shape[self.rows_out], -1)


def products(jaxpr: Any, leaves: int, examples: int) -> tuple[tuple[Product, ...], np.ndarray]:
    """Return the products of features with parameters, and the parameters that are used in another way."""
    entries: dict[Any, np.ndarray] = {}  # of variables that are parameters, rearranged: which
    first = 0
    for variable in jaxpr.invars[:leaves]:
        entries[variable] = np.arange(first, first + variable.aval.size).reshape(variable.aval.shape)
        first += variable.aval.size
    depend = set(entries)
    found, others = [], [np.zeros(0, int)]
    for eqn in jaxpr.eqns:
        operands = [atom for atom in eqn.invars if not isinstance(atom, jex.Literal)]
        if not depend.isdisjoint(operands):
            depend.update(eqn.outvars)
            if (rearranged := _rearranged(eqn, entries)) is not None:
                entries[eqn.outvars[0]] = rearranged
            elif (product := _product(eqn, entries, depend, examples)) is not None:
                found.append(product)
            else:
                others += [entries[variable].ravel() for variable in operands if variable in entries]
    others += [entries[variable].ravel() for variable in jaxpr.outvars if variable in entries]
    return tuple(found), np.unique(np.concatenate(others))


def inlined(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
    """Return the program with what it calls in the place of the calls."""

    def run(*operands: jax.Array) -> list[jax.Array]:
        values = evaluate(closed, operands)
        return [_read(values, atom) for atom in closed.jaxpr.outvars]

    return jax.make_jaxpr(run)(*closed.in_avals)


def evaluate(closed: jex.ClosedJaxpr, operands: Sequence[Any], given: dict[Any, Any] | None = None) -> dict[Any, Any]:
    """Return the values of all variables of a program; those `given` are not computed."""
    jaxpr, values = closed.jaxpr, dict(given or {})
    values.update(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, operands, strict=True))
    for eqn in jaxpr.eqns:
        if values.keys().isdisjoint(eqn.outvars):
            values.update(zip(eqn.outvars, _results(eqn, [_read(values, atom) for atom in eqn.invars]), strict=True))
    return values


def _rearranged(eqn: jex.JaxprEqn, entries: dict[Any, np.ndarray]) -> np.ndarray | None:
    """Return which parameters the result of `eqn` consists of, None if it is not just some of them."""
    operand, out = eqn.invars[0], _shape(eqn.outvars[0])
    if isinstance(operand, jex.Literal) or operand not in entries:
        return None
    known, params = entries[operand], eqn.params
    match eqn.primitive.name:
        case "transpose":
            return known.transpose(params["permutation"])
        case "slice":
            strides = params["strides"] or known.ndim * (1,)
            return known[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]
        case name if name in _RESHAPES and math.prod(out) == known.size:
            return known.reshape(out)
    return None


def _product(eqn: jex.JaxprEqn, entries: dict[Any, np.ndarray], depend: set[Any], examples: int) -> Product | None:
    """Return `eqn` as a product of features with parameters, None if it is none."""
    if eqn.primitive.name != "dot_general":
        return None
    contracted, batched = eqn.params["dimension_numbers"]
    for side in (0, 1):
        features, matrix = eqn.invars[1 - side], eqn.invars[side]
        if isinstance(features, jex.Literal) or features in depend or matrix not in entries or any(batched):
            continue
        known, own, others = entries[matrix], contracted[side], contracted[1 - side]
        if known.ndim not in (1, 2) or len(_shape(features)) != 2 or len(own) != 1:
            continue
        rows = 1 - others[0]
        if _shape(features)[rows] == examples:
            columns = np.moveaxis(known, own[0], 0).reshape(known.shape[own[0]], -1)
            return Product(columns, features, rows, eqn.outvars[0], int(side == 0 and known.ndim == 2))
    return None


def _results(eqn: jex.JaxprEqn, operands: list[Any]) -> Iterable[Any]:
    inner = eqn.params.get("jaxpr")
    if eqn.primitive.name in _CALLS and isinstance(inner, jex.ClosedJaxpr):
        values = evaluate(inner, operands)
        return [_read(values, atom) for atom in inner.jaxpr.outvars]
    results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return results if eqn.primitive.multiple_results else [results]


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _read(values: dict[Any, Any], atom: Any) -> Any:
    return atom.val if isinstance(atom, jex.Literal) else values[atom]
