"""measure, compare and what they say of programs whose needs are known."""

import json
import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import _processor, bench
from jaxinfo.bench import _peak
from jaxinfo.bench._measurement import plain

pytestmark = pytest.mark.usefixtures("as_user", "roof")
MIB = 2**20
QUICK = {"seconds": 0.0, "peak": False}


@pytest.fixture
def roof(monkeypatch: pytest.MonkeyPatch) -> bench.Roofline:
    """A device that moves a byte and computes an operation each nanosecond."""
    roof = bench.Roofline("fake", 1e9, {"float32": 1e9, "bfloat16": 2e9})
    monkeypatch.setattr("jaxinfo.bench._measure.roofline", lambda: roof)
    return roof


def sines(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(jnp.sort(x, axis=0)), axis=1)


def test_bytes_of_a_program_that_needs_them() -> None:
    x = jnp.ones((512, 512))
    lean, wide = bench.measure(lambda x: x + 1, x, **QUICK), bench.measure(sines, x, **QUICK)
    assert (lean.temp_bytes, lean.argument_bytes, lean.output_bytes) == (0, MIB, MIB)
    assert wide.temp_bytes is not None
    assert MIB <= wide.temp_bytes < MIB + 4096  # the sorted matrix
    assert wide.output_bytes == 2048
    assert wide.name == "sines"
    assert wide.runs == 5
    assert wide.minimum <= wide.low <= wide.median <= wide.high


def test_operations_of_a_matrix_product_and_its_share_of_the_roofline() -> None:
    a, b = jnp.ones((64, 32)), jnp.ones((32, 16))
    row = bench.measure(jnp.matmul, a, b, **QUICK)
    assert row.matmul_flops == 2 * 64 * 32 * 16
    assert row.flops == row.matmul_flops
    assert row.roofline is not None
    assert row.roofline * row.median == pytest.approx(2 * 64 * 32 * 16 / 1e9, rel=1e-9)  # more than its 14,336 bytes


def test_a_function_is_compiled_anew_each_time() -> None:
    """What jax has in its cache would seem to compile in no time."""
    traced = []

    def f(x: jax.Array) -> jax.Array:
        traced.append(x)
        return x + 1

    for _ in range(2):
        traced.clear()
        bench.measure(f, jnp.ones(3), **QUICK)
        assert traced


@pytest.mark.slow
@pytest.mark.parametrize("f", [sines, lambda x: jnp.sum(x), lambda x: jnp.linalg.cholesky(x[:2, :2] + 9 * jnp.eye(2))])
def test_peak_of_a_fresh_process(f: Any) -> None:
    """Arguments of 16 MiB, and for the sorted matrix as much again; the rest of a process adds little."""
    row = bench.measure(f, jnp.ones((2048, 2048)), seconds=0.0)
    assert row.peak_bytes is not None
    assert row.temp_bytes is not None
    needed = 16 * MIB + row.temp_bytes
    assert needed <= row.peak_bytes <= needed + 3 * MIB


def test_no_peak_where_a_program_stays_in_its_process() -> None:
    def f(x: jax.Array) -> jax.Array:
        return jax.pure_callback(lambda x: x, x, x)

    assert bench.measure(f, jnp.ones(3), seconds=0.0).peak_bytes is None


def test_peak_of_a_device() -> None:
    peaks = iter([100, 700, 700, 700])
    device = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": next(peaks)})
    assert _peak.peak_of_device(device, lambda: 0) == 700
    assert _peak.peak_of_device(device, lambda: 0) is None  # not above what an earlier program took
    assert _peak.peak_of_device(SimpleNamespace(memory_stats=lambda: None), lambda: 0) is None


def test_error_against_float64() -> None:
    x = jnp.linspace(0.1, 1.0, 64)
    right = bench.measure(jnp.log1p, x, float64=True, **QUICK)
    assert right.errors["value"] < 2
    tiny = jnp.full(8, 1e-4)
    lossy = bench.measure(lambda x: {"y": jnp.log(1 + x), "n": jnp.argmax(x)}, tiny, float64=True, **QUICK)
    assert list(lossy.errors) == ["y"]
    assert lossy.errors["y"] > 500  # 1 + 1e-4 keeps ten bits of 1e-4 less


def test_complex_arguments_are_widened_too() -> None:
    row = bench.measure(jnp.abs, jnp.full(3, 1 + 1e-3j), float64=True, **QUICK)
    assert row.errors["value"] <= 2


def test_a_function_that_rounds_is_no_reference() -> None:
    with pytest.raises(ValueError, match="it rounds to bfloat16 inside"):
        bench.measure(lambda x: x.astype(jnp.bfloat16) * 2, jnp.ones(3), float64=True, **QUICK)


def test_compare_gives_ratios_to_the_named_peer() -> None:
    x = jnp.ones(8)
    both = {"one": lambda x: x + 1, "two": lambda x: x + 2, "other": bench.Candidate("?", lambda: None)}
    made = bench.compare(both, x, peer="two", **QUICK)
    assert [m.name for m in made.measurements] == ["one", "two", "other"]
    assert [r.peer for m in made.measurements for r in m.ratios] == ["two"] * 3
    assert made["two"].ratios[0].median == 1.0
    assert made["other"].compile_seconds is None
    assert bench.compare(both, x, **QUICK)["two"].ratios[0].peer == "one"


def test_interrupt_keeps_the_rounds_that_are_complete() -> None:
    runs = []

    def run() -> None:
        runs.append(0)
        if len(runs) == 4:  # a warm run, then the third round
            raise KeyboardInterrupt

    with pytest.raises(bench.Interrupted) as stop:
        bench.compare({"a": bench.Candidate("a", run)}, **QUICK)
    assert stop.value.comparison["a"].runs == 2
    assert isinstance(stop.value, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "`functions` must hold at least one function, got none", lambda: bench.compare({})),
        (ValueError, "`peer` must be one of a, b, got 'c'", lambda: bench.compare({"a": abs, "b": abs}, peer="c")),
        (TypeError, "got a ShapeDtypeStruct", lambda: bench.measure(abs, jax.ShapeDtypeStruct((3,), jnp.float32))),
    ],
)
@pytest.mark.usefixtures("own_errors")
def test_errors(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_json_round_trip() -> None:
    made = bench.compare({"a": jnp.sin, "b": jnp.cos}, jnp.ones(8), float64=True, **QUICK)
    text = json.dumps(made.to_dict(), allow_nan=False)
    again = bench.Comparison.from_dict(json.loads(text))
    assert again.to_dict() == made.to_dict()
    assert again.environment is not None
    assert {"device", "processor", "cores", "python", "versions", "commit"} == set(again.environment)
    assert again.environment["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize(
    ("vendor", "flags", "name", "multiplies"),
    [
        ("GenuineIntel", "fpu amx_bf16 sse", "Some CPU, AMX", True),
        ("GenuineIntel", "fpu avx512_bf16", "Some CPU", False),
        ("AuthenticAMD", "fpu avx512_bf16", "Some CPU", True),
        ("AuthenticAMD", "fpu avx2", "Some CPU", False),
        ("", "", "Some CPU", False),
    ],
)
def test_a_processor_says_whether_it_multiplies_bfloat16(
    vendor: str, flags: str, name: str, multiplies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {"model name": "Some CPU", "flags": flags, "vendor_id": vendor}
    monkeypatch.setattr(_processor, "_line", lines.__getitem__)
    assert _processor.processor_name() == name
    assert _processor.multiplies_bfloat16.__wrapped__() is multiplies


def test_json_spells_what_it_lacks() -> None:
    m = bench.Measurement("a", 0, *(math.nan,) * 4, errors={"value": math.inf})
    fields = m.to_dict()
    assert (fields["median"], fields["errors"]) == (None, {"value": "inf"})
    again = bench.Measurement.from_dict(json.loads(json.dumps(fields, allow_nan=False)))
    assert math.isnan(again.median)
    assert again.errors == {"value": math.inf}
    assert plain({"x": [1.23456789, -math.inf]}) == {"x": [1.2346, "-inf"]}


def test_a_row_reads_well() -> None:
    ratios = (bench.Ratio("b", 0.5, 0.4, 0.6, 0.5),)
    m = bench.Measurement("a", 7, 1e-3, 1e-3, 2e-3, 3e-3, 0.5, 3 * MIB, {"value": 1.25}, ratios, roofline=0.5)
    assert str(m) == (
        "a: 2 ms [1 ms 3 ms] x 7; 0.50 [0.40 0.60] of b; compile 0.50 s; temp 3.0 MiB; 50% of the roofline; "
        "error in eps value 1.25"
    )


def test_roofline_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxinfo.bench._roofline._SIZES", {"cpu": (2**16, 8)})
    monkeypatch.setattr("jaxinfo.bench._roofline._RUNS", 2)
    from jaxinfo.bench._roofline import _measured

    _measured.cache_clear()
    first = bench.roofline()
    assert bench.roofline() is first
    assert set(first.flops_per_second) == {"float32", "bfloat16", "float16"}
    assert all(np.isfinite(v) and v > 0 for v in (first.bytes_per_second, *first.flops_per_second.values()))
    assert first.seconds(bytes=first.bytes_per_second, flops=3 * first.flops_per_second["float32"]) == pytest.approx(3)
    _measured.cache_clear()
