"""Other arithmetic for a program: in float64 whatever it pins, or with rounding errors put in.

`Widen`    every float that depends on an argument is float64, every complex number complex128. The oracle of code
           that pins float32 or computes in bfloat16: the function its author meant, without its rounding. What
           depends on no argument (random numbers drawn from a key, tables) keeps its own dtype and so its own values.
`Perturb`  every inexact result is multiplied by 1 + eps xi, xi in [-1, 1) a hash of its bits. What that does to a
           derivative says how well conditioned it is, operation by operation: its error bar in any dtype.
"""

from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._floats import bits, is_complex, is_float
from jaxinfo.verify._jaxprs import OPAQUE, Rule, bind, counts, renewed

# Their results are exact, or a selection of what came in.
_EXACT = frozenset(
    "abs argmax argmin broadcast_in_dim bitcast_convert_type ceil clamp complex concatenate conj convert_element_type "
    "copy copy_p cummax cummin dynamic_slice dynamic_update_slice empty eq expand_dims floor full gather ge gt imag "
    "iota is_finite le lt max min ne neg optimization_barrier pad real reduce_max reduce_min reduce_precision reshape "
    "rev round scatter select_n select_and_gather_add sign slice sort split squeeze stop_gradient top_k "
    "transpose".split()
)
# Many terms are added: each brings an error, and so does the order of addition.
_SUMS = frozenset(
    "reduce_sum dot_general conv_general_dilated cumsum cumlogsumexp cumprod reduce_prod reduce_window_sum "
    "scatter-add scatter_add ragged_dot_general".split()
)
# Backward stable at best: their error is that of a matrix changed by eps times its norm.
_NORMWISE = frozenset(
    "cholesky eig eigh svd qr lu triangular_solve householder_product tridiagonal schur hessenberg geqrf geqp3 ormqr "
    "tridiagonal_solve".split()
)
# Series and asymptotic forms inside one operation: near a root or an edge they are as good as their argument is.
_SPECIAL = frozenset(
    "digamma lgamma erf_inv igamma igammac igamma_grad_a polygamma zeta regularized_incomplete_beta "
    "bessel_i0e bessel_i1e random_gamma_grad".split()
)


class CannotRewriteError(Exception):
    """The program holds an operation whose arithmetic cannot be replaced."""


class Widen(Rule):
    """Compute in float64 whatever depends on an argument."""

    def apply(self, eqn: jex.JaxprEqn, operands: list[Any]) -> list[Any]:
        """Return the results of `eqn` in float64 if an operand is, else as they are.

        Raises:
            CannotRewriteError: the operation is bound to its dtype.
        """
        name = eqn.primitive.name
        if not any(is_wide(x) for x in operands):
            return bind(eqn, operands, eqn.params)
        if name in OPAQUE:
            raise CannotRewriteError(name)
        operands = [widen(x) for x in operands]
        if name == "reduce_precision":
            return operands
        params = {k: _wide_dtype(v) if _is_inexact_dtype(v) else v for k, v in renewed(eqn.params, self).items()}
        if "precision" in params:  # an algorithm named there would round the operands again
            params["precision"] = None
        return [widen(x) for x in bind(eqn, operands, params)]

    def touches(self, operands: list[Any]) -> bool:
        """Whether anything depends on an argument."""
        return any(is_wide(x) for x in operands)

    def enter(self, aval: Any) -> jax.ShapeDtypeStruct:
        """Return float64 in place of any other float, complex128 in place of complex64."""
        return jax.ShapeDtypeStruct(aval.shape, _wide_dtype(aval.dtype) if _inexact(aval.dtype) else aval.dtype)

    def leave(self, value: Any) -> Any:
        """Return `value` in float64 if it is a float, in complex128 if it is complex."""
        return widen(value)


class Perturb(Rule):
    """Put a relative error of at most `eps` into every inexact result.

    The number of steps of a `while` may depend on values converging, which they need not do under noise: unless it
    only counts, its results are perturbed, its body is not.
    """

    loops = ("scan", "cond")

    def enters(self, eqn: jex.JaxprEqn) -> bool:
        """Whether `eqn` is a loop that makes the same steps under noise."""
        return super().enters(eqn) or (eqn.primitive.name == "while" and counts(eqn))

    def __init__(self, eps: float) -> None:
        """Take the size of the errors."""
        self.eps = eps

    def apply(self, eqn: jex.JaxprEqn, operands: list[Any]) -> list[Any]:
        """Return the results of `eqn`, perturbed."""
        name = eqn.primitive.name
        if name in _EXACT:
            return bind(eqn, operands, eqn.params)
        amount = self.eps
        if name in _SUMS:
            amount *= 1 + 0.5 * np.log2(max(1, _terms(eqn)))
            operands = [self._relative(x, amount) for x in operands]
        elif name == "while":  # its steps are not perturbed, so that what goes in and out has to stand for them
            results = bind(eqn, [self._arraywise(x) for x in operands], eqn.params)
            return [self._arraywise(x) for x in results]
        elif name == "custom_linear_solve":  # its operands are factors already
            operands = [self._relative(x, amount) for x in operands]
        elif name == "fft":  # every number goes into every one of the transform
            operands = [self._normwise(x, len(eqn.params["fft_lengths"])) for x in operands]
        elif name in _SPECIAL:
            order = 1 if name == "polygamma" else 0  # it is an integer, and stays one
            operands = operands[:order] + [self._relative(x, 2 * amount) for x in operands[order:]]
        elif name in _NORMWISE:
            operands = [self._normwise(x) for x in operands]
        return [self._relative(x, amount) for x in bind(eqn, operands, eqn.params)]

    def _relative(self, x: Any, eps: float) -> Any:
        return x * (1 + eps * _noise(x)) if is_wide(x) else x  # what is coarser has errors of its own

    def _arraywise(self, x: Any) -> Any:
        return x + 8 * self.eps * _noise(x) * jnp.max(jnp.abs(x), initial=0.0) if is_wide(x) else x

    def _normwise(self, x: Any, axes: int = 2) -> Any:
        if not is_wide(x) or jnp.ndim(x) < axes or not jnp.size(x):
            return x
        return x + self.eps * _noise(x) * jnp.max(jnp.abs(x), axis=tuple(range(-axes, 0)), keepdims=True)


def is_wide(x: Any) -> bool:
    """Whether `x` is float64 or complex128, which under `Widen` means that it depends on an argument."""
    return jnp.result_type(x) in (jnp.float64, jnp.complex128)


def widen(x: Any) -> Any:
    """Return a float in float64, a complex number in complex128, anything else as it is."""
    kind = jnp.result_type(x)
    return jax.lax.convert_element_type(x, _wide_dtype(kind)) if _inexact(kind) else x


def _inexact(dtype: Any) -> bool:
    return is_float(dtype) or is_complex(dtype)


def _wide_dtype(dtype: Any) -> np.dtype:
    return np.dtype(np.complex128 if is_complex(dtype) else np.float64)


def _is_inexact_dtype(value: Any) -> bool:
    return isinstance(value, np.dtype | type) and _inexact(value) and bits(value) < 64


def _terms(eqn: Any) -> float:
    """Return how many products or numbers are added into one element of the result."""
    before = max(float(np.prod(v.aval.shape)) for v in eqn.invars if hasattr(v.aval, "shape"))
    after = max(1.0, float(np.prod(eqn.outvars[0].aval.shape)))
    if eqn.primitive.name in ("dot_general", "ragged_dot_general"):
        (contracted, _), _ = eqn.params.get("dimension_numbers", (((), ()), ((), ())))
        return float(np.prod([eqn.invars[0].aval.shape[i] for i in contracted]))
    return before if eqn.primitive.name.startswith("cum") else max(before / after, 1.0)


def _noise(x: Any) -> jax.Array:
    """Return numbers in [-1, 1) that depend on nothing but the bits of `x`: equal values meet equal errors.

    A complex number gets a complex one, since its error is relative to its modulus and has any phase.
    """
    if is_complex(jnp.result_type(x)):
        real, imag = jnp.real(x), jnp.imag(x)
        return jax.lax.complex(_hashed(real, imag), _hashed(imag, real + 1))
    return _hashed(x)


def _hashed(*parts: Any) -> jax.Array:
    word = jnp.uint64(0)
    for part in parts:
        word = word * jnp.uint64(3) + jax.lax.bitcast_convert_type(jnp.asarray(part, jnp.float64), jnp.uint64)
        word = (word ^ (word >> 33)) * jnp.uint64(0xFF51AFD7ED558CCD)
        word = (word ^ (word >> 33)) * jnp.uint64(0xC4CEB9FE1A85EC53)
    return (word >> 11).astype(jnp.float64) * 2.0**-52 - 1
