"""The adapter against torch itself, over torch's own samples: value, shape, dtype, gradient, and errors."""

from typing import Any

import numpy as np
import pytest

from jaxinfo.compat import torch as adapter

from . import samples  # skips this file where torch is not installed
from .samples import torch

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOGETHER = 40  # samples in one program: it compiles in half the time that one program for each would take
# Where torch's samples meet a gradient that torch makes nan: a count of 0 with `full`, a logit of +inf.
NAN_GRADIENTS = {"poisson_nll_loss", "logsumexp"}
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
# torch.testing.assert_close's own (rtol, atol)
TOLERANCE = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5), torch.bfloat16: (1.6e-2, 1e-5)}


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", samples.OPS)
def test_same_as_torch(name: str, dtype: Any) -> None:
    """All samples in float64; of another dtype as many as show every option and every shape."""
    rtol, atol = TOLERANCE[dtype]
    every = list(samples.calls(name, dtype))
    calls = every if dtype == torch.float64 else samples.spread(every, DTYPES.index(dtype))
    answers = [
        answer
        for i in range(0, len(calls), TOGETHER)
        for answer in samples.jax_answers(
            getattr(adapter, name), calls[i : i + TOGETHER], gradients=dtype != torch.bfloat16
        )
    ]
    assert answers
    for count, (call, got) in enumerate(zip(calls, answers, strict=True)):
        want = samples.torch_answer(name, call)
        said = f"sample {count}: {samples.described(call)}"
        assert got.dtype == want.dtype, said
        assert got.value.shape == want.value.shape, said
        np.testing.assert_allclose(got.value, want.value, rtol, atol, err_msg=said)
        for mine, theirs in zip(got.gradients, want.gradients, strict=True):
            if mine is None or theirs is None:
                continue
            if name in NAN_GRADIENTS:
                undefined = np.isnan(theirs)
                assert np.isfinite(mine[undefined]).all(), said
                mine, theirs = mine[~undefined], theirs[~undefined]
            np.testing.assert_allclose(mine, theirs, rtol, atol, err_msg=f"gradient of {said}")


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "gaussian_nll_loss", "poisson_nll_loss"])
@pytest.mark.usefixtures("own_errors")
def test_what_torch_refuses_raises(name: str) -> None:
    count = 0
    for call in samples.error_calls(name):
        args, kwargs = map(samples.convert, call.args), {k: samples.convert(v) for k, v in call.kwargs.items()}
        with pytest.raises((TypeError, ValueError), match=r"^`.*\.$"):
            getattr(adapter, name)(*args, **kwargs)
        count += 1
    assert count > 0
