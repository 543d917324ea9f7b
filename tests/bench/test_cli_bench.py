"""`jaxinfo bench` as a user runs it: a table, figures, a picture, and one sentence where something is wrong."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinfo import bench, cli
from jaxinfo.cli import _bench, _bench_cases, _bench_options, _bench_table

pytestmark = pytest.mark.usefixtures("as_user")
MEASUREMENT = {
    "name",
    "runs",
    "median",
    "low",
    "high",
    "compile_seconds",
    "temp_bytes",
    "peak_bytes",
    "roofline",
    "errors",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, which binds this process's threads, a roofline that takes seconds, and long timing."""
    monkeypatch.setattr(_bench_cases, "import_torch", lambda: None)
    monkeypatch.setattr(_bench, "_SECONDS", 0.0)
    roof = bench.Roofline("fake", 1e9, {"float32": 1e9})
    for module in ("jaxinfo.bench._measure", "jaxinfo.bench"):
        monkeypatch.setattr(f"{module}.roofline", lambda: roof)


def run(*args: object) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["bench", *map(str, args)])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.mark.slow
def test_figures_and_picture(tmp_path: Path, capsys: Any) -> None:
    names = ["jaxinfo", "optax, dense"]
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    assert run("linear", "--n", 8, "--d", 4, "--v", 4, "--json", file, "--plot", picture) == 0
    figures = json.loads(file.read_text())
    assert {"what", "n", "v", "d", "dtype", "target", "environment", "interrupted", "measurements", "over"} == set(
        figures
    )
    assert (figures["what"], figures["n"], figures["v"], figures["interrupted"]) == ("linear", 8, 4, False)
    assert [m["name"] for m in figures["measurements"]] == names
    for m in figures["measurements"]:
        assert set(m) >= MEASUREMENT
        assert m["runs"] >= 5
        assert list(m["errors"]) == ["0", "1.0", "1.1"]
        assert max(m["errors"].values()) < 32
    assert [point["size"] for point in figures["over"]] == [2, 4]
    assert picture.read_bytes()[:4] == b"\x89PNG"
    out = capsys.readouterr().out
    for word in ("linear", "8 x 4 x 4", "float32", *names, "time / jaxinfo", "temporaries", "1.00 [1.00 1.00]"):
        assert word in out


@pytest.mark.slow
def test_solvers_of_a_fit_reach_the_same_optimum(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert run("fit", "--n", 60, "--v", 3, "--d", 2, "--json", file) == 0
    rows = json.loads(file.read_text())["measurements"]
    assert [m["name"] for m in rows] == ["jaxinfo", "optax L-BFGS", "scikit-learn"]
    assert all(m["errors"]["objective"] < 1e-10 / 2**-52 for m in rows)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["softmax"], "WHAT must be one of cross-entropy, kl, linear, fit, got 'softmax'."),
        (["kl", "--d", "3"], "--d is for linear and fit: kl has no features."),
        (["--n", "0"], "--n must be at least 1, got 0."),
        (["--dtype", "int8"], "--dtype must be one of float32, bfloat16, float16, float64, got 'int8'."),
        (["--target", "tpu-v9"], "--target must be one of tpu-v5e, tpu-v5p, tpu-v6e, cuda-h100, got 'tpu-v9'."),
        (["fit", "--target", "tpu-v5e"], "--target is for losses: fit is a loop on the host."),
        (["fit", "--dtype", "float32"], "fit is measured in float64"),
        (["kl", "--n", "99999", "--v", "99999"], "--n, --d and --v make arrays beyond 2^31 elements"),
        (["--json", "/no/such/folder/x.json"], "--json cannot write '/no/such/folder/x.json'"),
        (["--plot", "x.foo"], "--plot must name a file that ends in one of"),
    ],
)
def test_bad_input_is_one_sentence(args: list[str], message: str, capsys: Any) -> None:
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"jaxinfo: {message}")
    assert err.count("\n") == 1


def test_a_missing_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("jaxinfo.bench._targets.importlib.util.find_spec", lambda name: None)
    assert run("--target", "tpu-v5e") == 2
    assert capsys.readouterr().err == (
        "jaxinfo: Compiling for tpu-v5e needs libtpu, which is not installed: pip install 'jaxinfo[tpu]'.\n"
    )


def test_what_does_not_fit_on_a_chip_is_a_line_of_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """The compiler refuses dense logits that are larger than the chip's memory; ours are there all the same."""
    made = bench.Compiled("tpu-v5e", 1, 1.0, 2**20, 1, 1, 1.0, 1.0, 1, {}, None, 12_345)
    answers = iter([made, jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 20 G of 16 G :: a long story\nand more")])

    def compile_for(*args: Any, **options: Any) -> bench.Compiled:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(bench, "compile_for", compile_for)
    monkeypatch.setattr("jaxinfo.cli._bench_options.check_installed", lambda target: None)
    file = tmp_path / "bench.json"
    assert run("linear", "--target", "tpu-v5e", "--json", file) == 0
    rows = json.loads(file.read_text())["measurements"]
    assert (rows[0]["cycles"], rows[1]["error"]) == (12_345, "RESOURCE_EXHAUSTED: 20 G of 16 G")
    out = capsys.readouterr().out
    assert "12,345" in out
    assert "optax, dense does not compile: RESOURCE_EXHAUSTED: 20 G of 16 G\n" in out


@pytest.mark.tpu_compile
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed (extra tpu)")
def test_memory_over_classes_on_a_tpu(tmp_path: Path) -> None:
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    sizes = ("--n", 256, "--d", 128, "--v", 1024, "--dtype", "bfloat16")
    assert run("linear", *sizes, "--target", "tpu-v5e", "--json", file, "--plot", picture) == 0
    figures = json.loads(file.read_text())
    assert [point["size"] for point in figures["over"]] == [128, 256, 512, 1024]
    assert figures["over"][-1]["measurements"] == figures["measurements"]
    kernels = [point["measurements"][0]["argument_bytes"] for point in figures["over"]]
    assert np.diff(kernels).tolist() == [2 * 128 * 128, 2 * 128 * 256, 2 * 128 * 512]
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_logits_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The machine would kill the process; ours needs none of them."""
    monkeypatch.setattr(_bench_cases, "too_large", lambda sizes: True)
    assert run("linear", "--n", 4, "--d", 2, "--v", 8) == 0
    out = capsys.readouterr().out
    assert "jaxinfo" in out
    assert "optax" not in out
    assert "Left out: the peers, whose logits do not fit into memory." in out


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the memory of the machine is not known")
def test_what_is_too_large() -> None:
    huge = _bench_cases.Sizes(2**24, 2**24, 1, "float32")
    assert _bench_cases.too_large(huge)
    assert not _bench_cases.too_large(huge._replace(n=8))
    assert _bench_options.check("linear", 2**20, 2**20, 8, None, None).n == 2**20


def test_ctrl_c_prints_what_is_done(tmp_path: Path) -> None:
    """A real process that would take minutes, and a real signal once its first function is measured."""
    script = (
        "import jaxinfo.cli._bench as b, jaxinfo.cli._bench_cases as c, jaxinfo.cli as cli\n"
        "c.import_torch = lambda: None\n"
        "b._SECONDS = 600.0\n"
        "tell = b.bench.compare\n"
        "def compare(*a, progress, **k):\n"
        "    def say(text):\n"
        "        print(text, flush=True)\n"
        "        progress(text)\n"
        "    return tell(*a, progress=say, **(k | {'peak': False}))\n"
        "b.bench.compare = compare\n"
        "cli.main(['bench', '--n', '64', '--v', '4096', '--json', 'bench.json'])\n"
    )
    environment = {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("round 3"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted." in out
    assert "jaxinfo" in out
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["interrupted"] is True
    assert all(3 <= m["runs"] < 101 for m in figures["measurements"])


def test_a_table_leaves_empty_columns_out() -> None:
    table = _bench_table.measured_table(bench.Comparison({}, (bench.Measurement("a", 5, 1.0, 1.0, 1.0, 1.0),)))
    assert [column.header for column in table.columns] == ["", "run"]
