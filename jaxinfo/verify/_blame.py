"""Where a nan comes from: the first operation that made one which reached an output, and its line."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.extend.source_info_util as source_info
import jax.numpy as jnp

from jaxinfo.verify._jaxprs import Rule, bind, evaluate


class _Record(Rule):
    """Compute as it stands and remember which results are not finite, and what each was made from."""

    loops = ()

    def __init__(self) -> None:
        self.made: dict[int, tuple[jex.JaxprEqn, list[Any]]] = {}
        self.kept: list[Any] = []  # an id is an array's own only while the array lives

    def apply(self, eqn: jex.JaxprEqn, operands: list[Any]) -> list[Any]:
        results = bind(eqn, operands, eqn.params)
        for value in results:
            self.made[id(value)] = eqn, operands
            self.kept.append(value)
        return results


def blame(f: Callable[..., Any], args: Sequence[Any]) -> tuple[str, str]:
    """Return primitive and source line of the first nan that reaches an output of `f`, two empty strings if none does.

    A nan that is masked away is not on the way back from any output, and so is not named.
    """
    closed = jax.make_jaxpr(f)(*args)
    record = _Record()
    outputs = evaluate(closed.jaxpr, closed.consts, jax.tree_util.tree_leaves(list(args)), record)
    for output in outputs:
        if not _bad(output):
            continue
        value = output
        while True:
            eqn, operands = record.made.get(id(value), (None, []))
            if eqn is None:
                break  # an argument is nan itself
            source = next((x for x in operands if _bad(x)), None)
            if source is None:
                line = source_info.summarize(eqn.source_info)
                return eqn.primitive.name, line or "a line within a library"
            value = source
    return "", ""


def _bad(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact)) and bool(jnp.isnan(x).any())
