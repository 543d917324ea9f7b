"""The harness tells the truth at tiny sizes. No test here asserts how long something takes."""

import importlib
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def sleeper(harness: Any, name: str, seconds: float, log: list[str] | None = None) -> Any:
    def run() -> tuple[np.ndarray]:
        if log is not None:
            log.append(name)
        time.sleep(seconds)
        return (np.zeros(3),)

    return harness.Candidate(name, run)


def test_each_round_runs_every_candidate_once_in_changing_order(harness: Any) -> None:
    log: list[str] = []
    times = harness.interleave([sleeper(harness, name, 0.0, log) for name in "abc"], 12, pause=0.0)
    rounds = [tuple(log[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) > 1
    assert {k: v.shape for k, v in times.items()} == {"a": (12,), "b": (12,), "c": (12,)}


def test_ratio_is_taken_round_by_round(harness: Any) -> None:
    """A drift that hits a whole round leaves the ratio alone, though the spread of the times is threefold."""
    drift = np.linspace(1, 3, 9)
    r = harness.ratio({"a": 2 * drift, "b": drift}, "a", "b")
    assert (r.median, r.low, r.high, r.minima, r.peer) == (2, 2, 2, 2, "b")


def test_a_longer_run_is_measured_as_longer(harness: Any) -> None:
    """Sleeping is never shorter than asked for, so the lower bound holds on any machine."""
    row = harness.measure(
        {"what": "sleep"},
        [sleeper(harness, "long", 0.01), sleeper(harness, "short", 0.0)],
        {"value": np.zeros(3)},
        {"value": 1.0},
        seconds=0.0,
        peers=("short", "absent"),
        least=3,
    )
    long = row["long"]
    assert long.runs == 3
    assert 0.01 <= long.minimum <= long.low <= long.median <= long.high
    assert [r.peer for r in long.ratios] == ["short"]
    assert row.faster_of(["long", "absent"]).name == "long"


def test_compiled_reports_the_temporaries_of_a_program_that_needs_them(harness: Any) -> None:
    x = jnp.ones((256, 256))
    lean = harness.compiled("lean", lambda x: (x + 1,), x)
    wide = harness.compiled("wide", lambda x: (jnp.sum(jnp.sin(jnp.sort(x, axis=0)), axis=1),), x)
    assert lean.temp_bytes == 0
    assert wide.temp_bytes >= x.nbytes
    assert lean.compile_seconds > 0
    np.testing.assert_array_equal(lean.run()[0], 2 * np.ones((256, 256)))


@pytest.mark.parametrize(
    ("got", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 3.0], [1.0, 2.0], 0.5),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
        ([0.0, 0.0], [0.0, 1.0], 1.0),
        ([[3.0, 4.0], [1.0, 0.0]], [[3.0, 4.0], [2.0, 0.0]], 0.5),  # a small row counts as much as a large one
        (np.zeros((100, 1)), np.r_[np.zeros((99, 1)), np.ones((1, 1))], 1.0),  # the last of several slices
    ],
)
def test_relative_error(harness: Any, got: Any, reference: Any, expected: float) -> None:
    assert harness.relative_error(np.asarray(got), np.asarray(reference)) == expected


def test_relative_error_refuses_another_shape(harness: Any) -> None:
    with pytest.raises(ValueError, match=r"`got` must have the reference's shape \(2,\), got \(1,\)"):
        harness.relative_error(np.zeros(1), np.zeros(2))


def test_a_wrong_result_shows_in_its_own_row(harness: Any) -> None:
    x = jnp.linspace(0.1, 1.0, 8)
    reference = {"value": np.log1p(np.asarray(x, np.float64))}
    candidates = [
        harness.compiled("right", lambda x: (jnp.log1p(x),), x),
        harness.compiled("wrong", lambda x: (1.001 * jnp.log1p(x),), x),
    ]
    row = harness.measure({}, candidates, reference, {"value": 2.0**-23}, seconds=0.0, least=1)
    assert row["right"].errors["value"] < 4
    assert row["wrong"].errors["value"] == pytest.approx(1e-3 * 2**23, rel=1e-2)


def test_json_round_trip(harness: Any) -> None:
    ratios = (harness.Ratio("b", 1.0, 0.5, 2.0, 1.25),)
    m = harness.Measurement("a", 3, 0.1, 0.2, 0.3, 0.4, None, 7, {"value": float("inf")}, ratios)
    row = harness.Row({"n": 4}, (m,))
    where = harness.environment(("jax", "no-such-package"))
    text = harness.to_json(where, [row])
    assert harness.from_json(text) == (where, [row])
    assert "Infinity" not in text
    assert where["versions"]["jax"] == jax.__version__
    assert where["versions"]["no-such-package"] is None
    assert {"device", "processor", "cores", "python", "commit"} <= set(where)


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


def test_interrupt_keeps_what_is_done(bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    selected = list(bench.cases())[:3]

    def measure_case(case: Any, seconds: float) -> Any:
        if case == selected[1]:
            raise KeyboardInterrupt
        return case

    monkeypatch.setattr(bench, "measure_case", measure_case)
    monkeypatch.setattr(bench, "format_row", bench.label)
    assert bench.run(selected, 0.0) == selected[:1]
    out = capsys.readouterr().out
    assert bench.label(selected[0]) in out
    assert "stopped after 1 of 3 rows" in out


def test_a_filter_that_matches_nothing_says_what_a_row_looks_like(bench: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(["--filter", "kl_divergence complex64"])
    assert "a row reads: softmax_cross_entropy 4096x1000" in capsys.readouterr().err


def a_row(harness: Any, ours: dict[str, float], **case: Any) -> Any:
    """A row in which optax took 1 s, torch 2 s and we as often as long as `ours` says."""
    case = dict(function="kl_divergence", n=1, v=1, dtype="float32", logits="close", direction="forward") | case

    def m(name: str, seconds: float, ratios: dict[str, float]) -> Any:
        all_of = tuple(harness.Ratio(peer, r, r, r, r) for peer, r in ratios.items())
        return harness.Measurement(name, 1, seconds, seconds, seconds, seconds, 0.0, 0, {"value": 1.0}, all_of)

    peers = [m(name, s, {}) for name, s in (("optax", 1.0), ("torch", 2.0), ("jax.nn", 1.0))]
    return harness.Row(case, (m("jaxinfo", 1.0, ours), *peers))


def test_the_report_judges_each_dtype_by_its_own_target(
    load: Any, harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = load("report")
    monkeypatch.setattr(report, "REASONS", (("kl_divergence float32", "because"),))
    reached = a_row(harness, {"optax": 1.1, "torch": 0.55})
    missed = a_row(harness, {"optax": 1.35, "torch": 0.7})
    half = a_row(harness, {"optax": 1.05, "torch": 0.5}, dtype="bfloat16")
    assert [report.excess(row) for row in (reached, missed, half)] == [0.0, 0.25, 0.05]
    assert report.unexplained([reached, missed, half]) == ["kl_divergence 1x1 bfloat16 close forward"]
    text = report.render([(harness.environment(), [reached, missed, half])])
    assert "float32, at most 1.1 times the faster of optax and torch: reached in 1 of 2 rows" in text
    assert "| kl_divergence 1x1 float32 close forward | 1.35 [1.35 1.35] to optax | 1.35 | 0.25 | because |" in text


def test_the_readme_is_what_the_results_say(load: Any) -> None:
    report = load("report")
    assert (BENCHMARKS / "README.md").read_text() == report.render(report.load())
