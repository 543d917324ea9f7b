"""Each wrong argument: one sentence that names it, what was wanted and what came."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.linear import (
    linear_js_divergence,
    linear_kl_divergence,
    linear_softmax_cross_entropy,
    linear_token_statistics,
)

pytestmark = pytest.mark.usefixtures("own_errors")
H, K, Y = jnp.ones((3, 2)), jnp.ones((2, 5)), jnp.zeros(3, jnp.int32)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            {"kernel": jnp.ones((4, 5))},
            ValueError,
            r"`kernel` must have shape \(2, V\).*`hidden` \(3, 2\), got \(4, 5\)",
        ),
        ({"hidden": Y}, TypeError, "`hidden` must have a floating dtype, got int32"),
        ({"targets": Y[:1]}, ValueError, r"`targets` must have shape \(3,\), the batch shape of `hidden`, got \(1,\)"),
        ({"targets": jnp.ones((3, 4))}, ValueError, r"`targets` must have shape \(3, 5\)"),
        ({"targets": Y == 0}, TypeError, "`targets` must have an integer dtype"),
        ({"bias": jnp.ones(4)}, ValueError, r"`bias` must have shape \(5,\), one per class of `kernel`, got \(4,\)"),
        ({"where": jnp.ones((4, 5), bool)}, ValueError, r"`where` must broadcast to \(3, 5\)"),
        ({"class_weights": jnp.ones(3)}, ValueError, r"`class_weights` must have shape \(5,\)"),
        ({"label_smoothing": 2.0}, ValueError, r"`label_smoothing` must be a number in \[0, 1\], got 2.0"),
        ({"class_weights": jnp.ones(5, jnp.int32)}, TypeError, "`class_weights` must have a floating dtype, got int32"),
        ({"temperature": -1.0}, ValueError, "`temperature` must be a positive number"),
        ({"temperature": 0.0}, ValueError, "`temperature` must be a positive number, got 0.0"),
        ({"soft_cap": float("inf")}, ValueError, "`soft_cap` must be a positive number or None, got inf"),
        ({"strategy": "rows"}, ValueError, "`strategy` must be one of 'auto', 'vocabulary', 'token', got 'rows'"),
        ({"strategy": "token"}, ValueError, 'strategy="token" must come with `reduction`'),
        ({"reduction": "max"}, ValueError, "`reduction` must be one of 'none', 'sum', 'mean', got 'max'"),
        ({"differentiation": "all"}, ValueError, "`differentiation` must be one of 'reverse', 'any', got 'all'"),
        ({"block_size": 0}, ValueError, "`block_size` must be at least 1, got 0"),
        ({"block_size": 2.0}, TypeError, "`block_size` must be an int or None, got 2.0"),
        ({"block_size": np.array(["s"])}, TypeError, "`block_size` must be an int or None, got"),
        ({"block_size": jnp.array(True)}, TypeError, "`block_size` must be an int or None, got"),
        ({"reduction": np.ones(2)}, ValueError, "`reduction` must be one of 'none', 'sum', 'mean', got"),
        ({"axis_name": ["v"]}, TypeError, "`axis_name` must be a str or a tuple of them, got"),
        ({"weights": jnp.ones(3)}, ValueError, "`weights` are those of a sum or a mean"),
        ({"weights": jnp.ones(2), "reduction": "sum"}, ValueError, r"`weights` must have shape \(3,\)"),
    ],
)
def test_cross_entropy(given: dict[str, Any], error: type[Exception], said: str) -> None:
    arguments = {"hidden": H, "kernel": K, "targets": Y} | given
    with pytest.raises(error, match=said):
        linear_softmax_cross_entropy(**arguments)


@pytest.mark.parametrize("divergence", [linear_kl_divergence, linear_js_divergence])
def test_divergences(divergence: Any) -> None:
    with pytest.raises(ValueError, match="`q_kernel` must have as many classes as `p_kernel`"):
        divergence(H, K, H, K[:, :4])
    with pytest.raises(ValueError, match=r"`q_hidden` must have shape .*`p_hidden`"):
        divergence(H, K, H[:2], K)
    with pytest.raises(ValueError, match=r"`p_kernel` must have shape \(2, V\).*`p_hidden`"):
        divergence(H, K[:1], H, K)


def test_statistics() -> None:
    with pytest.raises(TypeError, match="`labels` must have an integer dtype"):
        linear_token_statistics(H, K, jnp.ones(3))
    with pytest.raises(ValueError, match=r"`labels` must have shape \(3,\)"):
        linear_token_statistics(H, K, Y[:2])
