"""Time to the optimum of a maximum likelihood, beside scikit-learn, statsmodels, optax and optimistix.

Every solver gets the loosest of its settings that comes within 1e-8 of the best objective, relatively. Then
all run interleaved; the figure to read is the ratio to a peer, round by round. Compile time is shown apart.

    python benchmarks/bench_fit.py [--quick] [--filter "digits 1797"] [--keep] [--fresh] [--json FILE]
"""

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from _fit_problems import anes96, digits  # noqa: E402
from _fit_solvers import reach  # noqa: E402
from harness import Row, Table, commits, main  # noqa: E402

from jaxinfo.bench import Candidate, Measurement  # noqa: E402
from jaxinfo.bench._rows import measure_row  # noqa: E402
from jaxinfo.fitting import fit  # noqa: E402

_GAP = 1e-8
_PATIENCE = 30.0  # seconds a solver may take for one run
SOLVERS = {
    "digits": (
        "jaxinfo",
        "scikit-learn lbfgs",
        "scikit-learn newton-cholesky",
        "optax L-BFGS recipe",
        "optimistix BFGS",
    ),
    "anes96": ("jaxinfo", "statsmodels newton", "scikit-learn lbfgs", "optax L-BFGS recipe", "optimistix BFGS"),
}
PEER = {"digits": "scikit-learn lbfgs", "anes96": "statsmodels newton"}
ROWS = {"digits": 1797, "anes96": 944}


def cases(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every problem, with its rows repeated ever more often."""
    for scale in (1,) if quick else (1, 10, 100):
        for name, rows in ROWS.items():
            yield {"problem": name, "rows": rows * scale, "scale": scale}


def label(case: Mapping[str, Any]) -> str:
    """Return the case on one line."""
    return "{problem} {rows} rows".format(**case)


def measure_case(case: dict[str, Any], seconds: float) -> Row:
    """Find each solver's setting, then time those that reach the optimum, and the peer in any case."""
    problem = {"digits": digits, "anes96": anes96}[case["problem"]](case["scale"])
    best = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, tolerance=1e-18, progress=False)
    candidates: list[Candidate] = []
    about: dict[str, dict[str, Any]] = {}
    for name in SOLVERS[problem.name]:
        if problem.scale > 1 and name in ("scikit-learn newton-cholesky", "optimistix BFGS"):
            continue  # minutes at many rows; the peers of the targets stay
        try:
            solver, gap, reached = reach(name, problem, best.objective, _GAP, _PATIENCE)
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        about[name] = {"setting": solver.setting, "gap": gap, "reached": reached, "compile": solver.compile_seconds}
        if reached or name == PEER[problem.name]:
            candidates.append(Candidate(name, solver.run, solver.compile_seconds))
    row = measure_row(
        case | {"about": about}, candidates, {}, {}, seconds=seconds, peers=(PEER[problem.name],), least=5
    )
    rows = {m.name: m for m in row.measurements}
    untimed = {n: Measurement(n, 0, *(math.nan,) * 4, compile_seconds=a["compile"]) for n, a in about.items()}
    return dataclasses.replace(row, measurements=tuple(rows.get(name, untimed[name]) for name in about))


def show(row: Row) -> str:
    """Return a line for each solver."""
    return "\n".join(_line(row.case, m) for m in row.measurements)


def _line(case: Mapping[str, Any], m: Measurement) -> str:
    about = case["about"][m.name]
    timed = f"{m.median * 1e3:9.1f} ms" if m.runs else f"{'not timed':>12}"
    ratio = "".join(f"{r} x {r.peer}" for r in m.ratios)
    compiled = "" if m.compile_seconds is None else f"compile {m.compile_seconds:.1f} s"
    reached = "" if about["reached"] else f"NOT REACHED, off by {about['gap']:.0e}"
    line = f"{case['problem']:7} {case['rows']:>7,} rows  {m.name:28} {about['setting']:14}"
    return f"{line} {timed}  {ratio:44} {compiled} {reached}".rstrip()


def page(results: Sequence[tuple[Mapping[str, Any], Sequence[Row]]]) -> str:
    """Return docs/fit_benchmarks.md."""
    lines = [
        "# Time to a maximum of the likelihood",
        "",
        "Written by `python benchmarks/report.py` from what `bench_fit.py --keep` stored. Each solver has the loosest",
        "setting that comes within 1e-8 of the best objective; ratios are medians and quartiles over interleaved",
        "rounds, to the peer named. NumPy has one BLAS thread, XLA all cores; times of a shared machine move by a",
        "factor between runs.",
        "",
        "On anes96 a step of ours is mostly the exact Hessian. statsmodels has this model's formula for it; ours comes",
        "from a loss that may be anything, in which the product of features and coefficients is found: 6 products with",
        "the Hessian for 36 parameters, and a product of matrices.",
    ]
    for made, rows in results:
        versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
        where = f"{made['device']}, {made['processor']}, {made['cores']} cores; Python {made['python']}, {versions}"
        lines += ["", f"{where}; {commits(rows)}.", "", "```", *map(show, rows), "```"]
    return "\n".join(lines) + "\n"


TABLE = Table(
    "fit",
    "Time to the optimum of a maximum likelihood, beside scikit-learn, statsmodels, optax and optimistix.",
    cases,
    label,
    measure_case,
    show,
    seconds=8.0,
    packages=("optax", "scikit-learn", "statsmodels", "optimistix"),
)


if __name__ == "__main__":
    sys.exit(main(TABLE))
