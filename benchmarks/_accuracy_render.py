"""The page of errors and its pictures, from the figures."""

from pathlib import Path
from typing import Any

import numpy as np

_EVERYTHING = 2.0**23  # ulp: the answer has no right digit
_HEAD = """# Accuracy

How many units in the last place (ulp) values and gradients are off in float32, for jaxinfo and its peers. Written by
`python benchmarks/accuracy.py`, whose head says how; do not edit. The figures are
`benchmarks/results/accuracy.json`.

A point is the worst of four random rows of 1,000 classes; right answers have sixty digits and are those of the very
float32 numbers given. One ulp is between half an eps and one eps of the value. 0.5 is a right answer, rounded; from
{everything} on (100 %) no digit is right. A library with several spellings of a function is shown at its best, panel by
panel.

{versions}, on CPU, under jit for the libraries of jax.
"""


def page(figures: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    versions = ", ".join(f"{name} {v}" for name, v in figures["environment"].items() if name != "machine")
    parts = [_HEAD.format(everything=_number(_EVERYTHING), versions=versions[0].upper() + versions[1:])]
    parts.append("## All of them\n\nThe largest error over each axis, in ulp, and in brackets the middle one.\n")
    parts.append(_summary(figures["panels"]))
    for panel in figures["panels"]:
        parts.append(f"## {panel['title']}\n")
        if panel["picture"]:
            parts.append(f"![{_caption(panel)}](_static/{panel['name']}.svg)\n")
        parts.append(_table(panel))
    return "\n".join(parts)


def _summary(panels: list[dict[str, Any]]) -> str:
    names = _names(panels)
    rows = [["", *names, "promised"]]
    for panel in panels:
        lines = panel["libraries"]
        found = [_worst(lines[name]["errors"]) if name in lines else "-" for name in names]
        rows.append([panel["title"], *found, panel["promise"]])
    return _markdown(rows)


def _table(panel: dict[str, Any]) -> str:
    """Return about a dozen points of a panel."""
    names, points = _names([panel]), panel["points"]
    step = max(1, round((len(points) - 1) / 11))
    rows = [[panel["axis"], *names]]
    for i in sorted({*range(0, len(points), step), len(points) - 1}):
        rows.append([f"{points[i]:.3g}", *(_number(panel["libraries"][name]["errors"][i]) for name in names)])
    spelled = "; ".join(f"{name} `{line['spelling']}`" for name, line in panel["libraries"].items())
    return f"In {panel['unit']}: {spelled}.\n\n{_markdown(rows)}"


def _names(panels: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for panel in panels for name in panel["libraries"]))


def _worst(errors: list[float | None]) -> str:
    return f"{_number(_largest(errors))} ({_number(float(np.median([np.inf if e is None else e for e in errors])))})"


def _largest(errors: list[float | None]) -> float | None:
    return None if None in errors else max(errors, default=0.0)  # pyright: ignore[reportArgumentType]


def _number(error: float | None) -> str:
    if error is None or error == np.inf:
        return "not finite"
    return (
        f"{error:.2g}"
        if error < 10
        else f"{error:,.0f}"
        if error < 9999.5
        else f"{error:.1e}".replace("e+0", "e").replace("e+", "e")
    )


def _caption(panel: dict[str, Any]) -> str:
    return f"{panel['title']}, error in {panel['unit']} over the {panel['axis']}"


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:], ""])


# Okabe and Ito's colours, told apart by every kind of sight, and a dash and a marker each: ours last, on top.
_LOOKS = {
    "torch": ("#D55E00", "-", "s"),
    "jax": ("#E69F00", "--", "^"),
    "distrax": ("#CC79A7", "-.", "D"),
    "optax": ("#009E73", ":", "v"),
    "jaxinfo": ("#0072B2", "-", "o"),
}


def draw(figures: dict[str, Any], folder: Path) -> None:
    """Write a picture for each panel that has one."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "jaxinfo", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    )
    for panel in figures["panels"]:
        if panel["picture"]:
            _picture(panel, folder / f"{panel['name']}.svg")


def _picture(panel: dict[str, Any], file: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    points, floor = panel["points"], 0.2
    for i, (name, (color, dash, marker)) in enumerate(_LOOKS.items()):
        if name not in panel["libraries"]:
            continue
        errors = [_EVERYTHING * 8 if e is None else max(e, floor) for e in panel["libraries"][name]["errors"]]
        every = (i, max(1, len(points) // 9))  # markers of lines that lie on each other stand side by side
        width = 2.4 if name == "jaxinfo" else 1.5
        axes.plot(points, errors, dash, color=color, marker=marker, markevery=every, ms=5, lw=width, label=name)
    axes.axhline(_EVERYTHING, color="0.45", lw=0.8)
    axes.annotate("no digit right", (0.995, _EVERYTHING), xycoords=("axes fraction", "data"), ha="right", va="top",
                  xytext=(0, -3), textcoords="offset points", color="0.35", fontsize=10)  # fmt: skip
    axes.set(yscale="log", ylim=(floor * 0.8, None), xlabel=panel["axis"], ylabel=f"error, {_unit(panel)}")
    if points[0] > 0:
        axes.set_xscale("log")
    axes.set_title(panel["title"], loc="left", fontsize=11.5)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], ncols=5, loc="lower left", bbox_to_anchor=(0, -0.3), frameon=False,
                columnspacing=1.2, handletextpad=0.5)  # fmt: skip
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _unit(panel: dict[str, Any]) -> str:
    return "ulp" if panel["unit"] == "ulp" else "ulp of its largest element"
