"""The exact function compiled: values along a line, claimed derivatives, and what rounding does to them."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._exact import AS_IS, Exact
from jaxinfo.verify._floats import float64
from jaxinfo.verify._jaxprs import count_elements, dependent, rewritten, stops_by_values
from jaxinfo.verify._noise import FINE, NOISE, larger, rms, saturated, spread
from jaxinfo.verify._oracle import Derivative, Line, bend, differentiate, glance
from jaxinfo.verify._rules import Perturb
from jaxinfo.verify._vectors import Vector, join, split

_SAMPLES = 3
_LIGHT = 20_000  # numbers in all intermediate results
_HASTY: Any = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True)
class Engine:
    """An exact function at a point; arrays go in as lists like the inputs, results come out as float64 vectors."""

    exact: Exact
    xs: list[np.ndarray]
    mask: np.ndarray  # which outputs count: finite ones
    counter: list[int] = dataclasses.field(default_factory=lambda: [0])

    def _jit(self, f: Any) -> Any:
        """Compile: what computes little runs a few hundred times at most, and is compiled without optimising."""
        return jax.jit(f, compiler_options=_HASTY if self._light and jax.default_backend() == "cpu" else None)

    @cached_property
    def _light(self) -> bool:
        with float64():
            return count_elements(jax.make_jaxpr(self.exact.value)(self._points)) < _LIGHT

    @cached_property
    def _line(self) -> Any:
        return self._jit(lambda xs, v, t: self.exact.value([x + t * d for x, d in zip(xs, v, strict=True)]))

    @cached_property
    def _claims(self) -> Any:
        return self._jit(self.exact.claims)

    @cached_property
    def _first(self) -> Any:
        def run(xs: Any, v: Any, u: Any, t: Any) -> Any:
            return self.exact.first([x + t * d for x, d in zip(xs, v, strict=True)], v, u)

        return self._jit(run)

    @cached_property
    def _noisy(self) -> dict[float, Any]:
        return {}

    @cached_property
    def _traced(self) -> tuple[Any, Any]:
        """The claims as equations, and the structure of what they return."""
        with float64():
            still = [jnp.zeros(x.shape) for x in self.xs], [jnp.zeros(y.shape) for y in self.outputs]
            program, shape = jax.make_jaxpr(self.exact.claims, return_shape=True)(self._points, *still)
        return program, jax.tree_util.tree_structure(shape)

    @property
    def program(self) -> Any:
        """The claims as equations."""
        return self._traced[0]

    @cached_property
    def to_a_tolerance(self) -> bool:
        """Whether a derivative comes from an iteration that stops at a tolerance of its own."""
        return stops_by_values(self.program)

    @cached_property
    def samples_by_rejection(self) -> bool:
        """Whether an argument is a parameter of samples of gamma, beta, dirichlet, t or chi-square."""
        return any(eqn.primitive.name == "random_gamma" for eqn in dependent(self.program))

    @cached_property
    def at_zero(self) -> Vector:
        """The values at the point."""
        return self.line([np.zeros(x.shape) for x in self.xs])(0.0)

    @cached_property
    def _points(self) -> list[Any]:
        with float64():
            return [jnp.asarray(x) for x in self.xs]

    def line(self, v: Sequence[np.ndarray]) -> Line:
        """Return t -> F(x + t v)."""
        with float64():
            tangent = [jnp.asarray(d) for d in v]

        def run(t: float) -> Vector:
            self.counter[0] += 1
            with float64():
                return join(self._line(self._points, tangent, t))

        return run

    def gradient_line(self, v: Sequence[np.ndarray], u: Sequence[np.ndarray]) -> Line:
        """Return t -> the first derivative at x + t v that the second is the derivative of."""
        with float64():
            tangent, cotangent = [jnp.asarray(d) for d in v], [jnp.asarray(c) for c in u]

        def run(t: float) -> Vector:
            self.counter[0] += 1
            with float64():
                return join(self._first(self._points, tangent, cotangent, t))

        return run

    def claims(self, v: Sequence[np.ndarray], u: Sequence[np.ndarray]) -> dict[str, Vector]:
        """Return every derivative claimed, by name."""
        known = self._known(v, u)
        if "claims" not in known:
            with float64():
                out = self._claims(self._points, [jnp.asarray(d) for d in v], [jnp.asarray(c) for c in u])
                known["claims"] = {name: join(arrays) for name, arrays in out.items()}
        return known["claims"]

    @cached_property
    def _memory(self) -> dict[Any, Any]:
        return {}

    def _known(self, v: Sequence[np.ndarray], u: Sequence[np.ndarray]) -> dict[Any, Any]:
        """Return what was computed for this tangent and cotangent; only the last pair is remembered."""
        key = tuple(map(id, (*v, *u)))
        if self._memory.get("key") != key:
            self._memory.clear()
            self._memory.update(key=key, arrays=[*v, *u])  # an id is an array's own only while the array lives
        return self._memory

    @cached_property
    def _single(self) -> dict[str, Any]:
        return {mode: self._jit(lambda *a, mode=mode: self.exact.claims(*a)[mode]) for mode in ("forward", "reverse")}

    def tangent(self, v: Sequence[np.ndarray]) -> Vector:
        """Return the tangent that forward mode claims."""
        with float64():
            u = [jnp.zeros(y.shape) for y in self.outputs]
            return join(self._single["forward"](self._points, [jnp.asarray(d) for d in v], u))

    def pulled(self, u: Vector) -> Vector:
        """Return the cotangent of the inputs that reverse mode claims."""
        with float64():
            v = [jnp.zeros(x.shape) for x in self.xs]
            cotangent = [jnp.asarray(c) for c in split(u, self.outputs)]
            return join(self._single["reverse"](self._points, v, cotangent))

    @cached_property
    def outputs(self) -> list[Any]:
        """Shapes of the outputs."""
        with float64():
            return jax.eval_shape(self.exact.value, self._points)

    def weighted(self, v: Sequence[np.ndarray], u: Vector) -> Derivative:
        """Return the oracle's derivative of the outputs, and after them of their sum weighted by `u`."""
        line, middle, least = self._weighted(v, u)
        return differentiate(line, middle, least=least, **self._precision)

    def glance(self, v: Sequence[np.ndarray], u: Vector, *, careful: bool = False) -> tuple[Vector, Vector]:
        """Return the same with bars, to search by: from few evaluations unless `careful`."""
        if careful:
            found = self.weighted(v, u)
            return found.value, found.error
        line, middle, least = self._weighted(v, u)
        return glance(line, middle, least=least, **self._precision)

    def _weighted(self, v: Sequence[np.ndarray], u: Vector) -> tuple[Line, Vector, Vector]:
        line, mask = self.line(v), self.mask

        def run(t: float) -> Vector:
            y = line(t)
            return np.append(y, _dot(u[mask], y[mask]))

        with np.errstate(all="ignore"):
            middle = np.append(self.at_zero, _dot(u[mask], self.at_zero[mask]))
            sums = rms([_dot(u[mask], sample[mask]) for sample in self._value_noise])
        return run, middle, np.append(spread(self._value_noise), sums)

    @cached_property
    def _value_noise(self) -> np.ndarray:
        """What rounding inside F does to its values in float64, one row per sample."""
        still = [np.zeros(x.shape) for x in self.xs], [np.zeros(y.shape) for y in self.outputs]
        samples = self.noise(*still)["value"] * (2.0**-52 / NOISE)
        return np.where(np.isfinite(samples), samples, 0)

    def derivative_of_first(
        self, v: Sequence[np.ndarray], u: Sequence[np.ndarray], least: Vector, *, levels: int
    ) -> Derivative:
        """Return the oracle's second derivative: differences of the claimed first."""
        line = self.gradient_line(v, u)
        return differentiate(line, line(0.0), least=least, levels=levels, **self._precision)

    def bend(self, v: Sequence[np.ndarray], u: Vector) -> tuple[Vector, Vector]:
        """Return second derivatives of the outputs and of their weighted sum, from values alone, with bars."""
        return bend(*self._weighted(v, u), **self._precision)

    def noise(
        self, v: Sequence[np.ndarray], u: Sequence[np.ndarray], size: float = NOISE, samples: int = _SAMPLES
    ) -> dict[str, np.ndarray]:
        """Return what relative errors of at most `size` in every operation do to each claim, one row per sample.

        The samples differ by a relative 2^-48 in the point, which changes every hash and nothing else.
        """
        known, base = self._known(v, u), self.claims(v, u)
        if (size, samples) not in known:
            seen = self._differences(v, u, size, samples)
            if size <= NOISE and any(saturated(seen[name], base[name]) for name in base):
                fine = self._differences(v, u, FINE, samples)
                seen = {name: larger(seen[name], fine[name] * (size / FINE)) for name in base}
            known[size, samples] = seen
        return known[size, samples]

    def _differences(
        self, v: Sequence[np.ndarray], u: Sequence[np.ndarray], size: float, samples: int
    ) -> dict[str, np.ndarray]:
        rows, base = self._perturbed(v, u, size, samples), self.claims(v, u)
        with np.errstate(all="ignore"):
            return {name: np.stack([join(row[name]) - base[name] for row in rows]) for name in base}

    def _perturbed(
        self, v: Sequence[np.ndarray], u: Sequence[np.ndarray], size: float, samples: int
    ) -> list[dict[str, Any]]:
        with float64():
            tangent, cotangent = [jnp.asarray(d) for d in v], [jnp.asarray(c) for c in u]
            if size not in self._noisy:
                program, tree = self._traced
                run = self._jit(rewritten(program, Perturb(size)))
                self._noisy[size] = lambda *args: jax.tree_util.tree_unflatten(tree, run(*args))
            return [
                self._noisy[size](*(x * (1 + k * 2.0**-48) for x in self._points), *tangent, *cotangent)
                for k in range(1, samples + 1)
            ]

    @property
    def _precision(self) -> dict[str, Any]:
        coarse = self.exact.form == AS_IS and self.exact.eps > 1e-15
        return {"floor": self.exact.eps if coarse else 2.0**-53, "coarse": coarse}


def _dot(a: Vector, b: Vector) -> float:
    return float(np.sum(a * b))
