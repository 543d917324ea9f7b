"""Each row of the truth table under each option, each two of them and all, against the limit of the formula."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import softmax_cross_entropy

from .table import MASKED, ROWS, TARGETS, inf, nan

WEIGHTS = np.asarray([0.5, 2.0, 0.0, 3.0])
ALONE: dict[str, Any] = {
    "class_weights": WEIGHTS,
    "label_smoothing": 0.2,
    "z_loss": 0.05,
    "soft_cap": 5.0,
    "temperature": 0.7,
}
TOGETHER = [*itertools.combinations(ALONE, 1), *itertools.combinations(ALONE, 2), tuple(ALONE)]
KINDS = ("labels", "distribution")
EVERYTHING = [True, True, True, True]
POINTS = {name: (x, EVERYTHING) for name, x in ROWS.items() if len(x) == 4} | MASKED
LABELS = (0, 1, 2, 3, -1, 4)


def times(a: Any, b: Any) -> Any:
    """Return a * b with 0 * inf = 0."""
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, np.multiply(a, b))


def limit(
    x: np.ndarray, target: np.ndarray | None, where: np.ndarray, options: dict[str, Any]
) -> tuple[float, np.ndarray]:
    """Return value and gradient that the contract gives a row in float64; a target of None is a label outside."""
    no, x = np.zeros(4), np.where(where, x, 0.0)
    if not where.any():
        return 0.0, no
    temperature, cap = options.get("temperature", 1.0), options.get("soft_cap")
    shift = x.max() if cap is None and np.isfinite(x.max()) else 0.0  # in exact arithmetic a shift changes nothing
    y = (x - shift) / temperature
    scale = np.full(4, 1 / temperature)
    if cap is not None:
        y, scale = (
            np.where(y == -inf, y, cap * np.tanh(y / cap)),
            np.where(y == -inf, scale, scale * (1 - np.tanh(y / cap) ** 2)),
        )
    inside = where & (y > -inf)
    if target is None or np.isnan(y).any() or not inside.any() or (y[where] == inf).sum() > 1:
        return nan, np.where(where, nan, 0.0)
    if (y[inside] == inf).any():
        p, log_z = (y == inf) & where, inf
        surprise = np.where(p, 0.0, inf)
    else:
        m = y[inside].max()
        p = np.where(inside, np.exp(np.where(inside, y - m, 0)), 0.0)
        log_z = m + np.log(p.sum())
        surprise = np.where(inside, np.log(p.sum()) + (m - y), inf)
        p = p / p.sum()
    a, penalty = options.get("label_smoothing", 0.0), options.get("z_loss", 0.0)
    mass = options.get("class_weights", np.ones(4)) * ((1 - a) * target + a * inside / inside.sum())
    log_z += shift / temperature
    value = times(mass, surprise).sum() + times(penalty, log_z**2)
    slope = mass.sum() * p - mass + times(2 * penalty * log_z, p) if penalty else mass.sum() * p - mass
    return value, np.where(where, times(slope, scale), 0.0)


def rows(kind: str) -> list[tuple[str, np.ndarray, Any, np.ndarray | None, np.ndarray]]:
    """Return name, logits, what is given as the target, the distribution that it means, and the mask."""
    out = []
    for name, (x, where) in POINTS.items():
        if kind == "labels":
            for y in LABELS:
                outside = not 0 <= y < 4
                out.append(
                    (f"{name}, label {y}", np.asarray(x), y, None if outside else np.eye(4)[y], np.asarray(where))
                )
        else:
            for what, t in TARGETS.items():
                out.append((f"{name}, {what}", np.asarray(x), np.asarray(t), np.asarray(t), np.asarray(where)))
    return out


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        pytest.param(names, kind, marks=[pytest.mark.slow] * (len(names) < 5), id=f"{'+'.join(names)}, {kind}")
        for n, names in enumerate(TOGETHER)
        for kind in ([KINDS[n % 2]] if len(names) == 2 else KINDS)
    ],
)
def test_every_row(names: tuple[str, ...], kind: str) -> None:
    options = {name: ALONE[name] for name in names}
    given = {k: jnp.asarray(v) if k == "class_weights" else v for k, v in options.items()}
    points = rows(kind)

    def loss(x: jax.Array, target: jax.Array, where: jax.Array) -> jax.Array:
        return softmax_cross_entropy(x, target, where=where, **given)

    def modes(*args: jax.Array) -> tuple[jax.Array, ...]:
        return loss(*args), jax.grad(loss)(*args), jax.jacfwd(loss)(*args), jax.hessian(loss)(*args)

    stacked = [jnp.asarray(np.stack([p[i] for p in points])) for i in (1, 2, 4)]
    results = jax.jit(jax.vmap(modes))(*stacked)
    faults = []
    for (name, x, _, target, where), value, reverse, forward, bend in zip(
        points, *map(np.asarray, results), strict=True
    ):
        want, slope = limit(x, target, where, options)

        def check(what: str, got: Any, wanted: Any, name: str = name) -> None:
            if not np.allclose(got, wanted, rtol=1e-12, atol=1e-13, equal_nan=True):
                faults.append(f"{name}: {what} is {got}, wanted {wanted}")

        check("value", value, want)
        check("reverse", reverse, slope)
        if not np.isnan(slope).any():
            check("forward", forward, slope)
            if np.isfinite(slope).all() and np.isnan(bend).any():
                faults.append(f"{name}: the Hessian is {bend}")
    assert not faults, f"{len(faults)} of {len(points)}:\n" + "\n".join(faults)
