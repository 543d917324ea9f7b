"""Ask jaxinfo and its peers for values and derivatives at the edges, and write what each answers.

    python benchmarks/conformance.py [--json FILE] [--markdown FILE] [--stored FILE]

A row is a case, a column a library: right, or what it answered instead. The right answers are closed forms and
sixty-digit figures. `--stored` takes the answers from a JSON file instead of asking; docs/truth_table.md is
`--stored benchmarks/results/conformance.json --markdown docs/truth_table.md`.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _conformance_ask import DERIVATIVES, Absent, ask
from _conformance_cases import Case, accuracy
from _conformance_limits import limits
from _conformance_peers import Library, libraries
from _conformance_render import render
from harness import environment

PACKAGES = ("optax", "distrax", "torch", "tokamax")


def cases() -> list[Case]:
    """Return every row of the table."""
    return [*limits(), *accuracy()]


def judge(case: Case, name: str, library: Library) -> dict[str, Any]:
    """Return the verdict on the library's best spelling: "right", "wrong" with its answers, or "absent"."""
    verdicts = [_judge(case, name, spelling, function) for spelling, function in library.get(case.function, [])]
    present = [v for v in verdicts if v["verdict"] != "absent"]
    return min(present, key=lambda v: ("value" in v["answers"], len(v["answers"])), default={"verdict": "absent"})


def _judge(case: Case, library: str, spelling: str, function: Any) -> dict[str, Any]:
    if getattr(function, "finite_only", False) and not np.isfinite(np.asarray(case.arguments[0], float)).all():
        return {"verdict": "absent"}
    wrong: dict[str, Any] = {}
    off: dict[str, float | None] = {}
    asked = 0
    for quantity, want in case.want.items():
        try:
            got = ask(library, function, quantity, case.argument, case.arguments)
        except Absent:
            continue
        except Exception as error:
            # A custom_vjp or a kernel has no such rule: a mode that is lacking is no wrong answer, but of ours.
            if quantity in DERIVATIVES[1:] and library != "jaxinfo":
                continue
            asked += 1
            if not case.may_refuse:
                wrong[quantity] = type(error).__name__
            continue
        asked += 1
        if not agrees(got, want, case.rtol, case.atol):
            wrong[quantity] = plain(got)
            off[quantity] = distance(got, want, quantity)
    verdict = "absent" if not asked else "wrong" if wrong else "right"
    return {"verdict": verdict, "spelling": spelling, "answers": wrong, "off": off}


def agrees(got: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> bool:
    """Whether each element is within the tolerance; nan is right only where nan is wanted, and inf with its sign."""
    if got.shape != want.shape:
        return False
    # what the right answer becomes in float32 may be an infinity
    return bool(np.allclose(got.astype(float), want, rtol=rtol, atol=atol, equal_nan=True))


def distance(got: np.ndarray, want: np.ndarray, quantity: str) -> float | None:
    """Return the largest error: of a value in units of itself, of a derivative in units of its largest element.

    None where there is no such number.
    """
    size = np.abs(want) if quantity == "value" else np.abs(want).max(initial=0)
    if got.shape != want.shape or not np.all(size > 0) or not np.isfinite([*got.ravel(), *want.ravel()]).all():
        return None
    return float(f"{np.max(np.abs(got - want) / size, initial=0):.2g}")


def plain(got: np.ndarray) -> Any:
    """Return the answer's first numbers, and strings for what JSON lacks."""
    numbers = [float(f"{v:.6g}") + 0.0 for v in got.ravel()[:3].tolist()]
    plain = [v if np.isfinite(v) else str(v) for v in numbers]
    return plain[0] if got.ndim == 0 else plain + ["..."] * (got.size > 3)


def run(names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the environment and a row a case, of the named libraries or of all that are installed."""
    found = {name: lib for name, lib in libraries().items() if names is None or name in names}
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases():
            verdicts = {name: judge(case, name, library) for name, library in found.items()}
            want = {q: plain(np.asarray(a)) for q, a in case.want.items()}
            rows.append({"section": case.section, "case": case.name, "want": want, "libraries": verdicts})
            if sys.stderr.isatty():
                print(f"\r{len(rows)} cases", end="", file=sys.stderr, flush=True)
    spellings = {name: {f: [s for s, _ in pairs] for f, pairs in lib.items()} for name, lib in found.items()}
    return {"environment": environment(PACKAGES), "spellings": spellings, "rows": rows}


def outdone(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cases where some peer is right and we are not."""
    return [
        r["case"]
        for r in rows
        if r["libraries"]["jaxinfo"]["verdict"] != "right"
        and "right" in {v["verdict"] for v in r["libraries"].values()}
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 where we are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the answers to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file instead of printing it")
    parser.add_argument("--stored", type=Path, help="take the answers from this file instead of asking")
    options = parser.parse_args(argv)
    result = json.loads(options.stored.read_text()) if options.stored else run()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(render(result))
    else:
        print(render(result))
    return int(any(r["libraries"]["jaxinfo"]["verdict"] != "right" for r in result["rows"]))


if __name__ == "__main__":
    sys.exit(main())
