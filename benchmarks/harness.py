"""Run a table of cases: `jaxinfo.bench` measures each row, and a row that is done is kept.

    python benchmarks/bench_X.py [--quick] [--filter WORDS] [--keep] [--fresh] [--json FILE]

`--keep` stores the rows in `results/DEVICE/X.json`, each at once, so that a run can be stopped and started again: rows
of the same code (the last commit of jaxinfo/) and versions are there already. Others are measured anew.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxinfo.bench import Comparison as Row
from jaxinfo.bench._environment import device_name
from jaxinfo.bench._environment import environment as _environment
from jaxinfo.bench._measurement import plain

HERE = Path(__file__).parent
RESULTS = HERE / "results"
_SAME = ("device", "processor", "cores", "python", "versions")  # rows of one file agree in these


@dataclasses.dataclass(frozen=True)
class Table:
    """A benchmark.

    Attributes:
        name: of the file of results.
        about: one line for `--help`.
        cases: True for the few quick ones -> what each row is about.
        label: a case on one line, which `--filter` searches and by which a row is found again.
        measure: a case and the seconds to spend on it -> the row.
        show: a row as text.
        seconds: for each row.
        packages: peers, whose versions are stored.
    """

    name: str
    about: str
    cases: Callable[[bool], Iterable[dict[str, Any]]]
    label: Callable[[dict[str, Any]], str]
    measure: Callable[[dict[str, Any], float], Row]
    show: Callable[[Row], str]
    seconds: float = 5.0
    packages: tuple[str, ...] = ()


def environment(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return device, versions of `packages` too, and the last commit that changed jaxinfo/."""
    return _environment(packages, HERE.parent / "jaxinfo")


def main(table: Table, arguments: Sequence[str] | None = None) -> int:
    """Run a table from the command line."""
    parser = argparse.ArgumentParser(description=table.about)
    parser.add_argument("--quick", action="store_true", help="few rows, about a second each")
    parser.add_argument("--filter", default="", help="only rows whose line holds all these words")
    parser.add_argument("--seconds", type=float, help=f"of timing for each row, {table.seconds:g} unless quick")
    parser.add_argument("--json", type=Path, help="store the rows there; those that are there already are kept")
    parser.add_argument("--keep", action="store_true", help=f"store them in results/DEVICE/{table.name}.json")
    parser.add_argument("--fresh", action="store_true", help="measure also what is there already")
    options = parser.parse_args(arguments)
    cases, words = list(table.cases(options.quick)), options.filter.split()
    selected = [case for case in cases if all(word in table.label(case) for word in words)]
    if not selected:
        parser.error(f"no row holds all of `--filter` {options.filter!r}; a row reads: {table.label(cases[0])}")
    where = environment(table.packages)
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    store = options.json or (results_file(table.name, where) if options.keep else None)
    order = [table.label(case) for case in table.cases(False)]
    seconds = options.seconds or (1.0 if options.quick else table.seconds)
    run(table, selected, seconds, where=where, store=store, fresh=options.fresh, order=order)
    return 0


def run(
    table: Table,
    selected: Sequence[dict[str, Any]],
    seconds: float,
    *,
    where: dict[str, Any],
    store: Path | None = None,
    fresh: bool = False,
    order: Sequence[str] = (),
) -> list[Row]:
    """Measure and print each case that is not there yet; ctrl-C ends the program, what is done is stored."""
    there = read_rows(table, store, where)
    commit = {"commit": where["commit"]}
    known = {} if fresh else {line: row for line, row in there.items() if row.environment == commit}
    todo = [case for case in selected if table.label(case) not in known]
    if len(todo) < len(selected):
        print(f"{len(selected) - len(todo)} rows are there already (--fresh measures them again)")
    done, start = [], time.monotonic()
    try:
        for i, case in enumerate(todo):
            line = table.label(case)
            progress(f"[{i + 1}/{len(todo)}, {time.monotonic() - start:.0f} s] {line}")
            try:
                row = dataclasses.replace(table.measure(case, seconds), environment=commit)
            except ImportError as error:  # of the data set that the row is about
                print(f"{line} is left out: {error}")
                continue
            done.append(row)
            progress("")
            print(table.show(row), flush=True)
            there[line] = row
            if store is not None:
                write_rows(store, where, sorted(there.items(), key=lambda pair: _place(order, pair[0])))
    except KeyboardInterrupt:
        print(f"\nstopped after {len(done)} of {len(todo)} rows")
        sys.exit(130)  # so that `make bench` stops too
    return done


def results_file(name: str, where: dict[str, Any]) -> Path:
    """Return the file that a device's results of a table are in: another device has another."""
    return RESULTS / device_name(where) / f"{name}.json"


def read(file: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return the environment and the rows of a file of results."""
    document = json.loads(file.read_text())
    return document["environment"], [Row.from_dict(row) for row in document["rows"]]


def read_rows(table: Table, file: Path | None, where: dict[str, Any]) -> dict[str, Row]:
    """Return the rows of `file` by their line, none where they are of another device or other versions."""
    if file is None or not file.exists():
        return {}
    made, rows = read(file)
    different = [key for key in _SAME if made.get(key) != where[key]]
    if different:
        print(f"{file} is of another {' and '.join(different)}: it will be written anew")
        return {}
    return {table.label(row.case): row for row in rows}


def write_rows(file: Path, where: dict[str, Any], rows: Iterable[tuple[str, Row]]) -> None:
    """Write the file in one step: a run that is killed leaves the last one whole."""
    document = {"environment": plain(where), "rows": [row.to_dict() for _, row in rows]}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    new.replace(file)


def all_results(name: str) -> list[tuple[dict[str, Any], list[Row]]]:
    """Return the results of a table on every device."""
    return [read(file) for file in sorted(RESULTS.glob(f"*/{name}.json"))]


def commits(rows: Iterable[Row]) -> str:
    """Return the commits that the rows were measured at."""
    found = dict.fromkeys((row.environment or {}).get("commit") or "unknown" for row in rows)
    return f"commit{'s' * (len(found) > 1)} {', '.join(found)}"


def progress(text: str) -> None:
    """Show `text` as the current state on a terminal, and nothing in a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()


def _place(order: Sequence[str], line: str) -> int:
    return order.index(line) if line in order else len(order)
