"""What the tests of the divergences share: pairs of logits, the obvious formulae in 60 digits, every derivative mode.

A divergence is given by its value as a function of two lists of probabilities; derivatives with respect to
the logits are taken from it by differences in 60 digits, so that no formula of ours is needed twice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .oracle import Vector, mp

inf, nan = float("inf"), float("nan")
STEP = mp.mpf(10) ** -15

Formula = Callable[[Vector, Vector], Any]

# Legal rows with a finite value for any bounded divergence: classes missing on either side, certainty, shifts.
EDGES: dict[str, tuple[list[float], list[float]]] = {
    "ordinary": ([0.3, -1.2, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "close": ([0.3, -1.2, 2.0, 0.1], [0.3, -1.201, 2.0, 0.1]),
    "uniform, close": ([0.0, 0.0, 0.0, 0.0], [0.0, 1e-4, -1e-4, 0.0]),
    "equal up to a shift": ([0.25, -1.5, 2.0, 0.125], [4.25, 2.5, 6.0, 4.125]),
    "absent from both": ([0.3, -inf, 2.0, 0.1], [1.0, -inf, -0.4, 0.6]),
    "absent from p": ([0.3, -inf, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "absent from q": ([0.3, -1.2, 2.0, 0.1], [1.0, 0.2, -inf, 0.6]),
    "absent from each": ([0.3, -inf, 2.0, 0.1], [1.0, 0.2, -0.4, -inf]),
    "nothing in common": ([0.3, -inf, 2.0, -inf], [-inf, 0.2, -inf, 0.6]),
    "confident, alike": ([20.0, 0.1, -1.0, 0.5], [20.0, 0.4, -1.0, 0.2]),
    "confident, not alike": ([30.0, 0.1, -1.0, 0.5], [0.1, 30.0, -1.0, 0.2]),
    "p a point": ([0.3, inf, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "q a point, p spread": ([0.0, -0.01, 0.02, 0.0], [0.2, inf, 0.8, -0.4]),
    "q a point": ([0.3, -1.2, 2.0, 0.1], [1.0, inf, -0.4, 0.6]),
}
ILLEGAL: dict[str, tuple[list[float], list[float]]] = {
    "nan in p": ([0.3, nan, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "nan in q": ([0.3, 0.1, 2.0, 0.1], [1.0, nan, -0.4, 0.6]),
    "p all -inf": ([-inf] * 4, [1.0, 0.2, -0.4, 0.6]),
    "q all -inf": ([1.0, 0.2, -0.4, 0.6], [-inf] * 4),
    "two +inf": ([inf, inf, 0.0, 1.0], [1.0, 0.2, -0.4, 0.6]),
}


def softmax(x: Vector) -> Vector:
    """Return the probabilities of one row: -inf is no class, a single +inf all of the mass."""
    top = max(x)
    if top == mp.inf:
        return [mp.mpf(v == mp.inf) for v in x]
    e = [mp.exp(v - top) if v > -mp.inf else mp.mpf(0) for v in x]
    total = mp.fsum(e)
    return [v / total for v in e]


class Truth(NamedTuple):
    """The value, the gradients to both rows and, if asked for, the Hessian of the rows laid end to end."""

    value: Any
    to_p: Vector
    to_q: Vector
    bend: list[Vector]


def oracle(formula: Formula, a: Any, b: Any, *, bend: bool = False, slopes: bool = True) -> Truth:
    """Return the truth about one pair of rows, derivatives by differences; 0 at infinite logits."""
    x, n = exact(a) + exact(b), len(a)

    def at(*moves: tuple[int, Any]) -> Any:
        moved = list(x)
        for i, h in moves:
            moved[i] += h
        return formula(softmax(moved[:n]), softmax(moved[n:]))

    if not slopes:
        return Truth(at(), [], [], [])
    finite = [bool(mp.isfinite(v)) for v in x]
    h = STEP
    slope = [(at((i, h)) - at((i, -h))) / (2 * h) if finite[i] else mp.mpf(0) for i in range(2 * n)]
    second = [[mp.mpf(0)] * (2 * n) for _ in x] if bend else []
    for i in range(2 * n if bend else 0):
        for j in range(i + 1):
            if finite[i] and finite[j]:
                crossed = at((i, h), (j, h)) - at((i, h), (j, -h)) - at((i, -h), (j, h)) + at((i, -h), (j, -h))
                second[i][j] = second[j][i] = crossed / (4 * h * h)
    return Truth(at(), slope[:n], slope[n:], second)


def exact(x: Any) -> Vector:
    """Return the numbers of a row exactly."""
    return [mp.mpf(float(v)) for v in np.asarray(x, np.float64)]


def pairs(dtype: Any, *, classes: int = 6, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names and rows from far apart to hardly different.

    Among them are common offsets, confident rows, a rare class that moves far, mass that spreads.
    """
    rng = np.random.default_rng(seed)
    names, first, second = [], [], []
    for closeness in (5.0, 1.0, 0.3, 3e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        for kind, scale, offset in (
            ("plain", 1.0, 0.0),
            ("wide", 4.0, 0.0),
            ("uniform", 0.0, 0.0),
            ("offset", 1.0, 100.0),
            ("confident", 1.0, 0.0),
            ("rare", 2.0, 0.0),
            ("spread", 1.0, 0.0),
        ):
            a = rng.normal(size=classes) * scale
            a[0] += 20 * (kind == "confident")
            b = a + rng.normal(size=classes) * closeness
            rare = int(a.argmin())
            if kind == "rare":  # a class that matters little moves by much more than the others
                a[rare] -= 4
                b[rare] = a[rare] + 1.5
            if kind == "spread":  # q gives half of its mass to a class that p hardly has
                a[rare] -= 15
                b[rare] = b.max() + 1
            a, b = np.asarray(a + offset, dtype), np.asarray(b + offset, dtype)
            if not np.array_equal(a, b):
                names.append(f"{kind}, apart by {closeness}")
                first.append(a)
                second.append(b)
    return names, np.stack(first), np.stack(second)


def table(f: Callable[..., jax.Array], dtype: Any, *options: float) -> dict[str, tuple[np.ndarray, ...]]:
    """Return value, gradient by reverse and by forward mode, and Hessian of f(a, b, *options) for the edges, by name.

    The two rows of a pair are one argument, so that the Hessian mixes them too; all pairs go through one
    compilation, under jit and vmap.
    """

    def modes(x: jax.Array) -> tuple[jax.Array, ...]:
        def g(x: jax.Array) -> jax.Array:
            return f(x[:4], x[4:], *(jnp.asarray(option, dtype) for option in options))

        return g(x), jax.grad(g)(x), jax.jacfwd(g)(x), jax.jacfwd(jax.grad(g))(x)

    out = jax.jit(jax.vmap(modes))(jnp.asarray([a + b for a, b in EDGES.values()], dtype))
    return {name: tuple(np.asarray(part[n]) for part in out) for n, name in enumerate(EDGES)}


def assert_modes(got: tuple[np.ndarray, ...], truth: Truth, what: str) -> None:
    """Check a row of `table` within 64 eps of the larger of 1 and the number; infinities must match."""
    slope = [*truth.to_p, *truth.to_q]
    wanted = [truth.value], slope, slope, [v for line in truth.bend for v in line]
    modes = ("value", "reverse", "forward", "Hessian")
    for mode, out, want in zip(modes, got, wanted, strict=True):
        if not want:
            continue
        numbers, expected = out.astype(np.float64).ravel(), np.asarray([float(w) for w in want])
        near = np.isclose(
            numbers, expected, rtol=64 * float(jnp.finfo(out.dtype).eps), atol=64 * float(jnp.finfo(out.dtype).eps)
        )
        assert near.all(), f"{what}, {mode}: got {numbers.tolist()}, wanted {expected.tolist()}"
