"""Gradients verified, of anybody's JAX code: right, wrong and where, or why that cannot be said.

    >>> import jax, jax.numpy as jnp
    >>> from jaxinfo import verify
    >>> verify.check_gradients(jax.nn.softmax, jnp.array([1.0, 2.0, -3.0])).verdict
    <Verdict.CORRECT: 'CORRECT'>

check_gradients     a GradientReport: verdict, worst element, table, smallest error that would have been seen

Nothing here knows a loss of jaxinfo.
"""

from jaxinfo.verify._check import check_gradients as check_gradients
from jaxinfo.verify._report import GradientReport as GradientReport
from jaxinfo.verify._report import Row as Row
from jaxinfo.verify._report import Verdict as Verdict
from jaxinfo.verify._report import Worst as Worst
