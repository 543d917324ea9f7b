"""What the adapter takes: dtypes and their promotion, numbers under jit, and one sentence for what it refuses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.compat import torch as F

X, Y = jnp.zeros((2, 3)), jnp.array([0, 1])
P, W = jnp.full((2, 3), 1 / 3, float), jnp.array([1.0, 2.0, 3.0])
H, K = jnp.ones((2, 4)), jnp.ones((3, 4))
LIST = [1.0, 2.0, 3.0]
ERRORS = [
    *(
        (f, (*given, *rest), {"ignore_index": index}, TypeError, "`ignore_index`")
        for index in ("a", 1.5, True, jnp.array([1, 2]))
        for f, given, rest in (
            (F.cross_entropy, (X,), (Y,)),
            (F.nll_loss, (X,), (Y,)),
            (F.linear_cross_entropy, (H, K), (Y,)),
        )
    ),
    (F.cross_entropy, (X, Y), {"ignore_index": None}, TypeError, "`ignore_index`"),
    (F.cross_entropy, (X, P), {"ignore_index": None}, TypeError, "`ignore_index`"),
    (F.cross_entropy, (X, Y, LIST), {}, TypeError, "`weight` must be an array"),
    (F.cross_entropy, (X, P, LIST), {}, TypeError, "`weight` must be an array"),
    (F.cross_entropy, (X, Y, "abc"), {}, TypeError, "`weight` must be an array"),
    (F.cross_entropy, (X, P, W.astype(complex)), {}, TypeError, "`weight`"),
    (F.nll_loss, (X, Y, LIST), {}, TypeError, "`weight` must be an array"),
    (F.cross_entropy, (X, Y), {"reduction": np.ones(2)}, ValueError, "`reduction`"),
    (F.cross_entropy, (X, Y), {"size_average": "a"}, TypeError, "`size_average`"),
    (F.cross_entropy, (X, Y), {"reduce": X}, TypeError, "`reduce`"),
    (F.kl_div, ("a", X), {}, TypeError, "`input` must be an array"),
    (F.kl_div, (X, None), {}, TypeError, "`target` must be an array"),
    (F.gaussian_nll_loss, (X, X, 1.0), {"eps": True}, TypeError, "`eps`"),
    (F.softmax, (X, X), {}, TypeError, "`dim`"),
    (F.kl_div, (X, X), {"log_target": X}, TypeError, "`log_target`"),
    (F.binary_cross_entropy, (P, P, LIST), {}, TypeError, "`weight` must be an array"),
    (F.binary_cross_entropy_with_logits, (P, P), {"pos_weight": LIST}, TypeError, "`pos_weight` must be an array"),
    (F.gaussian_nll_loss, (X, X, 1.0), {"eps": None}, TypeError, "`eps`"),
    (F.gaussian_nll_loss, (X, X, 1.0), {"eps": "a"}, TypeError, "`eps`"),
    (F.gaussian_nll_loss, (X, X, 1.0), {"eps": jnp.ones(3)}, ValueError, "`eps`"),
    (F.gaussian_nll_loss, (X, X, np.float32(-1)), {}, ValueError, "`var`"),
    (F.gaussian_nll_loss, (X, X, 1.0), {"full": "a"}, TypeError, "`full`"),
    (F.poisson_nll_loss, (X, X), {"log_input": False, "eps": None}, TypeError, "`eps`"),
    (F.poisson_nll_loss, (X, X), {"log_input": False, "eps": "a"}, TypeError, "`eps`"),
    (F.poisson_nll_loss, (X, X), {"log_input": "a"}, TypeError, "`log_input`"),
    *((f, (None, 0), {}, TypeError, "`input` must be an array") for f in (F.softmax, F.log_softmax, F.logsumexp)),
    *((f, ("a", 0), {}, TypeError, "`input` must be an array") for f in (F.softmax, F.log_softmax, F.logsumexp)),
    *(
        (f, (X, dim), {}, TypeError, "`dim`")
        for f in (F.softmax, F.log_softmax)
        for dim in ("a", 1.0, True, (0, 1), (0,))
    ),
    *((F.logsumexp, (X, dim), {}, TypeError, "`dim`") for dim in (None, 1.0, True, ("a",), "a")),
    (F.logsumexp, (X, 0, "a"), {}, TypeError, "`keepdim`"),
    *((F.softmax, (X, 0), {"dtype": dtype}, TypeError, "`dtype`") for dtype in ("foo", 3, "int32")),
    (F.linear_cross_entropy, (None, K, Y), {}, TypeError, "`input` must be an array"),
    (F.linear_cross_entropy, ("a", K, Y), {}, TypeError, "`input` must be an array"),
    (F.linear_cross_entropy, (H, None, Y), {}, TypeError, "`linear_weight` must be an array"),
    *((F.linear_cross_entropy, (H[0], K, t), {}, TypeError, "`target` must be an array") for t in (None, "a")),
    (F.linear_cross_entropy, (H[0], K, Y), {}, ValueError, r"`target` must have shape \(\)"),
    (F.linear_cross_entropy, (H, K, jnp.ones((2, 4))), {}, ValueError, r"`target` must have shape \(2, 3\)"),
    (F.linear_cross_entropy, (H, K, Y), {"linear_bias": W[:2]}, ValueError, "`linear_bias`"),
    (F.linear_cross_entropy, (H, K, Y), {"linear_bias": Y}, TypeError, "`linear_bias`"),
    (F.linear_cross_entropy, (H, K, Y), {"weight": W[:2]}, ValueError, "`weight`"),
    (F.linear_cross_entropy, (H, K, Y), {"weight": LIST}, TypeError, "`weight`"),
    (
        F.linear_cross_entropy,
        (H, K, Y),
        {"weight": jnp.ones(3, jnp.float32)},
        TypeError,
        "`weight` must have dtype float64",
    ),
]


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(("function", "args", "kwargs", "error", "says"), ERRORS)
def test_errors_name_torchs_argument(function: Any, args: tuple, kwargs: dict, error: type, says: str) -> None:
    with pytest.raises(error, match=rf"^{says}[^\n]*, got [^\n]*\.$"):
        function(*args, **kwargs)


@pytest.mark.usefixtures("own_errors")
def test_a_traced_bool_is_told_to_be_static() -> None:
    with pytest.raises(TypeError, match=r"^`full` must be a bool, and static under jax\.jit, got an array"):
        jax.jit(F.gaussian_nll_loss)(X, X, 1.0, full=True)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint32", "int64"])
@pytest.mark.parametrize("index", [2, -100, 255, -1, 2**32 + 2])
def test_ignore_index_may_be_traced(dtype: str, index: int) -> None:
    x, labels = jnp.array([[0.0, 1.0, 2.0]]).repeat(3, 0), jnp.array([0, 2, 2], dtype)
    for function in (F.cross_entropy, F.nll_loss):
        want = [0.0 if int(y) == index else function(x[0], y) for y in labels]
        got = jax.jit(lambda x, y, i, f=function: f(x, y, ignore_index=i, reduction="none"))(x, labels, index)
        np.testing.assert_allclose(got, np.array(want), rtol=1e-12)


def test_a_traced_ignore_index_leaves_probabilities_alone() -> None:
    np.testing.assert_allclose(jax.jit(F.cross_entropy)(X, P, ignore_index=-100), np.log(3))


def test_ignore_index_of_a_head_may_be_traced_or_beyond_the_indices() -> None:
    y = Y.astype(jnp.int32)
    got = jax.jit(lambda i: F.linear_cross_entropy(H, K, y, ignore_index=i, reduction="sum"))(1)
    np.testing.assert_allclose(got, np.log(3))
    np.testing.assert_allclose(F.linear_cross_entropy(H, K, y, ignore_index=2**40, reduction="sum"), 2 * np.log(3))


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("var", [2.0, 2, np.float32(2), np.int64(2), jnp.array(2.0)], ids=lambda v: type(v).__name__)
def test_a_scalar_variance_is_a_number(shape: tuple[int, ...], var: Any) -> None:
    x = jnp.ones(shape, jnp.float32)
    want = F.gaussian_nll_loss(x, 0 * x, 2.0)
    np.testing.assert_allclose(F.gaussian_nll_loss(x, 0 * x, var), want)
    traced = jax.jit(F.gaussian_nll_loss)(x, 0 * x, var)
    np.testing.assert_allclose(traced, want)
    if isinstance(var, float | int):
        assert traced.dtype == jnp.float32


def test_eps_may_be_traced() -> None:
    x = jnp.zeros(2, jnp.float32)
    np.testing.assert_allclose(jax.jit(F.gaussian_nll_loss)(x, x, x, eps=0.5), 0.5 * np.log(0.5), rtol=1e-6)
    poisson = jax.jit(F.poisson_nll_loss, static_argnames="log_input")
    assert F.gaussian_nll_loss(x, x, x, eps=2**70) > 0
    np.testing.assert_allclose(poisson(x, x + 1, log_input=False, eps=0.5), np.log(2), rtol=1e-6)


def _plain(v: Any) -> Any:
    return v.astype(float) if isinstance(v, jax.Array) else v


@pytest.mark.usefixtures("own_errors")
def test_integers_and_bools_are_numbers_where_torch_takes_them() -> None:
    t = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    for dtype in (jnp.int32, jnp.uint8, jnp.bool_):
        whole, w = t.astype(dtype), W.astype(dtype)
        for f, args, kwargs in (
            (F.cross_entropy, (P, P), {"weight": w}),
            (F.binary_cross_entropy, (P, t), {"weight": w}),
            (F.binary_cross_entropy, (P, whole), {}),
            (F.binary_cross_entropy_with_logits, (P, whole), {"weight": w, "pos_weight": w}),
            (F.gaussian_nll_loss, (whole, P, 1.0), {}),
            (F.gaussian_nll_loss, (P, whole, 1.0), {}),
            (F.poisson_nll_loss, (whole, t), {}),
            (F.poisson_nll_loss, (P, whole), {"full": True}),
            (F.linear_cross_entropy, (H, K, P), {"weight": w}),
        ):
            want = f(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})
            got = f(*args, **kwargs)
            np.testing.assert_allclose(got, want, err_msg=f.__name__)
            assert got.dtype == jnp.float64
    np.testing.assert_allclose(F.logsumexp(jnp.array([True, False]), 0), np.log(1 + np.e), rtol=1e-6)
    exact = F.softmax(np.array([2**40, 2**40 + 1]), 0, dtype=jnp.float64)
    np.testing.assert_allclose(exact, F.softmax(jnp.array([0.0, 1.0]), 0))


@pytest.mark.usefixtures("own_errors")
def test_counts_that_jaxs_integers_cannot_hold() -> None:
    with jax.enable_x64(False):
        counts = np.array([3_000_000_000, 1])
        got = F.poisson_nll_loss(jnp.array([1.0, 1.0]), counts, reduction="none")
        np.testing.assert_allclose(got, np.e - counts, rtol=1e-6)


@pytest.mark.usefixtures("own_errors")
def test_legacy_arguments_are_read_as_torch_reads_them() -> None:
    for false in (0, np.bool_(False)):
        np.testing.assert_allclose(F.cross_entropy(X, Y, size_average=false), 2 * np.log(3))
        assert F.cross_entropy(X, Y, reduce=false).shape == (2,)


F32, F64, HALF = jnp.ones((), jnp.float32), jnp.ones((), jnp.float64), jnp.ones((), jnp.bfloat16)


def wide(x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(x, (2, 3))


# What torch 2.13 answers: `test_dtypes_with_scalars_against_torch` asks it.
DTYPES = [
    (F.kl_div, (wide(F32), F64), {}, "float32"),
    (F.kl_div, (F64, wide(F32)), {}, "float32"),
    (F.kl_div, (wide(HALF), F32), {}, "bfloat16"),
    (F.kl_div, (HALF, F32), {}, "float32"),
    (F.poisson_nll_loss, (wide(F32), F64), {}, "float32"),
    (F.poisson_nll_loss, (F64, wide(F32)), {"full": True}, "float32"),
    (F.poisson_nll_loss, (F64, wide(F32).astype(jnp.int32)), {}, "float64"),
    (F.poisson_nll_loss, (HALF, wide(F32).astype(jnp.int32)), {}, "bfloat16"),
    (F.gaussian_nll_loss, (F64, wide(F32), 1.0), {}, "float32"),
    (F.gaussian_nll_loss, (wide(F32)[0], wide(F32)[0], F64), {}, "float64"),
    (F.gaussian_nll_loss, (wide(F32).astype(jnp.int32), wide(HALF), 1.0), {}, "float32"),
    (F.poisson_nll_loss, (wide(F32).astype(jnp.int32), wide(HALF)), {}, "float32"),
    (F.binary_cross_entropy, (wide(F32), wide(F32), F64), {}, "float32"),
    (F.binary_cross_entropy, (wide(F32), wide(F32), wide(F64)), {}, "float32"),
    (F.binary_cross_entropy_with_logits, (wide(F32), wide(F32), F64), {}, "float32"),
    (F.binary_cross_entropy_with_logits, (wide(F32), wide(F32), wide(F64)), {}, "float32"),
    (F.binary_cross_entropy_with_logits, (wide(F32), wide(F32)), {"pos_weight": wide(F64)}, "float32"),
    (F.binary_cross_entropy_with_logits, (wide(F32), wide(HALF)), {}, "bfloat16"),
    (F.binary_cross_entropy_with_logits, (wide(F64), wide(F32)), {}, "float32"),
    (F.binary_cross_entropy_with_logits, (F32, F32, F64), {}, "float32"),
    (F.linear_cross_entropy, (wide(F32), wide(F32), jnp.ones((2, 2))), {}, "float64"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "dtype"), DTYPES)
def test_dtypes_with_scalars(function: Callable, args: tuple, kwargs: dict, dtype: str) -> None:
    assert jax.eval_shape(lambda: function(*args, **kwargs)).dtype == dtype


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "args", "kwargs", "dtype"), DTYPES)
def test_dtypes_with_scalars_against_torch(function: Callable, args: tuple, kwargs: dict, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def put(v: Any) -> Any:
        return torch.from_numpy(np.array(v, np.float64)).to(getattr(torch, str(v.dtype))) if hasattr(v, "dtype") else v

    out = getattr(torch.nn.functional, function.__name__)(*map(put, args), **{k: put(v) for k, v in kwargs.items()})
    assert str(out.dtype) == f"torch.{dtype}"


def test_a_scalar_logsumexp_over_no_axes_is_a_scalar() -> None:
    assert F.logsumexp(jnp.array(1.0), ()).shape == ()


def test_a_nan_count_has_a_nan_gradient() -> None:
    slope = jax.grad(lambda t: F.poisson_nll_loss(jnp.array(1.0), t, full=True))(jnp.array(jnp.nan))
    assert jnp.isnan(slope)
