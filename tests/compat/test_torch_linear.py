"""linear_cross_entropy against torch's own, over torch's own samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.compat.torch import linear_cross_entropy

from . import samples  # skips this file where torch is not installed
from .samples import op_db, torch

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
F = torch.nn.functional
MOST = 10  # of torch's samples, spread over them: each is a compilation


def calls() -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    op = next(o for o in op_db if o.name == "nn.functional.linear_cross_entropy" and not o.variant_test_name)
    every = [((s.input, *s.args), s.kwargs) for s in op.sample_inputs("cpu", torch.float64, requires_grad=True)]
    every = [(a, k) for a, k in every if not isinstance(k.get("reduction"), type(None)) or "reduction" not in k]
    return every[:: max(1, len(every) // MOST)]


def test_same_as_torch() -> None:
    assert calls()
    for args, kwargs in calls():
        said = {k: tuple(v.shape) if hasattr(v, "shape") else v for k, v in kwargs.items()}
        want = F.linear_cross_entropy(*args, **kwargs)
        arrays = [samples.convert(a) for a in args]
        rest = {k: samples.convert(v) for k, v in kwargs.items() if k != "options"}

        @samples.quick_jit
        def both(h: jax.Array, w: jax.Array, y: jax.Array = arrays[2], rest: dict = rest) -> tuple[jax.Array, Any]:
            out, pull = jax.vjp(lambda h, w: linear_cross_entropy(h, w, y, **rest), h, w)
            return out, pull(jnp.ones_like(out))

        got, mine = both(*arrays[:2])
        np.testing.assert_allclose(got, want.detach().numpy(), 1e-7, 1e-7, err_msg=str(said))
        slopes = torch.autograd.grad(want, args[:2], torch.ones_like(want))
        for ours, theirs in zip(mine, slopes, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), 1e-7, 1e-7, err_msg=f"gradient of {said}")


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    h, w, y = np.ones((3, 2)), np.ones((5, 2)), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match=r"`linear_weight` must have shape \(C, ..., 2\).*`input`"):
        linear_cross_entropy(h, w[:, :1], y)
    with pytest.raises(ValueError, match="`input` must have shape"):
        linear_cross_entropy(h[None], w, y)
    with pytest.raises(ValueError, match="`ignore_index` must be None"):
        linear_cross_entropy(h, w, np.ones((3, 5)), ignore_index=1)


@pytest.mark.usefixtures("own_errors")
def test_shapes_of_places_are_those_of_the_weight() -> None:
    h, w, y, b = np.ones((2, 4)), np.ones((5, 2, 3, 4)), np.zeros((2, 2, 3), np.int32), np.ones((5, 2, 3))
    for shape in ((2, 3, 2), (2, 6), (2, 1, 6), (12,)):
        with pytest.raises(ValueError, match=r"`target` must have shape \(2, 2, 3\)"):
            linear_cross_entropy(h, w, y.reshape(shape))
    for shape in ((5, 3, 2), (5, 6), (30,), (6, 5)):
        with pytest.raises(ValueError, match=r"`linear_bias` must have shape \(5, 2, 3\)"):
            linear_cross_entropy(h, w, y, linear_bias=b.reshape(shape))
    with pytest.raises(ValueError, match=r"`target` must have shape \(2, 5, 2, 3\)"):
        linear_cross_entropy(h, w, np.full((2, 5, 3, 2), 0.2))
    assert np.isnan(linear_cross_entropy(h[:0], w, y[:0]))
