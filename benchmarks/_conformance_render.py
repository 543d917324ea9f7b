"""The truth table as a page of Markdown."""

from collections.abc import Iterator
from typing import Any

HEAD = """\
# The truth table

What each library answers where a logit, a label, a mask or a difference is at its limit. Written by
`python benchmarks/conformance.py --stored benchmarks/results/conformance.json --markdown docs/truth_table.md`;
do not edit. `tests/test_conformance.py` holds jaxinfo to every row.

`✓` right in value, reverse-mode gradient, forward mode and Hessian, as far as the row asks for them and the library
has the mode. Otherwise what it answered instead: a plain number is a value, `∇` a reverse-mode gradient, `→` one by
forward mode (where it differs), `H` a Hessian, of which the first three elements are shown; "off" is the largest error,
of values relative to themselves, of derivatives relative to the largest right element. What is not shown was right.
`-`: no such function or option.

Right answers are closed forms, or sixty-digit figures for the very float32 numbers given. Each element may be off by
1e-5 of itself (84 eps of float32; more where the row says so), gradients of KL by 1e-5 of the row's largest. A library
with several spellings of a function (at the end) is shown at its best, case by case.
"""
NOTES = """\
A row states our contract where libraries differ by choice rather than by mistake: torch documents -100 as "ignored",
and a label outside the range may just as well raise. torch leaves classes out by `masked_fill(-inf)` and whole rows by
`ignore_index`; tokamax gets the logits as hidden states under an identity kernel, so only finite ones are asked of it.
Figures below the smallest normal number may be flushed to 0.
"""
SIGNS = {"value": "", "gradient": "∇ ", "forward": "→ ", "hessian": "H "}


def render(result: dict[str, Any]) -> str:
    """Return the page for what `conformance.run` returned."""
    names = list(result["spellings"])
    return "\n".join(
        [
            HEAD,
            _environment(result),
            *_score(result["rows"], names),
            *_tables(result["rows"], names),
            NOTES,
            *_spellings(result["spellings"]),
        ]
    )


def cell(verdict: dict[str, Any]) -> str:
    """Return the mark of one library in one case."""
    if verdict["verdict"] != "wrong":
        return {"right": "✓", "absent": "-"}[verdict["verdict"]]
    answers, off = dict(verdict["answers"]), verdict["off"]
    if answers.get("forward", 0) == answers.get("gradient", 1):
        del answers["forward"]
    return "<br>".join(f"{SIGNS[name]}{_short(answer)}{_off(off.get(name))}" for name, answer in answers.items())


def _off(error: float | None) -> str:
    """Return the error as a percentage down to 1 %, then as a power of ten, as a factor beyond 10."""
    if not error:
        return ""
    shown = f"{error:.0e}" if error < 0.01 else f"{100 * error:.0f} %" if error < 10 else f"{error:.0f} times"
    return f" ({shown} off)"


def _right(want: dict[str, Any]) -> str:
    shown = [name for name in ("value", "gradient") if name in want]
    return "<br>".join(f"{SIGNS[name]}{_short(want[name])}" for name in shown)


def _short(answer: Any) -> str:
    if isinstance(answer, list):
        return f"[{', '.join(map(_short, answer))}]"
    return answer if isinstance(answer, str) else f"{answer:.4g}"


def _environment(result: dict[str, Any]) -> str:
    versions = {k: v for k, v in result["environment"]["versions"].items() if v and k in ("jax", *result["spellings"])}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Python {result['environment']['python']}, {listed}, on CPU, under jit for the libraries of jax.\n"


def _score(rows: list[dict[str, Any]], names: list[str]) -> Iterator[str]:
    """Yield how many rows each library has right, of those it was asked."""
    yield from _heading(["", *names])
    asked = [[r["libraries"][n]["verdict"] for r in rows if r["libraries"][n]["verdict"] != "absent"] for n in names]
    yield _line(["right, of the rows asked", *(f"{a.count('right')} of {len(a)}" for a in asked)])


def _tables(rows: list[dict[str, Any]], names: list[str]) -> Iterator[str]:
    for section in dict.fromkeys(r["section"] for r in rows):
        yield f"\n## {section}\n"
        yield from _heading(["case", "right", *names])
        for r in rows:
            if r["section"] == section:
                yield _line([r["case"], _right(r["want"]), *(cell(r["libraries"][name]) for name in names)])
    yield ""


def _spellings(spellings: dict[str, Any]) -> Iterator[str]:
    yield "## Spellings\n"
    functions = list(spellings["jaxinfo"])
    yield from _heading(["", *spellings])
    for function in functions:
        texts = [", ".join(f"`{s}`" for s in library.get(function, [])) or "-" for library in spellings.values()]
        yield _line([f"{function}", *texts])
    yield ""


def _heading(cells: list[str]) -> Iterator[str]:
    yield _line(cells)
    yield _line(["---"] * len(cells))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
