"""The page of the gradient checkers' benchmark, from its results."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = """# Gradient checkers, side by side

Written by `python benchmarks/bench_verify.py --json benchmarks/results/verify.json`; do not edit.

Every checker at its defaults, `order=2`, in the modes that the function has. *torch's rule* is the documented one of
`torch.autograd.gradcheck` in float64, computed with JAX: every entry of the Jacobian up to 10,000 inputs, otherwise one
random projection, and the projection of the gradient for the second order. A mutant counts as caught also where the
checker met a nan. "Of n" is what was run.
"""


def render(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the page as Markdown."""
    wrong, correct = results["wrong"], results["correct"]
    environment = results["environment"]
    lines = [_HEAD, ", ".join(f"{k} {v}" for k, v in environment.items() if isinstance(v, str)) + ".", ""]
    lines += ["## Wrong gradients caught", "", "| size | dtype | of | " + " | ".join(names) + " | element named |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for (size, dtype), rows in _grouped(wrong).items():
        named = [row["named"] for row in rows.values() if "named" in row]
        counts = [sum(row.get(n) == "caught" for row in rows.values()) for n in names]
        lines.append(
            f"| {size} | {dtype} | {len(rows)} | " + " | ".join(map(str, counts)) + f" | {sum(named)} of {len(named)} |"
        )
    lines += [
        "",
        "## Right gradients called wrong",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    if correct:
        functions = {key.split(" | ")[0] for key in correct}
        said = {n: [row[n] for row in correct.values()] for n in names}
        counts = [f"{sum(s != 'passed' and not s.startswith('not run') for s in said[n])}" for n in names]
        lines.append(
            f"| of {len(correct)} points of {len(functions)} functions, float32 | " + " | ".join(counts) + " |"
        )
        skipped = [f"{sum(s.startswith('not run') for s in said[n])}" for n in names]
        lines.append("| could not be asked | " + " | ".join(skipped) + " |")
    missed = [key for key, row in wrong.items() if row[names[0]] != "caught"]
    unnamed = [key for key, row in wrong.items() if row.get("named") is False]
    alarms = [f"{key} ({row[names[0]]})" for key, row in correct.items() if row[names[0]] != "passed"]
    lines += ["", "## What jaxinfo missed", ""]
    for title, entries in (("Not caught", missed), ("Element not named", unnamed), ("False alarms", alarms)):
        lines.append(f"- {title}: " + ("; ".join(entries) if entries else "none") + ".")
    lines += [
        "",
        "## A million inputs",
        "",
        "| dtype | verdict | seconds | processor seconds, all cores | load of the machine | seen |",
    ]
    lines.append("|---" * 6 + "|")
    for dtype, row in results["million"].items():
        lines.append(
            f"| {dtype} | {row['verdict']} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['load']:.1f} | "
            f"{row['detectable']:.0e} |"
        )
    lines += ["", "## Each mutant", "", "Caught by, over all sizes and dtypes run.", ""]
    lines += ["| mutant | of | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for mutant, rows in _by_mutant(wrong).items():
        counts = [sum(row.get(n) == "caught" for row in rows) for n in names]
        lines.append(f"| {mutant} | {len(rows)} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines) + "\n"


def _grouped(wrong: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    groups: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for key, row in wrong.items():
        name, size, dtype = key.split(" | ")
        groups[size, dtype][name] = row
    return groups


def _by_mutant(wrong: Mapping[str, Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for key, row in wrong.items():
        groups[key.split(" | ")[0]].append(row)
    return groups
