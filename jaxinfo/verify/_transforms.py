"""Laws that need no oracle: one derivative, however it is asked for.

forward = reverse = transposed linearisation; eager = jit; vmap = loop; linear in tangent and cotangent; the Hessian
symmetric; the value under differentiation that of the plain call; the same on every run.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._along import Checker
from jaxinfo.verify._directions import signs
from jaxinfo.verify._engine import NOISE, Engine, spread
from jaxinfo.verify._floats import eps, float64
from jaxinfo.verify._jaxprs import count_operations
from jaxinfo.verify._modes import claims, jvp
from jaxinfo.verify._own import Own, compare
from jaxinfo.verify._report import Row
from jaxinfo.verify._vectors import Vector, cast, join, split

Found = tuple[Row, str | None]

_LONG = 400  # operations, from where they are not dispatched one by one
_MIX = (-64.0, 0.125)  # far apart and of either sign: a rule that clips its cotangent shows it, or one of its size


def exact_laws(checker: Checker, v: list[np.ndarray]) -> Iterator[Found]:
    """Yield the laws within the exact function, where rounding hides nothing."""
    engine, u, rng = checker.engine, checker.u, checker.rng
    modes = engine.exact.modes
    cotangent = split(u, engine.outputs)
    other_v = checker.allowed([np.asarray(signs(rng, d.shape) * np.abs(d)) for d in v])
    other_u = [np.asarray(signs(rng, c.shape) * np.abs(c)) for c in cotangent]
    a, b = _MIX
    first = engine.claims(v, cotangent)
    second = engine.claims(other_v, other_u)
    mixed = engine.claims(
        [np.asarray(a * x + b * y) for x, y in zip(v, other_v, strict=True)],
        [np.asarray(a * x + b * y) for x, y in zip(cotangent, other_u, strict=True)],
    )
    scaled = {c: engine.claims(_times(c, v), _times(c, cotangent)) for c in (0.0, *_scales(engine))}
    noise = engine.noise(v, cotangent)
    unit = engine.exact.eps
    inputs, outputs = np.isfinite(join(engine.xs)), engine.mask

    def law(mode: str, name: str, left: Vector, right: Vector, scale: float, bars: Vector, mask: np.ndarray) -> Found:
        allowed = 64 * unit / NOISE * bars + (64 * max(unit, eps(np.float64)) + checker.tolerated) * scale
        return _found(mode, name, "float64", left, right, allowed, scale, mask, unit)

    for mode, mask in (("forward", outputs), ("reverse", inputs)):
        if mode not in first:
            continue
        bars = spread(noise[mode]).max(initial=0.0) * np.ones(1)
        scale = _size(first[mode], mask) + _size(second[mode], mask)
        name = "linear in the tangent" if mode == "forward" else "linear in the cotangent"
        yield law(mode, name, mixed[mode], a * first[mode] + b * second[mode], abs(a) * scale, abs(a) * bars, mask)
        for c, result in scaled.items():
            title = "zero of zero" if c == 0 else f"{c:.2g} times it"
            yield law(mode, title, result[mode], c * first[mode], c * scale if c else scale, c * bars, mask)
        under = f"{mode} value"
        yield law(
            mode,
            "value as called",
            first[under],
            first["value"],
            _size(first["value"], outputs),
            spread(noise["value"]),
            outputs,
        )
    if modes.forward and modes.reverse:
        left, right = _masked_dot(u, first["forward"], outputs), _masked_dot(first["reverse"], join(v), inputs)
        scale = _norm(u * np.where(outputs, first["forward"], 0)) + _norm(first["reverse"] * join(v))
        bars = np.abs(_masked_dot(u, noise["forward"][0], outputs)) + np.abs(
            _masked_dot(noise["reverse"][0], join(v), inputs)
        )
        yield law("forward", "= reverse", left, right, scale, bars, np.ones(1, bool))
    if modes.forward and modes.reverse:
        yield from _transposed(engine, cotangent, first["reverse"], law, spread(noise["reverse"]), inputs)
    if modes.second in ("forward-over-reverse", "reverse-over-reverse"):
        swapped = engine.claims(other_v, cotangent)["second"]
        here = first["second"]
        left, right = _masked_dot(join(other_v), here, inputs), _masked_dot(join(v), swapped, inputs)
        scale = _norm(join(other_v) * np.where(inputs, here, 0)) + _norm(join(v) * np.where(inputs, swapped, 0))
        bars = np.abs(_masked_dot(join(other_v), noise["second"][0], inputs)) * 2
        yield law(modes.second, "Hessian symmetric", left, right, scale, bars, np.ones(1, bool))


def _times(c: float, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(c * x) for x in arrays]


def _scales(engine: Engine) -> tuple[float, float]:
    """Return factors of tangent and cotangent, by which a rule that has a threshold shows it."""
    return (2.0**-20, 2.0**10) if engine.exact.eps < 1e-4 else (2.0**-3, 2.0**3)  # half precision has few powers


def _transposed(
    engine: Engine, cotangent: Any, reverse: Vector, law: Callable[..., Found], bars: Vector, inputs: np.ndarray
) -> Iterator[Found]:
    """Compare reverse mode with the transpose of forward mode."""
    call = engine.exact.value
    if engine.exact.form != "re-traced":
        return
    with float64():
        xs = [jnp.asarray(x) for x in engine.xs]

        def back(xs: Any, u: Any) -> Any:
            return jax.linear_transpose(lambda t: jvp(call, xs, t)[1], xs)(u)[0]

        try:
            found = join(jax.jit(back)(xs, [jnp.asarray(c) for c in cotangent]))
        except Exception:  # forward mode need not be transposable: a loop of unknown length is not
            return
    yield law("reverse", "= transposed forward", found, reverse, _size(reverse, inputs), bars, inputs)


def own_laws(
    mine: Own, engine: Engine, v: list[np.ndarray], u: list[np.ndarray], claimed: dict[str, Vector], counted: Any
) -> Iterator[Found]:
    """Yield the laws within the caller's dtype: the same without jit, under vmap, and when run again."""
    run = claims(mine.flat.call, mine.modes)
    again = mine.run(mine.compiled, v, u)
    for mode in claimed:
        if not np.array_equal(again[mode], claimed[mode], equal_nan=True):
            rows, faults = compare(mine, engine, v, u, {mode: again[mode]}, "run again", counted)
            text = f"{mode} differs from run to run in {mine.dtype}"
            yield (
                Row(mode, "run again", mine.dtype, np.nan, np.nan, 0.0, "WRONG" if faults else "differs"),
                text if faults else None,
            )
    plain = claims(mine.flat.call, dataclasses.replace(mine.modes, second=None))
    point, back = [jnp.zeros(p.shape, p.dtype) for p in mine.flat.inputs], cast(u, mine.flat.outputs)
    with mine.settings():
        operations = count_operations(jax.make_jaxpr(plain)(point, point, back))
    if operations > _LONG:  # each is compiled alone, which takes longer than all else
        yield Row("all", "eager", mine.dtype, np.nan, np.nan, np.nan, f"not run: {operations} operations"), None
    else:
        rows, faults = compare(mine, engine, v, u, mine.run(plain, v, u), "eager", counted)
        yield from _paired(rows, faults)
    moved = [np.asarray(x + t / 64) for x, t in zip(engine.xs, v, strict=True)]
    with mine.settings():
        points = [mine.flat.point, cast(moved, mine.flat.inputs)]
        stacked = [jnp.stack(pair) for pair in zip(*points, strict=True)]
        alone = [mine.run(mine.compiled, v, u, point) for point in points]
        try:
            out = jax.jit(jax.vmap(run, in_axes=(0, None, None)))(
                stacked, cast(v, mine.flat.inputs), cast(u, mine.flat.outputs)
            )
        except Exception as error:
            text = f"vmap raises {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
            status = "not available" if isinstance(error, NotImplementedError) else "WRONG"
            yield Row("all", "vmap", mine.dtype, np.nan, np.nan, np.nan, status), text if status == "WRONG" else None
            return
        batched = [{name: join([a[i] for a in arrays]) for name, arrays in out.items()} for i in range(2)]
    rows, faults = compare(mine, engine, v, u, batched[0], "vmap", counted)
    yield from _paired(rows, faults)
    noise = engine.noise(v, u, NOISE)
    for mode in alone[1]:
        if mode in counted:
            size = _size(alone[1][mode], counted[mode])
            local = spread(noise[mode]) * mine.eps / NOISE
            unit = max(mine.eps, engine.exact.eps)
            allowed = 32 * (local + local.max(initial=0.0)) * unit / mine.eps + 32 * unit * size
            if size > 0 and np.median(allowed) > size:
                continue  # no digits to compare
            yield _found(
                mode,
                "vmap = loop",
                mine.dtype,
                batched[1][mode],
                alone[1][mode],
                allowed,
                size,
                counted[mode],
                mine.eps,
            )


def _paired(rows: list[Row], faults: list[Any]) -> Iterator[Found]:
    texts = {fault[-1].split(",")[0]: fault[-1] for fault in faults}
    for row in rows:
        yield row, texts.get(row.mode)


def _found(
    mode: str, name: str, dtype: str, left: Any, right: Any, allowed: Any, scale: float, mask: np.ndarray, unit: float
) -> Found:
    left, right = np.atleast_1d(left), np.atleast_1d(right)
    with np.errstate(all="ignore"):
        # where both are not finite they agree: a point that one of them cannot be asked at
        same = ~np.isfinite(left) & ~np.isfinite(right)
        off = np.where(mask & ~same, np.abs(left - right), 0)
        off = np.where(np.isnan(off), np.inf, off)
    bound = np.broadcast_to(np.where(np.isfinite(allowed), allowed, np.inf), off.shape)
    i = int(np.argmax(off - bound))
    wrong = bool(off[i] > bound[i])
    size = scale if scale > 1e-300 else 1.0
    largest = float(off.max(initial=0.0)) / size
    row = Row(mode, name, dtype, largest, largest / unit, float(bound[i]) / size, "WRONG" if wrong else "ok")
    return row, f"{mode}: {name} fails by {off[i]:.3g}, rounding explains {bound[i]:.1e}" if wrong else None


def _size(x: Vector, mask: np.ndarray) -> float:
    finite = np.abs(x[mask & np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def _norm(x: Vector) -> float:
    return float(np.sqrt(np.sum(np.where(np.isfinite(x), x, 0) ** 2)))


def _masked_dot(a: Vector, b: Vector, mask: np.ndarray) -> Any:
    with np.errstate(all="ignore"):
        return np.atleast_1d(np.sum(np.where(mask, a * b, 0), axis=-1))
