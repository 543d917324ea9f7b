"""Write benchmarks/README.md and the pages of docs/ from the measured JSON files: `python benchmarks/report.py`.

Every figure comes from benchmarks/results; only the reasons below are written by hand. A missed target
without a reason makes the exit code 1.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _linear_table
from bench_cross_entropy import PEERS, label
from harness import HERE, RESULTS, Row, all_results, commits

from jaxinfo.bench import Measurement, Ratio

DOCS = HERE.parent / "docs"
OURS = "jaxinfo"
LIMITS = {"float32": 1.1, "bfloat16": 1.0}

_BY_BLOCKS = "the sum is taken in blocks, and each row looked at for a confident one and for an infinite one"

# Why a target is missed: the first entry whose words all occur in the row's line. Figures belong in the JSON.
REASONS: tuple[tuple[str, str], ...] = (
    (
        "kl_divergence forward+backward",
        "both slopes are made from the exact difference of the logits, read once more, and the level they are taken "
        "from is a sum of its own",
    ),
    (
        "kl_divergence",
        "an exact difference and a series for each term, where the plain form has a product. Tiles of rows keep what "
        "is written out in the cache that the machine's tenants share: traced, cutting the tiles takes six times as "
        "long in some spells as in others, and the whole 2.4 times",
    ),
    (
        "softmax_cross_entropy(distribution)",
        "the sum over the mass is a pass of its own, and the slope of each class is M p - m in a form that keeps its "
        "digits where the two cancel",
    ),
    (
        "softmax_cross_entropy(smoothed)",
        "the slope of the even mass is an array of its own beside that of the label, where torch has p less a constant",
    ),
    (
        "softmax_cross_entropy 4096x1000 float32 forward",
        "the exponentials are written out for backward to share, which is where they are gained back; confident rows "
        "take the block of the maximum again, without it",
    ),
    (
        "softmax_cross_entropy trained",
        "confident rows need the sum without its largest term: the block of the maximum is gathered and summed again",
    ),
    (
        "softmax_cross_entropy saturated",
        "as for trained rows, and sums this faint are taken once more, scaled, to keep their terms from flushing to 0",
    ),
    ("softmax_cross_entropy", _BY_BLOCKS),
    ("logsumexp", _BY_BLOCKS),
    (
        "softmax",
        "most of it is the first touch of a new array of the result: a product with 2 alone takes two thirds as long. "
        "jax.nn's own takes nearly as long; torch does with a row all it has to while the row is in the cache",
    ),
    (
        "log_softmax",
        "as for softmax; backward sums once over the cotangent and once over what was kept",
    ),
    (
        "sigmoid_cross_entropy",
        "XLA writes out the exponentials and the slope, which it keeps for backward, before it multiplies; torch has "
        "one kernel for each way",
    ),
    (
        "poisson_nll",
        "most of it is XLA's log-gamma, which alone takes as long as all of torch's loss",
    ),
    (
        "nll bfloat16 forward+backward",
        "the slope is nought but one number in each row: XLA writes the zeros twice, torch once",
    ),
    (
        "bfloat16",
        "what backward keeps is float32, twice the memory of the half precision that torch keeps",
    ),
)

INTRODUCTION = """\
# Benchmarks

Written by `python benchmarks/report.py` from the JSON files in `results/`; do not edit.

    pip install '.[data]' torch==2.13.0     # torch is an optional peer
    python benchmarks/bench_cross_entropy.py --keep      # into results/DEVICE/; stop with ctrl-C, start again to go on
    python benchmarks/bench_losses.py --keep
    python benchmarks/bench_cross_entropy.py --quick --filter "kl_divergence float32"

`make bench` runs these and the others, whose pages are `docs/linear_benchmarks.md`, `docs/fit_benchmarks.md`,
`docs/verify_benchmark.md`, `docs/truth_table.md` and `docs/accuracy.md`.

Each row runs all candidates interleaved, in a new random order each round, with as many threads for torch as
for jax, and checks what they return against float64 NumPy. **Read the ratios**: they are taken round by round,
median and quartiles `[ ]`; `min` is the ratio of the fastest runs. Milliseconds drift from minute to minute on a
shared machine. Forward+backward is `value_and_grad` of the mean, of KL to both arguments.

Logits: *untrained* N(0, 1); *trained* nine rows in ten lead by 10 to 30; *saturated* all rows lead by 40 to 65;
*close* (KL) two untrained distributions whose logits differ by 0.01. Confident rows are there because some
implementations, ours included, take another path for them.

Errors are the largest over the rows, relative to the float64 value (gradients: row by row in the Euclidean norm),
in eps: of float32 for values, of the logits' dtype for gradients.

Rows at the large shapes have as few as 7 rounds and move by a third between runs.

On scale: 8.4e+06 eps is 100 %; inf is a nan or an infinity.
"""


def render(documents: Sequence[tuple[dict[str, Any], Sequence[Row]]]) -> str:
    """Return the README for the measured `documents`."""
    parts = [INTRODUCTION]
    for environment, rows in documents:
        parts += [_heading(environment), _verdicts(rows), _table(rows)]
    return "\n".join(parts)


def unexplained(rows: Sequence[Row]) -> list[str]:
    """Return the rows that miss their target without a reason being known."""
    return [label(row.case) for row in rows if excess(row) > 0 and not reason(row)]


def target(row: Row) -> Ratio:
    """Return our ratio to the peer the row's target names: optax in bfloat16, the faster of the peers otherwise."""
    names = [m.name for m in row.measurements]
    if row.case["dtype"] == "bfloat16" and "optax" in names:
        return _ratio(row[OURS], "optax")
    return _ratio(row[OURS], row.faster_of(PEERS if set(PEERS) & set(names) else ("jax.nn",)).name)


def excess(row: Row) -> float:
    """Return by how much our ratio is above its limit, to two digits as it is printed; 0 where it is reached."""
    return max(0.0, round(target(row).median - LIMITS[str(row.case["dtype"])], 2))


def reason(row: Row) -> str:
    """Return why the row misses its target, empty where nobody has said."""
    line = label(row.case)
    return next((text for words, text in REASONS if all(word in line.split() for word in words.split())), "")


def _ratio(m: Measurement, peer: str) -> Ratio:
    return next(r for r in m.ratios if r.peer == peer)


def _heading(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version or 'absent'}" for name, version in environment["versions"].items())
    return (
        f"\n## Python {environment['python']}, jax {environment['versions']['jax']}\n\n"
        f"{environment['device']}, {environment['processor']}, {environment['cores']} cores; {versions}.\n"
    )


def _verdicts(rows: Sequence[Row]) -> str:
    lines = []
    for dtype, limit in LIMITS.items():
        mine = [row for row in rows if row.case["dtype"] == dtype]
        if not mine:
            continue
        missed = sorted((row for row in mine if excess(row) > 0), key=excess, reverse=True)
        peers = "optax" if dtype == "bfloat16" else f"the faster of {' and '.join(_measured_peers(mine))}"
        verdict = "reached everywhere" if not missed else f"reached in {len(mine) - len(missed)} of {len(mine)} rows"
        lines.append(
            f"**{dtype}, at most {limit} times {peers}: {verdict}.**{_against_torch(dtype, mine)} "
            f"Measured at {commits(mine)}.\n"
        )
        if missed:
            lines += ["| missed in | ratio | min | missed by | why |", "|---|---|---|---|---|"]
        for row in missed:
            r, why = target(row), reason(row) or "not known"
            cells = [label(row.case), f"{_spread(r)} to {r.peer}", f"{r.minima:.2f}", f"{excess(row):.2f}", why]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _measured_peers(rows: Sequence[Row]) -> list[str]:
    return [peer for peer in PEERS if any(peer == m.name for row in rows for m in row.measurements)]


def _against_torch(dtype: str, rows: Sequence[Row]) -> str:
    """Say how near torch the bfloat16 rows come."""
    ratios = sorted(r.median for row in rows for r in row[OURS].ratios if r.peer == "torch")
    if dtype != "bfloat16" or not ratios:
        return ""
    below = sum(r <= 1 for r in ratios)
    middle = ratios[len(ratios) // 2]
    return f" Beside torch: {ratios[0]:.2f} to {ratios[-1]:.2f}, in the middle {middle:.2f}; faster in {below} rows."


def _table(rows: Sequence[Row]) -> str:
    times = "| row | ms | of optax | of torch | of jax.nn | compile s | temporaries MiB (optax) "
    lines = [times + "| error eps: ours | optax | torch |", "|---" * 10 + "|"]
    for row in rows:
        measured = {m.name: m for m in row.measurements}
        ours, optax = measured[OURS], measured.get("optax")
        of = {r.peer: _spread(r) for r in ours.ratios}
        if "jax.nn" in measured:
            of["jax.nn"] = f"{ours.median / measured['jax.nn'].median:.2f}"
        errors = [_errors(measured[name]) if name in measured else "" for name in (OURS, *PEERS)]
        cells = [
            label(row.case),
            f"{ours.median * 1e3:.2f}",
            *(of.get(name, "") for name in ("optax", "torch", "jax.nn")),
            f"{ours.compile_seconds or 0:.2f}",
            f"{_mebibytes(ours)}" + (f" ({_mebibytes(optax)})" if optax else ""),
            *errors,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _mebibytes(m: Measurement) -> str:
    return f"{(m.temp_bytes or 0) / 2**20:.1f}"


def _spread(r: Ratio) -> str:
    return f"{r.median:.2f} [{r.low:.2f} {r.high:.2f}]"


def _errors(m: Measurement) -> str:
    return ", ".join(f"{e:.2g}" for e in m.errors.values())


def load() -> list[tuple[dict[str, Any], list[Row]]]:
    """Return the results of the losses on every device."""
    return [*all_results("cross_entropy"), *all_results("losses")]


def pages() -> dict[Path, str]:
    """Return the text of every page that is written from results."""
    from bench_fit import page as fit_page  # sets float64 on

    pod, compiled = (RESULTS / f"linear_{name}.json" for name in ("pod", "compiled"))
    of_pod = json.loads(pod.read_text()) if pod.exists() else None
    of_compilers = json.loads(compiled.read_text()) if compiled.exists() else {}
    return {
        HERE / "README.md": render(load()),
        DOCS / "linear_benchmarks.md": _linear_table.page(all_results("linear"), of_compilers, of_pod),
        DOCS / "fit_benchmarks.md": fit_page(all_results("fit")),
    }


def main() -> int:
    """Write the pages; name the misses nobody has explained."""
    for file, text in pages().items():
        file.write_text(text)
    missing = [line for _, rows in load() for line in unexplained(rows)]
    for line in missing:
        print(f"no reason is given in report.py for the missed row: {line}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
