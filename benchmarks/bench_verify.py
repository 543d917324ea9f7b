"""How many wrong gradients are caught, and how many right ones called wrong: ours beside three known checkers.

    python benchmarks/bench_verify.py --json benchmarks/results/verify.json     # an hour on two cores
    python benchmarks/bench_verify.py --quick                                   # a minute: a part of each bank

Results are written as they come, and a run that is started again goes on where it was: an entry that is there is kept.
`docs/verify_benchmark.md` is made from them.
"""

import argparse
import contextlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _verify_correct import CASES
from _verify_peers import NAMES, ask
from _verify_render import render
from _verify_wrong import BANK, cross_entropy
from harness import environment as describe

from jaxinfo import verify

SHAPES = ((4, 10), (8, 1000), (32, 32768))
DTYPES = ("float32", "float64", "bfloat16")
SEEDS = 20
PAGE = Path(__file__).parent.parent / "docs" / "verify_benchmark.md"


@contextlib.contextmanager
def settings(dtype: str) -> Iterator[None]:
    """Run in the settings that a dtype needs: float64 only where it is asked for."""
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        yield


def wrong(name: str, shape: tuple[int, int], dtype: str) -> dict[str, Any]:
    """Return what each checker says of one wrong gradient, and whether ours named the element."""
    with settings(dtype):
        case = BANK[name](np.random.default_rng(0), shape, jnp.dtype(dtype))
        start = time.perf_counter()
        said, report = ask("jaxinfo", case.f, case.args, 0)
        row: dict[str, Any] = {"seconds": time.perf_counter() - start, "jaxinfo": said}
        if case.index is not None:
            row["named"] = report.worst is not None and tuple(report.worst.index) == case.index
        row["detectable"] = str(report.smallest_detectable)
        for peer in NAMES[1:]:
            row[peer] = ask(peer, case.f, case.args, 0)[0]
    return row


def correct(name: str, dtype: str, seed: int) -> dict[str, Any]:
    """Return what each checker says of one right gradient."""
    with settings(dtype):
        f, args = CASES[name](np.random.default_rng(seed), jnp.dtype(dtype))
        return {checker: ask(checker, f, args, seed)[0] for checker in NAMES}


def million(dtype: str) -> dict[str, Any]:
    """Return the time of a whole check with 1,048,576 inputs, on a right gradient: the longest way."""
    rng = np.random.default_rng(0)
    with settings(dtype):
        x = jnp.asarray(rng.normal(size=(32, 32768)), dtype)
        labels = jnp.asarray(rng.integers(0, 32768, 32), jnp.int32)
        wall, processor = time.perf_counter(), time.process_time()
        report = verify.check_gradients(lambda x: cross_entropy(x, labels), x)
    return {
        "verdict": str(report.verdict),
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - processor,
        "load": os.getloadavg()[0],
        "detectable": report.smallest_detectable,
    }


def jobs(quick: bool) -> Iterator[tuple[str, str, Any]]:
    """Yield section, key and work of every entry, the quickest first: small sizes, right gradients, the large size."""
    names = list(BANK)[::20] if quick else list(BANK)
    cases = list(CASES)[::22] if quick else list(CASES)
    dtypes = DTYPES[:1] if quick else DTYPES

    def bank(shapes: Sequence[tuple[int, int]]) -> Iterator[tuple[str, str, Any]]:
        for shape, dtype, name in itertools.product(shapes, dtypes, names):
            key = f"{name} | {shape[0]}x{shape[1]} | {dtype}"
            yield "wrong", key, lambda n=name, s=shape, d=dtype: wrong(n, s, d)

    yield from bank(SHAPES[:1] if quick else SHAPES[:2])
    for kind in () if quick else DTYPES:
        yield "million", kind, lambda d=kind: million(d)
    for seed, name in itertools.product(range(1 if quick else SEEDS), cases):
        yield "correct", f"{name} | float32 | {seed}", lambda n=name, s=seed: correct(n, "float32", s)
    yield from () if quick else bank(SHAPES[2:])


def main() -> None:
    """Run what is missing, write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="results: read first, written after every entry")
    parser.add_argument("--quick", action="store_true", help="a part of each bank, at the smallest size")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop after that time; start again to go on")
    options = parser.parse_args()
    results: dict[str, Any] = {"environment": describe(("chex", "optax")), "wrong": {}, "correct": {}, "million": {}}
    if options.json and options.json.exists():
        results |= json.loads(options.json.read_text())
    # the same programs come again with every seed
    jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    start = time.perf_counter()
    for section, key, work in jobs(options.quick):
        if key in results[section] or time.perf_counter() - start > 60 * options.minutes:
            continue
        results[section][key] = work()
        print(section, key, results[section][key], flush=True)
        jax.clear_caches()
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    page = render(results, NAMES)
    print(page)
    if options.json and not options.quick:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
