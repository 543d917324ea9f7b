"""The README's Python code runs, and each result it shows, ours or another library's, is the one that comes out."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<!\w)[+-]?(?:inf|nan|\d+\.?\d*(?:e[+-]?\d+)?)(?!\w)")
TABLE = re.findall(r"^\| (.+?) \| `(.+?)` → (.+?) \| `(.+?)` → (.+?) \|$", README, flags=re.MULTILINE)
PEERS = {"torch.": "torch", "optax.": "optax", "integer_xent": "optax", "nn.": "jax"}


def shown_results(source: str) -> list[tuple[str, str | None]]:
    """Return each statement of a block with the comment that ends its last line."""
    lines = source.splitlines()
    pairs = []
    for node in ast.parse(source).body:
        code = ast.unparse(node)
        comment = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset or 0 :].decode().partition("#")[2]
        pairs.append((code, comment.strip() or None))
    return pairs


def value_of(code: str, scope: dict[str, Any]) -> Any:
    """Run one statement; return the value of an expression, an assignment or the argument of a print."""
    (node,) = ast.parse(code).body
    if isinstance(node, ast.Expr):
        call = node.value
        is_print = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
        return eval(ast.unparse(call.args[0] if isinstance(call, ast.Call) and is_print else call), scope)
    exec(code, scope)
    return scope[node.targets[0].id] if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) else None


def assert_shown(shown: str, value: Any) -> None:
    """Compare numbers to the digits shown, half a unit of the last and float32's rounding; anything else as text."""
    numbers = NUMBER.findall(shown)
    if not numbers or isinstance(value, str):
        assert str(value) == shown
        return
    found = np.ravel(np.asarray(value, np.float64))
    assert len(found) == len(numbers), f"{shown} is shown, {value} came out"
    for number, got in zip(numbers, found, strict=True):
        mantissa, _, exponent = number.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        want = float(number)
        if want == 0 or not np.isfinite(want):  # exactly
            np.testing.assert_array_equal(got, want)
            continue
        assert abs(got - want) <= 0.51 * unit + 4 * np.finfo(np.float32).eps * abs(want), f"{shown}: got {value}"


def scope_of_blocks(*blocks: str) -> dict[str, Any]:
    """Return the names that the blocks define."""
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(block, scope)
    return scope


@pytest.mark.usefixtures("as_user")
def test_code_gives_the_results_it_shows() -> None:
    scope: dict[str, Any] = {}
    results = 0
    for block in BLOCKS:
        for code, shown in shown_results(block):
            value = value_of(code, scope)
            if shown is not None and value is not None:
                assert_shown(shown, value)
                results += 1
    assert results >= 6


@pytest.mark.slow
@pytest.mark.usefixtures("as_user")
@pytest.mark.filterwarnings("ignore")  # of the peers: what they answer is the matter here
def test_table_is_what_comes_out() -> None:
    """Ours in every row; the others' where they are installed. A new release of theirs may turn a row stale."""
    lines = README.partition("| | jaxinfo | elsewhere |\n")[2].partition("\n\n")[0].splitlines()
    assert len(TABLE) == len(lines) - 1 >= 10, "a row of the table is not of its form"
    scope, ran = scope_of_blocks(BLOCKS[0]), []
    for question, ours, right, theirs, wrong in TABLE:
        value = eval(ours, scope)
        assert_shown(right, value)
        peer = next(name for sign, name in PEERS.items() if sign in theirs)
        try:
            scope[peer] = importlib.import_module(peer)
        except ImportError:
            continue
        answer = np.asarray(eval(theirs, scope))
        if wrong == "no digit right":
            assert abs(answer - value) > 0.5 * abs(value), f"{question}: {peer} answers {answer}"
        else:
            assert_shown(wrong, answer)
        ran.append(peer)
    assert ran.count("optax") >= 8
    assert ran.count("jax") >= 2


def test_a_wrong_result_would_be_seen() -> None:
    assert_shown("[0.25 -1e-09]", np.array([0.25, -1e-9]))
    assert_shown("[nan -inf]", np.array([np.nan, -np.inf]))
    for wrong in (np.array([np.nan, np.inf]), np.array([0.0, -np.inf]), np.array([np.nan])):
        with pytest.raises(AssertionError):
            assert_shown("[nan -inf]", wrong)
    for wrong in (np.array([0.26, -1e-9]), np.array([0.25, 1e-9]), np.array([0.25])):
        with pytest.raises(AssertionError):
            assert_shown("[0.25 -1e-09]", wrong)


def test_two_commands_stand_on_lines_of_their_own() -> None:
    fenced = "".join(re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)).splitlines()
    assert fenced == ["pip install '.[data]' && jaxinfo fit digits", "pip install '.[test]' && pytest"]


def test_zero_means_zero() -> None:
    assert_shown("0.0", np.array(-0.0))
    with pytest.raises(AssertionError):
        assert_shown("0.0", np.array(4e-9))


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) > 10
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_figures_are_those_of_the_rows_they_name() -> None:
    script = ROOT / "benchmarks" / "readme_figures.py"
    spec = importlib.util.spec_from_file_location("readme_figures", script)
    assert spec is not None
    assert spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    assert figures.written(README) == README, "run python benchmarks/readme_figures.py"
    assert figures.written(README.replace("| 37 ", "| 36 ").replace("| 0.", "| 0.0")) == README


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 200
