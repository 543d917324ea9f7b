"""The page of the linear losses, docs/linear_benchmarks.md: every figure of it is from a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness import Row, commits

from jaxinfo.bench import Measurement

MIB = 2**20
_COMPILERS = ("jax", "libtpu", "jax-cuda13-plugin")


def page(
    results: Sequence[tuple[Mapping[str, Any], Sequence[Row]]],
    compiled: Mapping[str, Any],
    pod: Mapping[str, Any] | None,
) -> str:
    """Return the page, of the results on each device and of the compilations for devices that are not here."""
    lines = [
        "# Cross-entropy from hidden states: time and memory",
        "",
        "Written by `python benchmarks/report.py` from `benchmarks/results/`, which `bench_linear.py --keep`,",
        "`_linear_compiled.py` and `_linear_pod.py` fill; not to be edited.",
        "",
        "Value and both gradients of the mean loss. All candidates of a row run interleaved; ratios are medians over",
        "the rounds, with quartiles. Temporaries are those of the compiled program, beside arguments and results.",
        "Errors are relative to float64, of a gradient the worst row.",
    ]
    for environment, rows in results:
        lines += _device(environment, rows, alone=len(results) == 1)
    if results:
        lines += ["", *_WHY]
    if compiled:
        lines += ["", "## Memory as the devices' own compilers plan it", "", *_compiled(compiled)]
    if pod is not None:
        lines += ["", "## Compiled for a pod of 256 TPU chips", "", *_pod(pod)]
    return "\n".join(lines) + "\n"


def _device(environment: Mapping[str, Any], rows: Sequence[Row], *, alone: bool) -> list[str]:
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items() if v)
    lines = ["", f"{environment['device']}, {environment['cores']} cores of {environment['processor']}, "]
    lines[-1] += f"Python {environment['python']}, {versions}; {commits(rows)}."
    for growth, title in ((0, "Two output heads"), (1, "As tokens and classes double")):
        some = [row for row in rows if row.case["growth"] == growth]
        if some:
            lines += ["", f"## {title}" + ("" if alone else f", {environment['processor']}"), "", _HEAD, _RULE]
            lines += [line(row, m) for row in some for m in row.measurements]
        if some and growth == 0:
            lines += ["", *_targets(some)]
    return lines


# who, beside whom, at most how much
_TARGETS = (
    ("jaxinfo, reduced", "optax, dense", 0.9),
    ("jaxinfo, per token", "optax, dense", 1.15),
    ("jaxinfo, reduced", "torch, chunked", 0.6),
    ("jaxinfo, reduced", "tokamax, chunked", 0.8),
)


def _targets(rows: Sequence[Row]) -> list[str]:
    """Return the targets of these rows, and by how much each was missed."""
    out = ["| target | reached | missed in |", "|---|---|---|"]
    for name, peer, most in _TARGETS:
        found = {
            "{n} x {d} x {v} {dtype}".format(**row.case): ratio.median
            for row in rows
            for m in row.measurements
            for ratio in m.ratios
            if m.name == name and ratio.peer == peer
        }
        missed = ", ".join(f"{case}: {ratio:.2f}" for case, ratio in found.items() if ratio > most)
        kept = sum(ratio <= most for ratio in found.values())
        out.append(f"| {name}, at most {most} times {peer} | {kept} of {len(found)} | {missed} |")
    return out


_WHY = (
    "In float32 the three products with the kernel are nearly all of the time, in blocks as in whole logits.",
    "Adding each block of tokens to the kernel's gradient, which XLA does on one core, and cutting the blocks out",
    "spend again most of what blocks save in traffic of logits. Larger blocks of tokens would be faster, and take",
    "more memory than a tenth of what dense takes. A loss per token makes the logits twice: four products,",
    "where dense has three.",
    "",
    "A processor with AMX multiplies bfloat16 itself, and so does AMD's with AVX-512. On others blocks are widened to",
    "float32, and a sum of losses makes the logits twice as well: it is as fast there as losses per token, and takes",
    "as little memory.",
)


_COLUMNS = (
    *("N x D x V", "dtype", "", "runs", "median s"),
    *("to optax, dense", "to torch, dense", "to torch, chunked", "to tokamax"),
    *("temporaries MiB", "value, eps", "to kernel"),
)
_HEAD = f"| {' | '.join(_COLUMNS)} |"
_RULE = "|---" * len(_COLUMNS) + "|"


def line(row: Row, m: Measurement) -> str:
    """Return a line of the table."""
    ratios = {r.peer: f"{r.median:.2f} ({r.low:.2f} to {r.high:.2f})" for r in m.ratios if r.peer != m.name}
    peers = ("optax, dense", "torch, dense", "torch, chunked", "tokamax, chunked")
    cells = (
        "{n} x {d} x {v}".format(**row.case),
        row.case["dtype"],
        m.name,
        m.runs,
        f"{m.median:.2f}",
        *(ratios.get(peer, "") for peer in peers),
        "" if m.temp_bytes is None else f"{m.temp_bytes / MIB:.0f}",
        f"{m.errors['value']:.1f}",
        f"{m.errors['to kernel']:.1e}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _compiled(compiled: Mapping[str, Any]) -> list[str]:
    lines = [
        "Value and both gradients in bfloat16, compiled and not run. Temporaries beside arguments and results, which",
        "are the gradients; whole logits would be 4 GB. Cut Cross-Entropy, a kernel written by hand for the GPU,",
        "takes 1164 MB where the gradients alone are 1161 (arXiv:2411.09009: N 8,192, D 2,304, V 256,000).",
        "",
        "| target | N x D x V | reduction | temporaries MiB | results MiB | compiled with |",
        "|---|---|---|---|---|---|",
    ]
    for target, of_target in compiled.items():
        versions = ", ".join(f"{k} {v}" for k, v in of_target["versions"].items() if v and k in _COMPILERS)
        for row in of_target["rows"]:
            shape = "{n} x {d} x {v}".format(**row)
            sizes = f"{row['temp_bytes'] / MIB:.1f} | {row['output_bytes'] / MIB:.0f}"
            lines.append(f"| {target} | {shape} | {row['reduction']} | {sizes} | {versions}; {of_target['commit']} |")
    return lines


def _pod(pod: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{k} {v}" for k, v in pod["collectives"].items())
    return [
        "{target}, {topology} chips, data {data} x model {model}, N {n:,}, D {d:,}, V {v:,}, bfloat16, "
        "commit {commit}.".format(**pod),
        f"Per chip: {pod['temp_bytes'] / MIB:.0f} MiB of temporaries beside {pod['argument_bytes'] / MIB:.0f} MiB of "
        f"arguments and {pod['output_bytes'] / MIB:.0f} MiB of gradients. Collectives: {counts}.",
    ]
