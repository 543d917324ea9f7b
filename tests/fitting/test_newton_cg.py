"""The system of a Newton step, solved no closer than asked: what is left unseen is never forgotten."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.fitting._newton_cg import Solution, Wanted, conjugate_gradients

CURVATURES = np.geomspace(1e-4, 1.0, 40)


def solve(gradient: np.ndarray, tolerance: float, least: float) -> Solution:
    """Solve with the Hessian diag(CURVATURES), as tightly as a step asks near the end."""
    wanted = Wanted(jnp.asarray(1e-3), tolerance, least=least)
    return conjugate_gradients(lambda v: jnp.asarray(CURVATURES) * v, jnp.asarray(gradient), jnp.ones(40), wanted)


def decrement(gradient: np.ndarray) -> float:
    return float(np.sum(gradient**2 / CURVATURES) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_what_the_residual_may_add_is_told(seed: int) -> None:
    gradient = 1e-4 * np.random.default_rng(seed).normal(size=40)
    solved = solve(gradient, 1.0, CURVATURES[0])
    said = float(-jnp.vdot(solved.step, gradient) + solved.unseen) / 2
    assert solved.products < solve(gradient, 0.0, CURVATURES[0]).products
    assert decrement(gradient) <= said <= 1.0


def test_an_unmet_curvature_is_no_reason_to_stop() -> None:
    gradient = np.where(CURVATURES < 2e-4, 1e-4, 1e-2)  # what is gained lies where CG comes last
    wanted = solve(gradient, 0.0, np.inf)
    solved = solve(gradient, 0.9 * decrement(gradient), np.inf)
    assert int(solved.products) == int(wanted.products)
    assert float(solved.unseen) == 0.0


def test_without_positive_curvature_there_is_nothing_to_bound() -> None:
    solved = conjugate_gradients(jnp.negative, jnp.ones(3), jnp.ones(3), Wanted(jnp.asarray(1e-3), 1.0, least=0.5))
    assert float(solved.least) == 0.5
    np.testing.assert_array_equal(solved.step, -jnp.ones(3))


def test_a_small_decrement_is_looked_at_more_closely() -> None:
    # a direction of hardly any curvature, with less than a thousandth of the gradient, has all there is to gain
    curvatures = jnp.asarray(np.where(np.arange(40) < 39, 1.0, 1e-12))
    gradient = jnp.asarray(np.where(np.arange(40) < 39, 1e-6, 1e-9))
    wanted = Wanted(jnp.asarray(1e-3), small=1e-7, rounding=0.0)
    for closer, seen in ((0, False), (20, True)):
        solved = conjugate_gradients(lambda v: curvatures * v, gradient, jnp.ones(40), wanted._replace(closer=closer))
        said = float(-jnp.vdot(solved.step, gradient) + solved.unseen) / 2
        assert (said >= 0.99 * float(jnp.sum(gradient**2 / curvatures)) / 2) == seen
