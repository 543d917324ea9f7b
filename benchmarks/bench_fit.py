"""Time to the optimum of a maximum likelihood, beside scikit-learn, statsmodels, optax and optimistix.

Every solver gets the loosest of its settings that comes within 1e-8 of the best objective, relatively. Then
all run interleaved; the figure to read is the ratio to a peer, round by round. Compile time is shown apart.

    python benchmarks/bench_fit.py [--rows 1 10 100] [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax

jax.config.update("jax_enable_x64", True)

from benchmarks import harness  # noqa: E402
from benchmarks._fit_problems import Problem, anes96, digits  # noqa: E402
from benchmarks._fit_solvers import reach  # noqa: E402
from jaxinfo.fitting import fit  # noqa: E402

_GAP = 1e-8
_PATIENCE = 30.0  # seconds a solver may take for one run
_SECONDS = 8.0  # of timing for each row
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


def measure(problem: Problem) -> list[dict]:
    """Return a line for each solver."""
    best = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, tolerance=1e-18, progress=False)
    rows, candidates = [], []
    for name in SOLVERS[problem.name]:
        if problem.scale > 1 and name in ("scikit-learn newton-cholesky", "optimistix BFGS"):
            continue  # minutes at many rows; the peers of the targets stay
        try:
            solver, gap, reached = reach(name, problem, best.objective, _GAP, _PATIENCE)
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        case = {"problem": problem.name, "rows": len(problem.y), "solver": name, "setting": solver.setting}
        rows.append(case | {"gap": gap, "reached": reached, "compile_seconds": solver.compile_seconds})
        if reached or name == PEER[problem.name]:
            candidates.append(harness.Candidate(name, solver.run, solver.compile_seconds))
    times = harness.interleave(candidates, harness.rounds_within(candidates, _SECONDS, least=5, most=21))
    for row in rows:
        if row["solver"] in times:
            row["seconds"] = float(sorted(times[row["solver"]])[len(times[row["solver"]]) // 2])
            row["runs"] = len(times[row["solver"]])
            if PEER[problem.name] in times:
                ratio = harness.ratio(times, row["solver"], PEER[problem.name])
                row |= {"peer": ratio.peer, "ratio": ratio.median, "low": ratio.low, "high": ratio.high}
    return rows


def show(row: dict) -> str:
    """Return one line of the table."""
    timed = f"{row['seconds'] * 1e3:9.1f} ms" if "seconds" in row else f"{'not timed':>12}"
    ratio = f"{row['ratio']:6.2f} [{row['low']:.2f} {row['high']:.2f}] x {row['peer']}" if "ratio" in row else ""
    compiled = "" if row["compile_seconds"] is None else f"compile {row['compile_seconds']:.1f} s"
    reached = "" if row["reached"] else f"NOT REACHED, off by {row['gap']:.0e}"
    case = f"{row['problem']:7} {row['rows']:>7,} rows  {row['solver']:28} {row['setting']:10}"
    return f"{case} {timed}  {ratio:44} {compiled} {reached}".rstrip()


def render(document: dict) -> str:
    """Return the page of a stored run."""
    made = document["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return "\n".join(
        [
            "# Time to a maximum of the likelihood",
            "",
            "Written by `benchmarks/bench_fit.py`. Each solver has the loosest setting that comes within",
            "1e-8 of the best objective; ratios are medians and quartiles over interleaved rounds, to the peer named.",
            "NumPy has one BLAS thread, XLA all cores; times of a shared machine move by a factor between runs.",
            "",
            f"{made['device']}, {made['processor']}, {made['cores']} cores; Python {made['python']}, {versions}; "
            f"commit {made['commit']}.",
            "",
            "```",
            *(show(row) for row in document["rows"]),
            "```",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 10, 100], help="how often the rows are repeated")
    parser.add_argument("--problems", nargs="+", default=["digits", "anes96"], choices=["digits", "anes96"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--render", type=Path, nargs=2, metavar=("JSON", "PAGE"), help="run nothing, write the page")
    options = parser.parse_args(arguments)
    if options.render:
        options.render[1].write_text(render(json.loads(options.render[0].read_text())))
        return
    lines = []
    for scale in options.rows:
        for name in options.problems:
            for row in measure({"digits": digits, "anes96": anes96}[name](scale)):
                print(show(row), flush=True)
                lines.append(row)
    if options.json:
        packages = ("optax", "scikit-learn", "statsmodels", "optimistix")
        document = {"environment": harness.environment(packages), "rows": lines}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
