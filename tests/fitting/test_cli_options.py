"""The options of `jaxinfo fit`: families, methods, validation, checkpoints, standard errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxinfo import cli

pytest.importorskip("typer", reason="typer is not installed: pip install 'jaxinfo[data]'")


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fit", *(str(arg) for arg in args)])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file whose columns are outcomes of each family."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    kind = (rng.uniform(size=40) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    count = rng.poisson(np.exp(1 + 0.3 * x[:, 1]))
    number = 3 + x @ [1.0, -2.0] + 0.1 * rng.normal(size=40)
    lines = ["a,b,kind,count,number"]
    lines += [",".join(map(repr, map(float, row))) for row in np.column_stack([x, kind, count, number])]
    file = tmp_path_factory.mktemp("cli") / "table.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def only(table: Path, outcome: str, folder: Path) -> Path:
    """Return a file with the features and one outcome."""
    rows = [line.split(",") for line in table.read_text().splitlines()]
    keep = [0, 1, rows[0].index(outcome)]
    file = folder / f"{outcome}.csv"
    file.write_text("\n".join(",".join(row[i] for i in keep) for row in rows) + "\n")
    return file


@pytest.mark.parametrize(
    ("family", "outcome", "parameters"), [("bernoulli", "kind", 3), ("poisson", "count", 3), ("gaussian", "number", 4)]
)
def test_families(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture, family: str, outcome: str, parameters: int
) -> None:
    file = only(table, outcome, tmp_path)
    result = tmp_path / "fit.json"
    assert run(file, "--target", outcome, "--family", family, "--l2", 0, "--json", result) == 0
    figures = json.loads(result.read_text())
    assert figures["reason"] == "CONVERGED"
    assert figures["family"] == family
    assert figures["parameters"] == parameters
    assert all(error > 0 for error in figures["standard_errors"]["W"])
    assert "std err" in capsys.readouterr().out
    if family == "gaussian":
        data = np.loadtxt(file, delimiter=",", skiprows=1)
        x, y = data[:, :2], data[:, 2]
        design = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(40)])
        line, residual = np.linalg.lstsq(design, y)[:2]
        np.testing.assert_allclose([*figures["params"]["W"], figures["params"]["b"]], line, rtol=1e-6)
        variance = float(residual[0]) / 40
        assert figures["log_likelihood"] == pytest.approx(-20 * (np.log(2 * np.pi * variance) + 1), rel=1e-9)


@pytest.mark.slow
def test_method_errors_and_validation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result = tmp_path / "fit.json"
    options = ("--method", "newton", "--validation", 0.2, "--standard-errors", "sandwich", "--json", result)
    assert run("iris", *options) == 0
    output = capsys.readouterr().out
    assert "of newton" in output
    assert "sandwich" in output
    figures = json.loads(result.read_text())
    assert figures["examples"] == 120
    assert np.shape(figures["standard_errors"]["W"]) == (4, 3)


@pytest.mark.slow
def test_checkpoint_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip(
        "orbax.checkpoint", reason="orbax-checkpoint is not installed: pip install 'jaxinfo[checkpoint]'"
    )
    files = [tmp_path / f"{i}.json" for i in range(2)]
    assert run("iris", "--checkpoint", tmp_path / "saved", "--json", files[0]) == 0
    assert run("iris", "--checkpoint", tmp_path / "saved", "--resume", "--json", files[1]) == 0
    first, second = (json.loads(file.read_text()) for file in files)
    assert first["objective"] == second["objective"]
    assert run("iris", "--checkpoint", tmp_path / "saved") == 2
    capsys.readouterr()
    for other, message in (
        (("--l2", 100), "--checkpoint must hold an earlier run of this fit, got one of other data, weights or penalty"),
        (("--method", "lbfgs"), "--checkpoint must hold an earlier run of this fit, got one of another method"),
    ):
        assert run("iris", "--checkpoint", tmp_path / "saved", "--resume", *other) == 2
        assert message in capsys.readouterr().err
    assert run("iris", "--checkpoint", files[0] / "in") == 2
    assert "--checkpoint must be a directory to write in" in capsys.readouterr().err


def test_counts_may_all_be_the_same_and_classes_not(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "counts.csv"
    file.write_text("x,y\n1,3\n2,3\n4,3\n")
    assert run(file, "--target", "y") == 2
    assert "'counts.csv' holds one class only, '3': nothing to fit." in capsys.readouterr().err
    assert run(file, "--target", "y", "--family", "poisson") == 0


def test_an_interrupt_is_told(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxinfo.cli._fit.run_fit", interrupted)
    assert run("iris") == 130
    assert "Interrupted." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("iris", "--family", "gamma"),
            "--family must be one of categorical, bernoulli, poisson, gaussian, got 'gamma'",
        ),
        (("iris", "--method", "sgd"), "--method must be one of auto, newton, newton_cg, lbfgs, minibatch, got 'sgd'"),
        (("iris", "--validation", 1.5), "--validation must be a share from 0 to below 1, got 1.5"),
        (("iris", "--resume"), "--resume needs --checkpoint"),
        (("iris", "--restarts", 0), "--restarts must be at least 1, got 0"),
        (("iris", "--standard-errors", "hc3"), "--standard-errors must be one of observed, outer, sandwich, got 'hc3'"),
        (("iris", "--family", "poisson"), "The outcome of --family poisson must be numbers, got 'setosa'"),
        (("wine", "--family", "bernoulli"), "The outcome of --family bernoulli must be numbers, got 'class_0'"),
        (("sotu", "--validation", 0.5), "--validation holds out rows"),
    ],
)
def test_wrong_options_end_in_one_sentence(capsys: pytest.CaptureFixture, args: tuple, message: str) -> None:
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
