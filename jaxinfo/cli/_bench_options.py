"""The options of `jaxinfo bench`, checked before anything is compiled."""

from jaxinfo import bench, datasets
from jaxinfo.bench._targets import TARGETS, check_installed
from jaxinfo.cli import _bench_cases as cases

WHATS = (*cases.SUBJECTS, "fit")
DTYPES = ("float32", "bfloat16", "float16", "float64")


def check(what: str, n: int | None, v: int | None, d: int | None, dtype: str | None, target: str | None) -> cases.Sizes:
    """Return the sizes to measure at.

    Raises:
        DataError: something cannot be measured, and why.
        MissingExtraError: the compiler for `target` is not installed.
    """
    if what not in WHATS:
        raise datasets.DataError(f"WHAT must be one of {', '.join(WHATS)}, got {what!r}.")
    default = cases.FIT_DEFAULTS if what == "fit" else cases.SUBJECTS[what].defaults
    for name, size in (("--n", n), ("--v", v), ("--d", d)):
        if size is not None and size < 1:
            raise datasets.DataError(f"{name} must be at least 1, got {size}.")
    if d is not None and not default.d:
        raise datasets.DataError(f"--d is for linear and fit: {what} has no features.")
    if dtype not in (None, *DTYPES):
        raise datasets.DataError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    if what == "fit" and dtype not in (None, "float64"):
        raise datasets.DataError(f"fit is measured in float64, where all solvers reach the optimum, got {dtype!r}.")
    if what == "fit" and v == 1:
        raise datasets.DataError("--v must be at least 2 for fit: one class needs no fit.")
    if target is not None:
        _check_target(what, target)
    sizes = cases.Sizes(n or default.n, v or default.v, d or default.d, dtype or default.dtype)
    arrays = (sizes.n * sizes.d, sizes.d * sizes.v) if sizes.d else (sizes.n * sizes.v,)
    if max(*arrays, sizes.n, sizes.v) >= 2**31:
        raise datasets.DataError(f"--n, --d and --v make arrays beyond 2^31 elements: {sizes.n}, {sizes.d}, {sizes.v}.")
    return sizes


def _check_target(what: str, target: str) -> None:
    if target not in TARGETS:
        raise datasets.DataError(f"--target must be one of {', '.join(TARGETS)}, got {target!r}.")
    if what == "fit":
        raise datasets.DataError("--target is for losses: fit is a loop on the host.")
    try:
        check_installed(target)
    except bench.MissingExtraError as error:
        raise datasets.MissingExtraError(str(error)) from error
