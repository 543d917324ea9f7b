"""Check that each notebook says the same as the script beside it, and that it runs.

jupytext keeps `notebooks/NAME.py` (to read, edit and review) and `NAME.ipynb` (executed, to look at) in step;
here each cell of the one is compared with its counterpart, then nbmake executes the notebook.
"""

import subprocess
import sys
from pathlib import Path

import jupytext


def cells(path: Path) -> list[tuple[str, str]]:
    """Return type and source of each cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells]


def main() -> int:
    """Compare all pairs, then execute; return the exit status."""
    scripts, notebooks = sorted(Path("notebooks").glob("*.py")), sorted(Path("notebooks").glob("*.ipynb"))
    faults = [f"{p} has no counterpart." for p in scripts if p.with_suffix(".ipynb") not in notebooks]
    faults += [f"{p} has no counterpart." for p in notebooks if p.with_suffix(".py") not in scripts]
    for notebook in notebooks:
        script = notebook.with_suffix(".py")
        if script in scripts and cells(script) != cells(notebook):
            faults.append(f"{script} and {notebook} differ: CONTRIBUTING.md says how to renew the notebook.")
        if any(cell.cell_type == "code" and not cell.execution_count for cell in jupytext.read(notebook).cells):
            faults.append(f"{notebook} was not executed.")
    if faults or not notebooks:
        print("\n".join(faults) or "There are no notebooks.", file=sys.stderr)
        return 1
    # Without the options of the unit tests: a notebook runs in a kernel of its own.
    options = ["--override-ini=addopts=", "--override-ini=filterwarnings=default", "--nbmake", "--nbmake-timeout=600"]
    options += ["--numprocesses=2", "--dist=worksteal"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, "--durations=0", *map(str, notebooks)]).returncode


if __name__ == "__main__":
    sys.exit(main())
