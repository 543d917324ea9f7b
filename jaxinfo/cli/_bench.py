"""`jaxinfo bench`: what a loss or a fit costs, beside the peers that are installed, here or on another device."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp

from jaxinfo import bench, datasets
from jaxinfo.bench._environment import environment
from jaxinfo.bench._targets import TARGETS
from jaxinfo.cli import _bench_cases as cases
from jaxinfo.cli._bench_options import DTYPES, WHATS, check
from jaxinfo.cli._bench_table import compiled_table, draw, measured_table
from jaxinfo.cli._files import check_plot, check_writable, write

if TYPE_CHECKING:
    import typer

_SECONDS = 3.0  # of timing
_LARGEST = 2**25  # logits in float64, for the error: 256 MiB
_INTERRUPTED = 130


@dataclasses.dataclass
class Job:
    """What is asked for, and what is done of it: the dictionary that --json writes."""

    what: str
    sizes: cases.Sizes
    target: str | None
    json_file: Path | None
    plot_file: Path | None
    tell: Callable[[str], object]
    done: dict[str, Any] = dataclasses.field(default_factory=dict)
    main: Any = None
    over_v: list[tuple[int, Any]] = dataclasses.field(default_factory=list)

    @property
    def title(self) -> str:
        """The case in a line."""
        s = self.sizes
        shape = f"{s.n} x {s.d} x {s.v}" if s.d else f"{s.n} x {s.v}"
        where = self.target or jax.devices()[0].device_kind
        what = "fit of a softmax regression" if self.what == "fit" else f"{self.what}, value and gradients"
        return f"{what}, {shape}, {s.dtype}, {where}"


def register(app: "typer.Typer") -> None:
    """Add `bench` to the commands."""
    import typer

    @app.command("bench")
    def bench_command(
        what: Annotated[str, typer.Argument(help=" | ".join(WHATS))] = WHATS[0],
        n: Annotated[int | None, typer.Option(help="Examples or tokens.", show_default=False)] = None,
        v: Annotated[int | None, typer.Option(help="Classes.", show_default=False)] = None,
        d: Annotated[int | None, typer.Option(help="Features, of linear and fit.", show_default=False)] = None,
        dtype: Annotated[str | None, typer.Option(help=" | ".join(DTYPES), show_default=False)] = None,
        target: Annotated[
            str | None, typer.Option(help=" | ".join(TARGETS) + ": compile for that device instead of running here.")
        ] = None,
        json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
        plot_file: Annotated[
            Path | None, typer.Option("--plot", help="Draw time over bytes and memory over classes into this file.")
        ] = None,
    ) -> int:
        """Time, memory and error of a loss beside the peers that are installed; ctrl-C prints what is done."""
        sizes = check(what, n, v, d, dtype, target)
        check_writable(json_file, "--json")
        check_writable(plot_file, "--plot")
        if plot_file is not None:
            check_plot(plot_file)
        code = run_bench(Job(what, sizes, target, json_file, plot_file, lambda text: None))
        if code:  # a program may be running still, and Python crashes on its way out
            sys.stdout.flush()
            os._exit(code)
        return code


def run_bench(job: Job) -> int:
    """Measure, print, write; on ctrl-C what is done.

    Returns:
        The exit code.

    Raises:
        DataError: the device refuses.
    """
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # a file is as wide as it needs
    code = 0
    with jax.enable_x64(True) if job.sizes.dtype == "float64" else contextlib.nullcontext():
        try:
            with Console(stderr=True).status("starting") as status, _heeding_interrupts() as heed:
                job.tell = lambda text: (heed(), status.update(f"{job.what}: {text}"))
                _measure(job)
        except KeyboardInterrupt as stop:
            made = stop.comparison if isinstance(stop, bench.Interrupted) else None
            job.main = job.main or made
            job.done["interrupted"] = True
            code = _INTERRUPTED
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            raise datasets.DataError(f"{job.title}: {str(error).splitlines()[0]}") from error
        console.print(job.title, soft_wrap=True)
        if _rows(job.main):
            console.print((compiled_table if job.target else measured_table)(job.main))
        for name, reason in job.main.items() if job.target and job.main else ():
            if isinstance(reason, str):
                console.print(f"{name} does not compile: {reason}", soft_wrap=True)
        if "left out" in job.done:
            console.print(f"Left out: {job.done['left out']}.")
        if code:
            console.print(f"Interrupted{'' if _rows(job.main) else ' before anything was done'}.")
        _write(job)
    return code


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[Callable[[], None]]:
    """Yield a function that raises what ctrl-C was to raise: where it meets a callback of the collector, it is lost."""
    pressed = []

    def note(*_: object) -> None:
        pressed.append(True)
        raise KeyboardInterrupt

    def heed() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)


def _measure(job: Job) -> None:
    """Fill `job.main` with the comparison asked for, and `job.over_v` with those of fewer classes for the picture."""
    job.main = _one(job, job.sizes, whole=True)
    if job.plot_file is not None:
        for sizes in _smaller(job):
            made = _one(job, sizes, whole=False)
            job.over_v.append((_varied(job, sizes), _by_name(made)))
        job.over_v.append((_varied(job, job.sizes), _by_name(job.main)))


def _one(job: Job, sizes: cases.Sizes, *, whole: bool) -> Any:
    def tell(text: str) -> None:
        job.tell(f"{sizes.n} x {sizes.v}: {text}")

    if job.target:
        return dict(_compiled(job, sizes, tell))
    if job.what == "fit":
        return _fits(sizes, tell)
    subject = cases.SUBJECTS[job.what]
    args = cases.arguments_of(subject, sizes)
    functions = cases.functions_of(subject) | cases.peers_of(subject, args)
    if cases.too_large(sizes):
        functions = {"jaxinfo": functions["jaxinfo"]}
        job.done["left out"] = "the peers, whose logits do not fit into memory"
    small = sizes.n * sizes.v <= _LARGEST
    seconds = _SECONDS if whole else _SECONDS / 4
    return bench.compare(functions, *args, seconds=seconds, float64=whole and small, peak=whole, progress=tell)


def _compiled(job: Job, sizes: cases.Sizes, tell: Callable[[str], None]) -> Iterator[tuple[str, bench.Compiled | str]]:
    subject = cases.SUBJECTS[job.what]
    for name, f in cases.functions_of(subject).items():
        tell(f"compiling {name} for {job.target}")
        try:
            made = bench.compile_for(f, *cases.shapes_of(subject, sizes), target=job.target or "")
        except jax.errors.JaxRuntimeError as error:  # such as logits that do not fit on the chip
            made = str(error).strip().partition("\n")[0].partition(" ::")[0] or type(error).__name__
        if sizes == job.sizes:
            job.main = {**(job.main or {}), name: made}  # there also when the next one is interrupted
        yield name, made


def _fits(sizes: cases.Sizes, tell: Callable[[str], None]) -> bench.Comparison:
    """Compare solvers; the error is by how much the objective is above the lowest that one of them reached."""
    tell("compiling")
    solvers, objective = cases.fits_of(sizes)
    made = bench.compare(solvers, seconds=_SECONDS, progress=tell)
    reached = {name: objective(name) for name in solvers}
    best, eps = min(reached.values()), float(jnp.finfo(jnp.float64).eps)
    rows = tuple(
        dataclasses.replace(
            m,
            errors={"objective": (reached[m.name] - best) / abs(best) / eps},
            argument_bytes=8 * sizes.n * (sizes.d + 1),
            output_bytes=8 * (sizes.d + 1) * sizes.v,
        )
        for m in made.measurements
    )
    return dataclasses.replace(made, measurements=rows)


def _smaller(job: Job) -> Iterator[cases.Sizes]:
    """Yield fewer classes, or fewer examples of a fit."""
    whole = job.sizes.n if job.what == "fit" else job.sizes.v
    for size in sorted({math.ceil(whole / k) for k in (2, 4, 8)} - {whole}):
        if job.what == "fit":
            yield job.sizes._replace(n=size)
        elif size > 1:
            yield job.sizes._replace(v=size)


def _varied(job: Job, sizes: cases.Sizes) -> int:
    return sizes.n if job.what == "fit" else sizes.v


def _by_name(made: Any) -> dict[str, Any]:
    if isinstance(made, bench.Comparison):
        return {m.name: m for m in made.measurements}
    return {name: m for name, m in made.items() if isinstance(m, bench.Compiled)}


def _as_json(job: Job) -> dict[str, Any]:
    """Return what is done: the case, where, a row for each function, and those of the picture."""
    found = {"what": job.what, **job.sizes._asdict(), "target": job.target, "environment": environment(("optax",))}
    found |= {"interrupted": False, **job.done, "measurements": _rows(job.main)}
    return found | {"over": [{"size": size, "measurements": _rows(made)} for size, made in job.over_v]}


def _rows(made: Any) -> list[dict[str, Any]]:
    if isinstance(made, bench.Comparison):
        made = {m.name: m for m in made.measurements}
    rows = (made or {}).items()
    return [{"name": name, **({"error": m} if isinstance(m, str) else m.to_dict())} for name, m in rows]


def _write(job: Job) -> None:
    if job.json_file is not None:
        text = json.dumps(_as_json(job), indent=2, allow_nan=False)
        write(job.json_file, "--json", lambda file: file.write_text(text + "\n"))
    if job.plot_file is not None and job.over_v:
        roof = None if job.target else bench.roofline()
        over, axis = sorted(job.over_v, key=lambda pair: pair[0]), "rows" if job.what == "fit" else "classes V"
        write(job.plot_file, "--plot", lambda file: draw(file, job.title, over, axis=axis, roof=roof))
