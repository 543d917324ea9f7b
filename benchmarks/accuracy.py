"""Measure how many units in the last place values and gradients are off, for jaxinfo and its peers, in float32.

    python benchmarks/accuracy.py [--json FILE] [--stored FILE] [--markdown FILE] [--pictures FOLDER]

Each panel goes along one axis: the margin by which the label leads, how close two distributions are, and so on. A
point is the worst of a few random rows; the right answers have sixty digits and are those of the very float32
numbers given. A library with several spellings of a function is shown at its best, panel by panel. `--stored` takes
the figures from a JSON file instead of measuring; docs/accuracy.md and its pictures are
`--stored benchmarks/results/accuracy.json --markdown docs/accuracy.md --pictures docs/_static`.
"""

import argparse
import json
import platform
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("jaxinfo", "jax", "jaxlib", "optax", "distrax", "torch", "mpmath")


def measured() -> dict[str, Any]:
    """Return the errors of every library on every panel, with what they were measured on."""
    from _accuracy_panels import panels
    from _conformance_peers import libraries

    import jaxinfo

    found = {name: library for name, library in libraries().items() if name != "tokamax"}
    found["jaxinfo"]["js"] = [("js_divergence", jaxinfo.js_divergence)]  # of which no peer has a differentiable one
    figures = []
    for panel in panels():
        points = sorted({row.x for row in panel.rows})
        lines = {name: _line(panel, name, library, points) for name, library in found.items()}
        print(panel.title, file=sys.stderr)
        figures.append(
            {
                "name": panel.name,
                "title": panel.title,
                "axis": panel.axis,
                "unit": panel.unit,
                "promise": panel.promise,
                "picture": panel.picture,
                "points": points,
                "libraries": {name: line for name, line in lines.items() if line},
            }
        )
    return {"environment": _environment(), "panels": figures}


def _line(panel: Any, name: str, library: Any, points: list[float]) -> dict[str, Any] | None:
    """Return the errors of a library's best spelling: the one with the smallest in the middle, nan counting as inf."""
    lines = []
    for spelling, function in library.get(panel.function, []):
        worst = dict.fromkeys(points, 0.0)
        for row in panel.rows:
            worst[row.x] = max(worst[row.x], panel.error(name, function, row))
        lines.append({"spelling": spelling, "errors": [worst[x] for x in points]})
    best = min(lines, key=lambda line: (float(np.median(line["errors"])), max(line["errors"])), default=None)
    # JSON has no infinity
    return best and {**best, "errors": [round(e, 3) if np.isfinite(e) else None for e in best["errors"]]}


def _environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--stored", type=Path, help="take the figures from this file")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    parser.add_argument("--pictures", type=Path, help="write the pictures into this folder")
    options = parser.parse_args(args)
    warnings.simplefilter("ignore")
    figures = json.loads(options.stored.read_text()) if options.stored else measured()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    from _accuracy_render import draw, page

    if options.markdown:
        options.markdown.write_text(page(figures))
    if options.pictures:
        draw(figures, options.pictures)


if __name__ == "__main__":
    main()
