"""Laws within the caller's dtype: eager = jit; vmap = loop; multiples; the same on every run."""

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._engine import Engine
from jaxinfo.verify._jaxprs import count_operations, primitives
from jaxinfo.verify._laws import Found, hold, size_of
from jaxinfo.verify._modes import claims
from jaxinfo.verify._noise import NOISE, spread
from jaxinfo.verify._own import Own, compare
from jaxinfo.verify._report import Row
from jaxinfo.verify._vectors import Vector, cast, join

_LONG = 400  # operations, from where they are not dispatched one by one


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the caller's program claims for a tangent and a cotangent, and which elements of it count."""

    mine: Own
    engine: Engine
    v: list[np.ndarray]
    u: list[np.ndarray]
    claimed: dict[str, Vector]
    counted: dict[str, np.ndarray]

    def against_exact(self, claimed: dict[str, Vector], transform: str) -> Iterator[Found]:
        """Compare claims made in another way with the exact ones."""
        rows, faults = compare(self.mine, self.engine, self.v, self.u, claimed, transform, self.counted)
        texts = {fault[-1].split(",")[0]: fault[-1] for fault in faults}
        for row in rows:
            yield row, texts.get(row.mode)

    def said_of_all(self, transform: str, status: str) -> Row:
        """Return a row without figures."""
        return Row("all", transform, self.mine.dtype, np.nan, np.nan, np.nan, status)


def own_laws(asked: Asked) -> Iterator[Found]:
    """Yield the laws within the caller's dtype: the same when run again, scaled, without jit, and under vmap."""
    yield from _again(asked)
    yield from _scaled(asked)
    yield from _eager(asked)
    yield from _vmapped(asked)
    yield from _directions(asked)


def _again(asked: Asked) -> Iterator[Found]:
    mine = asked.mine
    again = mine.run(mine.compiled, asked.v, asked.u)
    for mode, claimed in asked.claimed.items():
        if np.array_equal(again[mode], claimed, equal_nan=True):
            continue
        wrong = any(text for _, text in asked.against_exact({mode: again[mode]}, "run again"))
        status = "WRONG" if wrong else "differs"
        text = f"{mode} differs from run to run in {mine.dtype}" if wrong else None
        yield Row(mode, "run again", mine.dtype, np.nan, np.nan, 0.0, status), text


def _scaled(asked: Asked) -> Iterator[Found]:
    """Ask for multiples by powers of two, which change no digit, of either sign: a threshold shows, or a clipping."""
    mine, engine = asked.mine, asked.engine
    half = mine.eps > 1e-4
    noise, unit = engine.noise(asked.v, asked.u, NOISE), max(mine.eps, engine.exact.eps)
    for c in (2.0**-3, -(2.0**3)) if half else (2.0**-12, -(2.0**10)):
        out = mine.run(mine.compiled, [c * d for d in asked.v], [c * d for d in asked.u])
        for mode in ("forward", "reverse"):
            if mode not in out or mode not in asked.counted:
                continue
            mask = asked.counted[mode] & np.isfinite(asked.claimed[mode])
            if half and abs(c) > 1:  # half precision overflows soon
                mask = mask & np.isfinite(out[mode])
            size, local = size_of(asked.claimed[mode], mask), spread(noise[mode]) / NOISE
            allowed = abs(c) * 32 * unit * (local + local.max(initial=0.0) + size) + mine.least
            title, wanted = f"times {c:.2g}", c * asked.claimed[mode]
            yield hold(mode, title, mine.dtype, out[mode], wanted, allowed, abs(c) * size, mask, mine.eps)


def _eager(asked: Asked) -> Iterator[Found]:
    mine = asked.mine
    plain = claims(mine.flat.call, dataclasses.replace(mine.modes, second=None))
    with mine.settings():
        point, back = [jnp.zeros(p.shape, p.dtype) for p in mine.flat.inputs], cast(asked.u, mine.flat.outputs)
        operations = count_operations(jax.make_jaxpr(plain)(point, point, back))
    if operations > _LONG:  # each is compiled alone, which takes longer than all else
        yield asked.said_of_all("eager", f"not run: {operations} operations"), None
    else:
        yield from asked.against_exact(mine.run(plain, asked.v, asked.u), "eager")


def _vmapped(asked: Asked) -> Iterator[Found]:
    """Compare two points under vmap: the first with the exact function, the second with the same point alone."""
    mine, inputs, outputs = asked.mine, asked.mine.flat.inputs, asked.mine.flat.outputs
    moved = [np.asarray(x + t / 64) for x, t in zip(asked.engine.xs, asked.v, strict=True)]
    with mine.settings():
        other = cast(moved, inputs)
        stacked = [jnp.stack(pair) for pair in zip(mine.flat.point, other, strict=True)]
        args = (stacked, cast(asked.v, inputs), cast(asked.u, outputs))
        out = yield from _batched(asked, "vmap", (0, None, None), args)
        if out is None:
            return
        first, second = ({name: join([a[i] for a in arrays]) for name, arrays in out.items()} for i in range(2))
    yield from asked.against_exact(first, "vmap")
    yield from _loop(asked, second, mine.run(mine.compiled, asked.v, asked.u, other))


def _directions(asked: Asked) -> Iterator[Found]:
    """Ask for several tangents and cotangents at once, as a Jacobian does, where there is a batching rule to fail."""
    mine, inputs, outputs = asked.mine, asked.mine.flat.inputs, asked.mine.flat.outputs
    run = claims(mine.flat.call, mine.modes)
    with mine.settings():
        v, u = cast(asked.v, inputs), cast(asked.u, outputs)
        if "custom_vmap_call" not in primitives(jax.make_jaxpr(run)(mine.flat.point, v, u)):
            return
        several = [jnp.stack([x, -x]) for x in v], [jnp.stack([x, -x]) for x in u]
        out = yield from _batched(asked, "vmap of directions", (None, 0, 0), (mine.flat.point, *several))
        if out is None:
            return
        first = {name: join([a[0] for a in arrays]) for name, arrays in out.items()}
    yield from asked.against_exact(first, "vmap of directions")


def _batched(asked: Asked, transform: str, in_axes: tuple, args: tuple) -> Generator[Found, None, dict | None]:
    """Return the claims under vmap; without the second derivative, which nobody may ask for, where that one raises."""
    mine = asked.mine
    fewer = [dataclasses.replace(mine.modes, second=None)] if mine.modes.second else []
    for modes in (mine.modes, *fewer):
        try:
            return jax.jit(jax.vmap(claims(mine.flat.call, modes), in_axes=in_axes))(*args)
        except Exception as error:
            text = f"{transform} raises {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
            if isinstance(error, NotImplementedError):
                yield asked.said_of_all(transform, "not available"), None
                return None
            if modes.second is None:
                yield asked.said_of_all(transform, "WRONG"), text
            else:
                yield Row(modes.second, transform, mine.dtype, np.nan, np.nan, np.nan, "raises"), None
    return None


def _loop(asked: Asked, batched: dict[str, Vector], alone: dict[str, Vector]) -> Iterator[Found]:
    mine, engine = asked.mine, asked.engine
    noise = engine.noise(asked.v, asked.u, NOISE)
    unit = max(mine.eps, engine.exact.eps)
    for mode, mask in asked.counted.items():
        if mode not in alone or mode not in batched:
            continue
        size = size_of(alone[mode], mask)
        local = spread(noise[mode]) / NOISE
        allowed: Any = 32 * unit * (local + local.max(initial=0.0) + size)
        if size > 0 and np.median(allowed) > size:
            continue  # no digits to compare
        yield hold(mode, "vmap = loop", mine.dtype, batched[mode], alone[mode], allowed, size, mask, mine.eps)
