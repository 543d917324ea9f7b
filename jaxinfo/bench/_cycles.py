"""The cycles that the TPU's compiler estimates, with each loop's body as often as it runs.

XLA's own sums (flops, bytes, optimal_seconds) take the body of a loop once. In a TPU program's text each operation
carries its estimate, and a loop that counts to a constant says so in its condition.
"""

import re

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_COMPUTATION = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_WHILE = re.compile(r" while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BRANCHES = re.compile(r"(?:branch_computations=\{|true_computation=)([^}]*?)[}\s]*(?:, metadata|, backend_config|$)")
_CALLS = re.compile(r"(?:calls|to_apply)=%([\w.\-]+)")
_NAME = re.compile(r"%([\w.\-]+)")
_LIMIT = re.compile(r"s32\[\]\S* constant\((\d+)\)")
_UNKNOWN = 2**62  # the compiler writes the largest integer where it cannot say


def estimated_cycles(text: str) -> int | None:
    """Return the cycles of one run of the program; None where it gives none or a loop's length is not in the text."""
    lines, entry = _computations(text)
    total = _sum(entry, lines) if _CYCLES.search(text) else None
    return None if total is None or total >= _UNKNOWN else total


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Return the lines of each computation by its name, and the name of the one that is run."""
    found: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            name = head[2]
            entry = name if head[1] else entry
            found[name] = []
        elif name:
            found[name].append(line)
    return found, entry


def _sum(name: str, lines: dict[str, list[str]]) -> int | None:
    parts = [_of_line(line, lines) for line in lines.get(name, [])]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _of_line(line: str, lines: dict[str, list[str]]) -> int | None:
    own = sum(map(int, _CYCLES.findall(line)))
    loop = _WHILE.search(line)
    if loop:
        trips, body = _trips(line, lines.get(loop[1], [])), _sum(loop[2], lines)
        return None if trips is None or body is None else own + trips * body
    inner: list[int | None] = [0]
    if " conditional(" in line:
        branches = [_sum(branch, lines) for found in _BRANCHES.findall(line) for branch in _NAME.findall(found)]
        inner = [None if None in branches else max((b for b in branches if b is not None), default=0)]
    elif not own:  # what a fusion calls is in its own estimate
        inner = [_sum(called, lines) for called in _CALLS.findall(line)]
    return None if None in inner else own + sum(n for n in inner if n is not None)


def _trips(line: str, condition: list[str]) -> int | None:
    known = _TRIPS.search(line)
    if known:
        return int(known[1])
    limits = [int(n) for text in condition for n in _LIMIT.findall(text)]
    counts_up = any("direction=LT" in text for text in condition)
    return limits[0] if len(limits) == 1 and counts_up else None
