"""jaxinfo is right in every row of the public truth table, and the page says what the stored answers say."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
try:
    conformance: Any = importlib.import_module("conformance")
finally:
    sys.path.remove(str(BENCHMARKS))

CASES = conformance.cases()
pytestmark = [
    pytest.mark.usefixtures("as_user"),
    pytest.mark.filterwarnings("ignore"),  # of the peers: what they answer is the matter here
]


@pytest.fixture(scope="module")
def libraries() -> Any:
    return conformance.libraries()


@pytest.fixture(scope="module")
def stored() -> Any:
    return json.loads((BENCHMARKS / "results" / "conformance.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.section}: {c.name}")
def test_ours_is_right(case: Any, libraries: Any) -> None:
    """Where it is not, the failure names the installed peers that are."""
    ours = conformance.judge(case, "jaxinfo", libraries["jaxinfo"])
    if ours["verdict"] != "right":
        better = [n for n, lib in libraries.items() if conformance.judge(case, n, lib)["verdict"] == "right"]
        pytest.fail(f"wanted {case.want}, got {ours}; right: {better or 'no one'}")
    assert set(case.want) <= {"value", "gradient", "forward", "hessian"}


def test_case_names_are_unique() -> None:
    names = [(c.section, c.name) for c in CASES]
    assert len(set(names)) == len(names)


def test_the_page_is_what_the_answers_say(stored: Any) -> None:
    page = (ROOT / "docs" / "truth_table.md").read_text()
    assert page == conformance.render(stored), "run what the head of docs/truth_table.md says."


def test_the_answers_are_to_these_cases(stored: Any) -> None:
    assert [(r["section"], r["case"]) for r in stored["rows"]] == [(c.section, c.name) for c in CASES]
    for r, case in zip(stored["rows"], CASES, strict=True):
        assert r["want"] == {q: conformance.plain(np.asarray(a)) for q, a in case.want.items()}


def test_no_peer_outdoes_us_in_the_stored_answers(stored: Any) -> None:
    assert conformance.outdone(stored["rows"]) == []
    assert {r["libraries"]["jaxinfo"]["verdict"] for r in stored["rows"]} == {"right"}


def test_a_peer_that_outdoes_us_is_found() -> None:
    verdicts = {"jaxinfo": {"verdict": "wrong"}, "optax": {"verdict": "right"}}
    assert conformance.outdone([{"case": "a", "libraries": verdicts}]) == ["a"]


@pytest.mark.parametrize(
    ("got", "want", "right"),
    [
        (np.nan, np.nan, True),
        (0.0, np.nan, False),
        (np.nan, 0.0, False),
        (np.inf, np.inf, True),
        (-np.inf, np.inf, False),
        (1 + 1e-6, 1.0, True),
        (1 + 1e-4, 1.0, False),
        (0.0, 1e-20, False),
        ([0.0], 0.0, False),
    ],
)
def test_agreement(got: Any, want: Any, right: bool) -> None:
    assert conformance.agrees(np.asarray(got), np.asarray(want), 1e-5, 1e-37) == right


def test_a_wrong_adapter_is_told_from_a_right_one(libraries: Any) -> None:
    case = next(c for c in CASES if c.name == "the label leads by 20: loss")
    right = libraries["jaxinfo"]
    wrong = {"ce_labels": [("zero", lambda x, y: 0 * x.sum())]}
    assert conformance.judge(case, "jaxinfo", right)["verdict"] == "right"
    assert conformance.judge(case, "zero", wrong)["answers"] == {"value": 0.0}
    assert conformance.judge(case, "zero", {})["verdict"] == "absent"
    assert conformance.judge(case, "jaxinfo", wrong | right)["verdict"] == "right"


def test_optax_is_asked_beside_us(libraries: Any) -> None:
    """A peer that is right is marked right, one that is confident and wrong is shown with its answer."""
    by_name = {c.name: c for c in CASES}
    easy, hard = by_name["label elsewhere: the class does not exist"], by_name["the label leads by 20: loss"]
    assert conformance.judge(easy, "optax", libraries["optax"])["verdict"] == "right"
    assert conformance.judge(hard, "optax", libraries["optax"])["verdict"] in {"right", "wrong"}
