"""The tables of benchmarks/ hold what they say, and keep what is done. No test asserts how long something takes."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.bench import Comparison, Measurement, Ratio

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = [
    pytest.mark.usefixtures("as_user"),
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not part of this copy"),
]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of benchmarks/ as running a script there does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def harness(load: Any) -> Any:
    return load("harness")


@pytest.fixture
def bench(load: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark without torch, which a test must not need and which binds this process's threads."""
    bench = load("bench_cross_entropy")
    monkeypatch.setattr(bench, "import_torch", lambda: None)
    return bench


def a_row(load: Any, ours: dict[str, float], **case: Any) -> Any:
    """A row in which optax took 1 s, torch 2 s and we as often as long as `ours` says."""
    case = dict(function="kl_divergence", n=1, v=1, dtype="float32", logits="close", direction="forward") | case

    def m(name: str, seconds: float, ratios: dict[str, float]) -> Measurement:
        all_of = tuple(Ratio(peer, r, r, r, r) for peer, r in ratios.items())
        return Measurement(
            name, 1, *(seconds,) * 4, compile_seconds=0.0, temp_bytes=0, errors={"value": 1.0}, ratios=all_of
        )

    peers = [m(name, s, {}) for name, s in (("optax", 1.0), ("torch", 2.0), ("jax.nn", 1.0))]
    return Comparison(case, (m("jaxinfo", 1.0, ours), *peers), {"commit": "abc"})


@pytest.fixture
def table(harness: Any) -> Any:
    """Three cases that are measured at once, with a list of those that were."""
    measured: list[int] = []

    def measure(case: dict[str, int], seconds: float) -> Comparison:
        if case["n"] in interrupts:
            raise KeyboardInterrupt
        if case["n"] in missing:
            raise ModuleNotFoundError("No module named 'x'")
        measured.append(case["n"])
        return Comparison(case, (Measurement("a", 1, 1.0, 1.0, 1.0, 1.0),))

    interrupts: set[int] = set()
    missing: set[int] = set()
    made = harness.Table(
        "x",
        "about",
        lambda quick: [{"n": n} for n in (1, 2, 3)],
        "n {n}".format_map,
        measure,
        lambda row: str(row.case),
    )
    return SimpleNamespace(table=made, measured=measured, interrupts=interrupts, missing=missing)


def test_rows_that_are_done_are_kept(harness: Any, table: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "x.json"
    table.interrupts.add(3)
    with pytest.raises(SystemExit, match="130"):
        harness.main(table.table, ["--json", str(file)])
    assert "stopped after 2 of 3 rows" in capsys.readouterr().out
    table.interrupts.clear()
    assert harness.main(table.table, ["--json", str(file)]) == 0
    assert table.measured == [1, 2, 3]
    harness.main(table.table, ["--json", str(file), "--fresh", "--filter", "n 2"])
    assert table.measured == [1, 2, 3, 2]
    where, rows = harness.read(file)
    assert [row.case["n"] for row in rows] == [1, 2, 3]
    assert {row.environment["commit"] for row in rows} == {where["commit"]}


def test_rows_of_other_code_are_measured_anew(
    harness: Any, table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.json"
    where = harness.environment() | {"commit": "earlier"}
    cases = [{"n": n} for n in (1, 2)]
    harness.run(table.table, cases, 0.0, where=where, store=file)
    harness.run(table.table, cases[:1], 0.0, where=where | {"commit": "later"}, store=file)
    assert table.measured == [1, 2, 1]
    assert [row.environment for row in harness.read(file)[1]] == [{"commit": "later"}, {"commit": "earlier"}]
    assert harness.commits(harness.read(file)[1]) == "commits later, earlier"


def test_rows_of_other_versions_do_not_mix(harness: Any, table: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    where = harness.environment()
    harness.run(table.table, [{"n": 1}, {"n": 2}], 0.0, where=where | {"python": "2.7"}, store=file)
    harness.run(table.table, [{"n": 2}], 0.0, where=where, store=file)
    assert [row.case["n"] for row in harness.read(file)[1]] == [2]


def test_a_row_whose_package_is_missing_is_left_out(harness: Any, table: Any, capsys: Any) -> None:
    table.missing.add(2)
    rows = harness.run(table.table, [{"n": n} for n in (1, 2, 3)], 0.0, where=harness.environment())
    assert [row.case["n"] for row in rows] == [1, 3]
    assert "n 2 is left out: No module named 'x'" in capsys.readouterr().out


def test_a_device_has_files_of_its_own(harness: Any) -> None:
    where = harness.environment()
    chip = where | {"device": "4 x TPU v5 lite (tpu)"}
    card = where | {"device": "1 x NVIDIA H100 80GB HBM3 (gpu)"}
    assert harness.results_file("fit", chip).relative_to(BENCHMARKS) == Path("results/tpu-v5-lite-tpu-4/fit.json")
    assert harness.results_file("fit", card).parent.name == "nvidia-h100-80gb-hbm3-gpu"
    assert harness.results_file("fit", where).parent.name.startswith("cpu-")


def test_rows_cover_what_the_readme_says(bench: Any) -> None:
    lines = {bench.label(case) for case in bench.cases()}
    assert len(lines) == 3 * 2 * 2 * (3 + 4)
    assert "softmax_cross_entropy 128x262144 bfloat16 trained forward+backward" in lines
    assert "kl_divergence 4096x1000 float32 close forward" in lines


@pytest.mark.parametrize(("kind", "low", "high", "share"), [("trained", 10, 30, 0.9), ("saturated", 40, 65, 1.0)])
def test_confident_logits_have_the_margins_they_claim(
    bench: Any, kind: str, low: float, high: float, share: float
) -> None:
    case = dict(function="softmax_cross_entropy", n=200, v=50, dtype="float32", logits=kind, direction="forward")
    x, labels = (np.asarray(a) for a in bench.inputs(case))
    top, second = np.sort(x, axis=1)[:, [-1, -2]].T
    confident = (top - second >= low - 0.01) & (top - second <= high + 0.01)
    assert np.mean(confident) == pytest.approx(share, abs=0.02)
    assert np.all(np.argmax(x, axis=1)[confident] == labels[confident])


@pytest.mark.parametrize("direction", ["forward", "forward+backward"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("logits", ["untrained", "close", "trained", "saturated"])
@pytest.mark.parametrize("function", ["softmax_cross_entropy", "kl_divergence"])
def test_the_reference_agrees_with_autodiff_in_float64(
    bench: Any, function: str, logits: str, dtype: str, direction: str
) -> None:
    case = dict(function=function, n=6, v=11, dtype=dtype, logits=logits, direction=direction)
    if function == "softmax_cross_entropy" and logits == "close":
        return
    first, second = (np.asarray(a) for a in bench.inputs(case))
    wanted = bench.reference(case, first, second)
    plain = bench.IMPLEMENTATIONS[function]["jax.nn"]
    with jax.enable_x64(True):
        widened = [
            jnp.asarray(a, jnp.float64 if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype) for a in (first, second)
        ]
        got = bench._pass(plain, function, direction != "forward")(*widened)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("function", ["softmax_cross_entropy", "kl_divergence"])
def test_a_tiny_row_is_measured_and_printed(bench: Any, function: str) -> None:
    case = dict(function=function, n=8, v=16, dtype="float32", logits="trained", direction="forward+backward")
    row = bench.measure_case(case, seconds=0.0)
    assert [m.name for m in row.measurements] == ["jaxinfo", "optax", "jax.nn"]
    assert row["jaxinfo"].errors["value"] < 16
    assert row["optax"].errors["gradient 0"] > 1000  # what a confident row costs the usual form
    assert "jaxinfo" in bench.format_row(row)


def test_a_filter_that_matches_nothing_says_what_a_row_looks_like(bench: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(bench.TABLE, ["--filter", "kl_divergence complex64"])
    assert "a row reads: softmax_cross_entropy 4096x1000" in capsys.readouterr().err


def test_the_report_judges_each_dtype_by_its_own_target(
    load: Any, harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = load("report")
    monkeypatch.setattr(report, "REASONS", (("kl_divergence float32", "because"),))
    reached = a_row(load, {"optax": 1.1, "torch": 0.55})
    missed = a_row(load, {"optax": 1.35, "torch": 0.7})
    half = a_row(load, {"optax": 1.05, "torch": 0.5}, dtype="bfloat16")
    assert [report.excess(row) for row in (reached, missed, half)] == [0.0, 0.25, 0.05]
    assert report.unexplained([reached, missed, half]) == ["kl_divergence 1x1 bfloat16 close forward"]
    text = report.render([(harness.environment(), [reached, missed, half])])
    assert "float32, at most 1.1 times the faster of optax and torch: reached in 1 of 2 rows" in text
    assert "| kl_divergence 1x1 float32 close forward | 1.35 [1.35 1.35] to optax | 1.35 | 0.25 | because |" in text


def test_the_pages_are_what_the_results_say(load: Any) -> None:
    report = load("report")
    with jax.enable_x64(True):  # which one of the pages' modules sets
        for file, text in report.pages().items():
            assert file.read_text() == text, f"{file.name}: python benchmarks/report.py writes it"
