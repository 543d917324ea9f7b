"""A function of its array leaves with its derivatives, asked at one input after another."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._arguments import check_probed
from jaxinfo.verify._blame import blame
from jaxinfo.verify._check import check_gradients
from jaxinfo.verify._findings import TRAINED, Finding
from jaxinfo.verify._floats import eps, float64, is_float
from jaxinfo.verify._report import Verdict

_PART = 0.01  # of the largest element, by which rounding does not move what is computed from ordinary numbers
_TERMS = 256.0  # units in the last place of the sum of magnitudes that two orders of summation may differ by


@dataclasses.dataclass(frozen=True)
class Probe:
    """The function of its array leaves, compiled with its derivatives."""

    start: list[np.ndarray]
    names: list[str]
    rebuild: Callable[[Sequence[Any]], tuple[Any, ...]]
    ask: Callable[[Sequence[Any]], dict[str, Any]]
    compiled: Callable[[Sequence[Any]], dict[str, Any]]
    value: Callable[[Sequence[Any]], list[Any]]

    @classmethod
    def of(cls, f: Callable[..., Any], args: tuple[Any, ...], seed: int) -> "Probe":
        paths, tree = jax.tree_util.tree_flatten_with_path(args)
        leaves = [leaf for _, leaf in paths]
        places = [i for i, x in enumerate(leaves) if _is_array(x)]
        start = [np.asarray(leaves[i]) for i in places]
        rng = np.random.default_rng(seed)
        tangents = [rng.choice([-1.0, 1.0, 2.0], size=x.shape) for x in start]

        def rebuild(arrays: Sequence[Any]) -> tuple[Any, ...]:
            filled = list(leaves)
            for i, x in zip(places, arrays, strict=True):
                filled[i] = x
            return jax.tree_util.tree_unflatten(tree, filled)

        def value(arrays: Sequence[Any]) -> list[Any]:
            return [y for y in jax.tree_util.tree_leaves(f(*rebuild(arrays))) if _is_array(y) and is_float(y.dtype)]

        def ask(arrays: Sequence[Any]) -> dict[str, Any]:
            floats = [i for i, x in enumerate(arrays) if is_float(x.dtype)]

            def call(xs: Sequence[Any]) -> list[Any]:
                filled = list(arrays)
                for i, x in zip(floats, xs, strict=True):
                    filled[i] = x
                return value(filled)

            xs = [arrays[i] for i in floats]
            v = [jnp.asarray(tangents[i], arrays[i].dtype) for i in floats]
            answers: dict[str, Any] = {"value": call(xs), "tangent": v}
            for mode, run in (("forward", lambda: _leaf_by_leaf(call, xs, v)), ("reverse", lambda: _ones(call, xs))):
                try:
                    answers[mode] = run()
                except Exception:  # a mode that is not there, or a rule that fails: check_gradients says which
                    answers[mode] = None
            return answers

        names = ["args" + jax.tree_util.keystr(paths[i][0]) for i in places]

        check_probed(start, jax.eval_shape(value, [jnp.asarray(x) for x in start]) if start else [])
        return cls(start, names, rebuild, ask, _compiled(ask, start), value)

    def faults(self, name: str, leaves: list[np.ndarray], *, eager: bool = True) -> Iterator[Finding]:
        """Yield what is wrong at one input."""
        arrays = [jnp.asarray(x) for x in leaves]
        fast = self.compiled(arrays)
        if not _finite(fast["value"]):
            yield from self._overflow(name, leaves)
            return
        bad = [mode for mode in ("reverse", "forward") if fast[mode] is not None and _nan(fast[mode])]
        for mode in bad:
            primitive, source = blame(lambda *xs, mode=mode: self.ask(xs)[mode], arrays)
            place = _where(fast[mode])
            yield Finding(
                "finite value, nan gradient" if mode == "reverse" else "finite value, nan in forward mode",
                name, self.rebuild(leaves), f"{mode} mode is nan at element {place}", primitive, source,
            )  # fmt: skip
        if not bad and fast["forward"] is not None and fast["reverse"] is not None:
            left, right, scale = _pairing(fast)
            unit = max(eps(x.dtype) for x in leaves if is_float(x.dtype))
            if np.isfinite(scale) and abs(left - right) > _TERMS * unit * scale:
                text = f"<u, J v> is {left:.6g} forward and {right:.6g} in reverse"
                yield Finding("forward differs from reverse", name, self.rebuild(leaves), text, "", "")
        if eager:
            yield from self._eager(name, leaves, arrays, fast)

    def _overflow(self, name: str, leaves: list[np.ndarray]) -> Iterator[Finding]:
        """Yield a half-precision value that is not finite though the true one could be held."""
        halves = [x.dtype for x in leaves if is_float(x.dtype) and x.dtype.itemsize == 2]
        if not halves or not all(np.isfinite(x.astype(np.float64)).all() for x in leaves):
            return
        with float64():
            wide = [jnp.asarray(x, jnp.float64) if is_float(x.dtype) else jnp.asarray(x) for x in leaves]
            true = [np.asarray(y) for y in self.value(wide)]
        largest = float(jnp.finfo(halves[0]).max)
        if all(bool((np.abs(y) < largest / 2).all()) for y in true):
            text = f"in float64 it is {float(true[0].flat[0]):.6g}" if true and true[0].size else ""
            yield Finding(f"value not finite in {halves[0]}", name, self.rebuild(leaves), text, "", "")

    def _eager(self, name: str, leaves: list[np.ndarray], arrays: list[Any], fast: dict[str, Any]) -> Iterator[Finding]:
        slow = self.ask(arrays)
        for mode in ("value", "forward", "reverse"):
            for a, b in zip(fast[mode] or (), slow[mode] or (), strict=False):  # none where the mode is not there
                one, two = (np.atleast_1d(np.asarray(x).astype(np.float64)) for x in (a, b))
                differs = _more_than_rounding(one, two, eps(a.dtype), ordinary=name == "as given")
                if differs.any():
                    text = f"{mode} is {one[differs].flat[0]:.6g} under jit and {two[differs].flat[0]:.6g} without"
                    yield Finding("jit differs from eager", name, self.rebuild(leaves), text, "", "")
                    return

    def silent(self, name: str, leaves: list[np.ndarray]) -> Finding | None:
        """Return a finding if a label out of range has a finite value that its example goes into."""
        value = self.compiled([jnp.asarray(x) for x in leaves])["value"]
        if not _finite(value) or not value:
            return None
        first = np.asarray(value[0]).ravel()[:1]
        if (first.size and first[0] == 0) or self._ignored(leaves, value):  # which may be meant
            return None
        return Finding("label out of range, finite value", name, self.rebuild(leaves), f"the value is {first}", "", "")

    def _ignored(self, leaves: list[np.ndarray], value: list[Any]) -> bool:
        """Whether the value stays when the example of the label that was changed, the first one, is another."""
        labels = next(x for x, given in zip(leaves, self.start, strict=True) if not np.array_equal(x, given))
        moved = list(leaves)
        for k, x in enumerate(leaves):
            if is_float(x.dtype) and x.ndim and x.shape[:-1] == labels.shape:
                moved[k] = x.copy()
                other_than_any_at_hand = np.cos(3.0 + 5.0 * np.arange(x.shape[-1]))
                moved[k][(0,) * labels.ndim] = other_than_any_at_hand
                break
        other = self.compiled([jnp.asarray(x) for x in moved])["value"]
        return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(value, other, strict=True))

    def trained(self, name: str, leaves: list[np.ndarray]) -> Finding | None:
        """Return a finding if the gradient at a label out of range is not that of the value: it should be 0 or nan."""
        arrays = [jnp.asarray(x) for x in leaves]
        if not _finite(self.compiled(arrays)["value"]):
            return None
        report = check_gradients(lambda *xs: self.value(xs), *arrays, order=1)
        if report.verdict is not Verdict.WRONG:
            return None
        detail = f"{report.worst}" if report.worst is not None else report.reason
        return Finding(TRAINED, name, self.rebuild(leaves), detail, "", "")


def _compiled(ask: Callable[..., dict[str, Any]], start: list[np.ndarray]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Return `ask` compiled, without the modes that trace but cannot be compiled."""
    whole = jax.jit(ask)
    try:
        whole.lower([jnp.asarray(x) for x in start])
        return whole
    except Exception:
        part = jax.jit(lambda arrays: {k: v for k, v in ask(arrays).items() if k != "forward"})
        return lambda arrays: part(arrays) | {"forward": None}


def _ones(call: Callable[..., Any], xs: Any) -> Any:
    out, pull = jax.vjp(call, xs)
    return pull([jnp.ones_like(y) for y in out])[0]


def _leaf_by_leaf(call: Callable[..., Any], xs: list[Any], v: list[Any]) -> list[Any]:
    """Return the tangents of each leaf alone: along all at once an infinite slope in one hides the others."""
    tangents = []
    for k in range(len(xs)):
        tangents += jax.jvp(lambda x, k=k: call([*xs[:k], x, *xs[k + 1 :]]), (xs[k],), (v[k],))[1]
    return tangents


def _is_array(x: Any) -> bool:
    """Whether `x` is an array of numbers, which keys and strings are not."""
    return isinstance(x, jax.Array | np.ndarray | np.generic) and (
        jnp.issubdtype(x.dtype, jnp.number) or jnp.issubdtype(x.dtype, jnp.bool_)
    )


def _more_than_rounding(one: np.ndarray, two: np.ndarray, unit: float, *, ordinary: bool) -> np.ndarray:
    """Return where two results of one program differ by what is never rounding.

    Rounding moves digits, at an edge all of them; that one is a number and the other is not it never is, unless one is
    computed in half precision, which overflows where the other does not.
    """
    size = max(np.abs(np.where(np.isfinite(x), x, 0)).max(initial=0.0) for x in (one, two))
    with np.errstate(all="ignore"):
        same = (np.isnan(one) & np.isnan(two)) | (one == two)
        differs = ~same & ~(np.abs(one - two) <= _TERMS * unit * size)
        far = np.abs(one - two) > _PART * size
    kind = np.isnan(one) != np.isnan(two)
    if unit < 1e-4:
        kind |= np.isfinite(one) != np.isfinite(two)
    return differs & (kind | (ordinary & far))


def _finite(arrays: Any) -> bool:
    return all(bool(jnp.isfinite(y).all()) for y in arrays)


def _nan(arrays: Any) -> bool:
    return any(bool(jnp.isnan(y).any()) for y in arrays)


def _where(arrays: Any) -> str:
    for k, y in enumerate(arrays):
        if bool(jnp.isnan(y).any()):
            index = np.unravel_index(int(np.argmax(np.isnan(np.asarray(y).astype(np.float64)))), y.shape)
            return f"{tuple(int(i) for i in index)} of leaf {k}"
    return "none"


def _pairing(fast: dict[str, Any]) -> tuple[float, float, float]:
    with np.errstate(all="ignore"):
        forward = [np.asarray(t).astype(np.float64) for t in fast["forward"]]
        products = [
            np.asarray(g).astype(np.float64) * np.asarray(t).astype(np.float64)
            for g, t in zip(fast["reverse"], fast["tangent"], strict=True)
        ]
        left, right = sum(float(t.sum()) for t in forward), sum(float(p.sum()) for p in products)
        scale = sum(float(np.abs(p).sum()) for p in products) + sum(float(np.abs(t).sum()) for t in forward)
    # a sum that cancels to nothing was computed from terms of the size of the value, and probabilities from 1
    scale += 1 + sum(float(np.abs(np.asarray(y).astype(np.float64)).sum()) for y in fast["value"])
    return left, right, scale
