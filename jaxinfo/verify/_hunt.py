"""Derivatives at the edges: infinities, ties, masks, the smallest and the largest numbers."""

from collections.abc import Callable
from typing import Any

from jaxinfo.verify._arguments import check_count, check_function
from jaxinfo.verify._draw import draw
from jaxinfo.verify._edges import edges, out_of_range
from jaxinfo.verify._findings import TRAINED, Finding, HuntReport
from jaxinfo.verify._floats import as_called
from jaxinfo.verify._probe import Probe

# Without jit every operation is dispatched alone, and loops are compiled anew: the edges that tell most.
_EAGER = ("as given", "all equal", "one -inf", "a row of -inf", "a gap of 90")


def hunt(f: Callable[..., Any], *args: Any, examples: int = 100, seed: int = 0) -> HuntReport:
    """Look for inputs of the shapes and dtypes of `args` at which the derivatives of `f` break.

    A bank of edge inputs comes first (ties, infinities, fully masked rows, zeros, subnormals, the largest floats, large
    gaps and offsets, nearly equal pairs, labels out of range), one argument changed at a time; then hypothesis draws
    arrays of such numbers, if it is installed, and shrinks what it finds. Searched for are

    - a finite value with a nan gradient, in reverse or forward mode;
    - forward mode that differs from reverse mode;
    - jit that differs from eager: a number from none, or, at `args`, by more than rounding;
    - a label out of range with a finite value: another class was taken, silently; or whose gradient is not that of
      the value: an example that counts as ignored is still trained on;
    - half precision whose value is not finite where float64's could be held.

    A nan that is masked away before an output is no fault, nor is the nan gradient of a value that is not finite.

    Args:
        f: Any function of pytrees that returns a pytree.
        *args: Arguments to start from; shapes and dtypes are kept. Infinite arguments are legal. Arrays of a real
            floating dtype are varied, and labels; Python numbers, keys, strings and functions are held.
        examples: Number of inputs that hypothesis draws; 0 for the bank alone.
        seed: Of the random direction.

    Returns:
        A report that is true when nothing was found. Each finding names the first operation whose nan reached the
        result, and the line of code it came from.

    Raises:
        TypeError: `f` is not a function.
        ValueError: `args`, or what `f` returns, hold no array of a real floating dtype; `examples` or `seed` is not a
            non-negative integer.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxinfo import verify
        >>> entropy = lambda x: jnp.sum(jax.scipy.special.entr(jax.nn.softmax(x)))
        >>> report = verify.hunt(entropy, jnp.array([0.5, -1.0]), examples=0)
        >>> bool(report), report.findings[0].kind
        (False, 'finite value, nan gradient')
    """
    check_function(f)
    check_count("examples", examples)
    check_count("seed", seed)
    probe = Probe.of(f, args, seed)
    found: dict[tuple[str, str, str], Finding] = {}
    tried = 0
    with as_called():
        for name, leaves in edges(probe.start, probe.names):
            tried += 1
            for finding in probe.faults(name, leaves, eager=name.endswith(_EAGER)):
                found.setdefault((finding.kind, finding.primitive, finding.source), finding)
        for name, leaves in out_of_range(probe.start, probe.names):
            finding = probe.silent(name, leaves)
            if finding is not None:
                found.setdefault((finding.kind, "", name.split(" of ")[0]), finding)
            if not any(finding.kind == TRAINED for finding in found.values()):
                finding = probe.trained(name, leaves)
                if finding is not None:
                    found[finding.kind, "", name] = finding
        notes: tuple[str, ...] = ()
        if examples:
            drawn, notes = draw(probe, examples)
            tried += examples if not notes else 0
            for finding in drawn:
                found.setdefault((finding.kind, finding.primitive, finding.source), finding)
    return HuntReport(tuple(found.values()), tried, notes)
