"""The table and the picture of `jaxinfo bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxinfo import bench
from jaxinfo.bench._measurement import bytes_text, seconds_text

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = ("#1f77b4", "#d95f02", "#7570b3", "#666666", "#1b9e77")


def measured_table(made: bench.Comparison) -> "Table":
    """Return a line for each function: time, ratio, memory, share of the roofline, error."""
    from rich import box
    from rich.table import Table

    peer = next((r.peer for m in made.measurements for r in m.ratios), "")
    heads = ("compile", "run", f"time / {peer}", "temporaries", "peak", "roofline", "error, eps")
    rows = [(m.name, *_cells(m)) for m in made.measurements]
    kept = [i for i, _ in enumerate(heads, 1) if any(row[i] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for i in kept:
        table.add_column(heads[i - 1], justify="right")
    for row in rows:
        table.add_row(row[0], *(row[i] for i in kept))
    return table


def _cells(m: bench.Measurement) -> tuple[str, ...]:
    return (
        "" if m.compile_seconds is None else seconds_text(m.compile_seconds),
        seconds_text(m.median) if m.runs else "",
        " ".join(map(str, m.ratios)),
        "" if m.temp_bytes is None else bytes_text(m.temp_bytes),
        "" if m.peak_bytes is None else bytes_text(m.peak_bytes),
        "" if m.roofline is None else f"{m.roofline:.0%}",
        f"{max(m.errors.values()):.3g}" if m.errors else "",
    )


def compiled_table(made: dict[str, bench.Compiled | str]) -> "Table":
    """Return a line for each function compiled for another device; what is a string could not be."""
    from rich import box
    from rich.table import Table

    heads = ("compile", "temporaries", "arguments", "results", "matmul GFLOP", "estimated time", "cycles")
    rows = [(name, *_compiled_cells(m)) for name, m in made.items() if isinstance(m, bench.Compiled)]
    kept = [i for i, _ in enumerate(heads, 1) if any(row[i] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for i in kept:
        table.add_column(heads[i - 1], justify="right")
    for row in rows:
        table.add_row(row[0], *(row[i] for i in kept))
    return table


def _compiled_cells(m: bench.Compiled) -> tuple[str, ...]:
    sizes = ("" if b is None else bytes_text(b) for b in (m.temp_bytes, m.argument_bytes, m.output_bytes))
    return (
        seconds_text(m.compile_seconds),
        *sizes,
        f"{m.matmul_flops / 1e9:,.1f}" if m.matmul_flops else "",
        "" if m.seconds is None else seconds_text(m.seconds),
        "" if m.cycles is None else f"{m.cycles:,}",
    )


def draw(file: Path, title: str, over_v: Sequence[tuple[int, Any]], *, axis: str, roof: bench.Roofline | None) -> None:
    """Draw memory over the number of classes and, where there are times, time over bytes with the roofline.

    `over_v` holds, by V (or whatever `axis` is called), what `compare` or `compile_for` made of each function.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system is asked for
    from matplotlib.ticker import LogFormatter

    names = list(dict.fromkeys(name for _, made in over_v for name in made))
    panels = [_draw_times] * (roof is not None) + [_draw_memory] * any(_sizes(over_v, name) for name in names)
    figure = Figure(figsize=(5.6 * len(panels), 4.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, over_v, names, axis, roof)
        axes.grid(which="major", alpha=0.25)
        axes.tick_params(which="minor", axis="x", bottom=False, labelbottom=False)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=150)


def _draw_times(axes: Any, over_v: Sequence[tuple[int, Any]], names: list[str], axis: str, roof: Any) -> None:
    """Time against the bytes that have to be moved: arguments read and results written once."""
    moved = {v: _moved(made) for v, made in over_v}
    for name, colour in zip(names, _COLOURS, strict=False):
        points = [(moved[v] / 2**20, made[name]) for v, made in over_v if name in made and made[name].runs]
        middle = [m.median * 1e3 for _, m in points]
        spread = [[(m.median - m.low) * 1e3 for _, m in points], [(m.high - m.median) * 1e3 for _, m in points]]
        axes.errorbar([x for x, _ in points], middle, spread, marker="o", ms=4, lw=1.4, color=colour, label=name)
    least = [1e3 * (_least(made) or roof.seconds(bytes=moved[v])) for v, made in over_v]
    axes.plot([moved[v] / 2**20 for v, _ in over_v], least, "k--", lw=1.2, label="roofline")
    axes.set(xscale="log", yscale="log", xlabel="MiB of arguments and results", ylabel="ms", title="Time of a run")
    axes.set_xticks([size / 2**20 for size in moved.values()], [f"{size / 2**20:,.3g}" for size in moved.values()])


def _draw_memory(axes: Any, over_v: Sequence[tuple[int, Any]], names: list[str], axis: str, roof: Any) -> None:
    for name, colour in zip(names, _COLOURS, strict=False):
        points = _sizes(over_v, name)
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", ms=4, lw=1.4, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="MiB beside arguments and results", title="Memory")
    axes.set_xticks([v for v, _ in over_v], [f"{v:,}" for v, _ in over_v])


def _sizes(over_v: Sequence[tuple[int, Any]], name: str) -> list[tuple[int, float]]:
    found = [(v, getattr(made.get(name), "temp_bytes", None)) for v, made in over_v]
    return [(v, max(size, 1024) / 2**20) for v, size in found if size is not None]


def _moved(made: Any) -> float:
    return max((m.argument_bytes or 0) + (m.output_bytes or 0) for m in made.values())


def _least(made: Any) -> float | None:
    """Return the least time of the leanest function: its share of the roofline times its time."""
    shares = [m.roofline * m.median for m in made.values() if m.roofline is not None]
    return min(shares, default=None)
