"""Inputs that hypothesis draws from hard numbers, and shrinks."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._floats import is_float
from jaxinfo.verify._probe import Probe

_LONGEST = 64  # numbers drawn per array; a longer one repeats them
_KINDS = ("finite value, nan gradient", "finite value, nan in forward mode", "forward differs from reverse")


def draw(probe: Probe, examples: int) -> tuple[list[Any], tuple[str, ...]]:
    """Return the shrunk findings of at most `examples` inputs, and a note if hypothesis is not installed."""
    try:
        import hypothesis
        import hypothesis.errors
        from hypothesis import strategies
    except ModuleNotFoundError:
        return [], ("hypothesis is not installed: `pip install 'jaxinfo[verify]'` to draw further inputs.",)

    def array(start: np.ndarray) -> Any:
        if not is_float(start.dtype):
            return strategies.just(start)
        info = jnp.finfo(start.dtype)
        hard = [0.0, 1.0, -1.0, -np.inf, np.inf, 100.0, -100.0, float(info.max), float(info.smallest_normal)]
        near = [1 + float(info.eps), 88.0, 104.0, 1e4]
        number = strategies.sampled_from(hard + near) | strategies.floats(-30, 30, width=16)
        size = min(start.size, _LONGEST)
        numbers = strategies.lists(number, min_size=size, max_size=size)
        return numbers.map(lambda xs: np.resize(np.asarray(xs, np.float64), start.shape).astype(start.dtype))

    inputs = strategies.tuples(*(array(x) for x in probe.start))
    slow = hypothesis.HealthCheck
    options = hypothesis.settings(
        max_examples=examples, database=None, derandomize=True, deadline=None, report_multiple_bugs=False,
        suppress_health_check=(slow.too_slow, slow.data_too_large, slow.filter_too_much),
    )  # fmt: skip
    found = []
    for kind in _KINDS:

        def breaks(leaves: Any, kind: str = kind) -> bool:
            return any(finding.kind == kind for finding in probe.faults("", list(leaves), eager=False))

        try:
            leaves = hypothesis.find(inputs, breaks, settings=options)
        except hypothesis.errors.NoSuchExample:
            continue
        shown = ", ".join(np.array2string(x, threshold=8, separator=", ") for x in leaves)
        found += [f for f in probe.faults(shown, list(leaves), eager=False) if f.kind == kind]
    return found, ()
