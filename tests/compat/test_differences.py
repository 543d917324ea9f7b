"""Every deliberate difference from torch is there as stated, on both sides, and the docs list it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.compat import torch as adapter

from .differences import DIFFERENCES, REFUSED, Difference

DOC = Path(__file__).parents[2] / "docs" / "coming_from_torch.md"
ROWS = pytest.mark.parametrize("row", DIFFERENCES, ids=lambda r: f"{r.function}: {r.what}")


def given(row: Difference, convert: Any) -> tuple[list, dict[str, Any]]:
    """Return the call's arguments with each array passed through `convert`."""

    def put(v: Any) -> Any:
        return convert(v) if isinstance(v, np.ndarray) else v

    return [put(v) for v in row.args], {k: put(v) for k, v in row.kwargs.items()}


@ROWS
def test_ours(row: Difference) -> None:
    args, kwargs = given(row, jnp.asarray)
    at = row.gradient or 0

    def f(x: jax.Array) -> jax.Array:
        return getattr(adapter, row.function)(*args[:at], x, *args[at + 1 :], **kwargs)

    if row.ours is REFUSED:
        with pytest.raises((TypeError, ValueError), match=r"^`.*, got .*\.$"):
            f(args[at])
        return
    g = f if row.gradient is None else jax.grad(lambda x: f(x).sum())
    np.testing.assert_allclose(jax.jit(g)(args[at]), row.ours, rtol=2e-6, atol=0)


@ROWS
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchs(row: Difference) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    args, kwargs = given(row, torch.from_numpy)

    def answer() -> Any:
        if row.gradient is not None:
            args[row.gradient].requires_grad_()
        function = torch.logsumexp if row.function == "logsumexp" else getattr(torch.nn.functional, row.function)
        out = function(*args, **kwargs)
        if row.gradient is None:
            return out.numpy()
        return torch.autograd.grad(out.sum(), args[row.gradient])[0].numpy()

    if row.torch is REFUSED:
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            answer()
    else:
        np.testing.assert_allclose(answer(), row.torch, rtol=2e-6, atol=0)


@ROWS
def test_docs_list_it(row: Difference) -> None:
    lines = [
        line for line in DOC.read_text().splitlines() if line.startswith((f"| {row.what} |", f"| {row.what}, grad"))
    ]
    assert len(lines) == 1, f"{DOC.name} must have one row for {row.what!r}."
    cells = lines[0].split("|")
    assert f"`{row.function}`" in cells[2]
    assert all(f"#{number}" in cells[5] for number in row.issues)


def test_docs_list_nothing_else() -> None:
    table = DOC.read_text().split("## Deliberate differences")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 0
    assert {row.split(", gradient")[0] for row in rows} == {row.what for row in DIFFERENCES}
