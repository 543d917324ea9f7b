"""`jaxinfo verify`: is the gradient of a function right?"""

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo import datasets, verify

if TYPE_CHECKING:
    import typer

_CODES = {verify.Verdict.CORRECT: 0, verify.Verdict.WRONG: 1}
_OTHERWISE = 3  # no derivative at the point, or nothing can be said


def register(app: "typer.Typer") -> None:
    """Add `verify` to the commands."""
    import typer

    @app.command("verify")
    def verify_command(
        function: Annotated[str, typer.Argument(help="package.module:function", show_default=False)],
        shape: Annotated[list[str], typer.Option(help="Shape of an argument, as 8,1000; once for each argument.")],
        dtype: Annotated[
            list[str] | None, typer.Option(help="Dtype of all arguments, or once for each; integers are labels.")
        ] = None,
        order: Annotated[int, typer.Option(min=1, max=2, help="Check derivatives up to this order.")] = 2,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the random arguments and directions.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    ) -> int:
        """Verify gradients at normal random arguments: exit code 0 if right, 1 if wrong, 3 if it cannot be said."""
        return run_verify(function, shape, dtype or ["float32"], order=order, seed=seed, as_json=as_json)


def run_verify(function: str, shapes: list[str], dtypes: list[str], *, order: int, seed: int, as_json: bool) -> int:
    """Load the function, make its arguments, check and print.

    Returns:
        The exit code.

    Raises:
        DataError: the function, a shape or a dtype cannot be used.
    """
    f = _load(function)
    if len(dtypes) not in (1, len(shapes)):
        raise datasets.DataError(f"--dtype must be given once, or once for each of the {len(shapes)} shapes.")
    kinds = [_dtype(name) for name in (dtypes * len(shapes) if len(dtypes) == 1 else dtypes)]
    sizes = [_shape(text) for text in shapes]
    wide = any(np.dtype(kind) in (np.float64, np.complex128) for kind in kinds)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        try:
            args = _arguments(sizes, kinds, np.random.default_rng(seed))
        except (ValueError, MemoryError) as error:
            raise datasets.DataError(f"--shape must be one that memory holds, got {', '.join(shapes)}.") from error
        try:
            report = verify.check_gradients(f, *args, order=order, seed=seed)
        except Exception as error:  # whatever the function raises; code 1 is kept for a wrong gradient
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise datasets.DataError(f"{function} cannot be called with these arguments: {first}") from error
    print(json.dumps(report.to_dict(), indent=2) if as_json else report)
    return _CODES.get(report.verdict, _OTHERWISE)


def _load(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    if not module or not name:
        raise datasets.DataError(f"The function must be given as package.module:function, got {function!r}.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the module raises
        raise datasets.DataError(f"{function!r} cannot be imported: {type(error).__name__}: {error}.") from error
    if not callable(found):
        raise datasets.DataError(f"{function!r} is no function.")
    return found


def _shape(text: str) -> tuple[int, ...]:
    try:
        inside = text.strip().removeprefix("(").removesuffix(")").strip().removesuffix(",")
        sizes = tuple(int(part) for part in inside.split(",")) if inside else ()
    except ValueError as error:
        raise datasets.DataError(f"--shape must be integers separated by commas, got {text!r}.") from error
    if any(n < 0 for n in sizes):
        raise datasets.DataError(f"--shape must not be negative, got {text!r}.")
    return sizes


def _dtype(name: str) -> Any:
    try:
        dtype = jnp.dtype(name)
    except TypeError as error:
        raise datasets.DataError(f"--dtype must name a dtype such as float32, got {name!r}.") from error
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.inexact)):
        raise datasets.DataError(f"--dtype must name a number's dtype such as float32, got {name!r}.")
    return dtype


def _arguments(shapes: list[tuple[int, ...]], dtypes: list[Any], rng: np.random.Generator) -> list[jax.Array]:
    """Return normal floats, and integers below the last axis of the first argument: labels, if it holds logits."""
    classes = max(1, shapes[0][-1]) if shapes[0] else 2

    def draw(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if jnp.issubdtype(dtype, jnp.integer):
            return rng.integers(0, min(classes, jnp.iinfo(dtype).max), size=shape)
        real = rng.normal(size=shape)
        return real + 1j * rng.normal(size=shape) if jnp.issubdtype(dtype, jnp.complexfloating) else real

    return [jnp.asarray(draw(shape, dtype), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
